#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "accumulator.hpp"
#include "bench_client.hpp"
#include "sender.hpp"

namespace streambus::client {
namespace {

using test::ClientRig;
using test::FakeBroker;
using test::FakeNetwork;
using wire::ApiKey;
using wire::WireError;
using Action = FakeBroker::Script::Action;

ClientSettings client_settings() {
  ClientSettings settings;
  settings.retry_backoff_ms = 20;
  settings.retry_backoff_max_ms = 100;
  settings.pool.reconnect_backoff_ms = 20;
  settings.pool.request_timeout_ms = 1000;
  settings.pool.idle_timeout_ms = settings.pool.keepalive_ms = settings.pool.health_check_idle_ms = 0;
  return settings;
}

ProducerSettings immediate() {
  ProducerSettings settings;
  settings.linger_ms = 0;
  settings.delivery_timeout_ms = 10'000;
  return settings;
}

/// One record per batch unless the test lets them linger: what is sent is sent with settle().
class ProducerRig : public ClientRig {
 public:
  explicit ProducerRig(ProducerSettings with = immediate(), ClientSettings client = client_settings())
      : ClientRig(std::move(client)),
        producer_settings(std::move(with)),
        accumulator(producer_settings, buffers, clock,
                    {.kick = [this] { loop.post([this] { sender->run(); }); },
                     .want_topic = [this](ProduceTopic& topic) { loop.post([this, &topic] { sender->want_topic(topic); }); },
                     .may_block = [] { return false; }},
                    1),
        sender(std::make_shared<Sender>(
            cluster, buffers, producer_settings, accumulator, nullptr,
            [this](const BatchReport& report) { batches.push_back({report.base_offset, report.record_count, report.outcome}); },
            1)) {
    broker.add_topic("t", 1);
    prime("t");
  }
  ~ProducerRig() {
    sender->shut_down();
    settle();  // what was posted for the sender refers to it
  }

  /// Makes the topic known; a sender that may not block fails until it is.
  void prime(const std::string& topic) {
    EXPECT_FALSE(accumulator.append({.topic = topic, .key = {}, .value = as_bytes("early"), .headers = {}}, {}));
    settle();
  }
  Result<> append(const std::string& value, const std::string& topic = "t", PartitionId partition = 0) {
    return accumulator.append({.topic = topic, .partition = partition, .key = {}, .value = as_bytes(value), .headers = {}},
                              [this, value](const DeliveryReport& report) {
                                EXPECT_FALSE(outcomes.contains(value)) << "reported twice: " << value;
                                outcomes.emplace(value, report);
                              });
  }
  /// The record is on its way, in a batch of its own.
  void send(const std::string& value) {
    ASSERT_TRUE(append(value));
    settle();
  }
  [[nodiscard]] bool delivered(const std::string& value) const {
    const auto found = outcomes.find(value);
    return found != outcomes.end() && found->second.outcome.has_value();
  }
  [[nodiscard]] std::optional<ErrorCode> failure(const std::string& value) const {
    const auto found = outcomes.find(value);
    if (found == outcomes.end() || found->second.outcome) return std::nullopt;
    return found->second.outcome.error().code;
  }
  void script(Action action, WireError error = WireError::none) { broker.script.push_back({ApiKey::produce, action, error}); }

  struct Batch {
    Offset base;
    std::uint32_t records;
    Result<> outcome;
  };
  ProducerSettings producer_settings;
  std::vector<Batch> batches;
  std::map<std::string, DeliveryReport> outcomes;
  Accumulator accumulator;
  std::shared_ptr<Sender> sender;
};

using Values = std::vector<std::string>;

TEST(ProducerTest, DeliversInOrderWithOffsets) {
  ProducerRig rig;
  for (const char* value : {"a", "b", "c"}) rig.send(value);
  EXPECT_EQ(rig.broker.values("t"), (Values{"a", "b", "c"}));
  ASSERT_TRUE(rig.delivered("c"));
  EXPECT_EQ(rig.outcomes.at("c").offset, Offset{2});
  EXPECT_EQ(rig.accumulator.buffered_bytes(), 0U);
}

TEST(ProducerTest, LetsABatchLinger) {
  ProducerSettings settings = immediate();
  settings.linger_ms = 50;
  ProducerRig rig(settings);
  ASSERT_TRUE(rig.append("a"));
  ASSERT_TRUE(rig.append("b"));
  rig.advance_ms(45);
  EXPECT_TRUE(rig.broker.values("t").empty());
  rig.advance_ms(10);
  EXPECT_EQ(rig.broker.values("t"), (Values{"a", "b"}));
  ASSERT_EQ(rig.batches.size(), 1U);
  EXPECT_EQ(rig.batches[0].records, 2U);
  EXPECT_EQ(rig.outcomes.at("b").offset, Offset{1});
}

TEST(ProducerTest, SendsFullBatchesAtOnce) {
  ProducerSettings settings = immediate();
  settings.linger_ms = 10'000;
  settings.batch_bytes_max = 1000;
  ProducerRig rig(settings);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(rig.append(std::to_string(i) + std::string(300, 'x')));
  rig.settle();
  EXPECT_EQ(rig.batches.size(), 3U) << "three records of 300 bytes fit; the last batch lingers";
  EXPECT_EQ(rig.broker.values("t").size(), 9U);
  ASSERT_TRUE(rig.append(std::string(5000, 'y')));
  rig.settle();
  EXPECT_EQ(rig.broker.values("t").size(), 11U) << "a record larger than a batch goes alone and at once";
  EXPECT_EQ(rig.batches.size(), 5U);
}

TEST(ProducerTest, KeepsOrderWhenAnEarlierBatchIsRefusedForAWhile) {
  ProducerRig rig;
  rig.broker.hold = ApiKey::produce;
  rig.script(Action::fail, WireError::not_enough_replicas);
  for (const char* value : {"a", "b", "c"}) rig.send(value);  // a is refused, b and c out of sequence
  EXPECT_EQ(rig.broker.requests[ApiKey::produce], 3);
  rig.broker.release();
  rig.advance_ms(500);
  EXPECT_EQ(rig.broker.values("t"), (Values{"a", "b", "c"}));
  EXPECT_TRUE(rig.delivered("a") && rig.delivered("b") && rig.delivered("c"));
  EXPECT_EQ(rig.broker.next_producer_id, 1001) << "the gap was transient: no new producer id";
}

TEST(ProducerTest, NothingIsLostOrWrittenTwiceWhenTheConnectionBreaks) {
  for (const Action action : {Action::cut_before, Action::cut_after}) {
    ProducerRig rig;
    rig.send("a");
    rig.broker.hold = ApiKey::produce;
    rig.send("b");
    rig.script(action);
    for (const char* value : {"c", "d", "e"}) rig.send(value);
    rig.broker.release();
    rig.advance_ms(1000);
    EXPECT_EQ(rig.broker.values("t"), (Values{"a", "b", "c", "d", "e"}));
    for (const char* value : {"a", "b", "c", "d", "e"}) EXPECT_TRUE(rig.delivered(value)) << value;
    EXPECT_EQ(rig.outcomes.at("e").offset, Offset{4});
  }
}

TEST(ProducerTest, ResendsAfterARequestTimeOut) {
  ProducerRig rig;
  rig.script(Action::ignore);
  rig.send("a");
  rig.advance_ms(900);
  EXPECT_FALSE(rig.delivered("a"));
  rig.advance_ms(300);
  EXPECT_TRUE(rig.delivered("a"));
  EXPECT_EQ(rig.broker.values("t"), (Values{"a"}));
}

TEST(ProducerTest, WithoutIdempotenceOneBatchIsInFlight) {
  ProducerSettings settings = immediate();
  settings.idempotence = false;
  ProducerRig rig(settings);
  rig.broker.hold = ApiKey::produce;
  rig.script(Action::fail, WireError::not_enough_replicas);
  for (const char* value : {"a", "b", "c"}) rig.send(value);
  EXPECT_EQ(rig.broker.requests[ApiKey::produce], 1);
  rig.broker.release();
  rig.advance_ms(500);
  EXPECT_EQ(rig.broker.values("t"), (Values{"a", "b", "c"}));
  EXPECT_EQ(rig.broker.requests[ApiKey::init_producer_id], 0);
}

TEST(ProducerTest, WithoutRetriesSeveralAreInFlightWithoutIdempotence) {
  ProducerSettings settings = immediate();
  settings.idempotence = false;
  settings.retries_max = 0;
  ProducerRig rig(settings);
  rig.broker.hold = ApiKey::produce;
  rig.script(Action::fail, WireError::not_enough_replicas);
  for (const char* value : {"a", "b", "c"}) rig.send(value);
  EXPECT_EQ(rig.broker.requests[ApiKey::produce], 3);
  rig.broker.release();
  rig.settle();
  EXPECT_EQ(rig.failure("a"), ErrorCode::busy);
  EXPECT_TRUE(rig.delivered("b") && rig.delivered("c"));
}

TEST(ProducerTest, BoundsWhatIsInFlight) {
  ProducerSettings settings = immediate();
  settings.in_flight_per_partition_max = 2;
  ProducerRig rig(settings);
  rig.broker.hold = ApiKey::produce;
  for (const char* value : {"a", "b", "c", "d"}) rig.send(value);
  EXPECT_EQ(rig.broker.requests[ApiKey::produce], 2);
  rig.broker.release();
  rig.settle();
  EXPECT_EQ(rig.broker.values("t"), (Values{"a", "b", "c", "d"}));
}

TEST(ProducerTest, GoesOnUnderANewIdBehindABatchThatWasRefusedForGood) {
  ProducerRig rig;
  rig.broker.hold = ApiKey::produce;
  rig.script(Action::fail, WireError::message_too_large);
  for (const char* value : {"a", "b", "c"}) rig.send(value);
  rig.broker.release();
  rig.advance_ms(1000);
  EXPECT_EQ(rig.failure("a"), ErrorCode::too_large);
  EXPECT_TRUE(rig.delivered("b") && rig.delivered("c"));
  EXPECT_EQ(rig.broker.values("t"), (Values{"b", "c"}));
  EXPECT_EQ(rig.broker.next_producer_id, 1002);
  rig.send("d");
  EXPECT_EQ(rig.broker.values("t").back(), "d");
}

TEST(ProducerTest, ReportsABatchThatWaitedTooLongWithTheCause) {
  ProducerSettings settings = immediate();
  settings.delivery_timeout_ms = 500;
  ProducerRig rig(settings);
  rig.network.mode = FakeNetwork::Mode::refuse;
  for (const auto& connection : std::vector(rig.network.connections)) connection->cut();
  rig.send("a");
  rig.advance_ms(490);
  EXPECT_FALSE(rig.failure("a"));
  rig.advance_ms(20);
  ASSERT_EQ(rig.failure("a"), ErrorCode::timeout);
  EXPECT_NE(rig.outcomes.at("a").outcome.error().message.find("Connection refused"), std::string::npos)
      << rig.outcomes.at("a").outcome.error().message;
  EXPECT_EQ(rig.accumulator.buffered_bytes(), 0U);
  rig.network.mode = FakeNetwork::Mode::accept;
  rig.send("b");
  rig.advance_ms(400);
  EXPECT_EQ(rig.broker.values("t"), (Values{"b"}));
}

TEST(ProducerTest, ABatchGivenUpInFlightLeavesNoHoleAndNoDouble) {
  for (const bool written : {true, false}) {
    ProducerSettings settings = immediate();
    settings.delivery_timeout_ms = 500;
    ProducerRig rig(settings);
    if (written) {
      rig.broker.hold = ApiKey::produce;
    } else {
      rig.script(Action::ignore);
    }
    rig.send("a");
    rig.advance_ms(400);
    rig.send("b");  // behind a: accepted by the broker, or out of sequence
    rig.advance_ms(200);
    EXPECT_EQ(rig.failure("a"), ErrorCode::timeout);
    EXPECT_FALSE(rig.failure("b"));
    rig.broker.release();
    rig.send("c");
    rig.advance_ms(600);
    EXPECT_EQ(rig.broker.values("t").back(), "c") << "written " << written;
    EXPECT_TRUE(rig.delivered("c"));
    if (written) {
      EXPECT_EQ(rig.broker.values("t"), (Values{"a", "b", "c"}));
    }
  }
}

TEST(ProducerTest, RetriesAreBounded) {
  ProducerSettings settings = immediate();
  settings.retries_max = 2;
  ProducerRig rig(settings);
  for (int i = 0; i < 3; ++i) rig.script(Action::fail, WireError::kafka_storage_error);
  rig.send("a");
  rig.advance_ms(1000);
  EXPECT_EQ(rig.failure("a"), ErrorCode::offline);
  EXPECT_EQ(rig.broker.requests[ApiKey::produce], 3);
}

TEST(ProducerTest, WithoutAcksABatchIsDoneWhenItIsSent) {
  ProducerSettings settings = immediate();
  settings.acks = Acks::none;
  settings.idempotence = false;
  ProducerRig rig(settings);
  rig.network.hold_sent = true;
  rig.send("a");
  EXPECT_FALSE(rig.delivered("a")) << "the transport still has it";
  for (Pin* const pin : std::exchange(rig.network.held, {})) pin->release();
  rig.network.hold_sent = false;
  rig.settle();
  ASSERT_TRUE(rig.delivered("a"));
  EXPECT_EQ(rig.outcomes.at("a").offset, kNoOffset);
  EXPECT_EQ(rig.broker.values("t"), (Values{"a"}));
}

TEST(ProducerTest, RefusesWhatDoesNotFitTheBuffer) {
  ProducerSettings settings = immediate();
  settings.buffer_bytes_max = 1024;
  ProducerRig rig(settings);
  rig.broker.hold = ApiKey::produce;
  rig.send(std::string(800, 'a'));
  const Result<> refused = rig.append(std::string(300, 'b'));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::busy);
  EXPECT_NE(refused.error().message.find("buffer_bytes_max"), std::string::npos);
  rig.broker.release();
  rig.settle();
  EXPECT_TRUE(rig.append(std::string(300, 'b')));
}

TEST(AccumulatorTest, ASenderWaitsForRoom) {
  ProducerSettings settings = immediate();
  settings.buffer_bytes_max = 1024;
  BufferPool buffers;
  std::atomic<int> kicks{0};
  std::atomic<ProduceTopic*> wanted{nullptr};
  Accumulator accumulator(
      settings, buffers, steady_clock(),
      {.kick = [&] { ++kicks; }, .want_topic = [&](ProduceTopic& topic) { wanted = &topic; }, .may_block = [] { return true; }},
      1);
  const std::string value(800, 'v');
  std::atomic<int> sent{0};
  std::thread user([&] {
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(accumulator.append({.topic = "t", .key = {}, .value = as_bytes(value), .headers = {}}, {}));
      ++sent;
    }
  });
  while (wanted == nullptr) std::this_thread::yield();
  accumulator.set_partitions(*wanted, 1);
  while (kicks < 2) std::this_thread::yield();  // one for the first record, one of the sender that waits
  EXPECT_EQ(sent, 1);
  std::vector<Accumulator::Collected> collected;
  while (collected.empty()) accumulator.collect(steady_clock().now_ns(), collected);
  accumulator.release(*collected[0].batch);
  user.join();
  EXPECT_EQ(sent, 2);
}

TEST(ProducerTest, FollowsTheLeader) {
  ProducerRig rig;
  rig.broker.brokers = {{0, "broker"}, {1, "other"}};
  rig.send("a");
  rig.broker.leader = 1;
  rig.script(Action::fail, WireError::not_leader_or_follower);
  rig.send("b");
  rig.advance_ms(500);
  EXPECT_TRUE(rig.delivered("b"));
  EXPECT_EQ(rig.broker.produce_connections.back()->address(), "other:9092");
}

TEST(ProducerTest, SaysThatATopicDoesNotExist) {
  ProducerRig rig;
  std::optional<Error> error;
  for (int i = 0; i < 2 && !error; ++i) {
    const Result<> sent = rig.append("a", "nowhere");
    ASSERT_FALSE(sent);
    if (sent.error().code != ErrorCode::timeout) error = sent.error();
    rig.settle();
  }
  const Result<> partition = rig.append("a", "t", 7);
  ASSERT_FALSE(partition);
  EXPECT_EQ(partition.error().code, ErrorCode::not_found);
  EXPECT_NE(partition.error().message.find("0 to 0"), std::string::npos);
}

TEST(ProducerTest, SendsAnEncodedBatchWithoutCopying) {
  ProducerSettings settings = immediate();
  settings.idempotence = false;
  ProducerRig rig(settings);
  BatchBuilder builder(rig.buffers);
  ASSERT_TRUE(builder.append({.timestamp_ms = 1, .key = {}, .value = as_bytes("encoded"), .headers = {}}));
  SharedSlice batch;
  ASSERT_TRUE(builder.finish({}, &batch).ok());
  ASSERT_TRUE(rig.append("before"));
  ASSERT_TRUE(rig.accumulator.append_encoded("t", 0, batch, {}));
  rig.settle();
  EXPECT_EQ(rig.broker.values("t"), (Values{"before", "encoded"}));
  EXPECT_TRUE(std::ranges::find(rig.network.slice_starts, batch.bytes.data()) != rig.network.slice_starts.end());
  EXPECT_FALSE(rig.accumulator.append_encoded("t", 0, {batch.pin, batch.bytes.first(70)}, {}));
}

TEST(ProducerTest, AnIdempotentProducerPutsItsSequenceIntoEncodedBatches) {
  ProducerRig rig;
  BatchBuilder builder(rig.buffers);
  ASSERT_TRUE(builder.append({.timestamp_ms = 1, .key = {}, .value = as_bytes("x"), .headers = {}}));
  SharedSlice batch;
  ASSERT_TRUE(builder.finish({}, &batch).ok());
  rig.send("a");
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(rig.accumulator.append_encoded("t", 0, batch, {}));
  rig.settle();
  EXPECT_EQ(rig.broker.values("t"), (Values{"a", "x", "x"}));
  EXPECT_EQ(BatchHeader(batch.bytes.data()).producer_id(), kNoProducerId) << "the user's bytes stay";
  EXPECT_EQ(BatchHeader(rig.broker.log("t").batches.back().bytes.data()).base_sequence(), 2);
}

TEST(ProducerTest, PutsPartitionsOfManyTopicsIntoOneRequest) {
  ProducerRig rig;
  rig.broker.add_topic("u", 3);
  rig.prime("u");
  rig.send("warm");
  rig.broker.hold = ApiKey::produce;
  ASSERT_TRUE(rig.append("a", "u", 2));
  ASSERT_TRUE(rig.append("b", "t", 0));
  ASSERT_TRUE(rig.append("c", "u", 0));
  rig.settle();
  rig.broker.release();
  rig.settle();
  EXPECT_EQ(rig.broker.produce_batches_in_request_max, 3U);
  EXPECT_EQ(rig.broker.values("u", 2), (Values{"a"}));
  EXPECT_EQ(rig.broker.values("u", 0), (Values{"c"}));
}

TEST(ProducerTest, KeylessRecordsMoveOnBatchByBatch) {
  ProducerSettings settings = immediate();
  settings.linger_ms = 10;
  ProducerRig rig(settings);
  rig.broker.add_topic("u", 4);
  rig.prime("u");
  std::set<PartitionId> used;
  for (int batch = 0; batch < 40; ++batch) {
    const std::size_t before = rig.batches.size();
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(rig.append(std::to_string(batch * 5 + i), "u", kAnyPartition));
    rig.advance_ms(15);
    EXPECT_EQ(rig.batches.size(), before + 1) << "records that come together stay together";
  }
  for (std::size_t partition = 0; partition < 4; ++partition) EXPECT_FALSE(rig.broker.values("u", partition).empty());
}

TEST(ProducerTest, ReportsWhatIsLeftWhenItEnds) {
  ProducerRig rig;
  rig.broker.hold = ApiKey::produce;
  rig.send("sent");
  ASSERT_TRUE(rig.append("buffered"));
  rig.accumulator.close();
  rig.sender->shut_down();
  EXPECT_EQ(rig.failure("sent"), ErrorCode::cancelled);
  EXPECT_EQ(rig.failure("buffered"), ErrorCode::cancelled);
  EXPECT_EQ(rig.append("late").error().code, ErrorCode::closed);
}

/// Whatever happens to connections and answers, an idempotent producer writes every record once and in order.
TEST(ProducerTest, SurvivesRandomFaults) {
  for (std::uint32_t seed = 1; seed <= 300; ++seed) {
    std::minstd_rand random(seed);
    ProducerSettings settings = immediate();
    settings.delivery_timeout_ms = 10'000'000;
    ProducerRig rig(settings);
    Values expected;
    for (int step = 0; step < 60; ++step) {
      const auto dice = random() % 10;
      if (dice == 0) rig.script(Action::cut_before);
      if (dice == 1) rig.script(Action::cut_after);
      if (dice == 2) rig.script(Action::ignore);
      if (dice == 3) rig.script(Action::fail, WireError::not_enough_replicas);
      if (dice == 4) rig.broker.hold = ApiKey::produce;
      if (dice == 5) rig.broker.release();
      if (dice == 6 && !rig.network.connections.empty()) rig.network.connections.front()->cut();
      expected.push_back(std::to_string(step));
      rig.send(expected.back());
      rig.advance_ms(static_cast<std::int64_t>(random() % 80));
    }
    rig.broker.release();
    rig.broker.script.clear();
    rig.advance_ms(5000);
    ASSERT_EQ(rig.broker.values("t"), expected) << "seed " << seed;
    for (const std::string& value : expected) ASSERT_TRUE(rig.delivered(value)) << "seed " << seed << " value " << value;
    EXPECT_EQ(rig.accumulator.buffered_bytes(), 0U);
  }
}

}  // namespace
}  // namespace streambus::client
