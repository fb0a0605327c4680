// What is different about mapped files: no system calls, no copies, windows, pages that fail, space that is prepared.

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>

#include "mmap_fixture.hpp"
#include "streambus/host/services.hpp"
#include "temporary_directory.hpp"

namespace streambus::storage_mmap {
namespace {

class MmapBehaviour : public MmapTest {};

TEST_F(MmapBehaviour, AnAppendIsACopyAndNoFileOperation) {
  for (const char* const durability : {"pagecache", "fsync-batch"}) {
    start({{"durability", durability}});
    open();
    append(0);
    work();
    for (int i = 1; i < 40; ++i) {
      files_.plan({.kinds = test::kAnyOperation});
      append(i, {.body_bytes = 900});
      EXPECT_EQ(files_.counted(), 0U);
      work();
    }
    close_and_stop();
    restart();
    ASSERT_TRUE(under_test_->engine().remove(kKey).ok());
    work();
  }
}

TEST_F(MmapBehaviour, RoomIsPreparedBehindTheAppends) {
  start({{"durability", "pagecache"}});
  open({.segment_bytes = 1 << 20});
  append(0);
  for (int i = 1; i < 4000; ++i) {
    append(i, {.body_bytes = 1000});
    if (i % 10 == 0) work();
  }
  EXPECT_EQ(host().metric_value("storage_inline_prepares_total"), 1) << "the very first; four segments came after it";
  EXPECT_GE(log_->state().segments, 4U);
  EXPECT_EQ(content(), appended_);
}

TEST_F(MmapBehaviour, OneSyncForAllThatWasAppendedAndOnlyOfThat) {
  start();
  open();
  append(0);
  work();
  files_.plan({.kinds = only(FileOperation::sync)});
  for (int i = 1; i <= 100; ++i) append(i);
  EXPECT_EQ(log_->state().durable.value, 1) << "nothing above the synced offset counts as durable";
  work();
  EXPECT_EQ(files_.counted(), 1U);
  EXPECT_EQ(log_->state().durable.value, 101);
  EXPECT_EQ(host().metric_value("storage_group_commit_batches"), 101);
}

TEST_F(MmapBehaviour, ReadsAreTheMappingItself) {
  start();
  open();
  append(0);
  append(1);
  const ReadResult first = read(0, 125);
  const ReadResult again = read(0, 125);
  EXPECT_FALSE(first.slices[0].is_file());
  EXPECT_EQ(first.slices[0].data, again.slices[0].data);
  const ReadResult second = read(1, 125);
  EXPECT_EQ(second.slices[0].data, first.slices[0].data + 125);
  for (const ReadResult& result : {first, again, second}) result.pin->release();
}

TEST_F(MmapBehaviour, AWindowIsUnmappedWithItsLastSlice) {
  start();
  open({.segment_bytes = 4096});
  for (int i = 0; i < 10; ++i) append(i, {.body_bytes = 1000});
  work();
  const ReadResult held = read(0);
  const std::vector<std::byte> bytes = bytes_of(held);
  close_and_stop();
  EXPECT_EQ(files_.mappings(), 1);
  restart();
  ASSERT_TRUE(under_test_->engine().remove(kKey).ok());
  EXPECT_EQ(bytes_of(held), bytes);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), appended_.begin()));
  held.pin->release();
  EXPECT_EQ(files_.mappings(), 0);
}

TEST_F(MmapBehaviour, ManySegmentsAreReadThroughFewWindows) {
  start({{"windows_max", "3"}, {"window_bytes", "4KiB"}});
  open({.segment_bytes = 10'000});
  for (int i = 0; i < 200; ++i) append(i, {.body_bytes = 1000});
  work();
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(content(3000), appended_);
    EXPECT_LE(files_.mappings(), 3 + 3) << "and those that are appended to: active, next, spare";
  }
}

TEST_F(MmapBehaviour, WhereTheSystemHasNoMappingsLeftTheCacheGivesItsUp) {
  start();
  open({.segment_bytes = 4096});
  for (int i = 0; i < 40; ++i) append(i, {.body_bytes = 1000});
  work();
  EXPECT_EQ(content(), appended_);
  const int before = files_.mappings();
  ASSERT_GT(before, 8);
  files_.set_mappings_max(static_cast<std::size_t>(before));
  for (int i = 40; i < 60; ++i) append(i, {.body_bytes = 1000});
  EXPECT_EQ(content(), appended_);
  // Held slices are not given up: the caller is told, and may try again.
  ReadResult held = read(0);
  files_.set_mappings_max(0);
  const PartitionKey other{"orders", test::kTopicId, 1};
  PartitionLog* second = nullptr;
  ASSERT_TRUE(under_test_->engine().open(other, {}, {}, &second).ok());
  const std::vector<std::byte> batch = make_batch({});
  AppendResult result;
  EXPECT_EQ(second->append(batch, {0}, {1}, 0, &result).code, ErrorCode::no_space);
  files_.set_mappings_max(1000);
  EXPECT_TRUE(second->append(batch, {0}, {1}, 0, &result).ok());
  EXPECT_TRUE(second->close().ok());
  held.pin->release();
}

TEST_F(MmapBehaviour, AnIdlePartitionGivesBackWhatWasPrepared) {
  start();
  open();
  for (int i = 0; i < 10; ++i) append(i, {.body_bytes = 1000});
  work();
  EXPECT_GE(files_.content(segment(0)).size(), 65536U);
  ASSERT_TRUE(log_->retain(host().wall_ms()).ok());
  ASSERT_TRUE(log_->retain(host().wall_ms()).ok());
  EXPECT_EQ(files_.content(segment(0)).size(), appended_.size());
  EXPECT_EQ(files_.mappings(), 0);
  EXPECT_EQ(files_.open_files(), 1) << "the marks";
  EXPECT_EQ(content(300), appended_);
  append(10);
  EXPECT_EQ(content(300), appended_);
  Offset found;
  ASSERT_TRUE(log_->find_time(1000, &found).ok());
  EXPECT_EQ(found.value, 0);
}

TEST_F(MmapBehaviour, APageThatFailsUnderAnAppendTakesThePartitionOffline) {
  start();
  open();
  append(0);
  work();
  files_.fail_pages(segment(0), 0, 4096);
  const Status status = try_append(1);
  EXPECT_EQ(status.code, ErrorCode::io_error);
  EXPECT_NE(std::string(status.text).find(segment(0)), std::string::npos) << status.text;
  EXPECT_EQ(try_append(1).code, ErrorCode::offline);
  EXPECT_EQ(log_->state().end.value, 1) << "what was lost was never there";
  work();
  EXPECT_FALSE(host().sink.of(log_->durability_domain()).failure.ok());
  EXPECT_EQ(host().metric_value("storage_failures_total"), 1);
  EXPECT_FALSE(std::exchange(log_, nullptr)->close().ok());
  open();
  EXPECT_EQ(content(), appended_) << "it comes back when it is opened again";
}

TEST_F(MmapBehaviour, APageThatFailsUnderAReadTakesThePartitionOfflineAndOthersGoOn) {
  start({{"window_bytes", "4KiB"}});
  open({.segment_bytes = 8192});
  for (int i = 0; i < 40; ++i) append(i, {.body_bytes = 900});
  work();
  ReadResult held = read(0, 961);
  files_.fail_pages(segment(0), 0, 4096);
  ReadResult result;
  const Status status = log_->read({.from = {1}, .limit = {40}, .bytes_max = 3000}, &result);
  EXPECT_EQ(status.code, ErrorCode::io_error) << status.text;
  EXPECT_NE(std::string(status.text).find(segment(0)), std::string::npos) << status.text;
  EXPECT_EQ(result.slice_count, 0U);
  EXPECT_EQ(try_append(40).code, ErrorCode::offline);
  held.pin->release();
  EXPECT_EQ(content(), appended_) << "mapped again, the pages are there";
}

TEST_F(MmapBehaviour, EveryAccessThatFailsOnceIsNoticed) {
  // An access fails at any time: nothing is answered that is not there, and what is read is never a page of zeros.
  for (std::uint64_t at = 1;; ++at) {
    ASSERT_LT(at, 1000U);
    start();
    open({.segment_bytes = 4096});
    appended_.clear();
    files_.plan({.at = at, .kinds = only(FileOperation::access)});
    std::int64_t next = 0;
    for (; next < 20 && try_append(next, {.body_bytes = 700}).ok(); ++next) work();
    for (std::int64_t from = 0; from < next; ++from) {
      ReadResult result;
      if (!log_->read({.from = {from}, .limit = {next}, .bytes_max = 761}, &result).ok()) continue;
      const std::vector<std::byte> bytes = bytes_of(result);
      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), appended_.begin() + from * 761));
      result.pin->release();
    }
    const bool fired = files_.fired();
    files_.heal();
    (void)std::exchange(log_, nullptr)->close();
    under_test_->destroy();
    restart();
    open({.segment_bytes = 4096});
    EXPECT_GE(log_->state().end.value, next);
    ASSERT_TRUE(log_->delete_before(log_->state().end).ok());
    close_and_stop();
    restart();
    ASSERT_TRUE(under_test_->engine().remove(kKey).ok());
    under_test_->destroy();
    if (!fired) break;
    ASSERT_FALSE(HasFailure()) << "access " << at;
  }
}

/// The same over the real file system, whose pages really go away.
class TruncatedFiles : public MmapTest {
 protected:
  [[nodiscard]] FileSystem& file_system() override { return *real_; }
  void truncate(const std::string& path, off_t bytes) const {
    ASSERT_EQ(::truncate((directory_ / "root" / path).c_str(), bytes), 0);
  }

  test::TemporaryDirectory directory_;
  std::unique_ptr<FileSystem, void (*)(FileSystem*)> real_ = make_file_system(directory_ / "root");
};

TEST_F(TruncatedFiles, UnderAnAppend) {
  start({{"durability", "pagecache"}});
  open();
  for (int i = 0; i < 10; ++i) append(i, {.body_bytes = 2000});
  truncate(segment(0), 4096);
  const Status status = try_append(10, {.body_bytes = 2000});
  EXPECT_EQ(status.code, ErrorCode::io_error);
  EXPECT_NE(std::string(status.text).find(segment(0)), std::string::npos) << status.text;
  EXPECT_EQ(try_append(10).code, ErrorCode::offline);
  ReadResult good = read(0, 2061);
  EXPECT_TRUE(std::equal(appended_.begin(), appended_.begin() + 2061, bytes_of(good).begin()))
      << "reads of what is there go on";
  good.pin->release();
  ReadResult lost;
  EXPECT_FALSE(log_->read({.from = {5}, .limit = {10}, .bytes_max = 2061}, &lost).ok());
}

TEST_F(TruncatedFiles, UnderAnAppendIntoTheLastPageThatIsLeft) {
  start();
  open();
  append(0, {.body_bytes = 1000});
  work();
  truncate(segment(0), 1061);
  append(1, {.body_bytes = 1000});  // no fault: the page is there, the bytes are not in the file
  work();
  EXPECT_FALSE(host().sink.of(log_->durability_domain()).failure.ok()) << "never answered";
  EXPECT_EQ(host().sink.of(log_->durability_domain()).position, 1U);
}

TEST_F(TruncatedFiles, UnderAReadOfASealedSegment) {
  start();
  open({.segment_bytes = 20'000});
  for (int i = 0; i < 40; ++i) append(i, {.body_bytes = 1900});
  work();
  ReadResult held = read(0);
  truncate(segment(0), 0);
  ReadResult result;
  const Status status = log_->read({.from = {3}, .limit = {40}, .bytes_max = 5000}, &result);
  EXPECT_FALSE(status.ok());
  EXPECT_NE(std::string(status.text).find(segment(0)), std::string::npos) << status.text;
  EXPECT_EQ(result.pin, nullptr);
  for (const std::byte byte : bytes_of(held)) (void)byte;  // held slices read as zeros: the process lives
  held.pin->release();
  ReadResult other = read(20, 5000);
  EXPECT_EQ(other.slice_count, 1U) << "the other segments are readable";
  other.pin->release();
}

TEST_F(TruncatedFiles, PreparedPartsTakeBlocksSoThatNoCopyMeetsAFullDisk) {
  start({{"durability", "pagecache"}});
  open();
  append(0);
  struct stat info{};
  ASSERT_EQ(::stat((directory_ / "root" / segment(0)).c_str(), &info), 0);
  EXPECT_GE(info.st_blocks * 512, 65536) << "reserved, not a hole";
  EXPECT_EQ(info.st_size, 65536);
}

}  // namespace
}  // namespace streambus::storage_mmap
