// What every storage engine must do while nothing goes wrong.

#include <atomic>
#include <thread>

#include "storage_engines.hpp"

namespace streambus::test {
namespace {

/// Small segments, so that a few batches fill several.
constexpr PartitionSettings kSmallSegments{.segment_bytes = 4096};

INSTANTIATE_TEST_SUITE_P(Engines, StorageConformance, testing::ValuesIn(engines()),
                         [](const testing::TestParamInfo<EngineCase>& engine) { return engine.param.name; });

// ---- order and shape of reads

TEST_P(StorageConformance, NewPartitionIsEmptyFromItsStartOn) {
  close();
  const PartitionKey other{"orders", kTopicId, 7};
  PartitionLog* log = nullptr;
  ASSERT_TRUE(engine().open(other, {1000}, {}, &log).ok());
  const LogState state = log->state();
  EXPECT_EQ(state.start.value, 1000);
  EXPECT_EQ(state.end.value, 1000);
  EXPECT_EQ(state.durable.value, 1000);
  EXPECT_EQ(state.bytes, 0U);
  ReadResult result;
  EXPECT_TRUE(log->read({.from = {1000}, .limit = {1000}, .bytes_max = 100}, &result).ok());
  EXPECT_EQ(result.slice_count, 0U);
  EXPECT_EQ(log->read({.from = {999}, .limit = {1000}, .bytes_max = 100}, &result).code, ErrorCode::out_of_range);
  EXPECT_EQ(log->read({.from = {1001}, .limit = {1001}, .bytes_max = 100}, &result).code, ErrorCode::out_of_range);
  EXPECT_TRUE(log->close().ok());
  if (GetParam().persistent) {
    ASSERT_TRUE(engine().open(other, {}, {}, &log).ok());
    EXPECT_EQ(log->state().start.value, 1000) << "the start that a partition was created with outlives it being opened again";
    EXPECT_TRUE(log->close().ok());
  }
  open();
}

TEST_P(StorageConformance, BatchesComeBackInOrderAndUnchanged) {
  append_many(200, {.records = 3, .body_bytes = 200});
  EXPECT_EQ(log().state().end.value, 600);
  EXPECT_EQ(log().state().bytes, expected_.size());
  for (const std::uint64_t bytes_max : {1ULL, 261ULL, 262ULL, 1000ULL, 5000ULL, 100'000'000ULL}) expect_content(bytes_max);
}

TEST_P(StorageConformance, BatchesComeBackAcrossSegments) {
  reopen(kSmallSegments);
  append_many(100, {.records = 2, .body_bytes = 500});
  for (const std::uint64_t bytes_max : {1ULL, 1500ULL, 100'000'000ULL}) expect_content(bytes_max);
  host().wait_idle();
  expect_content();
}

TEST_P(StorageConformance, SeveralBatchesInOneAppend) {
  std::vector<std::byte> batches;
  for (int i = 0; i < 40; ++i) {
    const std::vector<std::byte> batch = make_batch({.base = i * 5, .records = 5, .body_bytes = 300});
    batches.insert(batches.end(), batch.begin(), batch.end());
  }
  ASSERT_TRUE(log().append(batches, {0}, {200}, 1000, &last_).ok());
  expected_ = batches;
  EXPECT_EQ(log().state().end.value, 200);
  expect_content(1);
  ReadResult result;
  ASSERT_TRUE(log().read({.from = {102}, .limit = {200}, .bytes_max = 1, .at_least_one = true}, &result).ok());
  EXPECT_EQ(BatchHeader(bytes_of(result).data()).base_offset().value, 100);
  EXPECT_EQ(result.next.value, 105);
  result.pin->release();
}

TEST_P(StorageConformance, ReadFromInsideABatchReturnsTheBatch) {
  append_many(50, {.records = 10, .body_bytes = 300});
  for (const std::int64_t from : {0, 1, 9, 10, 15, 255, 490, 499}) {
    ReadResult result;
    ASSERT_TRUE(log().read({.from = {from}, .limit = log().state().end, .bytes_max = 400}, &result).ok());
    ASSERT_EQ(result.slice_count, 1U);
    EXPECT_EQ(BatchHeader(bytes_of(result).data()).base_offset().value, from / 10 * 10);
    EXPECT_EQ(result.next.value, from / 10 * 10 + 10);
    EXPECT_EQ(result.bytes, 361U);
    result.pin->release();
  }
}

TEST_P(StorageConformance, FirstBatchMayExceedBytesMaxOnlyWhenAsked) {
  append_many(3, {.body_bytes = 1000});
  ReadResult result;
  ASSERT_TRUE(log().read({.from = {0}, .limit = {3}, .bytes_max = 1060}, &result).ok());
  EXPECT_EQ(result.slice_count, 0U);
  EXPECT_EQ(result.next.value, 0);
  EXPECT_EQ(result.pin, nullptr);
  ASSERT_TRUE(log().read({.from = {0}, .limit = {3}, .bytes_max = 1060, .at_least_one = true}, &result).ok());
  EXPECT_EQ(result.bytes, 1061U);
  result.pin->release();
  ASSERT_TRUE(log().read({.from = {1}, .limit = {3}, .bytes_max = 1061}, &result).ok());
  EXPECT_EQ(result.bytes, 1061U);
  EXPECT_EQ(result.next.value, 2);
  result.pin->release();
}

TEST_P(StorageConformance, NothingIsReadAtOrAboveTheLimit) {
  append_many(20, {.records = 5, .body_bytes = 100});
  for (std::int64_t limit = 0; limit <= 100; ++limit) {
    Status status;
    const std::vector<std::byte> found = read_all(log(), {0}, {limit}, 1 << 20, &status);
    ASSERT_TRUE(status.ok()) << status.text;
    EXPECT_EQ(found.size(), static_cast<std::size_t>(limit / 5) * 161) << "limit " << limit;
  }
}

TEST_P(StorageConformance, GapsAreLegal) {
  reopen(kSmallSegments);
  const std::vector<std::int64_t> bases = {5, 10, 30, 31, 500, 6'000'000'000, 6'000'000'010};
  for (const std::int64_t base : bases)
    ASSERT_TRUE(append({.base = base, .records = 5 - (base == 30 ? 4 : 0), .body_bytes = 900}).ok());
  const auto check = [&] {
    expect_content(1);
    for (const auto& [from, base] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {0, 5}, {5, 5}, {15, 30}, {36, 500}, {505, 6'000'000'000}, {6'000'000'005, 6'000'000'010}}) {
      ReadResult result;
      ASSERT_TRUE(log().read({.from = {from}, .limit = log().state().end, .bytes_max = 1000}, &result).ok()) << from;
      ASSERT_EQ(result.slice_count, 1U) << from;
      EXPECT_EQ(BatchHeader(bytes_of(result).data()).base_offset().value, base) << from;
      result.pin->release();
    }
  };
  check();
  if (GetParam().persistent) {
    restart(kSmallSegments);
    check();
  }
}

TEST_P(StorageConformance, AppendsThatDoNotFitAreRefusedAndChangeNothing) {
  append_many(2, {.records = 4});
  const std::vector<std::byte> low = make_batch({.base = 7, .records = 1});
  EXPECT_EQ(log().append(low, {7}, {8}, 0, &last_).code, ErrorCode::invalid_argument);
  std::vector<std::byte> good = make_batch({.base = 8, .records = 2});
  EXPECT_EQ(log().append(good, {9}, {11}, 0, &last_).code, ErrorCode::invalid_argument);  // first is not the batch's
  EXPECT_EQ(log().append(good, {8}, {11}, 0, &last_).code, ErrorCode::invalid_argument);  // next is not
  EXPECT_EQ(log().append(Bytes(good).first(good.size() - 1), {8}, {10}, 0, &last_).code, ErrorCode::invalid_argument);
  EXPECT_EQ(log().append({}, {8}, {8}, 0, &last_).code, ErrorCode::invalid_argument);
  good[16] = std::byte{1};  // an older magic
  EXPECT_EQ(log().append(good, {8}, {10}, 0, &last_).code, ErrorCode::invalid_argument);
  EXPECT_EQ(log().state().end.value, 8);
  append_many(1, {.records = 4});
  expect_content();
}

TEST_P(StorageConformance, BytesAreTakenBeforeAppendReturns) {
  std::vector<std::byte> batch = make_batch({.records = 1, .body_bytes = 5000});
  expected_ = batch;
  ASSERT_TRUE(log().append(batch, {0}, {1}, 0, &last_).ok());
  std::fill(batch.begin(), batch.end(), std::byte{0xee});
  expect_content();
}

TEST_P(StorageConformance, LargeBatches) {
  append_many(1, {.body_bytes = 3 << 20});
  append_many(1, {.body_bytes = 10});
  append_many(1, {.body_bytes = 5 << 20});
  expect_content(1);
}

// ---- time

TEST_P(StorageConformance, TimeSearchFindsTheFirstBatchThatReachesIt) {
  reopen(kSmallSegments);
  const std::vector<TimestampMs> times = {100, 300, 200, 200, 400, 400, 350, 900};  // producers' clocks differ
  for (int round = 0; round < 20; ++round) {
    for (const TimestampMs time : times)
      ASSERT_TRUE(append({.records = 2, .body_bytes = 200, .max_timestamp = time + round * 1000}).ok());
  }
  const auto check = [&] {
    for (const auto& [time, base] : std::vector<std::pair<TimestampMs, std::int64_t>>{{0, 0},
                                                                                      {100, 0},
                                                                                      {101, 2},
                                                                                      {300, 2},
                                                                                      {301, 8},
                                                                                      {400, 8},
                                                                                      {401, 14},
                                                                                      {900, 14},
                                                                                      {901, 16},
                                                                                      {19'900, 318},
                                                                                      {19'901, -1}}) {
      Offset found;
      ASSERT_TRUE(log().find_time(time, &found).ok());
      EXPECT_EQ(found.value, base) << "time " << time;
    }
  };
  check();
  host().wait_idle();
  check();
  ASSERT_TRUE(log().delete_before({10}).ok());
  Offset found;
  ASSERT_TRUE(log().find_time(100, &found).ok());
  EXPECT_EQ(found.value, 10) << "a batch before the start offset is not found";
}

// ---- deletion and retention

TEST_P(StorageConformance, DeleteBeforeHidesAtOnceAndForGood) {
  reopen(kSmallSegments);
  append_many(60, {.records = 2, .body_bytes = 500});
  EXPECT_EQ(log().delete_before({121}).code, ErrorCode::out_of_range);
  ASSERT_TRUE(log().delete_before({51}).ok());
  EXPECT_EQ(log().state().start.value, 51);
  ReadResult result;
  EXPECT_EQ(log().read({.from = {50}, .limit = {120}, .bytes_max = 1000}, &result).code, ErrorCode::out_of_range);
  ASSERT_TRUE(log().read({.from = {51}, .limit = {120}, .bytes_max = 600}, &result).ok());
  EXPECT_EQ(BatchHeader(bytes_of(result).data()).base_offset().value, 50) << "a batch that contains the start is still whole";
  result.pin->release();
  ASSERT_TRUE(log().delete_before({20}).ok()) << "going back is no error and no effect";
  EXPECT_EQ(log().state().start.value, 51);
  if (!GetParam().persistent) return;
  EXPECT_LT(log().state().bytes, expected_.size()) << "whole segments are freed";
  restart(kSmallSegments);
  EXPECT_EQ(log().state().start.value, 51);
  EXPECT_EQ(log().state().end.value, 120);
}

TEST_P(StorageConformance, DeletingEverythingKeepsTheEnd) {
  append_many(10, {.records = 3});
  ASSERT_TRUE(log().delete_before({30}).ok());
  EXPECT_EQ(log().state().bytes, 0U);
  const auto check = [&] {
    EXPECT_EQ(log().state().start.value, 30);
    EXPECT_EQ(log().state().end.value, 30);
  };
  check();
  if (GetParam().persistent) {
    restart();
    check();
  }
  expected_.clear();
  append_many(4, {.records = 3});
  EXPECT_EQ(log().state().end.value, 42);
  expect_content();
}

TEST_P(StorageConformance, RetentionByBytesKeepsTheNewest) {
  const std::int64_t keep = GetParam().retains_by_chunk ? 4 << 20 : 10'000;
  const PartitionSettings settings{.retention_bytes = keep, .segment_bytes = 4096};
  reopen(settings);
  const std::size_t body = GetParam().retains_by_chunk ? 100'000 : 500;
  append_many(100, {.body_bytes = body});
  ASSERT_TRUE(log().retain(host().wall_ms()).ok());
  const LogState state = log().state();
  EXPECT_GE(state.bytes, static_cast<std::uint64_t>(keep));
  EXPECT_LT(state.bytes, static_cast<std::uint64_t>(keep) + (GetParam().retains_by_chunk ? 2'200'000 : 4096))
      << "at most one segment too much";
  EXPECT_EQ(state.end.value, 100);
  EXPECT_GT(state.start.value, 0);
  expected_.erase(expected_.begin(), expected_.end() - static_cast<std::ptrdiff_t>(state.bytes));
  expect_content();
}

TEST_P(StorageConformance, RetentionByTimeFollowsTheBatchesTimestamps) {
  const PartitionSettings settings{.retention_ms = 1000, .segment_bytes = 4096};
  reopen(settings);
  append_many(20, {.body_bytes = 1000, .max_timestamp = 10'000});
  if (!GetParam().retains_by_chunk) {
    append_many(20, {.body_bytes = 1000, .max_timestamp = 12'000});
    ASSERT_TRUE(log().retain(11'000).ok());
    EXPECT_EQ(log().state().start.value, 0) << "nothing is older than a second yet";
    ASSERT_TRUE(log().retain(11'001).ok());
    EXPECT_GT(log().state().start.value, 15);
    EXPECT_LE(log().state().start.value, 20) << "nothing that is still wanted goes";
    ASSERT_TRUE(log().retain(13'000).ok());
    EXPECT_EQ(log().state().end.value, 40);
    EXPECT_LE(log().state().start.value, 20);
  }
  ASSERT_TRUE(log().retain(20'000).ok());
  EXPECT_EQ(log().state().start, log().state().end) << "what is being appended to expires as well";
  append_many(1, {.max_timestamp = 20'000});
  EXPECT_EQ(log().state().bytes, 125U);
}

TEST_P(StorageConformance, ChangedSettingsCount) {
  append_many(40, {.body_bytes = GetParam().retains_by_chunk ? 100'000U : 1000U});
  ASSERT_TRUE(log().retain(host().wall_ms()).ok());
  EXPECT_EQ(log().state().start.value, 0);
  ASSERT_TRUE(log().apply({.retention_bytes = 1, .segment_bytes = 4096}).ok());
  append_many(40, {.body_bytes = GetParam().retains_by_chunk ? 100'000U : 1000U});
  ASSERT_TRUE(log().retain(host().wall_ms()).ok());
  EXPECT_GE(log().state().start.value, 40);
}

TEST_P(StorageConformance, SlicesOutliveDeletionRemovalAndClose) {
  reopen(kSmallSegments);
  append_many(10, {.body_bytes = 1500});
  std::vector<ReadResult> held;
  for (Offset from{0}; from < Offset{10};) {
    ReadResult result;
    ASSERT_TRUE(log().read({.from = from, .limit = {10}, .bytes_max = 1 << 20}, &result).ok());
    ASSERT_EQ(result.slice_count, 1U);
    from = result.next;
    held.push_back(result);
  }
  ASSERT_TRUE(log().delete_before({10}).ok());
  append_many(20, {.body_bytes = 1500, .seed = 1});  // reuses what it can
  close();
  (void)engine().remove(kKey);
  std::vector<std::byte> found;
  for (const ReadResult& result : held) {
    const std::vector<std::byte> bytes = bytes_of(result);
    found.insert(found.end(), bytes.begin(), bytes.end());
    result.pin->release();
  }
  expected_.resize(found.size());
  EXPECT_EQ(found, expected_);
  open();
}

// ---- life

TEST_P(StorageConformance, OpenTwiceIsRefused) {
  PartitionLog* second = nullptr;
  EXPECT_EQ(engine().open(kKey, {}, {}, &second).code, ErrorCode::already_exists);
  EXPECT_EQ(second, nullptr);
  const PartitionKey other{"orders", kTopicId, 1};
  ASSERT_TRUE(engine().open(other, {}, {}, &second).ok());
  EXPECT_NE(second->durability_domain(), log().durability_domain());
  EXPECT_TRUE(second->close().ok());
}

TEST_P(StorageConformance, RemoveForgetsEverything) {
  append_many(5);
  EXPECT_NE(engine().remove(kKey).code, ErrorCode::ok) << "an open partition is not removed";
  close();
  const Status removed = engine().remove(kKey);
  EXPECT_EQ(removed.code, GetParam().persistent ? ErrorCode::ok : ErrorCode::not_found) << removed.text;
  EXPECT_EQ(engine().remove(kKey).code, ErrorCode::not_found);
  struct Nothing final : public PartitionVisitor {
    void partition(std::string_view topic_id, PartitionId) noexcept override { ADD_FAILURE() << "still listed: " << topic_id; }
  } nothing;
  EXPECT_TRUE(engine().list(nothing).ok());
  open();
  EXPECT_EQ(log().state().end.value, 0);
}

TEST_P(StorageConformance, ListNamesEveryPartition) {
  struct Names final : public PartitionVisitor {
    void partition(std::string_view topic_id, PartitionId partition) noexcept override {
      found.push_back(std::string(topic_id) + "/" + std::to_string(partition));
    }
    std::vector<std::string> found;
  } names;
  PartitionLog* other = nullptr;
  ASSERT_TRUE(engine().open({"x", "ffffffffffffffffffffffffffffffff", 12}, {}, {}, &other).ok());
  ASSERT_TRUE(engine().list(names).ok());
  std::sort(names.found.begin(), names.found.end());
  EXPECT_EQ(names.found, (std::vector<std::string>{std::string(kTopicId) + "/0", "ffffffffffffffffffffffffffffffff/12"}));
  EXPECT_TRUE(other->close().ok());
}

TEST_P(StorageConformance, ReopenIsByteIdenticalAndGoesOn) {
  if (!GetParam().persistent) GTEST_SKIP() << "keeps nothing";
  for (int round = 0; round < 6; ++round) {
    append_many(13, {.records = 3, .body_bytes = 700, .seed = static_cast<std::uint64_t>(round)});
    const LogState before = log().state();
    if (round % 2 == 0) {
      reopen(kSmallSegments);
    } else {
      restart(kSmallSegments);
    }
    const LogState after = log().state();
    EXPECT_EQ(after.start, before.start);
    EXPECT_EQ(after.end, before.end);
    EXPECT_EQ(after.durable, after.end);
    EXPECT_EQ(after.bytes, before.bytes);
    EXPECT_TRUE(after.clean);
    expect_content(5000);
  }
}

TEST_P(StorageConformance, DurabilityReportsNeverGoBackAndEndAtTheEnd) {
  reopen({.segment_bytes = 30'000});
  for (int i = 0; i < 4000; ++i) ASSERT_TRUE(append({.body_bytes = 100}).ok());
  if (engine().durability() == Durability::fsync_batch) {
    ASSERT_TRUE(host().sink.wait(log().durability_domain(), last_.position));
  }
  host().wait_idle();
  const RecordingSink::Domain domain = host().sink.of(log().durability_domain());
  EXPECT_EQ(domain.went_back, 0U);
  EXPECT_EQ(log().state().durable, log().state().end);
  ASSERT_TRUE(log().delete_before(log().state().end).ok());
  append_many(1, {});
  ASSERT_TRUE(host().sink.wait(log().durability_domain(), last_.position));
}

TEST_P(StorageConformance, DurabilityIsReportedAsTheClassPromises) {
  append_many(50, {.records = 2});
  if (engine().durability() != Durability::fsync_batch) {
    EXPECT_EQ(last_.position, 0U) << "no report follows in the classes that answer at once";
    EXPECT_EQ(log().state().durable, log().state().end);
    return;
  }
  EXPECT_GT(last_.position, 0U);
  ASSERT_TRUE(host().sink.wait(log().durability_domain(), last_.position));
  host().wait_idle();
  EXPECT_EQ(log().state().durable, log().state().end);
  const RecordingSink::Domain domain = host().sink.of(log().durability_domain());
  EXPECT_EQ(domain.went_back, 0U);
  EXPECT_LE(domain.reports, 50U);
}

// ---- concurrency

TEST_P(StorageConformance, ReadersFollowAnAppender) {
  reopen({.segment_bytes = 50'000});
  constexpr int kBatches = 3000;
  std::atomic<int> problems{0};
  std::atomic<bool> done{false};
  const auto follow = [&](std::uint64_t bytes_max) {
    Offset from{0};
    while (from < Offset{kBatches}) {
      const LogState state = log().state();
      if (from == state.end) {
        if (done.load() && log().state().end == from) break;
        std::this_thread::yield();
        continue;
      }
      ReadResult result;
      const Status status =
          log().read({.from = from, .limit = state.end, .bytes_max = bytes_max, .at_least_one = true}, &result);
      if (!status.ok() || result.slice_count == 0) {
        ++problems;
        break;
      }
      const std::vector<std::byte> bytes = bytes_of(result);
      result.pin->release();
      for (std::size_t position = 0; position < bytes.size();) {
        std::size_t total = 0;
        if (!check_batch(Bytes(bytes).subspan(position), &total).ok() ||
            BatchHeader(bytes.data() + position).base_offset() != from) {
          ++problems;
          return;
        }
        from = from + 1;
        position += total;
      }
      if (from != result.next) ++problems;
      Offset found;
      if (!log().find_time(1000, &found).ok() || found != Offset{0}) ++problems;
    }
  };
  std::vector<std::thread> readers;
  for (const std::uint64_t bytes_max : {1ULL, 3000ULL, 1'000'000ULL}) readers.emplace_back(follow, bytes_max);
  int appended = 0;
  for (; appended < kBatches; ++appended) {
    if (!append({.body_bytes = 200 + static_cast<std::size_t>(appended % 7) * 50}).ok()) break;
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(appended, kBatches);
  EXPECT_EQ(problems.load(), 0);
  expect_content();
}

TEST_P(StorageConformance, ReadersSurviveRetention) {
  reopen({.retention_bytes = 20'000, .segment_bytes = 8192});
  std::atomic<bool> done{false};
  std::atomic<int> problems{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!done.load()) {
        ReadResult result;
        const LogState state = log().state();
        const Status status =
            log().read({.from = state.start, .limit = state.end, .bytes_max = 10'000, .at_least_one = true}, &result);
        if (!status.ok() && status.code != ErrorCode::out_of_range && status.code != ErrorCode::not_found) ++problems;
        if (!status.ok() || result.slice_count == 0) continue;
        const std::vector<std::byte> bytes = bytes_of(result);
        result.pin->release();
        std::size_t total = 0;
        if (!check_batch(bytes, &total).ok()) ++problems;
      }
    });
  }
  for (int i = 0; i < 600; ++i) {
    ASSERT_TRUE(append({.body_bytes = 1000}).ok());
    if (i % 10 == 0) {
      ASSERT_TRUE(log().retain(host().wall_ms()).ok());
    }
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(problems.load(), 0);
}

TEST_P(StorageConformance, PartitionsAreIndependent) {
  constexpr int kPartitions = 8;
  std::vector<PartitionLog*> logs(kPartitions);
  for (int i = 0; i < kPartitions; ++i)
    ASSERT_TRUE(engine().open({"many", "abababababababababababababababab", i}, {i * 10}, {}, &logs[i]).ok());
  std::vector<std::thread> threads;
  std::atomic<int> problems{0};
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 100; ++round) {
        for (int i = t; i < kPartitions; i += 2) {
          const std::int64_t base = i * 10 + round;
          AppendResult result;
          const std::vector<std::byte> batch = make_batch({.base = base, .seed = static_cast<std::uint64_t>(i)});
          if (!logs[i]->append(batch, {base}, {base + 1}, 0, &result).ok()) ++problems;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(problems.load(), 0);
  for (int i = 0; i < kPartitions; ++i) {
    Status status;
    const std::vector<std::byte> found = read_all(*logs[i], {i * 10}, {i * 10 + 100}, 1 << 20, &status);
    ASSERT_EQ(found.size(), 12'500U);
    EXPECT_EQ(Bytes(found).size() % 125, 0U);
    for (int round = 0; round < 100; ++round) {
      const std::vector<std::byte> batch = make_batch({.base = i * 10 + round, .seed = static_cast<std::uint64_t>(i)});
      ASSERT_TRUE(std::equal(batch.begin(), batch.end(), found.begin() + round * 125));
    }
    EXPECT_TRUE(logs[i]->close().ok());
  }
}

}  // namespace
}  // namespace streambus::test
