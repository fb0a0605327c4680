// Opening what a crash, a power cut or damage left.

#include "mmap_fixture.hpp"
#include "storage-common/synced_marks.hpp"

namespace streambus::storage_mmap {
namespace {

using storage_common::SyncedMarks;

class MmapRecovery : public MmapTest {
 protected:
  /// Five batches of 161 bytes; synced when the work ran.
  void fill(bool synced, std::vector<std::pair<std::string, std::string>> options = {}) {
    start(std::move(options));
    open();
    for (int i = 0; i < 5; ++i) {
      append(i, {.body_bytes = 100});
      if (synced) work();
    }
    crash();
  }
  void expect_prefix(int batches) {
    EXPECT_EQ(log_->state().end.value, batches);
    appended_.resize(static_cast<std::size_t>(batches) * 161);
    EXPECT_EQ(content(), appended_);
  }
};

TEST_F(MmapRecovery, ATornTailIsCutAtEveryLength) {
  fill(false, {{"durability", "pagecache"}});
  const std::vector<std::byte> whole = files_.content(segment(0));
  for (std::size_t bytes = 0; bytes <= 5 * 161 + 70; ++bytes) {
    std::vector<std::byte> torn(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes));
    torn.resize(whole.size());  // what did not arrive reads as zeros
    files_.put_file(segment(0), torn);
    std::vector<std::byte> expected(
        appended_.begin(), appended_.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(bytes / 161, 5) * 161));
    restart();
    open();
    EXPECT_EQ(content(), expected) << bytes;
    EXPECT_EQ(files_.exists(segment(0)), !expected.empty());
    if (!expected.empty()) {
      EXPECT_EQ(files_.content(segment(0)).size(), expected.size()) << "nothing stays behind the end";
    }
    crash();
    if (HasFailure()) return;
  }
}

TEST_F(MmapRecovery, DamageBeforeTheSyncedMarkRefusesAndSaysWhere) {
  fill(true);
  std::vector<std::byte> bytes = files_.content(segment(0));
  bytes[200] ^= std::byte{1};
  files_.set_content(segment(0), bytes);
  restart();
  const Status status = try_open();
  EXPECT_EQ(status.code, ErrorCode::corrupt);
  EXPECT_NE(std::string(status.text).find(segment(0)), std::string::npos) << status.text;
  EXPECT_NE(std::string(status.text).find("position 161"), std::string::npos) << status.text;
  EXPECT_EQ(files_.content(segment(0)), bytes) << "nothing on disk is changed";
}

TEST_F(MmapRecovery, ABaseOffsetThatChangedBeforeTheMarkIsFound) {
  fill(true);
  std::vector<std::byte> bytes = files_.content(segment(0));
  bytes[4 * 161 + 6] ^= std::byte{1};  // the last batch's base offset rises: legal by itself
  files_.set_content(segment(0), bytes);
  restart();
  EXPECT_EQ(try_open().code, ErrorCode::corrupt);
}

TEST_F(MmapRecovery, EveryFlippedByteIsRefusedOrHarmless) {
  start();
  open({.segment_bytes = 1024});
  for (int i = 0; i < 8; ++i) append(i, {.body_bytes = 300});
  close_and_stop();
  std::map<std::string, std::vector<std::byte>> saved;
  for (const std::string& path : files_.paths()) saved[path] = files_.content(path);
  ASSERT_GE(saved.size(), 9U);
  case_.options = {{"verify_on_open", "true"}};
  int refused = 0;
  int harmless = 0;
  for (const auto& [damaged_path, original] : saved) {
    const std::size_t step = original.size() > 256 ? 5 : 1;
    for (std::size_t byte = 0; byte < original.size(); byte += step) {
      for (const auto& [path, bytes] : saved) files_.put_file(path, bytes);
      std::vector<std::byte> damaged = original;
      damaged[byte] ^= static_cast<std::byte>(1U << (byte * 5 % 8));
      files_.put_file(damaged_path, damaged);
      EngineUnderTest again(case_, files_, StorageHost::Workers::test);
      if (!again.start().ok() || !again.engine().open(kKey, {}, {.segment_bytes = 1024}, &log_).ok()) {
        ++refused;
        continue;
      }
      ++harmless;
      EXPECT_EQ(content(), appended_) << damaged_path << " byte " << byte;
      (void)std::exchange(log_, nullptr)->close();
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(refused, 8 * 361 / 5);
  EXPECT_GT(harmless, 100) << "a damaged index is rebuilt";
}

TEST_F(MmapRecovery, CleanRestartReadsNoSegment) {
  start();
  open({.segment_bytes = 10'000});
  for (int i = 0; i < 100; ++i) append(i, {.body_bytes = 1000});
  close_and_stop();
  restart();
  files_.plan({.kinds = only(FileOperation::read) | only(FileOperation::map)});
  open();
  EXPECT_LE(files_.counted(), 1U) << "the manifest tells it all";
  EXPECT_TRUE(log_->state().clean);
  files_.heal();
  EXPECT_EQ(content(), appended_);
}

TEST_F(MmapRecovery, MissingIndexesAreRebuilt) {
  start();
  open({.segment_bytes = 30'000});
  for (int i = 0; i < 200; ++i) append(i, {.body_bytes = 500, .max_timestamp = 1000 + i});
  close_and_stop();
  for (const std::string& path : files_.paths()) {
    if (path.ends_with(".index")) {
      ASSERT_TRUE(files_.remove(path).ok());
    }
  }
  restart();
  open();
  for (const std::int64_t from : {3LL, 77LL, 130LL, 199LL}) {
    const ReadResult result = read(from, 600);
    EXPECT_EQ(BatchHeader(bytes_of(result).data()).base_offset().value, from);
    result.pin->release();
    Offset found;
    ASSERT_TRUE(log_->find_time(1000 + from, &found).ok());
    EXPECT_EQ(found.value, from);
  }
  EXPECT_GE(host().metric_value("storage_index_rebuilds_total"), 3);
  EXPECT_TRUE(files_.exists(segment(0, 0, "index"))) << "and written again";
}

TEST_F(MmapRecovery, DamagedMarksAreReportedAndLessStrict) {
  fill(true);
  std::vector<std::byte> marks = files_.content(SyncedMarks::kFileName);
  marks[30] ^= std::byte{1};
  files_.set_content(SyncedMarks::kFileName, marks);
  restart();
  EXPECT_TRUE(host().logged("slots are damaged"));
  open();
  expect_prefix(5);
}

TEST_F(MmapRecovery, ASpareThatWasPreparedIsRemoved) {
  start({{"durability", "pagecache"}});
  open({.segment_bytes = 4096});
  for (int i = 0; i < 3; ++i) append(i, {.body_bytes = 1000});
  work();
  const std::string spare = std::string(test::kTopicId) + "/0/spare.tmp";
  ASSERT_TRUE(files_.exists(spare));
  crash();
  restart();
  open();
  EXPECT_FALSE(files_.exists(spare));
  EXPECT_EQ(content(), appended_);
}

TEST_F(MmapRecovery, ANewerFormatIsRefusedWithAWord) {
  fill(true);
  std::vector<std::byte> state = files_.content("mmap.state");
  state[11] = std::byte{2};
  files_.set_content("mmap.state", state);
  const Status status = under_test_->start();
  EXPECT_EQ(status.code, ErrorCode::unsupported);
  EXPECT_NE(std::string(status.text).find("newer build"), std::string::npos) << status.text;
}

}  // namespace
}  // namespace streambus::storage_mmap
