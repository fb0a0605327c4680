// Offsets by time, and leader epochs.

#include "fixture.hpp"

namespace streambus::test {
namespace {

class OffsetsTest : public BrokerTest, public ::testing::WithParamInterface<bool> {
 protected:
  OffsetsTest() { storage.file_slices = GetParam(); }
  void SetUp() override {
    start();
    create("t");
  }
  void expect_found(TimestampMs wanted, std::int64_t offset, TimestampMs timestamp) {
    const OffsetCall call = find(wanted);
    EXPECT_EQ(call.error, ErrorCode::ok) << wanted;
    EXPECT_EQ(call.offset.value, offset) << wanted;
    EXPECT_EQ(call.found_timestamp, timestamp) << wanted;
  }
};

TEST_P(OffsetsTest, TheEndsOfTheLog) {
  EXPECT_EQ(find(OffsetCall::kLatest).offset.value, 0);
  EXPECT_EQ(find(OffsetCall::kEarliest).offset.value, 0);
  EXPECT_EQ(find(OffsetCall::kMaxTimestamp).offset, kNoOffset);
  ASSERT_EQ(produced(make_records(5)), ErrorCode::ok);
  ASSERT_EQ(produced(make_records(5)), ErrorCode::ok);
  storage.stored(topic_id(), 0).start = {5};
  EXPECT_EQ(find(OffsetCall::kLatest).offset.value, 10);
  EXPECT_EQ(find(OffsetCall::kEarliest).offset.value, 5);
  EXPECT_EQ(find(OffsetCall::kLatest).leader_epoch, 0);
  EXPECT_EQ(find(-7).error, ErrorCode::invalid_argument);
}

TEST_P(OffsetsTest, TheExactRecordInsideABatch) {
  ASSERT_EQ(produced(make_batch({.timestamps = {100, 200, 150, 300}})), ErrorCode::ok);
  ASSERT_EQ(produced(make_batch({.timestamps = {400, 500}, .value = std::string(200, 'x'), .stamp = {}, .codec = &lz4})),
            ErrorCode::ok);
  expect_found(0, 0, 100);
  expect_found(100, 0, 100);
  expect_found(101, 1, 200);
  expect_found(201, 3, 300);
  expect_found(301, 4, 400);
  expect_found(401, 5, 500);
  expect_found(501, -1, kNoTimestamp);
  expect_found(OffsetCall::kMaxTimestamp, 5, 500);
  ASSERT_EQ(produced(make_batch({.timestamps = {7}})), ErrorCode::ok);
  expect_found(OffsetCall::kMaxTimestamp, 5, 500);
}

TEST_P(OffsetsTest, ABatchWhoseCodecIsMissingIsFoundAtItsBeginning) {
  const RunLengthCodec gzip(1, "gzip");
  ASSERT_EQ(produced(make_batch({.timestamps = {100, 200}, .value = std::string(200, 'x'), .stamp = {}, .codec = &gzip})),
            ErrorCode::ok);
  expect_found(200, 0, 100);
}

TEST_P(OffsetsTest, AHeaderThatPromisesTooMuchIsPassedOver) {
  BatchBytes lying = make_batch({.timestamps = {100, 200}});
  store_be(lying.data() + 35, TimestampMs{900});
  stamp_batch_crc(lying);
  ASSERT_EQ(produced(std::move(lying)), ErrorCode::ok);
  expect_found(800, -1, kNoTimestamp);
  ASSERT_EQ(produced(make_batch({.timestamps = {300}})), ErrorCode::ok);
  ASSERT_EQ(produced(make_batch({.timestamps = {850}})), ErrorCode::ok);
  expect_found(800, 3, 850);
}

TEST_P(OffsetsTest, LogAppendTimeIsTheBatchs) {
  ASSERT_TRUE(core->delete_topic("t").ok());
  create("t", 1, {{"message.timestamp.type", "LogAppendTime"}});
  host.now_ms = 1000;
  ASSERT_EQ(produced(make_records(3)), ErrorCode::ok);
  host.now_ms = 2000;
  ASSERT_EQ(produced(make_records(3)), ErrorCode::ok);
  expect_found(1000, 0, 1000);
  expect_found(1001, 3, 2000);
}

TEST_P(OffsetsTest, ALargeLogIsWalkedWhole) {
  // Headers that promise too much, so that the walk goes over many batches and, for files, over many chunks.
  for (int i = 0; i < 500; ++i) {
    BatchBytes batch = make_batch({.timestamps = {100}, .value = std::string(static_cast<std::size_t>(i) * 7 % 3000, 'x')});
    store_be(batch.data() + 35, TimestampMs{900});
    stamp_batch_crc(batch);
    ASSERT_EQ(produced(std::move(batch)), ErrorCode::ok);
  }
  ASSERT_EQ(produced(make_batch({.timestamps = {900}})), ErrorCode::ok);
  expect_found(800, 500, 900);
}

INSTANTIATE_TEST_SUITE_P(SliceKinds, OffsetsTest, ::testing::Bool(),
                         [](const auto& kind) { return kind.param ? "FileSlices" : "MemorySlices"; });

TEST_F(DurableBrokerTest, TimesOfWhatIsNotVisibleAreNotFound) {
  start();
  create("t");
  TestWaiter waiter;
  ASSERT_EQ(produce(waiter, make_batch({.timestamps = {100}})), ProduceOutcome::pending);
  EXPECT_EQ(find(50).offset, kNoOffset);
  EXPECT_EQ(find(OffsetCall::kMaxTimestamp).offset, kNoOffset);
  flush();
  EXPECT_EQ(find(50).offset.value, 0);
  EXPECT_EQ(find(OffsetCall::kMaxTimestamp).offset.value, 0);
}

class EpochsTest : public BrokerTest {
 protected:
  Status epoch_end(LeaderEpoch current, LeaderEpoch wanted) { return core->epoch_end("t", 0, current, wanted, &epoch, &end); }
  LeaderEpoch epoch = -7;
  Offset end;
};

TEST_F(EpochsTest, AnUncleanStartOfAWeakClassBeginsANewOne) {
  start();
  create("t");
  for (int i = 0; i < 4; ++i) ASSERT_EQ(produced(make_records(1)), ErrorCode::ok);
  stop();
  start();
  EXPECT_EQ(partitions()[0].leader_epoch, 0) << "a clean start keeps the epoch";
  crash(2);
  start();
  EXPECT_EQ(partitions()[0].leader_epoch, 1);
  ASSERT_EQ(produced(make_records(5)), ErrorCode::ok);
  EXPECT_EQ(fetch(2).first().leader_epoch(), 1);
  EXPECT_EQ(fetch(0).first().leader_epoch(), 0);

  ASSERT_TRUE(epoch_end(1, 0).ok());
  EXPECT_EQ(epoch, 0);
  EXPECT_EQ(end.value, 2) << "a client that read offset 3 in epoch 0 learns that it must go back";
  ASSERT_TRUE(epoch_end(-1, 1).ok());
  EXPECT_EQ(end.value, 7);
  ASSERT_TRUE(epoch_end(1, 9).ok());
  EXPECT_EQ(epoch, -1);
  EXPECT_EQ(end, kNoOffset);
  EXPECT_EQ(find(OffsetCall::kLatest).leader_epoch, 1);
  EXPECT_EQ(find(OffsetCall::kEarliest).leader_epoch, 0);

  EXPECT_EQ(epoch_end(0, 0).code, ErrorCode::fenced_epoch);
  EXPECT_EQ(epoch_end(2, 0).code, ErrorCode::unknown_epoch);
  EXPECT_EQ(fetch(0, 100, 0).error, ErrorCode::fenced_epoch);
  EXPECT_EQ(fetch(0, 100, 2).error, ErrorCode::unknown_epoch);
  EXPECT_EQ(fetch(0, 100, 1).error, ErrorCode::ok);
  stop();
  start();
  EXPECT_EQ(partitions()[0].leader_epoch, 1) << "epochs are kept";
  ASSERT_TRUE(epoch_end(1, 0).ok());
  EXPECT_EQ(end.value, 2);
  EXPECT_EQ(core->epoch_end("nobody", 0, 0, 0, &epoch, &end).code, ErrorCode::not_found);
}

TEST_F(EpochsTest, ANewEpochIsNotServedUnlessItIsWritten) {
  start();
  create("t");
  crash();
  (void)files.take_operations();
  files.fail_after(8);  // somewhere in writing the list of topics anew
  const auto started = try_start();
  files.heal();
  EXPECT_FALSE(started);
  core.reset();
}

TEST_F(DurableBrokerTest, AnUncleanStartKeepsTheEpochWhereNothingSeenWasLost) {
  storage.synchronous = true;
  start();
  create("t");
  ASSERT_EQ(produced(make_records(1)), ErrorCode::ok);
  crash();
  start();
  EXPECT_EQ(partitions()[0].leader_epoch, 0);
}

TEST_F(DurableBrokerTest, APartitionThatComesBackShorterBeginsANewEpoch) {
  storage.synchronous = true;
  start();
  create("t");
  for (int i = 0; i < 3; ++i) ASSERT_EQ(produced(make_records(1)), ErrorCode::ok);
  auto& stored = storage.stored(topic_id(), 0);
  stored.batches.pop_back();
  stored.end = {2};
  ASSERT_TRUE(core->reopen_partition("t", 0).ok());
  EXPECT_EQ(partitions()[0].leader_epoch, 1);
  EXPECT_EQ(fetch(0).high_watermark.value, 2);
  stop();
  start();
  EXPECT_EQ(partitions()[0].leader_epoch, 1);
}

class MemoryClassTest : public BrokerTest {
 protected:
  MemoryClassTest() : BrokerTest(Durability::memory) {}
};

TEST_F(MemoryClassTest, EveryStartBeginsANewEpochAndKeepsNoSnapshots) {
  start();
  create("t");
  ASSERT_EQ(produced(make_produced(7, 0, 0)), ErrorCode::ok);
  stop();
  EXPECT_EQ(files.paths(), std::vector<std::string>{"topics"});
  start();
  EXPECT_EQ(partitions()[0].leader_epoch, 1);
}

}  // namespace
}  // namespace streambus::test
