// What every storage engine that keeps data must do when something goes wrong: crashes, power cuts, errors at each call.

#include <functional>

#include "storage_engines.hpp"

namespace streambus::test {
namespace {

constexpr PartitionSettings kSettings{.segment_bytes = 3000};
constexpr int kBatches = 24;

std::vector<EngineCase> persistent_engines() {
  std::vector<EngineCase> all = engines();
  std::erase_if(all, [](const EngineCase& engine) { return !engine.persistent; });
  return all;
}

/// A run of an engine that may be cut short anywhere: appends a fixed row of batches, repeating what failed in a retriable
/// way, and keeps book of what was answered.
class FaultRun {
 public:
  FaultRun(const EngineCase& engine, FaultFileSystem& files) : case_(engine), files_(files) {
    std::int64_t base = 0;
    for (int i = 0; i < kBatches; ++i) {
      BatchSpec spec{.base = base, .records = 1 + i % 3, .body_bytes = 100 + static_cast<std::size_t>(i * 37 % 400)};
      batches_.push_back(make_batch(spec));
      bases_.push_back(base);
      base += spec.records;
    }
    bases_.push_back(base);
  }

  /// One life of a process. Returns when everything is appended or nothing goes on.
  void live(bool orderly_end) {
    EngineUnderTest under_test(case_, files_, StorageHost::Workers::test);
    if (!under_test.start().ok()) return;
    PartitionLog* log = nullptr;
    if (!under_test.engine().open(kKey, {}, kSettings, &log).ok()) return;
    const bool reports = under_test.engine().durability() == Durability::fsync_batch;
    int tries = 0;
    for (int next = index_of(log->state().end); next < kBatches && tries < 4;) {
      AppendResult result;
      const Status status = log->append(batches_[next], {bases_[next]}, {bases_[next + 1]}, 1000, &result);
      if (!status.ok()) {
        failures_.push_back(status.code);
        if (!is_retriable(status.code) || status.code == ErrorCode::offline) break;
        ++tries;
        continue;
      }
      tries = 0;
      ++next;
      if (!reports) acked_ = std::max(acked_, next);
      if (next % 3 == 0) (void)under_test.host().run_work();
      if (next == 9) (void)log->delete_before({0});  // administrative calls in between
      if (next == 15) (void)log->retain(under_test.host().wall_ms());
      if (reports) note(under_test, *log);
      expect_readable(*log, next);
    }
    (void)under_test.host().run_work();
    if (reports) note(under_test, *log);
    if (orderly_end || case_.persistent) {
      const bool closed = log->close().ok();
      if (closed && orderly_end) (void)under_test.stop();
    }
  }

  /// The next life finds a prefix of what was appended, with all that was answered (`acked` batches), and goes on.
  void expect_recovered(int acked) {
    EngineUnderTest under_test(case_, files_, StorageHost::Workers::test);
    const Status started = under_test.start();
    ASSERT_TRUE(started.ok()) << started.text;
    PartitionLog* log = nullptr;
    const Status opened = under_test.engine().open(kKey, {}, kSettings, &log);
    ASSERT_TRUE(opened.ok()) << opened.text;
    const int found = index_of(log->state().end);
    ASSERT_GE(found, 0) << "the log ends inside a batch: " << log->state().end.value;
    EXPECT_GE(found, acked) << "acknowledged batches are gone";
    expect_readable(*log, found);
    for (int next = found; next < kBatches; ++next) {
      AppendResult result;
      const Status status = log->append(batches_[next], {bases_[next]}, {bases_[next + 1]}, 1000, &result);
      ASSERT_TRUE(status.ok()) << status.text;
    }
    (void)under_test.host().run_work();
    expect_readable(*log, kBatches);
    ASSERT_TRUE(log->close().ok());
    ASSERT_TRUE(under_test.stop().ok());
    ASSERT_TRUE(under_test.start().ok());
    ASSERT_TRUE(under_test.engine().open(kKey, {}, kSettings, &log).ok());
    EXPECT_TRUE(log->state().clean);
    expect_readable(*log, kBatches);
    ASSERT_TRUE(log->close().ok());
  }

  /// How many batches the next life finds; -1 where it refuses to open the log.
  [[nodiscard]] int recovered() {
    EngineUnderTest under_test(case_, files_, StorageHost::Workers::test);
    PartitionLog* log = nullptr;
    if (!under_test.start().ok() || !under_test.engine().open(kKey, {}, kSettings, &log).ok()) return -1;
    const int found = index_of(log->state().end);
    (void)log->close();
    return found;
  }

  [[nodiscard]] int acked() const { return acked_; }
  [[nodiscard]] const std::vector<ErrorCode>& failures() const { return failures_; }

 private:
  [[nodiscard]] int index_of(Offset end) const {
    for (int i = 0; i <= kBatches; ++i) {
      if (bases_[i] == end.value) return i;
    }
    return -1;
  }
  void note(EngineUnderTest& under_test, PartitionLog& log) {
    const RecordingSink::Domain domain = under_test.host().sink.of(log.durability_domain());
    const int durable = domain.position == 0 ? 0 : index_of(log.state().durable);
    acked_ = std::max(acked_, durable);
  }
  /// The first `count` batches are there, unchanged. A disk that fails may fail the read, but never returns other bytes.
  void expect_readable(PartitionLog& log, int count) {
    std::vector<std::byte> expected;
    for (int i = 0; i < count; ++i) expected.insert(expected.end(), batches_[i].begin(), batches_[i].end());
    Status status;
    const std::vector<std::byte> found = read_all(log, {0}, {bases_[count]}, 2000, &status);
    if (!status.ok() && files_.fired()) return;
    ASSERT_TRUE(status.ok()) << status.text;
    ASSERT_EQ(found, expected);
  }

  const EngineCase& case_;
  FaultFileSystem& files_;
  std::vector<std::vector<std::byte>> batches_;
  std::vector<std::int64_t> bases_;
  int acked_ = 0;
  std::vector<ErrorCode> failures_;
};

/// Runs `one` for the first, second, ... operation until the run has no more of them.
void for_every_operation(const std::function<bool(std::uint64_t)>& one) {
  for (std::uint64_t at = 1;; ++at) {
    ASSERT_LT(at, 5000U);
    if (!one(at)) return;
    if (testing::Test::HasFailure()) {
      std::cerr << "failed with the fault at operation " << at << "\n";
      return;
    }
  }
}

class StorageFaults : public testing::TestWithParam<EngineCase> {};
INSTANTIATE_TEST_SUITE_P(Engines, StorageFaults, testing::ValuesIn(persistent_engines()),
                         [](const testing::TestParamInfo<EngineCase>& engine) { return engine.param.name; });

TEST_P(StorageFaults, KilledAtEveryOperation) {
  for (const std::uint32_t torn : {0U, 500U, 950U}) {
    for_every_operation([&](std::uint64_t at) {
      FaultFileSystem files;
      FaultRun run(GetParam(), files);
      files.plan({.at = at, .kinds = kChanges, .halt = true, .torn_permille = torn});
      run.live(true);
      const bool fired = files.fired();
      files.heal();
      run.expect_recovered(run.acked());  // the page cache outlives the process: every class keeps what it answered
      return fired;
    });
  }
}

TEST_P(StorageFaults, KilledAgainWhileRecovering) {
  for_every_operation([&](std::uint64_t at) {
    FaultFileSystem files;
    FaultRun run(GetParam(), files);
    files.plan({.at = 60, .kinds = kChanges, .halt = true, .torn_permille = 700});
    run.live(false);
    files.plan({.at = at, .kinds = kChanges, .halt = true, .torn_permille = 300});
    run.live(true);
    const bool fired = files.fired();
    files.heal();
    run.expect_recovered(run.acked());
    return fired;
  });
}

TEST_P(StorageFaults, PowerCutAtEveryOperation) {
  const bool promises = GetParam().options[0].second == "fsync-batch";
  for (const PowerCut cut : {PowerCut::nothing, PowerCut::any, PowerCut::any, PowerCut::any}) {
    static std::uint64_t seed = 1;
    for_every_operation([&](std::uint64_t at) {
      FaultFileSystem files;
      FaultRun run(GetParam(), files);
      files.plan({.at = at, .kinds = kChanges, .halt = true, .torn_permille = 600});
      run.live(true);
      const bool fired = files.fired();
      files.heal();
      files.cut_power(cut, ++seed);
      run.expect_recovered(promises ? run.acked() : 0);
      return fired;
    });
    if (HasFailure()) {
      std::cerr << "power cut seed " << seed << "\n";
      return;
    }
  }
}

TEST_P(StorageFaults, SkippedSyncsWouldBeNoticed) {
  if (GetParam().options[0].second != "fsync-batch") GTEST_SKIP() << "promises nothing that needs a sync";
  FaultFileSystem files;
  files.skip_syncs(true);
  FaultRun run(GetParam(), files);
  run.live(false);
  files.cut_power(PowerCut::nothing, 1);
  EXPECT_GT(run.acked(), 0);
  EXPECT_LT(run.recovered(), run.acked())
      << "a disk that lies about syncs must look like lost data, or this suite proves nothing";
}

TEST_P(StorageFaults, EveryOperationFailsOnce) {
  const bool promises = GetParam().options[0].second == "fsync-batch";
  for (const int error : {EIO, ENOSPC, EMFILE}) {
    for_every_operation([&](std::uint64_t at) {
      FaultFileSystem files;
      FaultRun run(GetParam(), files);
      files.plan({.at = at, .errno_value = error, .torn_permille = 500});
      run.live(true);
      const bool fired = files.fired();
      files.heal();
      run.live(true);  // an administrator opens it again
      run.expect_recovered(run.acked());
      if (promises) {
        // Nothing was answered that a power cut could take away.
        FaultFileSystem other;
        FaultRun again(GetParam(), other);
        other.plan({.at = at, .errno_value = error, .torn_permille = 500});
        again.live(true);
        other.heal();
        other.cut_power(PowerCut::nothing, at);
        again.expect_recovered(again.acked());
      }
      return fired;
    });
  }
}

TEST_P(StorageFaults, FailedSyncTakesThePartitionOfflineAndReadsGoOn) {
  if (GetParam().options[0].second != "fsync-batch") GTEST_SKIP() << "no sync is waited for";
  FaultFileSystem files;
  EngineUnderTest under_test(GetParam(), files, StorageHost::Workers::test);
  ASSERT_TRUE(under_test.start().ok());
  PartitionLog* log = nullptr;
  ASSERT_TRUE(under_test.engine().open(kKey, {}, {}, &log).ok());
  AppendResult result;
  const std::vector<std::byte> first = make_batch({.base = 0});
  const std::vector<std::byte> second = make_batch({.base = 1});
  ASSERT_TRUE(log->append(first, {0}, {1}, 0, &result).ok());
  (void)under_test.host().run_work();
  const std::uint64_t acked = under_test.host().sink.of(log->durability_domain()).position;
  EXPECT_GE(acked, result.position);
  for (const int error : {EIO, ENOSPC}) {
    files.plan({.at = 1, .kinds = only(FileOperation::sync), .errno_value = error});
    const Status appended = log->append(second, {1}, {2}, 0, &result);
    if (error == EIO) {
      ASSERT_TRUE(appended.ok());
    } else {
      EXPECT_EQ(appended.code, ErrorCode::offline) << "no retry into success";
      EXPECT_NE(std::string(appended.text).find("orders-0"), std::string::npos) << appended.text;
    }
    (void)under_test.host().run_work();
    const RecordingSink::Domain domain = under_test.host().sink.of(log->durability_domain());
    EXPECT_EQ(domain.position, acked) << "never an answer after a failed sync";
    EXPECT_FALSE(domain.failure.ok());
  }
  files.heal();
  Status status;
  EXPECT_EQ(read_all(*log, {0}, {1}, 1000, &status), first);
  EXPECT_TRUE(status.ok());
  EXPECT_FALSE(log->close().ok());
  ASSERT_TRUE(under_test.engine().open(kKey, {}, {}, &log).ok()) << "it comes back without a restart";
  // What comes back was written again: the earlier, failed sync had dropped it from what is written.
  const Offset end = log->state().end;
  ASSERT_TRUE(log->close().ok());
  files.cut_power(PowerCut::nothing, 1);
  under_test.destroy();
  ASSERT_TRUE(under_test.start().ok());
  ASSERT_TRUE(under_test.engine().open(kKey, {}, {}, &log).ok());
  EXPECT_EQ(log->state().end, end);
  EXPECT_TRUE(log->close().ok());
}

TEST_P(StorageFaults, FullDiskIsRetriableAndWritingResumes) {
  FaultFileSystem files;
  EngineUnderTest under_test(GetParam(), files, StorageHost::Workers::test);
  ASSERT_TRUE(under_test.start().ok());
  PartitionLog* log = nullptr;
  ASSERT_TRUE(under_test.engine().open(kKey, {}, {.segment_bytes = 20'000}, &log).ok());
  files.set_capacity(100'000);
  std::vector<std::byte> expected;
  std::int64_t next = 0;
  const auto fill = [&] {
    for (;; ++next) {
      AppendResult result;
      const std::vector<std::byte> batch = make_batch({.base = next, .body_bytes = 700});
      const LogState before = log->state();
      const Status status = log->append(batch, {next}, {next + 1}, 0, &result);
      if (!status.ok()) {
        EXPECT_EQ(status.code, ErrorCode::no_space) << status.text;
        EXPECT_EQ(log->state().end, before.end) << "as before the append";
        EXPECT_EQ(log->state().bytes, before.bytes);
        return;
      }
      expected.insert(expected.end(), batch.begin(), batch.end());
      if (next % 10 == 0) (void)under_test.host().run_work();
    }
  };
  const auto check = [&] {
    Status status;
    EXPECT_EQ(read_all(*log, {0}, {next}, 5000, &status), expected) << "reads go on";
    EXPECT_TRUE(status.ok()) << status.text;
  };
  fill();
  EXPECT_GT(next, 80) << "the space was used for data";
  check();
  fill();  // still full
  check();
  const std::int64_t before = next;
  files.set_capacity(200'000);
  fill();
  EXPECT_GT(next, before + 50) << "writing resumes when there is room";
  (void)under_test.host().run_work();
  check();
  files.set_capacity(1 << 20);
  ASSERT_TRUE(log->close().ok());
  ASSERT_TRUE(under_test.stop().ok());
  ASSERT_TRUE(under_test.start().ok());
  ASSERT_TRUE(under_test.engine().open(kKey, {}, {}, &log).ok());
  check();
  EXPECT_TRUE(log->close().ok());
}

}  // namespace
}  // namespace streambus::test
