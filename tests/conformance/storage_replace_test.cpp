// Replacing batches, for every engine that can: what compaction does to a log, while nothing goes wrong and while it does.

#include <atomic>
#include <functional>
#include <thread>

#include "storage_engines.hpp"

namespace streambus::test {
namespace {

constexpr PartitionSettings kSmallSegments{.segment_bytes = 4096};

/// Gives batches one by one; a test can have it fail or do something in between.
class ListedBatches final : public BatchSource {
 public:
  explicit ListedBatches(std::vector<std::vector<std::byte>> batches) : batches_(std::move(batches)) {}
  Status next(Bytes* batches) noexcept override {
    *batches = {};
    if (between) between(given_);
    if (given_ == fail_at) return {ErrorCode::cancelled, "stopped by the test"};
    if (given_ < batches_.size()) *batches = batches_[given_++];
    return {};
  }
  std::function<void(std::size_t)> between;
  std::size_t fail_at = SIZE_MAX;

 private:
  std::vector<std::vector<std::byte>> batches_;
  std::size_t given_ = 0;
};

[[nodiscard]] std::vector<Offset> bounds_of(PartitionLog& log) {
  std::vector<Offset> bounds;
  const LogState state = log.state();
  for (Offset from = state.start; from < state.end;) {
    from = log.segment_end(from);
    if (from == kNoOffset) break;
    bounds.push_back(from);
  }
  return bounds;
}

std::vector<EngineCase> replacing_engines() {
  std::vector<EngineCase> all = engines();
  std::erase_if(all, [](const EngineCase& engine) {
    FaultFileSystem files;
    EngineUnderTest under_test(engine, files);
    return !under_test.start().ok() || !under_test.engine().can_replace();
  });
  return all;
}

class StorageReplace : public StorageConformance {
 protected:
  void SetUp() override {
    StorageConformance::SetUp();
    reopen(kSmallSegments);
  }
  /// Batch i has the offsets 2i and 2i + 1 and the time 1000 + i.
  void fill(int count) {
    for (int i = 0; i < count; ++i) add();
    host().wait_idle();
  }
  void add() {
    const auto i = static_cast<std::int64_t>(batches_.size());
    const BatchSpec spec{.base = 2 * i, .records = 2, .body_bytes = 500, .max_timestamp = 1000 + i};
    batches_.push_back(make_batch(spec));
    kept_.push_back(true);
    AppendResult result;
    const Status status = log().append(batches_.back(), {spec.base}, {spec.base + 2}, spec.max_timestamp, &result);
    ASSERT_TRUE(status.ok()) << status.text;
  }
  /// Replaces [from, to) by those of its batches that `keep` wants.
  Status replace(Offset from, Offset to, const std::function<bool(std::size_t)>& keep) {
    std::vector<std::vector<std::byte>> wanted;
    for (std::size_t i = index_of(from); i < index_of(to); ++i) {
      if (kept_[i] && keep(i)) wanted.push_back(batches_[i]);
    }
    ListedBatches source(wanted);
    const Status status = log().replace(from, to, source);
    for (std::size_t i = index_of(from); i < index_of(to) && status.ok(); ++i) kept_[i] = kept_[i] && keep(i);
    return status;
  }
  [[nodiscard]] static std::size_t index_of(Offset offset) { return static_cast<std::size_t>(offset.value / 2); }

  /// Everything that is kept at or above the start is there, from wherever a read begins.
  void expect_kept() {
    const LogState state = log().state();
    EXPECT_EQ(state.end.value, static_cast<std::int64_t>(batches_.size()) * 2);
    for (const std::uint64_t bytes_max : {1ULL, 1500ULL, 100'000'000ULL}) {
      Status status;
      ASSERT_EQ(read_all(log(), state.start, state.end, bytes_max, &status), kept_from(index_of(state.start))) << bytes_max;
      ASSERT_TRUE(status.ok()) << status.text;
    }
    for (Offset from = state.start; from < state.end; from = from + 1) {
      ReadResult result;
      const Status status = log().read({.from = from, .limit = state.end, .bytes_max = 1, .at_least_one = true}, &result);
      ASSERT_TRUE(status.ok()) << status.text;
      std::size_t expected = index_of(from);
      while (expected < batches_.size() && !kept_[expected]) ++expected;
      if (expected == batches_.size()) {
        EXPECT_EQ(result.slice_count, 0U);
      } else {
        EXPECT_EQ(bytes_of(result), batches_[expected]) << "from offset " << from.value;
      }
      if (result.pin != nullptr) result.pin->release();
    }
  }
  [[nodiscard]] std::vector<std::byte> kept_from(std::size_t first) const {
    std::vector<std::byte> bytes;
    for (std::size_t i = first; i < batches_.size(); ++i) {
      if (kept_[i]) bytes.insert(bytes.end(), batches_[i].begin(), batches_[i].end());
    }
    return bytes;
  }

  std::vector<std::vector<std::byte>> batches_;
  std::vector<bool> kept_;
};

INSTANTIATE_TEST_SUITE_P(Engines, StorageReplace, testing::ValuesIn(replacing_engines()),
                         [](const testing::TestParamInfo<EngineCase>& engine) { return engine.param.name; });

TEST_P(StorageReplace, SegmentEndsRiseAndTheActiveOneHasNone) {
  EXPECT_EQ(log().segment_end({0}), kNoOffset) << "an empty log";
  fill(60);
  const std::vector<Offset> bounds = bounds_of(log());
  ASSERT_GE(bounds.size(), 3U);
  EXPECT_TRUE(std::is_sorted(bounds.begin(), bounds.end()));
  EXPECT_LT(bounds.back(), log().state().end);
  EXPECT_EQ(log().segment_end(bounds[0] - 1), bounds[0]);
  EXPECT_EQ(log().segment_end(bounds[0]), bounds[1]);
  EXPECT_EQ(log().segment_end(log().state().end - 1), kNoOffset);
  EXPECT_EQ(log().segment_end(log().state().end), kNoOffset);
}

TEST_P(StorageReplace, KeepsOffsetsAndBytesAndOutlivesRestart) {
  fill(60);
  const std::vector<Offset> bounds = bounds_of(log());
  ASSERT_GE(bounds.size(), 3U);
  const LogState before = log().state();
  Status status = replace({0}, bounds[0], [](std::size_t i) { return i % 2 == 1; });
  ASSERT_TRUE(status.ok()) << status.text;
  status = replace(bounds[0], bounds[2], [](std::size_t i) { return i % 3 == 0; });
  ASSERT_TRUE(status.ok()) << status.text;
  EXPECT_EQ(log().state().start, before.start);
  EXPECT_EQ(log().state().end, before.end);
  EXPECT_LT(log().state().bytes, before.bytes);
  expect_kept();
  add();
  expect_kept();
  if (!GetParam().persistent) return;
  host().wait_idle();
  reopen(kSmallSegments);
  expect_kept();
  restart(kSmallSegments);
  EXPECT_TRUE(log().state().clean);
  expect_kept();
  add();
  expect_kept();
}

TEST_P(StorageReplace, WhatWasReplacedCanBeReplacedAgain) {
  fill(80);
  for (const std::size_t every : {2U, 4U, 8U}) {
    const std::vector<Offset> bounds = bounds_of(log());
    ASSERT_GE(bounds.size(), 1U);
    Offset from = log().state().start;
    for (const Offset to : bounds) {
      const Status status = replace(from, to, [every](std::size_t i) { return i % every == 0; });
      ASSERT_TRUE(status.ok()) << status.text;
      from = to;
    }
    expect_kept();
  }
  const Status merged = replace({0}, bounds_of(log()).back(), [](std::size_t i) { return i % 16 == 0; });
  ASSERT_TRUE(merged.ok()) << merged.text;
  expect_kept();
  if (GetParam().persistent) restart(kSmallSegments);
  expect_kept();
}

TEST_P(StorageReplace, NothingMayBeKept) {
  fill(60);
  const std::vector<Offset> bounds = bounds_of(log());
  ASSERT_GE(bounds.size(), 3U);
  Status status = replace({0}, bounds[0], [](std::size_t) { return false; });
  ASSERT_TRUE(status.ok()) << status.text;
  status = replace(bounds[1], bounds[2], [](std::size_t) { return false; });
  ASSERT_TRUE(status.ok()) << status.text;
  EXPECT_EQ(log().state().start.value, 0) << "what is gone is a gap, not a deletion";
  expect_kept();
  if (GetParam().persistent) restart(kSmallSegments);
  expect_kept();
  ASSERT_TRUE(log().delete_before(bounds[0] + 4).ok());
  expect_kept();
}

TEST_P(StorageReplace, ALogThatStartsInsideASegment) {
  fill(60);
  std::vector<Offset> bounds = bounds_of(log());
  ASSERT_GE(bounds.size(), 2U);
  ASSERT_TRUE(log().delete_before({5}).ok());
  EXPECT_EQ(log().segment_end({5}), bounds[0]);
  std::vector<std::vector<std::byte>> wanted;
  for (std::size_t i = 3; i < index_of(bounds[0]); ++i) wanted.push_back(batches_[i]);
  ListedBatches source(wanted);
  const Status status = log().replace({5}, bounds[0], source);
  ASSERT_TRUE(status.ok()) << status.text;
  kept_[2] = false;
  EXPECT_EQ(log().state().start.value, 5);
  expect_kept();
  if (GetParam().persistent) restart(kSmallSegments);
  EXPECT_EQ(log().state().start.value, 5);
  expect_kept();
}

TEST_P(StorageReplace, WhatDoesNotFitIsRefusedAndChangesNothing) {
  fill(60);
  const std::vector<Offset> bounds = bounds_of(log());
  ASSERT_GE(bounds.size(), 2U);
  const auto refused = [&](Offset from, Offset to, std::vector<std::vector<std::byte>> batches, ErrorCode code) {
    ListedBatches source(std::move(batches));
    EXPECT_EQ(log().replace(from, to, source).code, code) << from.value << " " << to.value;
  };
  refused(Offset{2}, bounds[0], {}, ErrorCode::invalid_argument);
  refused({0}, bounds[0] - 2, {}, ErrorCode::invalid_argument);
  refused({0}, {0}, {}, ErrorCode::invalid_argument);
  refused(bounds[0], {0}, {}, ErrorCode::invalid_argument);
  refused({0}, log().state().end, {}, ErrorCode::invalid_argument);
  refused({0}, log().state().end + 100, {}, ErrorCode::invalid_argument);
  const std::vector<std::byte> beyond = make_batch({.base = bounds[0].value, .records = 1});
  refused({0}, bounds[0], {batches_[0], beyond}, ErrorCode::invalid_argument);
  refused({0}, bounds[0], {batches_[1], batches_[0]}, ErrorCode::invalid_argument);
  refused(bounds[0], bounds[1], {batches_[0]}, ErrorCode::invalid_argument);
  refused({0}, bounds[0], {std::vector<std::byte>(40)}, ErrorCode::invalid_argument);
  ListedBatches failing({batches_[0], batches_[1], batches_[2]});
  failing.fail_at = 2;
  EXPECT_EQ(log().replace({0}, bounds[0], failing).code, ErrorCode::cancelled) << "the source's error is the answer";
  expect_kept();
  if (GetParam().persistent) restart(kSmallSegments);
  expect_kept();
}

TEST_P(StorageReplace, SlicesStayValid) {
  fill(60);
  const std::vector<Offset> bounds = bounds_of(log());
  ASSERT_GE(bounds.size(), 1U);
  ReadResult held;
  ASSERT_TRUE(log().read({.from = {0}, .limit = bounds[0], .bytes_max = 1 << 20}, &held).ok());
  const std::vector<std::byte> before = bytes_of(held);
  ASSERT_FALSE(before.empty());
  ASSERT_TRUE(replace({0}, bounds[0], [](std::size_t i) { return i == 1; }).ok());
  host().wait_idle();
  EXPECT_EQ(bytes_of(held), before);
  held.pin->release();
  expect_kept();
}

TEST_P(StorageReplace, TimeSearchFindsWhatIsKept) {
  fill(60);
  const std::vector<Offset> bounds = bounds_of(log());
  ASSERT_GE(bounds.size(), 3U);
  ASSERT_TRUE(replace({0}, bounds[1], [](std::size_t i) { return i % 3 == 2; }).ok());
  ASSERT_TRUE(replace(bounds[1], bounds[2], [](std::size_t) { return false; }).ok());
  for (std::size_t i = 0; i < batches_.size(); ++i) {
    std::size_t expected = i;
    while (!kept_[expected]) ++expected;
    Offset found;
    ASSERT_TRUE(log().find_time(1000 + static_cast<std::int64_t>(i), &found).ok());
    EXPECT_EQ(found.value, static_cast<std::int64_t>(expected) * 2) << i;
  }
}

TEST_P(StorageReplace, BesideAppendsAndReaders) {
  fill(60);
  std::atomic<bool> stop{false};
  std::atomic<int> problems{0};
  const auto reader = [&] {
    while (!stop.load()) {
      const LogState state = log().state();
      Offset last{-1};
      for (Offset from = state.start; from < state.end;) {
        ReadResult result;
        const Status status = log().read({.from = from, .limit = state.end, .bytes_max = 3000, .at_least_one = true}, &result);
        if (!status.ok()) ++problems;
        if (!status.ok() || result.slice_count == 0) break;
        const std::vector<std::byte> bytes = bytes_of(result);
        result.pin->release();
        for (Bytes left = bytes; !left.empty();) {
          std::size_t size = 0;
          if (!check_batch(left, &size).ok() || BatchHeader(left.data()).base_offset() <= last) {
            ++problems;
            break;
          }
          last = BatchHeader(left.data()).base_offset();
          left = left.subspan(size);
        }
        from = result.next;
      }
      Offset found;
      if (!log().find_time(1030, &found).ok()) ++problems;
    }
  };
  std::vector<std::jthread> readers;
  for (int i = 0; i < 2; ++i) readers.emplace_back(reader);
  for (int round = 0; round < 12; ++round) {
    const std::vector<Offset> bounds = bounds_of(log());
    const Offset to = bounds.at(bounds.size() / 2);
    std::vector<std::vector<std::byte>> wanted;
    std::vector<bool> kept = kept_;
    for (std::size_t i = 0; i < index_of(to); ++i) {
      kept[i] = kept_[i] && i % static_cast<std::size_t>(round + 2) != 0;
      if (kept[i]) wanted.push_back(batches_[i]);
    }
    ListedBatches source(wanted);
    source.between = [&](std::size_t given) {
      if (given % 8 == 0) add();
    };
    const Status status = log().replace({0}, to, source);
    kept.resize(kept_.size(), true);
    kept_ = kept;
    if (!status.ok()) ADD_FAILURE() << status.text;
  }
  stop = true;
  readers.clear();
  EXPECT_EQ(problems.load(), 0);
  host().wait_idle();
  expect_kept();
  if (GetParam().persistent) restart(kSmallSegments);
  expect_kept();
}

TEST_P(StorageReplace, RetentionGoesOnAfterwards) {
  fill(60);
  const std::vector<Offset> bounds = bounds_of(log());
  ASSERT_GE(bounds.size(), 3U);
  ASSERT_TRUE(replace({0}, bounds[0], [](std::size_t) { return false; }).ok());
  ASSERT_TRUE(replace(bounds[0], bounds[1], [](std::size_t i) { return i % 2 == 0; }).ok());
  PartitionSettings settings = kSmallSegments;
  settings.retention_ms = 1;
  ASSERT_TRUE(log().apply(settings).ok());
  const auto time_of = [](Offset bound) { return 1000 + static_cast<TimestampMs>(index_of(bound)); };
  ASSERT_TRUE(log().retain(time_of(bounds[1]) + 1).ok());
  EXPECT_GE(log().state().start, bounds[0]) << "a segment of which nothing is left holds nothing back";
  EXPECT_LE(log().state().start, bounds[1]);
  expect_kept();
}

// ---- with faults

constexpr int kBatches = 20;
constexpr PartitionSettings kFaultSettings{.segment_bytes = 2000};

/// A life of a process that fills a log, replaces all that can be replaced, and goes on appending.
class ReplaceRun {
 public:
  ReplaceRun(const EngineCase& engine, FaultFileSystem& files) : case_(engine), files_(files) {
    for (int i = 0; i < kBatches + 4; ++i) batches_.push_back(make_batch({.base = i, .body_bytes = 300}));
  }

  /// Fills the log; everything so far is safe.
  void prepare() {
    const bool ran = with_log([&](EngineUnderTest& under_test, PartitionLog& log) {
      for (int i = 0; i < kBatches; ++i) {
        AppendResult result;
        ASSERT_TRUE(log.append(batches_[static_cast<std::size_t>(i)], {i}, {i + 1}, 1000, &result).ok());
      }
      (void)under_test.host().run_work();
    });
    ASSERT_TRUE(ran);
  }

  /// Replaces in two steps: [start, middle), [middle, last bound); then appends. Notes how far it came.
  void live() {
    (void)with_log([&](EngineUnderTest& under_test, PartitionLog& log) {
      const std::vector<Offset> bounds = bounds_of(log);
      ASSERT_GE(bounds.size(), 3U);
      bounds_ = {bounds[1], bounds.back()};
      Offset from{0};
      for (std::size_t step = 0; step < 2; ++step) {
        ListedBatches source(kept(from, bounds_[step]));
        const Status status = log.replace(from, bounds_[step], source);
        if (!status.ok()) return;
        done_ = step + 1;
        from = bounds_[step];
      }
      for (int i = kBatches; i < kBatches + 4; ++i) {
        AppendResult result;
        if (!log.append(batches_[static_cast<std::size_t>(i)], {i}, {i + 1}, 1000, &result).ok()) return;
        (void)under_test.host().run_work();
      }
    });
  }

  /// The log holds the old or the new batches of each step, the new ones where the step was done; and takes what comes.
  void expect_old_or_new() {
    const bool ran = with_log([&](EngineUnderTest& under_test, PartitionLog& log) {
      const LogState state = log.state();
      ASSERT_EQ(state.start.value, 0);
      ASSERT_GE(state.end.value, kBatches) << "batches of before are gone";
      Status status;
      const std::vector<std::byte> found = read_all(log, {0}, state.end, 900, &status);
      ASSERT_TRUE(status.ok()) << status.text;
      bool fits = false;
      for (std::size_t steps = done_; steps <= 2; ++steps) fits |= found == content(steps, state.end);
      EXPECT_TRUE(fits) << "neither the old batches nor the new ones, " << done_ << " steps were done";
      AppendResult result;
      const std::vector<std::byte> more = make_batch({.base = state.end.value});
      ASSERT_TRUE(log.append(more, state.end, state.end + 1, 1000, &result).ok());
      // The same again, now without faults.
      const std::vector<Offset> bounds = bounds_of(log);
      ASSERT_FALSE(bounds.empty());
      ListedBatches source(kept({0}, bounds.back()));
      status = log.replace({0}, bounds.back(), source);
      ASSERT_TRUE(status.ok()) << status.text;
      (void)under_test.host().run_work();
      bounds_ = {bounds.back(), bounds.back()};
      std::vector<std::byte> expected = content(1, state.end);
      expected.insert(expected.end(), more.begin(), more.end());
      EXPECT_EQ(read_all(log, {0}, state.end + 1, 900, &status), expected);
    });
    EXPECT_TRUE(ran);
    for (const std::string& path : files_.paths()) EXPECT_EQ(path.find(".tmp"), std::string::npos) << path;
  }

 private:
  [[nodiscard]] static bool keeps(std::int64_t offset) { return offset % 3 == 1; }
  [[nodiscard]] std::vector<std::vector<std::byte>> kept(Offset from, Offset to) const {
    std::vector<std::vector<std::byte>> all;
    for (std::int64_t i = from.value; i < to.value; ++i) {
      if (keeps(i)) all.push_back(batches_[static_cast<std::size_t>(i)]);
    }
    return all;
  }
  /// What is there after so many steps.
  [[nodiscard]] std::vector<std::byte> content(std::size_t steps, Offset end) const {
    std::vector<std::byte> bytes;
    const std::int64_t replaced = steps == 0 ? 0 : bounds_[steps - 1].value;
    for (std::int64_t i = 0; i < end.value; ++i) {
      const auto& batch = batches_[static_cast<std::size_t>(i)];
      if (i >= replaced || keeps(i)) bytes.insert(bytes.end(), batch.begin(), batch.end());
    }
    return bytes;
  }
  template <class Work>
  bool with_log(const Work& work) {
    EngineUnderTest under_test(case_, files_, StorageHost::Workers::test);
    PartitionLog* log = nullptr;
    if (!under_test.start().ok() || !under_test.engine().open(kKey, {}, kFaultSettings, &log).ok()) return false;
    work(under_test, *log);
    (void)under_test.host().run_work();
    if (log->close().ok()) (void)under_test.stop();
    return true;
  }

  const EngineCase& case_;
  FaultFileSystem& files_;
  std::vector<std::vector<std::byte>> batches_;
  std::vector<Offset> bounds_{{0}, {0}};
  std::size_t done_ = 0;
};

std::vector<EngineCase> replacing_persistent_engines() {
  std::vector<EngineCase> all = replacing_engines();
  std::erase_if(all, [](const EngineCase& engine) { return !engine.persistent; });
  return all;
}

class StorageReplaceFaults : public testing::TestWithParam<EngineCase> {
 protected:
  /// Lets the fault hit the first, second, ... operation until there are no more; `after` is what happens to the disk.
  void at_every_operation(FaultPlan fault, const std::function<void(FaultFileSystem&, std::uint64_t)>& after) {
    for (std::uint64_t at = 1;; ++at) {
      ASSERT_LT(at, 5000U);
      FaultFileSystem files;
      ReplaceRun run(GetParam(), files);
      run.prepare();
      fault.at = at;
      files.plan(fault);
      run.live();
      const bool fired = files.fired();
      files.heal();
      after(files, at);
      run.expect_old_or_new();
      if (HasFailure()) std::cerr << "failed with the fault at operation " << at << "\n";
      if (!fired || HasFailure()) return;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Engines, StorageReplaceFaults, testing::ValuesIn(replacing_persistent_engines()),
                         [](const testing::TestParamInfo<EngineCase>& engine) { return engine.param.name; });

TEST_P(StorageReplaceFaults, KilledAtEveryOperation) {
  for (const std::uint32_t torn : {0U, 500U}) {
    at_every_operation({.kinds = kChanges, .halt = true, .torn_permille = torn}, [](FaultFileSystem&, std::uint64_t) {});
  }
}

TEST_P(StorageReplaceFaults, PowerCutAtEveryOperation) {
  for (const PowerCut cut : {PowerCut::nothing, PowerCut::any, PowerCut::any, PowerCut::any}) {
    at_every_operation({.kinds = kChanges, .halt = true, .torn_permille = 600},
                       [cut](FaultFileSystem& files, std::uint64_t at) {
                         static std::uint64_t seed = 1000;
                         files.cut_power(cut, seed++ + at);
                       });
  }
}

TEST_P(StorageReplaceFaults, EveryOperationFailsOnce) {
  for (const int error : {EIO, ENOSPC, EMFILE}) {
    at_every_operation({.errno_value = error, .torn_permille = 500}, [](FaultFileSystem&, std::uint64_t) {});
    at_every_operation({.errno_value = error, .torn_permille = 500},
                       [](FaultFileSystem& files, std::uint64_t at) { files.cut_power(PowerCut::any, at); });
  }
}

TEST_P(StorageReplaceFaults, AFullDiskLeavesTheOldBatchesAndTheLogGoesOn) {
  FaultFileSystem files;
  EngineUnderTest under_test(GetParam(), files, StorageHost::Workers::test);
  ASSERT_TRUE(under_test.start().ok());
  PartitionLog* log = nullptr;
  ASSERT_TRUE(under_test.engine().open(kKey, {}, kFaultSettings, &log).ok());
  std::vector<std::vector<std::byte>> batches;
  std::vector<std::byte> expected;
  for (std::int64_t i = 0; i < 40; ++i) {
    AppendResult result;
    batches.push_back(make_batch({.base = i, .body_bytes = 300}));
    expected.insert(expected.end(), batches.back().begin(), batches.back().end());
    ASSERT_TRUE(log->append(batches.back(), {i}, {i + 1}, 1000, &result).ok());
  }
  (void)under_test.host().run_work();
  const std::vector<Offset> bounds = bounds_of(*log);
  ASSERT_FALSE(bounds.empty());
  batches.resize(static_cast<std::size_t>(bounds.back().value));
  const std::size_t files_before = files.paths().size();
  files.set_capacity(expected.size() + 4000);
  ListedBatches too_much(batches);
  EXPECT_EQ(log->replace({0}, bounds.back(), too_much).code, ErrorCode::no_space);
  EXPECT_EQ(files.paths().size(), files_before) << "what was written in vain is removed";
  files.set_capacity(1 << 20);
  Status status;
  EXPECT_EQ(read_all(*log, {0}, {40}, 900, &status), expected);
  AppendResult result;
  EXPECT_TRUE(log->append(make_batch({.base = 40}), {40}, {41}, 1000, &result).ok()) << "the log is not offline";
  ListedBatches again(batches);
  status = log->replace({0}, bounds.back(), again);
  EXPECT_TRUE(status.ok()) << status.text;
  EXPECT_EQ(read_all(*log, {0}, {40}, 900, &status), expected);
  EXPECT_TRUE(log->close().ok());
}

}  // namespace
}  // namespace streambus::test
