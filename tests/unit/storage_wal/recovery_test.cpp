// What is found after a crash or damage: cut, rebuilt or refused, and never other records than those that were written.

#include "marks.hpp"
#include "wal_fixture.hpp"

namespace streambus::storage_wal {
namespace {

class Recovery : public WalTest {
 protected:
  /// Five batches of odd sizes in one segment; the boundaries between them.
  void fill(const std::vector<std::pair<std::string, std::string>>& options, bool synced) {
    start(options);
    open();
    boundaries_ = {0};
    for (int i = 0; i < 5; ++i) {
      append(i, {.body_bytes = 20 + static_cast<std::size_t>(i) * 13});
      boundaries_.push_back(appended_.size());
    }
    if (synced) flush();
    crash();
  }
  void expect_prefix(std::size_t batches) {
    EXPECT_EQ(log_->state().end.value, static_cast<std::int64_t>(batches));
    const std::vector<std::byte> expected(appended_.begin(),
                                          appended_.begin() + static_cast<std::ptrdiff_t>(boundaries_[batches]));
    EXPECT_EQ(content(), expected);
  }
  /// How many batches end at or before a position.
  [[nodiscard]] std::size_t whole_below(std::size_t position) const {
    std::size_t count = 0;
    while (count + 1 < boundaries_.size() && boundaries_[count + 1] <= position) ++count;
    return count;
  }
  std::vector<std::size_t> boundaries_;
};

TEST_F(Recovery, TornTailIsCutToTheLastWholeBatchAtEveryLength) {
  for (const char* const kind : {"short", "zeros", "garbage"}) {
    fill({{"durability", "pagecache"}}, false);
    const std::vector<std::byte> whole = files_.content(segment(0));
    ASSERT_EQ(whole, appended_);
    for (std::size_t length = 0; length <= whole.size(); ++length) {
      std::vector<std::byte> torn(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      if (kind[0] != 's') torn.resize(whole.size() + 300, kind[0] == 'z' ? std::byte{0} : std::byte{0x5a});
      EngineUnderTest again(case_, files_, StorageHost::Workers::test);
      ASSERT_TRUE(again.start().ok());
      (void)files_.remove(kDirectory + "manifest");  // of the round before
      files_.put_file(segment(0), torn);
      ASSERT_TRUE(again.engine().open(kKey, {}, {}, &log_).ok()) << kind << length;
      // A batch whose missing bytes happen to be what the tail holds is whole.
      std::size_t expected = whole_below(length);
      while (expected + 1 < boundaries_.size() && torn.size() >= boundaries_[expected + 1] &&
             std::equal(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(boundaries_[expected + 1]), torn.begin())) {
        ++expected;
      }
      expect_prefix(expected);
      EXPECT_FALSE(log_->state().clean);
      const std::vector<std::byte> more = make_batch({.base = static_cast<std::int64_t>(expected), .body_bytes = 33});
      AppendResult result;
      EXPECT_TRUE(log_->append(more, log_->state().end, log_->state().end + 1, 0, &result).ok());
      EXPECT_TRUE(std::exchange(log_, nullptr)->close().ok());
      if (HasFailure()) return;
    }
    appended_.clear();
    under_test_.reset();
    ASSERT_TRUE(files_.remove(segment(0)).ok());
    (void)files_.remove(kDirectory + "manifest");
  }
}

TEST_F(Recovery, DamageBeforeTheSyncedMarkRefusesAndSaysWhere) {
  fill({}, true);
  const std::vector<std::byte> whole = files_.content(segment(0));
  for (std::size_t position = 0; position < boundaries_.back(); ++position) {
    std::vector<std::byte> damaged = whole;
    damaged[position] ^= std::byte{0x10};
    files_.set_content(segment(0), damaged);
    ASSERT_TRUE(under_test_->start().ok());
    const Status status = try_open();
    ASSERT_EQ(status.code, ErrorCode::corrupt) << "byte " << position;
    EXPECT_NE(std::string(status.text).find(segment(0)), std::string::npos) << status.text;
    EXPECT_NE(std::string(status.text).find("position"), std::string::npos) << status.text;
    EXPECT_EQ(files_.content(segment(0)), damaged) << "what is refused is not touched";
    under_test_->destroy();
  }
  for (std::size_t length = 0; length < boundaries_.back(); length += 7) {
    files_.set_content(segment(0), Bytes(whole).first(length));
    ASSERT_TRUE(under_test_->start().ok());
    EXPECT_EQ(try_open().code, ErrorCode::corrupt) << "length " << length;
    under_test_->destroy();
  }
  ASSERT_TRUE(files_.remove(segment(0)).ok());
  ASSERT_TRUE(under_test_->start().ok());
  EXPECT_EQ(try_open().code, ErrorCode::corrupt) << "a synced segment that is gone";
}

TEST_F(Recovery, UnsyncedTailIsCutEvenWhereAMarkExists) {
  start();
  open();
  append(0);
  flush();
  append(1);
  crash();
  std::vector<std::byte> bytes = files_.content(segment(0));
  bytes[200] ^= std::byte{1};  // in the second batch
  files_.set_content(segment(0), bytes);
  ASSERT_TRUE(under_test_->start().ok());
  open();
  EXPECT_EQ(log_->state().end.value, 1);
  EXPECT_GT(host().metric_value("storage_recovery_cut_bytes_total"), 0);
  EXPECT_TRUE(host().logged("torn tail"));
}

TEST_F(Recovery, OldBatchesBehindAHoleNeverComeBack) {
  start({{"durability", "pagecache"}});
  open();
  for (int i = 0; i < 4; ++i) append(i);
  crash();
  const std::vector<std::byte> whole = files_.content(segment(0));
  std::vector<std::byte> holed = whole;
  std::fill(holed.begin() + 125, holed.begin() + 250, std::byte{0});  // batch 1 of equal batches did not arrive
  files_.set_content(segment(0), holed);
  ASSERT_TRUE(under_test_->start().ok());
  open();
  EXPECT_EQ(log_->state().end.value, 1);
  const std::vector<std::byte> other = make_batch({.base = 1, .seed = 99});  // ends exactly where the old batch 2 began
  AppendResult result;
  ASSERT_TRUE(log_->append(other, {1}, {2}, 0, &result).ok());
  crash();
  ASSERT_TRUE(under_test_->start().ok());
  open();
  EXPECT_EQ(log_->state().end.value, 2);
}

TEST_F(Recovery, EveryFlippedBitIsFoundOrHarmless) {
  // Two sealed segments and an active one, closed in order; then a second life that crashed after a sync.
  start({{"verify_on_open", "true"}});
  open({.segment_bytes = 1024});
  for (int i = 0; i < 9; ++i) append(i, {.body_bytes = 180});
  flush();
  close_and_stop();
  ASSERT_TRUE(under_test_->start().ok());
  open({.segment_bytes = 1024});
  append(9, {.body_bytes = 20});
  flush();
  crash();
  std::map<std::string, std::vector<std::byte>> saved;
  for (const std::string& path : files_.paths()) saved[path] = files_.content(path);
  ASSERT_GE(saved.size(), 7U);
  int refused = 0;
  int harmless = 0;
  for (const auto& [damaged_path, original] : saved) {
    const std::size_t step = original.size() > 2048 ? 7 : 1;
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
      // The zeros behind the active segment's batches may be damaged: that is no data.
      EXPECT_EQ(content(), appended_) << damaged_path << " byte " << byte;
      (void)std::exchange(log_, nullptr)->close();
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(refused, 1500);
  EXPECT_GT(harmless, 100) << "a damaged index is rebuilt";
}

TEST_F(Recovery, MissingOrWrongIndexesAreRebuilt) {
  start();
  open({.segment_bytes = 30'000});
  for (int i = 0; i < 200; ++i) append(i, {.body_bytes = 500, .max_timestamp = 1000 + i});
  flush();
  close_and_stop();
  ASSERT_TRUE(files_.exists(segment(0, "index")));
  ASSERT_TRUE(files_.remove(segment(0, "index")).ok());
  for (const std::string& path : files_.paths()) {
    if (!path.ends_with(".index")) continue;
    std::vector<std::byte> bytes = files_.content(path);
    bytes[bytes.size() / 2] ^= std::byte{4};
    files_.set_content(path, bytes);
  }
  ASSERT_TRUE(under_test_->start().ok());
  open();
  for (const std::int64_t from : {3LL, 77LL, 130LL, 199LL}) {
    ReadResult result;
    ASSERT_TRUE(log_->read({.from = {from}, .limit = {200}, .bytes_max = 600}, &result).ok());
    EXPECT_EQ(BatchHeader(test::bytes_of(result).data()).base_offset().value, from);
    result.pin->release();
    Offset found;
    ASSERT_TRUE(log_->find_time(1000 + from, &found).ok());
    EXPECT_EQ(found.value, from);
  }
  EXPECT_GE(host().metric_value("storage_index_rebuilds_total"), 3);
  EXPECT_TRUE(files_.exists(segment(0, "index"))) << "and written again";
  EXPECT_EQ(content(), appended_);
}

TEST_F(Recovery, MissingSegmentRefuses) {
  start();
  open({.segment_bytes = 1024});
  for (int i = 0; i < 20; ++i) append(i, {.body_bytes = 300});
  close_and_stop();
  ASSERT_TRUE(files_.exists(segment(4)));
  ASSERT_TRUE(files_.remove(segment(4)).ok());
  ASSERT_TRUE(under_test_->start().ok());
  const Status status = try_open();
  EXPECT_EQ(status.code, ErrorCode::corrupt);
  EXPECT_NE(std::string(status.text).find(segment(4)), std::string::npos) << status.text;
}

TEST_F(Recovery, CleanRestartReadsNoSegment) {
  start();
  open({.segment_bytes = 10'000});
  for (int i = 0; i < 100; ++i) append(i, {.body_bytes = 1000});
  close_and_stop();
  ASSERT_TRUE(under_test_->start().ok());
  files_.plan({.kinds = only(FileOperation::read)});
  open();
  EXPECT_LE(files_.counted(), 1U) << "the manifest tells it all";
  EXPECT_TRUE(log_->state().clean);
  files_.heal();
  EXPECT_EQ(content(), appended_);
}

TEST_F(Recovery, UncleanRestartReadsOnlyWhatIsNotSealed) {
  start();
  open({.segment_bytes = 10'000});
  for (int i = 0; i < 100; ++i) append(i, {.body_bytes = 1000});
  flush();
  crash();
  ASSERT_TRUE(under_test_->start().ok());
  files_.plan({.kinds = only(FileOperation::open)});
  open();
  EXPECT_LE(files_.counted(), 4U) << "manifest, the active segment, its new index";
  EXPECT_FALSE(log_->state().clean);
  files_.heal();
  EXPECT_EQ(content(), appended_);
}

TEST_F(Recovery, CrashAfterACleanRunIsNotTakenForClean) {
  // A manifest that says "closed" must not hide what a later, crashed run appended, however many clean runs follow.
  start();
  open();
  append(0);
  close_and_stop();
  ASSERT_TRUE(under_test_->start().ok());
  open();
  append(1);
  flush();
  crash();
  ASSERT_TRUE(under_test_->start().ok());  // this run does not open the partition
  ASSERT_TRUE(under_test_->stop().ok());
  ASSERT_TRUE(under_test_->start().ok());
  open();
  EXPECT_EQ(log_->state().end.value, 2);
  EXPECT_EQ(content(), appended_);
}

TEST_F(Recovery, DamagedMarksAreReportedAndLessStrict) {
  fill({}, true);
  std::vector<std::byte> marks = files_.content(SyncedMarks::kFileName);
  ASSERT_EQ(marks.size(), SyncedMarks::kSlotBytes);
  marks[30] ^= std::byte{1};
  files_.set_content(SyncedMarks::kFileName, marks);
  ASSERT_TRUE(under_test_->start().ok());
  EXPECT_TRUE(host().logged("slots are damaged"));
  open();
  expect_prefix(5);
}

TEST_F(Recovery, SegmentsBehindALostTailArePutAside) {
  start({{"durability", "pagecache"}});
  open({.segment_bytes = 1024});
  for (int i = 0; i < 8; ++i) append(i, {.body_bytes = 300});  // two to a segment; nothing sealed: no work ran
  files_.plan({.at = 1, .halt = true});
  (void)std::exchange(log_, nullptr)->close();
  under_test_->destroy();
  files_.heal();
  std::vector<std::byte> bytes = files_.content(segment(2));
  bytes.resize(bytes.size() - 10);
  files_.set_content(segment(2), bytes);
  ASSERT_TRUE(under_test_->start().ok());
  open();
  EXPECT_EQ(log_->state().end.value, 3);
  EXPECT_TRUE(files_.exists(segment(4, "log.cut")));
  EXPECT_TRUE(files_.exists(segment(6, "log.cut")));
  ASSERT_TRUE(std::exchange(log_, nullptr)->close().ok());
  ASSERT_TRUE(under_test_->engine().remove(kKey).ok()) << "and go with the partition";
}

}  // namespace
}  // namespace streambus::storage_wal
