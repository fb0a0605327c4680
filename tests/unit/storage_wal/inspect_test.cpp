// Looking at a directory that no engine has open: what is found, what is taken for legal, and that nothing changes.

#include <random>

#include "engine.hpp"
#include "inspect_segment.hpp"
#include "streambus/base/crc32c.hpp"
#include "streambus/base/misuse.hpp"
#include "streambus/host/option_values.hpp"
#include "wal_fixture.hpp"

namespace streambus::storage_wal {
namespace {

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr bool kThorough = false;
#define STREAMBUS_TEST_THOROUGH_SET
#endif
#endif
#ifndef STREAMBUS_TEST_THOROUGH_SET
constexpr bool kThorough = !kMisuseChecks;  ///< sanitizers make a flip ten times as expensive: they take fewer
#endif
constexpr std::size_t kMegabyte = std::size_t{1} << 20;

/// What an inspection said.
struct Report {
  struct Kept {
    FindingKind kind;
    std::string file;
    std::uint64_t position;
    std::uint64_t bytes;
    Offset first;
    Offset next;
    std::string text;
  };

  [[nodiscard]] int count(FindingKind kind) const { return static_cast<int>(std::ranges::count(findings, kind, &Kept::kind)); }

  std::vector<std::string> segments;
  std::vector<std::byte> bytes;
  std::uint64_t batches = 0;
  std::vector<Kept> findings;
  int damages = 0;
};

/// Keeps what an inspection says.
struct Recorder final : Inspector, Report {
  bool partition(std::string_view, PartitionId) noexcept override { return true; }
  bool segment(const InspectedSegment& segment) noexcept override {
    segments.emplace_back(segment.file);
    return wanted_segment.empty() || segment.file == wanted_segment;
  }
  bool batch(Bytes batch, std::uint64_t) noexcept override {
    if (keep_bytes) bytes.insert(bytes.end(), batch.begin(), batch.end());
    return ++batches < batches_max;
  }
  void finding(const Finding& finding) noexcept override {
    damages += is_damage(finding.kind) ? 1 : 0;
    findings.push_back({finding.kind, std::string(finding.file), finding.position, finding.bytes, finding.first, finding.next,
                        std::string(finding.text)});
  }

  std::string wanted_segment;  ///< empty: all
  std::uint64_t batches_max = UINT64_MAX;
  bool keep_bytes = true;
};

class InspectTest : public WalTest {
 protected:
  [[nodiscard]] Status inspect(Recorder& recorder) {
    StorageHost host(files_, StorageHost::Workers::test);
    WalEngine engine(host, OptionValues(std::span(kOptions)));
    return engine.inspect(recorder);
  }
  [[nodiscard]] Report inspected() {
    Recorder recorder;
    const Status status = inspect(recorder);
    EXPECT_TRUE(status.ok()) << status.text;
    return std::move(static_cast<Report&>(recorder));
  }
  /// Twelve batches in three segments, closed in order.
  void make_closed() {
    start();
    open({.segment_bytes = 2048});
    for (int i = 0; i < 12; ++i) append(i * 2, {.records = 2, .body_bytes = 400});
    flush();
    close_and_stop();
  }
  /// Ends as a killed process does, everything synced.
  void make_crashed(int batches) {
    start({{"zero_ahead", "0"}});
    open();
    for (int i = 0; i < batches; ++i) append(i, {.body_bytes = 100});
    flush();
  }
  void flip(const std::string& path, std::size_t byte, unsigned bit) {
    std::vector<std::byte> content = files_.content(path);
    content[byte] ^= static_cast<std::byte>(1U << bit);
    files_.set_content(path, content);
  }
  [[nodiscard]] std::map<std::string, std::vector<std::byte>> everything() {
    std::map<std::string, std::vector<std::byte>> all;
    for (const std::string& path : files_.paths()) all[path] = files_.content(path);
    return all;
  }
};

TEST_F(InspectTest, AClosedLogIsGoodAndGivesAllItsBatches) {
  make_closed();
  const Report found = inspected();
  EXPECT_TRUE(found.findings.empty()) << found.findings.front().text;
  EXPECT_EQ(found.batches, 12U);
  EXPECT_GE(found.segments.size(), 3U);
  EXPECT_EQ(found.bytes, appended_);
}

TEST_F(InspectTest, AnEmptyDirectoryIsGood) {
  const Report found = inspected();
  EXPECT_TRUE(found.findings.empty());
}

TEST_F(InspectTest, NothingIsChanged) {
  make_crashed(5);
  crash();
  const auto before = everything();
  files_.plan({.at = 1, .kinds = test::kChanges & ~only(FileOperation::open)});
  (void)inspected();
  EXPECT_EQ(files_.counted(), 0U);
  EXPECT_EQ(everything(), before);
}

TEST_F(InspectTest, EveryBitOfEveryFileOfAClosedDirectoryCounts) {
  make_closed();
  for (const auto& [path, content] : everything()) {
    for (std::size_t byte = 0; byte < content.size(); byte += kThorough ? 1 : 7) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        flip(path, byte, bit);
        Recorder found;
        found.keep_bytes = false;
        ASSERT_TRUE(inspect(found).ok()) << path << " byte " << byte << " bit " << bit;
        ASSERT_GT(found.damages, 0) << path << " byte " << byte << " bit " << bit;
        flip(path, byte, bit);
      }
    }
  }
  EXPECT_EQ(inspected().damages, 0);
}

TEST_F(InspectTest, SeededFlipsOfALargeSegmentAreFoundAndPlaced) {
  start();
  open();
  for (int i = 0; appended_.size() < kMegabyte; ++i) append(i, {.body_bytes = 4000});
  flush();
  close_and_stop();
  const std::string path = segment(0);
  std::mt19937_64 random(4);
  for (int i = 0; i < (kThorough ? 500 : 50); ++i) {
    const std::size_t byte = random() % appended_.size();
    flip(path, byte, static_cast<unsigned>(i % 8));
    Recorder found;
    found.keep_bytes = false;
    ASSERT_TRUE(inspect(found).ok());
    ASSERT_GT(found.damages, 0) << "byte " << byte << " bit " << i % 8;
    // What follows is still shown: at most the damaged batch is missing.
    ASSERT_GE(found.batches + 1, appended_.size() / 4061) << "byte " << byte << " bit " << i % 8;
    flip(path, byte, static_cast<unsigned>(i % 8));
  }
}

/// A file in memory that only reads.
class BytesFile final : public File {
 public:
  explicit BytesFile(std::vector<std::byte>& bytes) : bytes_(bytes) {}
  Status read_at(std::uint64_t position, MutableBytes out, std::size_t* read) noexcept override {
    *read = std::min<std::size_t>(out.size(), bytes_.size() - std::min<std::size_t>(bytes_.size(), position));
    if (*read > 0) std::memcpy(out.data(), bytes_.data() + position, *read);
    return {};
  }
  Status write_at(std::uint64_t, const Slice*, std::size_t) noexcept override { return {ErrorCode::unsupported, "read-only"}; }
  Status sync() noexcept override { return {ErrorCode::unsupported, "read-only"}; }
  Status size(std::uint64_t* bytes) noexcept override {
    *bytes = bytes_.size();
    return {};
  }
  Status truncate(std::uint64_t) noexcept override { return {ErrorCode::unsupported, "read-only"}; }
  Status start_writeback(std::uint64_t, std::uint64_t) noexcept override { return {}; }
  Status reserve(std::uint64_t) noexcept override { return {}; }
  int descriptor() const noexcept override { return -1; }
  void close() noexcept override {}

 private:
  std::vector<std::byte>& bytes_;
};

/// A segment of about `bytes` in memory, and what a manifest and an index say of it.
struct MemorySegment {
  MemorySegment(Offset base, std::size_t wanted) {
    claim.path = "segment";
    claim.index_path = "index";
    claim.base = base;
    claim.listed = true;
    Frames frames{.end = base};
    index = SegmentIndex(base);
    for (std::int64_t offset = base.value; bytes.size() < wanted; ++offset) {
      const std::vector<std::byte> batch = make_batch({.base = offset, .body_bytes = 180, .epoch = 3});
      if (index.wants(bytes.size())) index.add({offset}, bytes.size(), frames.max_timestamp);
      add_frame(batch.data(), &frames);
      bytes.insert(bytes.end(), batch.begin(), batch.end());
    }
    claim.entry = {.base = base,
                   .end = frames.end,
                   .bytes = bytes.size(),
                   .max_timestamp = frames.max_timestamp,
                   .frame_crc = frames.frame_crc,
                   .batches_end = frames.end};
    claim.index = &index;
  }
  [[nodiscard]] int damages() {
    BytesFile file(bytes);
    Recorder found;
    found.keep_bytes = false;
    SegmentVerdict verdict;
    EXPECT_TRUE(inspect_segment(file, claim, found, &verdict).ok());
    return found.damages;
  }

  std::vector<std::byte> bytes;
  SegmentIndex index;
  SegmentClaim claim;
};

TEST(InspectSegmentTest, EveryBitOfAMegabyteOfSegmentsCounts) {
  constexpr std::size_t kSegmentBytes = 1024;
  constexpr std::size_t kStep = kThorough ? 1 : 13;  // in sanitizer builds every 13th byte, which meets every field
  std::uint64_t flips = 0;
  for (std::size_t done = 0; done < kMegabyte;) {
    MemorySegment segment({static_cast<std::int64_t>(done)}, kSegmentBytes);
    ASSERT_EQ(segment.damages(), 0);
    for (std::size_t byte = done / kSegmentBytes % kStep; byte < segment.bytes.size(); byte += kStep) {
      for (unsigned bit = 0; bit < 8; ++bit, ++flips) {
        segment.bytes[byte] ^= static_cast<std::byte>(1U << bit);
        ASSERT_GT(segment.damages(), 0) << "segment " << done << " byte " << byte << " bit " << bit;
        segment.bytes[byte] ^= static_cast<std::byte>(1U << bit);
      }
    }
    done += segment.bytes.size();
  }
  EXPECT_GE(flips, kMegabyte * 8 / kStep / 2);
}

TEST_F(InspectTest, ADamagedBatchIsPassedOverAndTheLossNamed) {
  make_closed();
  const std::size_t batch = kBatchHeaderBytes + 400;
  flip(segment(0), batch + 100, 3);
  const Report found = inspected();
  ASSERT_EQ(found.count(FindingKind::damage), 1);
  const auto damage = std::ranges::find(found.findings, FindingKind::damage, &Report::Kept::kind);
  EXPECT_EQ(damage->file, segment(0));
  EXPECT_EQ(damage->position, batch);
  EXPECT_EQ(damage->bytes, batch);
  EXPECT_EQ(damage->first, Offset{2});
  EXPECT_EQ(damage->next, Offset{4});
  EXPECT_EQ(found.batches, 11U);
}

TEST_F(InspectTest, AChangedOffsetIsPlacedThoughTheBatchesAreWhole) {
  make_closed();
  flip(segment(0), kBatchHeaderBytes + 400 + 5, 0);  // the second batch claims an offset far ahead
  const Report found = inspected();
  ASSERT_GT(found.count(FindingKind::damage), 0);
  EXPECT_EQ(found.findings[0].position, kBatchHeaderBytes + 400);
  EXPECT_EQ(found.batches, 12U);
}

TEST_F(InspectTest, EveryLengthOfATornTailIsLegal) {
  make_crashed(3);
  const std::size_t synced = appended_.size();
  append(3, {.body_bytes = 100});
  crash();
  const std::vector<std::byte> content = files_.content(segment(0));
  ASSERT_EQ(content.size(), appended_.size());
  for (std::size_t bytes = synced; bytes <= content.size(); ++bytes) {
    files_.set_content(segment(0), Bytes(content).first(bytes));
    const Report found = inspected();
    ASSERT_EQ(found.damages, 0) << bytes << ": " << found.findings.front().text;
    // The first seven bytes of offset 3 are zeros, as what was filled ahead.
    ASSERT_EQ(found.count(FindingKind::torn_tail), bytes > synced + 7 && bytes < content.size() ? 1 : 0) << bytes;
    ASSERT_EQ(found.batches, bytes == content.size() ? 4U : 3U);
  }
}

TEST_F(InspectTest, EveryLengthBelowTheSyncedMarkIsDamage) {
  make_crashed(3);
  crash();
  const std::vector<std::byte> content = files_.content(segment(0));
  for (std::size_t bytes = 0; bytes < content.size(); ++bytes) {
    files_.set_content(segment(0), Bytes(content).first(bytes));
    ASSERT_GT(inspected().damages, 0) << bytes;
  }
}

TEST_F(InspectTest, BehindTheMarkOnlyTheEpochIsCoveredByNothing) {
  make_crashed(2);
  const std::size_t synced = appended_.size();
  append(2, {.body_bytes = 100});
  crash();
  std::set<std::size_t> silent;
  for (std::size_t byte = synced; byte < appended_.size(); ++byte) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      flip(segment(0), byte, bit);
      const Report found = inspected();
      ASSERT_EQ(found.damages, 0);
      // A base offset that moved up is a gap to whoever compares neighbours: the batch shows it.
      const bool moved = found.batches == 3 && byte - synced < 8 && found.bytes != appended_;
      if (found.findings.empty() && !moved) silent.insert(byte - synced);
      flip(segment(0), byte, bit);
    }
  }
  EXPECT_EQ(silent, (std::set<std::size_t>{12, 13, 14, 15}));
}

TEST_F(InspectTest, AMissingSegmentIsDamage) {
  make_closed();
  ASSERT_TRUE(files_.remove(segment(8)).ok());
  const Report found = inspected();
  ASSERT_EQ(found.count(FindingKind::damage), 1);
  const auto damage = std::ranges::find(found.findings, FindingKind::damage, &Report::Kept::kind);
  EXPECT_EQ(damage->first, Offset{8});
  EXPECT_EQ(found.count(FindingKind::leftover), 1);  // its index
}

TEST_F(InspectTest, AMissingIndexIsNoDamageAWrongOneIs) {
  make_closed();
  ASSERT_TRUE(files_.remove(segment(0, "index")).ok());
  EXPECT_EQ(inspected().count(FindingKind::derived_missing), 1);
  EXPECT_EQ(inspected().damages, 0);
  SegmentIndex wrong(Offset{0});
  wrong.add({2}, 17, kNoTimestamp);  // well-formed, and no batch begins there
  files_.put_file(segment(0, "index"), wrong.encode(1000));
  EXPECT_EQ(inspected().count(FindingKind::derived_damaged), 1);
}

TEST_F(InspectTest, LeftOversAreNamedAndNoDamage) {
  make_closed();
  for (const std::string& path : {kDirectory + "manifest.tmp", kDirectory + "00000000000000000099.log.cut",
                                  kDirectory + "notes", std::string("wal.state.tmp")}) {
    files_.put_file(path, {});
  }
  const Report found = inspected();
  EXPECT_EQ(found.count(FindingKind::leftover), 4);
  EXPECT_EQ(found.damages, 0);
}

TEST_F(InspectTest, WithoutAManifestThatHoldsTheSegmentsAreShownAllTheSame) {
  make_closed();
  flip(kDirectory + "manifest", 30, 1);
  const Report found = inspected();
  EXPECT_EQ(found.damages, 1);
  EXPECT_EQ(found.bytes, appended_);
}

TEST_F(InspectTest, ANewerFormatIsNotJudged) {
  make_closed();
  std::vector<std::byte> bytes = files_.content(DirectoryState::kFileName);
  store_be(bytes.data() + 8, std::uint32_t{99});
  store_be(bytes.data() + bytes.size() - 4, crc32c(Bytes(bytes).first(bytes.size() - 4)));
  files_.set_content(DirectoryState::kFileName, bytes);
  Recorder recorder;
  EXPECT_EQ(inspect(recorder).code, ErrorCode::unsupported);
}

TEST_F(InspectTest, TheInspectorMayLeaveOutSegmentsAndEndIt) {
  make_closed();
  Recorder one;
  one.wanted_segment = segment(8);
  ASSERT_TRUE(inspect(one).ok());
  EXPECT_EQ(one.batches, 4U);
  Recorder few;
  few.batches_max = 5;
  EXPECT_EQ(inspect(few).code, ErrorCode::cancelled);
  EXPECT_EQ(few.batches, 5U);
}

TEST_F(InspectTest, AFileThatCannotBeReadIsAnError) {
  make_closed();
  files_.plan({.at = 3, .kinds = only(FileOperation::read), .errno_value = EIO});
  Recorder recorder;
  EXPECT_EQ(inspect(recorder).code, ErrorCode::io_error);
  EXPECT_EQ(files_.open_files(), 0);
}

}  // namespace
}  // namespace streambus::storage_wal
