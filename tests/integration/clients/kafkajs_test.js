// kafkajs against the broker at $BOOTSTRAP: what works, and that what does not exist is an error and no wait.
'use strict';
const assert = require('node:assert/strict');
const { after, before, test } = require('node:test');
const zlib = require('node:zlib');
const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = require('kafkajs');

if (zlib.zstdCompressSync) {
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async (encoder) => zlib.zstdCompressSync(encoder.buffer),
    decompress: async (bytes) => zlib.zstdDecompressSync(bytes),
  });
}

const ALL = -1;
const kafka = new Kafka({
  clientId: 'kafkajs-test',
  brokers: [process.env.BOOTSTRAP],
  logLevel: logLevel.NOTHING,
  requestTimeout: 20000,
  retry: { retries: 3, initialRetryTime: 50 },
});
const admin = kafka.admin();
let cluster;
let topics = 0;

// kafkajs reads through consumer groups only. What is below them, one connection and its Fetch, is not in its interface.
function openCluster() {
  const create = Object.getOwnPropertySymbols(kafka).find((symbol) => symbol.description === 'private:Kafka:createCluster');
  return kafka[create]({ metadataMaxAge: 300000, allowAutoTopicCreation: false, isolationLevel: 1, maxInFlightRequests: null });
}

async function makeTopic(numPartitions = 1, settings = {}) {
  const topic = `kafkajs-${++topics}`;
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }));
  assert.equal(await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }] }), true);
  return topic;
}

async function withProducer(options, use) {
  const producer = kafka.producer(options);
  await producer.connect();
  try {
    return await use(producer);
  } finally {
    await producer.disconnect();
  }
}

// The records of one partition from the beginning, once there are `count`.
async function readAll(topic, partition, count) {
  await cluster.addTargetTopic(topic);
  const [leader] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
  const broker = await cluster.findBroker({ nodeId: leader });
  const messages = [];
  for (let round = 0; messages.length < count; ++round) {
    assert.ok(round < 50, `${messages.length} of ${count} records of ${topic}`);
    const question = { partition, fetchOffset: String(messages.length), maxBytes: 1 << 20 };
    const { responses } = await broker.fetch({
      replicaId: -1, isolationLevel: 1, maxWaitTime: 200, minBytes: 1, maxBytes: 1 << 20, topics: [{ topic, partitions: [question] }],
    });
    assert.equal(responses[0].partitions[0].errorCode, 0);
    messages.push(...responses[0].partitions[0].messages);
  }
  assert.deepEqual(messages.map((message) => Number(message.offset)), messages.map((_, index) => index));
  return messages;
}

before(async () => {
  await admin.connect();
  cluster = openCluster();
  await cluster.connect();
});

after(async () => {
  await cluster.disconnect();
  await admin.disconnect();
});

test('the cluster is one broker, and tells its address', async () => {
  const { brokers, controller, clusterId } = await admin.describeCluster();
  assert.equal(brokers.length, 1);
  assert.equal(controller, brokers[0].nodeId);
  assert.equal(`${brokers[0].host}:${brokers[0].port}`, process.env.BOOTSTRAP);
  assert.ok(clusterId);
});

test('topics are made, listed, described and deleted', async () => {
  const topic = await makeTopic(3, { 'retention.ms': '100000' });
  assert.equal(await admin.createTopics({ topics: [{ topic }] }), false, 'it exists already');
  assert.ok((await admin.listTopics()).includes(topic));
  const metadata = await admin.fetchTopicMetadata({ topics: [topic] });
  assert.deepEqual(metadata.topics[0].partitions.map((partition) => partition.partitionId).sort(), [0, 1, 2]);
  await admin.deleteTopics({ topics: [topic] });
  assert.ok(!(await admin.listTopics()).includes(topic));
  await assert.rejects(admin.fetchTopicMetadata({ topics: [topic] }), { type: 'UNKNOWN_TOPIC_OR_PARTITION' });
});

test('a topic that cannot be made is an error with its reason', async () => {
  const refusal = async (spec) => {
    const error = await admin.createTopics({ topics: [{ topic: 'kafkajs-bad', ...spec }] }).then(() => assert.fail('was made'), (e) => e);
    return error.errors[0].type;
  };
  assert.equal(await refusal({ replicationFactor: 3 }), 'INVALID_REPLICATION_FACTOR');
  assert.equal(await refusal({ topic: 'a b' }), 'INVALID_TOPIC_EXCEPTION');
  assert.equal(await refusal({ configEntries: [{ name: 'no.such.setting', value: '1' }] }), 'INVALID_CONFIG');
});

for (const acks of [0, 1, ALL]) {
  test(`records come back as they were sent, acks ${acks}`, async () => {
    const topic = await makeTopic(2);
    const first = { key: 'key', value: 'value', headers: { name: 'text' }, timestamp: String(Date.now()), partition: 1 };
    await withProducer({}, async (producer) => {
      await producer.send({ topic, acks, messages: [first, { key: null, value: null, partition: 1 }] });
      await producer.send({ topic, acks, messages: [{ value: 'later', partition: 1 }] });
    });
    const [one, two, three] = await readAll(topic, 1, 3);
    assert.equal(one.key.toString(), 'key');
    assert.equal(one.value.toString(), 'value');
    assert.equal(one.headers.name.toString(), 'text');
    assert.equal(one.timestamp, first.timestamp);
    assert.equal(two.key, null);
    assert.equal(two.value, null);
    assert.equal(three.value.toString(), 'later');
  });
}

test('an idempotent producer', async () => {
  const topic = await makeTopic();
  await withProducer({ idempotent: true, maxInFlightRequests: 1 }, async (producer) => {
    for (const offset of ['0', '1', '2']) {
      const [answer] = await producer.send({ topic, acks: ALL, messages: [{ value: offset }] });
      assert.equal(answer.baseOffset, offset);
    }
  });
  const messages = await readAll(topic, 0, 3);
  assert.ok(messages.every((message) => message.batchContext.producerId !== '-1'));
});

for (const codec of ['GZIP', 'ZSTD']) {
  const skip = codec === 'ZSTD' && !zlib.zstdCompressSync ? 'this Node has no zstd' : false;
  test(`batches compressed with ${codec} pass through`, { skip }, async () => {
    const topic = await makeTopic();
    const values = Array.from({ length: 100 }, (_, index) => `${index} ${'x'.repeat(100)}`);
    await withProducer({}, (producer) =>
      producer.send({ topic, compression: CompressionTypes[codec], messages: values.map((value) => ({ value })) }));
    assert.deepEqual((await readAll(topic, 0, 100)).map((message) => message.value.toString()), values);
  });
}

test('a topic that re-encodes refuses what no codec is loaded for', async () => {
  const topic = await makeTopic(1, { 'compression.type': 'lz4' });
  await withProducer({}, (producer) =>
    assert.rejects(producer.send({ topic, compression: CompressionTypes.GZIP, messages: [{ value: 'x'.repeat(1000) }] }), {
      type: 'UNSUPPORTED_COMPRESSION_TYPE',
    }));
});

test('a topic is made where it is named, unless the producer does not want it', async () => {
  await withProducer({ allowAutoTopicCreation: true }, (producer) => producer.send({ topic: 'kafkajs-auto', messages: [{ value: 'x' }] }));
  assert.ok((await admin.listTopics()).includes('kafkajs-auto'));
  await withProducer({ allowAutoTopicCreation: false }, (producer) =>
    assert.rejects(producer.send({ topic: 'kafkajs-none', messages: [{ value: 'x' }] })));
  assert.ok(!(await admin.listTopics()).includes('kafkajs-none'));
});

test('offsets of the ends and of times', async () => {
  const topic = await makeTopic();
  const now = Date.now();
  await withProducer({}, (producer) =>
    producer.send({ topic, messages: [0, 1, 2].map((index) => ({ value: 'x', timestamp: String(now + index * 1000) })) }));
  assert.deepEqual(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: '3', high: '3', low: '0' }]);
  assert.deepEqual(await admin.fetchTopicOffsetsByTimestamp(topic, now + 500), [{ partition: 0, offset: '1' }]);
  assert.deepEqual(await admin.fetchTopicOffsetsByTimestamp(topic, now + 5000), [{ partition: 0, offset: '3' }]);
});

test('settings of topics and of the broker', async () => {
  const topic = await makeTopic(1, { 'retention.ms': '100000' });
  const describe = async (type, name) => {
    const { resources } = await admin.describeConfigs({ includeSynonyms: true, resources: [{ type, name }] });
    return Object.fromEntries(resources[0].configEntries.map((entry) => [entry.configName, entry.configValue]));
  };
  const settings = await describe(ConfigResourceTypes.TOPIC, topic);
  assert.equal(settings['retention.ms'], '100000');
  assert.equal(settings['cleanup.policy'], 'delete');
  const { controller } = await admin.describeCluster();
  assert.equal((await describe(ConfigResourceTypes.BROKER, String(controller)))['broker.id'], String(controller));
  await assert.rejects(describe(ConfigResourceTypes.TOPIC, 'kafkajs-none'), { type: 'UNKNOWN_TOPIC_OR_PARTITION' });
});

test('what is not there is an error at once', { timeout: 20000 }, async () => {
  const topic = await makeTopic();
  const absent = { name: 'KafkaJSServerDoesNotSupportApiKey' };
  await assert.rejects(admin.listGroups(), absent);
  await assert.rejects(admin.fetchOffsets({ groupId: 'group', topics: [topic] }), absent);
  await assert.rejects(admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] }), absent);

  const consumer = kafka.consumer({ groupId: 'group' });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  const crash = new Promise((resolve) => consumer.on(consumer.events.CRASH, ({ payload }) => resolve(payload)));
  await consumer.run({ eachMessage: async () => {} });
  const { error, restart } = await crash;
  assert.equal(error.name, absent.name);
  assert.equal(restart, false);
  await consumer.disconnect();

  await withProducer({ transactionalId: 'transaction', idempotent: true, maxInFlightRequests: 1 }, (producer) =>
    assert.rejects(producer.transaction(), { name: 'KafkaJSGroupCoordinatorNotFound' }));
});
