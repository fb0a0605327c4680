// What it costs: system calls, syncs, descriptors and memory per append and per partition.

#include <sys/stat.h>

#include <filesystem>

#include "allocation_counter.hpp"
#include "streambus/host/services.hpp"
#include "temporary_directory.hpp"
#include "wal_fixture.hpp"

namespace streambus::storage_wal {
namespace {

class Behaviour : public WalTest {};

TEST_F(Behaviour, OneWritePerAppend) {
  for (const char* const durability : {"pagecache", "fsync-batch"}) {
    start({{"durability", durability}});
    open();
    append(0);
    flush();
    for (int i = 1; i < 50; ++i) {
      files_.plan({.kinds = test::kAnyOperation});
      append(i, {.body_bytes = 900});
      EXPECT_EQ(files_.counted(), 1U) << "a write and nothing else";
      flush();
    }
    close_and_stop();
    ASSERT_TRUE(under_test_->start().ok());
    ASSERT_TRUE(under_test_->engine().remove(kKey).ok());
  }
}

TEST_F(Behaviour, OneSyncForAllThatWasAppended) {
  start();
  open();
  append(0);
  flush();
  files_.plan({.kinds = only(FileOperation::sync)});
  const std::uint64_t before = host().sink.of(log_->durability_domain()).reports;
  for (int i = 1; i <= 100; ++i) append(i);
  EXPECT_EQ(log_->state().durable.value, 1) << "nothing above the synced offset counts as durable";
  flush();
  EXPECT_EQ(files_.counted(), 1U);
  EXPECT_EQ(host().sink.of(log_->durability_domain()).reports, before + 1);
  EXPECT_EQ(log_->state().durable.value, 101);
  EXPECT_EQ(host().metric_value("storage_group_commit_batches"), 101);
}

TEST_F(Behaviour, WhatSealingSyncedIsReportedAsWell) {
  start();
  open();
  append(0);
  ASSERT_TRUE(log_->apply({.segment_ms = 10}).ok());
  host().wall += 1000;
  ASSERT_TRUE(log_->retain(host().wall_ms()).ok());  // rolls and seals before the flush job had its turn
  files_.plan({.kinds = only(FileOperation::sync)});
  flush();
  EXPECT_EQ(files_.counted(), 0U);
  EXPECT_EQ(log_->state().durable.value, 1);
  EXPECT_EQ(host().sink.of(log_->durability_domain()).position, 1U);
}

TEST_F(Behaviour, ZerosAheadSpareTheNextAppendsTheGrowth) {
  start();
  open({.segment_bytes = 300'000});
  append(0, {.body_bytes = 1000});
  const std::size_t ahead = files_.content(segment(0)).size();
  EXPECT_GT(ahead, 250'000U);
  for (int i = 1; i < 200; ++i) append(i, {.body_bytes = 1000});
  EXPECT_EQ(files_.content(segment(0)).size(), ahead);
  close_and_stop();
  EXPECT_EQ(files_.content(segment(0)).size(), appended_.size()) << "no zeros are left behind";
}

TEST_F(Behaviour, IdlePartitionsHoldNoFile) {
  start();
  const int before = files_.open_files();
  std::vector<PartitionLog*> logs(200);
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(under_test_->engine().open({"t", test::kTopicId, i}, {}, {}, &logs[i]).ok());
  EXPECT_EQ(files_.open_files(), before);
  for (int i = 0; i < 200; ++i) {
    AppendResult result;
    ASSERT_TRUE(logs[i]->append(make_batch({}), {0}, {1}, 0, &result).ok());
  }
  flush();
  EXPECT_EQ(files_.open_files(), before + 200);
  for (int round = 0; round < 2; ++round) {
    for (PartitionLog* const log : logs) ASSERT_TRUE(log->retain(host().wall_ms()).ok());
  }
  EXPECT_EQ(files_.open_files(), before) << "a partition that nobody appends to gives its file back";
  AppendResult result;
  ASSERT_TRUE(logs[7]->append(make_batch({.base = 1}), {1}, {2}, 0, &result).ok());
  Status status;
  EXPECT_EQ(read_all(*logs[7], {0}, {2}, 1, &status).size(), 250U);
  flush();
  for (PartitionLog* const log : logs) EXPECT_TRUE(log->close().ok());
  EXPECT_EQ(files_.open_files(), before);
}

TEST_F(Behaviour, IdlePartitionsAreSmall) {
  start();
  const long before = test::allocation_count();
  PartitionLog* log = nullptr;
  ASSERT_TRUE(under_test_->engine().open({"t", test::kTopicId, 1}, {}, {}, &log).ok());
  EXPECT_LT(test::allocation_count() - before, 60) << "among them those of the model file system";
  EXPECT_TRUE(log->close().ok());
}

TEST_F(Behaviour, SealedSegmentsAreOpenedOnDemandUpToABound) {
  start({{"open_files_max", "3"}});
  open({.segment_bytes = 1024});
  for (int i = 0; i < 40; ++i) append(i, {.body_bytes = 300});
  flush();
  EXPECT_GE(log_->state().segments, 13U);
  const int idle = files_.open_files();
  EXPECT_EQ(content(), appended_);
  EXPECT_EQ(content(), appended_);
  EXPECT_LE(files_.open_files(), idle + 3);
}

TEST_F(Behaviour, RunningOutOfDescriptorsIsRetriable) {
  start({{"open_files_max", "8"}});
  open({.segment_bytes = 1024});
  for (int i = 0; i < 20; ++i) append(i, {.body_bytes = 300});
  flush();
  EXPECT_EQ(content(), appended_);
  files_.plan({.at = 1, .kinds = only(FileOperation::open), .errno_value = EMFILE});
  append(20, {.body_bytes = 1000});  // needs a new segment: the cache gives descriptors back
  files_.plan({.at = 1, .kinds = only(FileOperation::open), .errno_value = EMFILE, .for_good = true});
  AppendResult result;
  const Status status = log_->append(make_batch({.base = 21, .body_bytes = 1000}), {21}, {22}, 0, &result);
  EXPECT_EQ(status.code, ErrorCode::busy) << status.text;
  files_.heal();
  append(21, {.body_bytes = 1000});
  EXPECT_EQ(content(), appended_);
}

TEST_F(Behaviour, RollLeavesTheWorkToTheWorker) {
  start();
  open({.segment_bytes = 1024});
  append(0, {.body_bytes = 900});
  flush();
  files_.plan({.kinds = only(FileOperation::sync) | only(FileOperation::sync_directory) | only(FileOperation::rename) |
                        only(FileOperation::truncate)});
  append(1, {.body_bytes = 900});
  EXPECT_LE(files_.counted(), 1U) << "at most the new file is made empty";
  flush();
  EXPECT_GT(files_.counted(), 3U);
}

/// Bytes of blocks and of contents of all segments below `directory`.
struct DiskUse {
  std::uint64_t blocks = 0;
  std::uint64_t contents = 0;
};
DiskUse disk_use(const std::filesystem::path& directory) {
  DiskUse use;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    struct stat status{};
    if (entry.path().extension() != ".log" || ::stat(entry.path().c_str(), &status) != 0) continue;
    use.blocks += static_cast<std::uint64_t>(status.st_blocks) * 512;
    use.contents += static_cast<std::uint64_t>(status.st_size);
  }
  return use;
}

TEST(BehaviourOnDisk, BlocksAreReservedForFastAppendsAndGivenBackAtTheEnd) {
  constexpr std::uint64_t kMebibyte = 1U << 20;
  const test::TemporaryDirectory directory;
  const auto files = make_file_system(directory.path());
  const EngineCase engine{"wal", &streambus_plugin_storage_wal, {{"durability", "pagecache"}, {"writeback_bytes", "1MiB"}}};
  const std::vector<std::byte> body = make_batch({.body_bytes = 256 * 1024});
  const auto append = [&](EngineUnderTest& under_test, PartitionLog* log, std::int64_t first, std::int64_t count) {
    std::vector<std::byte> batch = body;
    for (std::int64_t base = first; base < first + count; ++base) {
      stamp_batch(batch.data(), {base}, 0);
      AppendResult result;
      ASSERT_TRUE(log->append(batch, {base}, {base + 1}, 0, &result).ok());
      (void)under_test.host().run_work();
    }
  };
  {
    EngineUnderTest under_test(engine, *files, StorageHost::Workers::test);
    ASSERT_TRUE(under_test.start().ok());
    PartitionLog* log = nullptr;
    ASSERT_TRUE(under_test.engine().open(kKey, {}, {}, &log).ok());
    append(under_test, log, 0, 1);
    EXPECT_LT(disk_use(directory.path()).blocks, kMebibyte) << "nothing for a little data";
    append(under_test, log, 1, 40);
    const DiskUse use = disk_use(directory.path());
    if (use.blocks < use.contents + kMebibyte) GTEST_SKIP() << "this file system does not reserve blocks";
    EXPECT_LE(use.blocks, 2 * use.contents + kMebibyte) << "not more ahead than there is";
    EXPECT_TRUE(log->close().ok());
  }
  const DiskUse closed = disk_use(directory.path());
  EXPECT_LT(closed.blocks, closed.contents + 64 * 1024);
}

TEST(BehaviourOnDisk, AppendsAllocateNothing) {
  const test::TemporaryDirectory directory;
  const auto files = make_file_system(directory.path());
  const EngineCase engine{"wal", &streambus_plugin_storage_wal, {{"durability", "pagecache"}, {"writeback_bytes", "0"}}};
  EngineUnderTest under_test(engine, *files, StorageHost::Workers::test);
  ASSERT_TRUE(under_test.start().ok());
  PartitionLog* log = nullptr;
  ASSERT_TRUE(under_test.engine().open(kKey, {}, {}, &log).ok());
  std::vector<std::byte> batch = make_batch({.body_bytes = 1000});
  const auto append = [&](std::int64_t base) {
    stamp_batch(batch.data(), {base}, 0);
    AppendResult result;
    return log->append(batch, {base}, {base + 1}, 0, &result).ok();
  };
  std::int64_t base = 0;
  for (; base < 1000; ++base) ASSERT_TRUE(append(base));
  const long before = test::allocation_count();
  bool ok = true;
  for (; base < 4000; ++base) ok = append(base) && ok;
  EXPECT_TRUE(ok);
  EXPECT_LE(test::allocation_count() - before, 3) << "the index may double";
  // Reading hands out the open file itself.
  ReadResult result;
  ASSERT_TRUE(log->read({.from = {0}, .limit = {100}, .bytes_max = 1 << 20}, &result).ok());
  result.pin->release();
  const long reads = test::allocation_count();
  for (int i = 0; i < 1000; ++i) {
    ok = log->read({.from = result.next, .limit = {4000}, .bytes_max = 2000}, &result).ok() && ok;
    result.pin->release();
  }
  EXPECT_TRUE(ok);
  EXPECT_EQ(test::allocation_count() - reads, 0);
  EXPECT_TRUE(log->close().ok());
}

}  // namespace
}  // namespace streambus::storage_wal
