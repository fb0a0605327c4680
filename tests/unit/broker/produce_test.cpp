// Producing and fetching through the broker: offsets, visibility, durability, failures, deletion.

#include <thread>

#include "fixture.hpp"

namespace streambus::test {
namespace {

TEST_F(BrokerTest, OffsetsAreDenseAndFetchReturnsWhatWasProduced) {
  start();
  create("t");
  Offset base;
  ASSERT_EQ(produced(make_records(3), &base), ErrorCode::ok);
  EXPECT_EQ(base.value, 0);
  ASSERT_EQ(produced(joined(make_records(2), make_records(5)), &base), ErrorCode::ok);
  EXPECT_EQ(base.value, 3);
  const Fetched all = fetch(0);
  ASSERT_EQ(all.error, ErrorCode::ok);
  EXPECT_EQ(all.high_watermark.value, 10);
  EXPECT_EQ(all.next.value, 10);
  std::vector<std::int64_t> bases;
  for (Bytes left = all.bytes; !left.empty();) {
    std::size_t bytes = 0;
    ASSERT_TRUE(check_batch(left, &bytes).ok()) << "stamping leaves the checksum valid";
    bases.push_back(BatchHeader(left.data()).base_offset().value);
    EXPECT_EQ(BatchHeader(left.data()).leader_epoch(), 0);
    left = left.subspan(bytes);
  }
  EXPECT_EQ(bases, (std::vector<std::int64_t>{0, 3, 5}));
  EXPECT_EQ(fetch(4).first().base_offset().value, 3) << "the batch that holds the offset";
  EXPECT_TRUE(fetch(10).bytes.empty());
  EXPECT_EQ(fetch(10).error, ErrorCode::ok);
  EXPECT_EQ(fetch(11).error, ErrorCode::out_of_range);
  EXPECT_EQ(fetch(11).high_watermark.value, 10);
  EXPECT_EQ(fetch(-1).error, ErrorCode::out_of_range);
}

TEST_F(BrokerTest, FetchKeepsItsBounds) {
  start();
  create("t");
  const std::size_t size = make_records(1).size();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(produced(make_records(1)), ErrorCode::ok);
  EXPECT_EQ(fetch(0, 2 * size).bytes.size(), 2 * size);
  EXPECT_TRUE(fetch(0, size - 1).bytes.empty());
  EXPECT_TRUE(fetch(0, 0).bytes.empty());
  FetchCall call;
  call.topic = "t";
  call.bytes_max = 1;
  call.at_least_one = true;
  core->fetch(call);
  EXPECT_EQ(call.data.bytes, size);
  call.data.pin->release();
}

TEST_F(BrokerTest, UnknownTopicsAndPartitionsAreNotFound) {
  start();
  create("t", 2);
  TestWaiter waiter;
  EXPECT_EQ(produce(waiter, make_records(1), 2), ProduceOutcome::done);
  EXPECT_EQ(waiter.error, ErrorCode::not_found);
  EXPECT_EQ(produce(waiter, make_records(1), -1), ProduceOutcome::done);
  EXPECT_EQ(waiter.error, ErrorCode::not_found);
  EXPECT_EQ(produce(waiter, make_records(1), 0, "nobody"), ProduceOutcome::done);
  EXPECT_EQ(waiter.error, ErrorCode::not_found);
  EXPECT_STREQ(waiter.error_text, "there is no partition 0 of a topic 'nobody'");
  EXPECT_EQ(fetch(0, 1, -1, 5).error, ErrorCode::not_found);
  TestWatch watch;
  EXPECT_FALSE(core->watch("nobody", 0, watch));
  core->unwatch(watch);
  OffsetCall call{.topic = "nobody"};
  core->find_offset(call);
  EXPECT_EQ(call.error, ErrorCode::not_found);
}

TEST_F(BrokerTest, ConcurrentProducersGetDenseOffsets) {
  start();
  create("t");
  constexpr int kThreads = 8, kEach = 300;
  std::vector<std::vector<std::int64_t>> bases(kThreads);
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        for (int i = 0; i < kEach; ++i) {
          Offset base;
          EXPECT_EQ(produced(make_records(2), &base), ErrorCode::ok);
          bases[static_cast<std::size_t>(thread)].push_back(base.value);
        }
      });
    }
  }
  std::vector<bool> taken(kThreads * kEach * 2);
  for (const auto& of_thread : bases) {
    for (std::size_t i = 0; i < of_thread.size(); ++i) {
      ASSERT_EQ(of_thread[i] % 2, 0);
      ASSERT_FALSE(taken.at(static_cast<std::size_t>(of_thread[i])));
      taken[static_cast<std::size_t>(of_thread[i])] = true;
      if (i > 0) {
        EXPECT_GT(of_thread[i], of_thread[i - 1]);
      }
    }
  }
  EXPECT_EQ(fetch(0).high_watermark.value, kThreads * kEach * 2);
  std::int64_t expected = 0;
  for (const auto& batch : storage.stored(topic_id(), 0).batches) {
    ASSERT_EQ(batch->first.value, expected);
    expected = batch->next.value;
  }
}

TEST_F(BrokerTest, AFollowerNeverMissesOrRepeatsWhileOthersAppend) {
  start();
  create("t");
  constexpr int kBatches = 2000;
  std::jthread writer([&] {
    for (int i = 0; i < kBatches; ++i) EXPECT_EQ(produced(make_records(1)), ErrorCode::ok);
  });
  std::int64_t at = 0, high_watermark = 0;
  while (at < kBatches) {
    TestWatch watch;
    watch.beyond = {at};
    if (core->watch("t", 0, watch)) {
      while (watch.wakes.load() == 0) std::this_thread::yield();
    }
    core->unwatch(watch);
    const Fetched got = fetch(at);
    ASSERT_EQ(got.error, ErrorCode::ok);
    ASSERT_GE(got.high_watermark.value, high_watermark) << "never goes back";
    high_watermark = got.high_watermark.value;
    ASSERT_FALSE(got.bytes.empty()) << "woken without data at " << at;
    ASSERT_EQ(got.first().base_offset().value, at);
    ASSERT_LE(got.next.value, high_watermark);
    at = got.next.value;
  }
}

TEST_F(DurableBrokerTest, AnAckAndVisibilityWaitForDurability) {
  start();
  create("t");
  TestWaiter waiter;
  TestWatch watch;
  watch.beyond = {0};
  ASSERT_TRUE(core->watch("t", 0, watch));
  ASSERT_EQ(produce(waiter, make_records(3)), ProduceOutcome::pending);
  EXPECT_FALSE(waiter.is_completed());
  EXPECT_EQ(watch.wakes.load(), 0);
  EXPECT_TRUE(fetch(0).bytes.empty());
  EXPECT_EQ(fetch(0).high_watermark.value, 0);
  EXPECT_EQ(fetch(3).error, ErrorCode::ok) << "a position between visible and end is legal";
  EXPECT_EQ(find(OffsetCall::kLatest).offset.value, 0);
  flush();
  EXPECT_TRUE(waiter.is_completed());
  EXPECT_EQ(waiter.error, ErrorCode::ok);
  EXPECT_EQ(waiter.base_offset.value, 0);
  EXPECT_EQ(watch.wakes.load(), 1);
  EXPECT_EQ(fetch(0).high_watermark.value, 3);
  EXPECT_EQ(fetch(0).next.value, 3);
  core->unwatch(watch);
}

TEST_F(DurableBrokerTest, OneFlushReleasesManyInOrder) {
  start();
  create("t");
  std::vector<TestWaiter> waiters(20);
  for (TestWaiter& waiter : waiters) ASSERT_EQ(produce(waiter, make_records(1)), ProduceOutcome::pending);
  flush();
  for (std::size_t i = 0; i < waiters.size(); ++i) {
    EXPECT_EQ(waiters[i].completions, 1);
    EXPECT_EQ(waiters[i].base_offset.value, static_cast<std::int64_t>(i));
  }
}

TEST_F(DurableBrokerTest, ASynchronousEngineIsAnsweredInline) {
  storage.synchronous = true;
  start();
  create("t");
  ASSERT_EQ(produced(make_records(2)), ErrorCode::ok);
  EXPECT_EQ(fetch(0).high_watermark.value, 2);
}

TEST_F(DurableBrokerTest, AFailedDomainTakesThePartitionOfflineAndReadsGoOn) {
  start();
  create("t", 2);
  TestWaiter good, lost, later, other;
  ASSERT_EQ(produce(good, make_records(1)), ProduceOutcome::pending);
  flush();
  ASSERT_EQ(produce(lost, make_records(1)), ProduceOutcome::pending);
  storage.fail_domain(topic_id(), 0, {ErrorCode::io_error, "fdatasync: EIO", 5});
  EXPECT_EQ(lost.error, ErrorCode::io_error);
  EXPECT_EQ(lost.completions, 1);
  EXPECT_TRUE(host.logged("fdatasync: EIO"));
  ASSERT_EQ(produce(later, make_records(1)), ProduceOutcome::done);
  EXPECT_EQ(later.error, ErrorCode::offline);
  EXPECT_STREQ(later.error_text, "fdatasync: EIO");
  flush();  // a report after the failure changes nothing
  EXPECT_EQ(fetch(0).high_watermark.value, 1) << "what was never durable is never seen";
  EXPECT_EQ(fetch(0).next.value, 1);
  EXPECT_EQ(partitions()[0].error, ErrorCode::offline);
  EXPECT_EQ(core->partition_status("t", 0).code, ErrorCode::offline);
  EXPECT_EQ(partitions()[1].error, ErrorCode::ok);
  ASSERT_EQ(produce(other, make_records(1), 1), ProduceOutcome::pending) << "another domain works on";
  flush(1);
}

TEST_F(DurableBrokerTest, AnOfflinePartitionComesBack) {
  start();
  create("t");
  TestWaiter lost, again;
  ASSERT_EQ(produce(lost, make_records(1)), ProduceOutcome::pending);
  storage.fail_domain(topic_id(), 0, {ErrorCode::io_error, "EIO"});
  storage.refuse_open.insert(0);
  EXPECT_EQ(core->reopen_partition("t", 0).code, ErrorCode::corrupt);
  EXPECT_EQ(fetch(0).error, ErrorCode::offline);
  storage.refuse_open.clear();
  ASSERT_TRUE(core->reopen_partition("t", 0).ok());
  EXPECT_EQ(partitions()[0].error, ErrorCode::ok);
  ASSERT_EQ(produce(again, make_records(1)), ProduceOutcome::pending);
  flush();
  EXPECT_EQ(again.error, ErrorCode::ok);
  EXPECT_EQ(core->reopen_partition("nobody", 0).code, ErrorCode::not_found);
}

TEST_F(BrokerTest, AnAppendFailureTakesThePartitionOffline) {
  start();
  create("t");
  ASSERT_EQ(produced(make_records(1)), ErrorCode::ok);
  storage.append_error = static_cast<std::int32_t>(ErrorCode::io_error);
  EXPECT_EQ(produced(make_records(1)), ErrorCode::io_error);
  storage.append_error = 0;
  EXPECT_EQ(produced(make_records(1)), ErrorCode::offline);
  EXPECT_EQ(storage.appends.load(), 2) << "an offline partition is not asked again";
  EXPECT_EQ(fetch(0).next.value, 1);
  EXPECT_TRUE(host.logged("takes no more writes: append failed by the test"));
}

TEST_F(BrokerTest, AFullDiskIsRetriable) {
  start();
  create("t");
  storage.append_error = static_cast<std::int32_t>(ErrorCode::no_space);
  EXPECT_EQ(produced(make_produced(7, 0, 0)), ErrorCode::no_space);
  EXPECT_EQ(produced(make_produced(7, 0, 0)), ErrorCode::no_space);
  storage.append_error = 0;
  Offset base;
  EXPECT_EQ(produced(make_produced(7, 0, 0), &base), ErrorCode::ok) << "the failed append left no trace";
  EXPECT_EQ(base.value, 0);
}

TEST_F(BrokerTest, AReadFailureIsTheFetchsOnly) {
  start();
  create("t");
  ASSERT_EQ(produced(make_records(1)), ErrorCode::ok);
  storage.read_error = static_cast<std::int32_t>(ErrorCode::corrupt);
  EXPECT_EQ(fetch(0).error, ErrorCode::corrupt);
  storage.read_error = 0;
  EXPECT_EQ(fetch(0).error, ErrorCode::ok);
  EXPECT_EQ(produced(make_records(1)), ErrorCode::ok);
}

TEST_F(BrokerTest, SettingsOfTheTopicDecideAdmission) {
  start();
  create("t", 1, {{"max.message.bytes", "200"}, {"message.timestamp.type", "LogAppendTime"}});
  TestWaiter waiter;
  ASSERT_EQ(produce(waiter, make_batch({.timestamps = {1}, .value = std::string(500, 'x')})), ProduceOutcome::done);
  EXPECT_EQ(waiter.error, ErrorCode::too_large);
  ASSERT_EQ(produce(waiter, make_records(1)), ProduceOutcome::done);
  EXPECT_EQ(waiter.error, ErrorCode::ok);
  EXPECT_EQ(waiter.log_append_time, host.now_ms.load());
  EXPECT_EQ(fetch(0).first().max_timestamp(), host.now_ms.load());
  EXPECT_EQ(storage.stored(topic_id(), 0).batches[0]->max_timestamp, host.now_ms.load());
}

TEST_F(BrokerTest, CompressionTypeReEncodesWhatIsStored) {
  start();
  create("t", 1, {{"compression.type", "lz4"}});
  ASSERT_EQ(produced(make_batch({.timestamps = {1, 2}, .value = std::string(400, 'x')})), ErrorCode::ok);
  ASSERT_EQ(produced(make_batch({.timestamps = {1}, .value = std::string(400, 'x'), .stamp = {}, .codec = &zstd})),
            ErrorCode::ok);
  const Fetched all = fetch(0);
  EXPECT_EQ(all.first().compression(), 3);
  EXPECT_LT(all.first().total_bytes(), 200U);
  std::size_t bytes = 0;
  ASSERT_TRUE(check_batch(all.bytes, &bytes).ok());
  const Bytes second = Bytes(all.bytes).subspan(bytes);
  ASSERT_TRUE(check_batch(second, &bytes).ok());
  EXPECT_EQ(BatchHeader(second.data()).compression(), 3);
  EXPECT_EQ(BatchHeader(second.data()).base_offset().value, 2);
}

TEST_F(DurableBrokerTest, ATopicIsDeletedWhileInUse) {
  start();
  create("t");
  TestWaiter first, pending;
  ASSERT_EQ(produce(first, make_records(4)), ProduceOutcome::pending);
  flush();
  FetchCall call;
  call.topic = "t";
  call.bytes_max = 1 << 20;
  core->fetch(call);
  ASSERT_EQ(call.data.slice_count, 1U);
  TestWatch watch;
  watch.beyond = {4};
  ASSERT_TRUE(core->watch("t", 0, watch));
  ASSERT_EQ(produce(pending, make_records(1)), ProduceOutcome::pending);
  ASSERT_TRUE(core->delete_topic("t").ok());
  EXPECT_EQ(pending.error, ErrorCode::cancelled);
  EXPECT_EQ(pending.completions, 1);
  EXPECT_EQ(watch.wakes.load(), 1) << "so that the long poll learns of it";
  core->unwatch(watch);
  EXPECT_TRUE(storage.keys().empty());
  std::size_t bytes = 0;
  EXPECT_TRUE(check_batch(call.data.slices[0].as_memory(), &bytes).ok()) << "slices handed out stay valid";
  call.data.pin->release();
  EXPECT_EQ(fetch(0).error, ErrorCode::not_found);
  EXPECT_EQ(core->delete_topic("t").code, ErrorCode::not_found);
  create("t");
  EXPECT_EQ(fetch(0).high_watermark.value, 0) << "the same name, another topic";
}

TEST_F(BrokerTest, DeletionRacesWithEverything) {
  start();
  std::atomic<bool> stop{false};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        const ErrorCode error = produced(make_records(1));
        EXPECT_TRUE(error == ErrorCode::ok || error == ErrorCode::not_found) << name_of(error);
      }
    });
    threads.emplace_back([&] {
      while (!stop.load()) {
        TestWatch watch;
        watch.beyond = {0};
        (void)core->watch("t", 0, watch);
        const Fetched got = fetch(0);
        EXPECT_TRUE(got.error == ErrorCode::ok || got.error == ErrorCode::not_found) << name_of(got.error);
        core->unwatch(watch);
      }
    });
  }
  for (int round = 0; round < 40; ++round) {
    create("t");
    std::this_thread::yield();
    EXPECT_TRUE(core->delete_topic("t").ok());
  }
  stop.store(true);
}

TEST_F(DurableBrokerTest, StoppingCancelsWhoWaits) {
  start();
  create("t");
  TestWaiter waiter;
  ASSERT_EQ(produce(waiter, make_records(1)), ProduceOutcome::pending);
  core->stop();
  EXPECT_EQ(waiter.completions, 1);
  TestWaiter late;
  ASSERT_EQ(produce(late, make_records(1)), ProduceOutcome::done);
  EXPECT_EQ(late.error, ErrorCode::cancelled);
  EXPECT_EQ(core->create_topic({.name = "late", .partition_count = 1, .settings = {}}).code, ErrorCode::cancelled);
  core->stop();
}

}  // namespace
}  // namespace streambus::test
