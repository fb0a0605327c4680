// Idempotent producers through the broker, and across restarts.

#include "fixture.hpp"

namespace streambus::test {
namespace {

TEST_F(BrokerTest, ARetriedBatchGetsItsFirstOffset) {
  start();
  create("t");
  Offset base;
  ASSERT_EQ(produced(make_records(10)), ErrorCode::ok);
  ASSERT_EQ(produced(make_produced(7, 0, 0, 5), &base), ErrorCode::ok);
  ASSERT_EQ(produced(make_produced(7, 0, 5, 2)), ErrorCode::ok);
  ASSERT_EQ(produced(make_produced(7, 0, 0, 5), &base), ErrorCode::ok);
  EXPECT_EQ(base.value, 10);
  EXPECT_EQ(fetch(0).high_watermark.value, 17) << "appended once";
  EXPECT_EQ(produced(make_produced(7, 0, 9)), ErrorCode::out_of_order_sequence);
  EXPECT_EQ(produced(make_produced(8, 0, 3)), ErrorCode::unknown_producer);
  ASSERT_EQ(produced(make_produced(7, 1, 0)), ErrorCode::ok);
  EXPECT_EQ(produced(make_produced(7, 0, 7)), ErrorCode::producer_fenced);
}

TEST_F(BrokerTest, SeveralBatchesInOneRequestAreEachRemembered) {
  start();
  create("t");
  ASSERT_EQ(produced(joined(make_produced(7, 0, 0, 3), make_produced(7, 0, 3, 2))), ErrorCode::ok);
  Offset base;
  ASSERT_EQ(produced(make_produced(7, 0, 3, 2), &base), ErrorCode::ok);
  EXPECT_EQ(base.value, 3);
  EXPECT_EQ(produced(make_produced(7, 0, 5)), ErrorCode::ok);
}

TEST_F(BrokerTest, ADuplicateOnALogAppendTimeTopicGetsTheFirstTime) {
  start();
  create("t", 1, {{"message.timestamp.type", "LogAppendTime"}});
  const TimestampMs then = host.now_ms.load();
  ASSERT_EQ(produced(make_produced(7, 0, 0)), ErrorCode::ok);
  host.now_ms += 5000;
  TestWaiter again;
  ASSERT_EQ(produce(again, make_produced(7, 0, 0)), ProduceOutcome::done);
  EXPECT_EQ(again.log_append_time, then);
}

TEST_F(DurableBrokerTest, ADuplicateOfWhatIsNotDurableYetWaitsForIt) {
  start();
  create("t");
  TestWaiter first, again, failed;
  ASSERT_EQ(produce(first, make_produced(7, 0, 0)), ProduceOutcome::pending);
  ASSERT_EQ(produce(again, make_produced(7, 0, 0)), ProduceOutcome::pending);
  EXPECT_FALSE(again.is_completed());
  flush();
  EXPECT_TRUE(first.is_completed());
  EXPECT_TRUE(again.is_completed());
  EXPECT_EQ(again.base_offset.value, 0);
  TestWaiter third;
  EXPECT_EQ(produce(third, make_produced(7, 0, 0)), ProduceOutcome::done) << "durable by now";
  EXPECT_EQ(fetch(0).high_watermark.value, 1);
}

class RestartTest : public DurableBrokerTest, public ::testing::WithParamInterface<bool> {
 protected:
  RestartTest() {
    storage.synchronous = true;
    storage.file_slices = GetParam();
  }
  void restart(bool by_crash, std::size_t lost = 0) {
    by_crash ? crash(lost) : stop();
    start();
  }
};

TEST_P(RestartTest, ProducersSurviveACleanRestartAndACrash) {
  for (const bool by_crash : {false, true}) {
    start();
    create("t");
    for (std::int32_t i = 0; i < 8; ++i) ASSERT_EQ(produced(make_produced(7, 2, i)), ErrorCode::ok);
    ASSERT_EQ(produced(make_produced(8, 0, 0, 40)), ErrorCode::ok);
    restart(by_crash);
    Offset base;
    ASSERT_EQ(produced(make_produced(7, 2, 6), &base), ErrorCode::ok);
    EXPECT_EQ(base.value, 6) << "a duplicate is found after the restart";
    EXPECT_EQ(produced(make_produced(7, 2, 1)), ErrorCode::duplicate_sequence);
    EXPECT_EQ(produced(make_produced(7, 1, 8)), ErrorCode::producer_fenced);
    EXPECT_EQ(produced(make_produced(7, 2, 9)), ErrorCode::out_of_order_sequence);
    ASSERT_EQ(produced(make_produced(7, 2, 8), &base), ErrorCode::ok);
    EXPECT_EQ(base.value, 48);
    EXPECT_EQ(produced(make_produced(8, 0, 40)), ErrorCode::ok);
    ASSERT_TRUE(core->delete_topic("t").ok());
  }
}

TEST_P(RestartTest, ReplayBeginsWhereTheSnapshotEnds) {
  start();
  create("t");
  ASSERT_EQ(produced(make_produced(7, 0, 0, 100)), ErrorCode::ok);
  restart(false);
  const std::string id = topic_id();
  // The snapshot knows the producer although its batch is gone.
  ASSERT_EQ(produced(make_produced(9, 0, 0)), ErrorCode::ok);
  crash();
  auto& stored = storage.stored(id, 0);
  stored.batches.erase(stored.batches.begin());
  stored.start = {100};
  start();
  EXPECT_EQ(produced(make_produced(7, 0, 100)), ErrorCode::ok);
  EXPECT_EQ(produced(make_produced(9, 0, 1)), ErrorCode::ok);
}

TEST_P(RestartTest, WhatAStartWalkedIsInASnapshotAfterwards) {
  start();
  create("t");
  ASSERT_EQ(produced(make_produced(7, 0, 0)), ErrorCode::ok);
  crash();
  start();
  stop();
  const int reads_before = storage.reads.load();
  start();
  EXPECT_EQ(storage.reads.load(), reads_before) << "nothing is left to walk";
  EXPECT_EQ(produced(make_produced(7, 0, 1)), ErrorCode::ok);
}

TEST_P(RestartTest, ASnapshotOfWhatWasLostIsNotBelieved) {
  start();
  create("t");
  for (std::int32_t i = 0; i < 3; ++i) ASSERT_EQ(produced(make_produced(7, 0, i)), ErrorCode::ok);
  stop();  // the snapshot speaks of three batches
  storage.crash(2);
  start();
  EXPECT_EQ(produced(make_produced(7, 0, 3)), ErrorCode::out_of_order_sequence);
  ASSERT_EQ(produced(make_produced(7, 0, 1)), ErrorCode::ok);
  for (int i = 0; i < 5; ++i) ASSERT_EQ(produced(make_records(1)), ErrorCode::ok);
  restart(true);  // the log is longer than the lost one now
  EXPECT_EQ(produced(make_produced(7, 0, 3)), ErrorCode::out_of_order_sequence);
  EXPECT_EQ(produced(make_produced(7, 0, 2)), ErrorCode::ok);
}

TEST_P(RestartTest, DamagedSnapshotsCostOnlyTime) {
  start();
  create("t");
  for (std::int32_t i = 0; i < 3; ++i) ASSERT_EQ(produced(make_produced(7, 0, i)), ErrorCode::ok);
  stop();
  int damaged = 0;
  for (const std::string& path : files.paths()) {
    if (!path.starts_with("producers/")) continue;
    files.content(path)[20] = static_cast<char>(files.content(path)[20] ^ 1);
    ++damaged;
  }
  ASSERT_EQ(damaged, 1);
  start();
  EXPECT_EQ(produced(make_produced(7, 0, 2)), ErrorCode::ok);
  EXPECT_EQ(fetch(0).high_watermark.value, 3);
  EXPECT_EQ(produced(make_produced(7, 0, 3)), ErrorCode::ok);
}

TEST_P(RestartTest, ManyRestartsAlternateTheSnapshots) {
  start();
  create("t");
  for (std::int32_t i = 0; i < 6; ++i) {
    ASSERT_EQ(produced(make_produced(7, 0, i)), ErrorCode::ok);
    restart(i % 2 == 0);
  }
  EXPECT_EQ(produced(make_produced(7, 0, 7)), ErrorCode::out_of_order_sequence);
  EXPECT_EQ(produced(make_produced(7, 0, 6)), ErrorCode::ok);
}

INSTANTIATE_TEST_SUITE_P(SliceKinds, RestartTest, ::testing::Bool(),
                         [](const auto& kind) { return kind.param ? "FileSlices" : "MemorySlices"; });

TEST_F(BrokerTest, ASnapshotIsTakenWhileTheLogGrows) {
  start();
  create("t");
  const BatchBytes large = make_batch({.timestamps = {1}, .value = std::string(1'000'000, 'x')});
  ASSERT_EQ(produced(make_produced(7, 0, 0)), ErrorCode::ok);
  for (int i = 0; i < 70; ++i) ASSERT_EQ(produced(large), ErrorCode::ok);
  EXPECT_EQ(host.fake().run_work(), 1U);
  int snapshots = 0;
  for (const std::string& path : files.paths()) snapshots += path.starts_with("producers/") ? 1 : 0;
  EXPECT_EQ(snapshots, 1);
  crash();
  const int reads_before = storage.reads.load();
  start();
  EXPECT_LE(storage.reads.load() - reads_before, 2) << "only what lies behind the snapshot is read";
  EXPECT_EQ(produced(make_produced(7, 0, 1)), ErrorCode::ok);
}

TEST_F(BrokerTest, ProducerIdsAreNeverGivenTwice) {
  start();
  std::int64_t last = -1;
  for (int restart = 0; restart < 3; ++restart) {
    for (int i = 0; i < 1500; ++i) {
      std::int64_t id = -1;
      ASSERT_TRUE(core->new_producer_id(&id).ok());
      ASSERT_GT(id, last);
      last = id;
    }
    crash();
    start();
  }
  files.fail_after(0);
  std::int64_t id = -1;
  EXPECT_EQ(core->new_producer_id(&id).code, ErrorCode::no_space) << "not before the block is on disk";
  files.heal();
}

}  // namespace
}  // namespace streambus::test
