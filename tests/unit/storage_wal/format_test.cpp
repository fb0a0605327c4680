// The bytes on disk: docs/formats/wal.md is compared with what the engine writes, and every small file with its decoder.

#include <fstream>
#include <map>
#include <sstream>

#include "index.hpp"
#include "manifest.hpp"
#include "marks.hpp"
#include "paths.hpp"
#include "streambus/base/crc32c.hpp"
#include "wal_fixture.hpp"

namespace streambus::storage_wal {
namespace {

std::string hex_of(Bytes bytes) {
  std::string text;
  char digits[3];
  for (const std::byte byte : bytes) {
    std::snprintf(digits, sizeof digits, "%02x", std::to_integer<unsigned>(byte));
    text += digits;
  }
  return text;
}

/// The hex dumps of the document, by the name in their fence: ```hex NAME. A line is "offset  bytes  remark".
std::map<std::string, std::string> documented() {
  std::ifstream in(std::string(STREAMBUS_TEST_SOURCE_DIR) + "/docs/formats/wal.md");
  std::map<std::string, std::string> dumps;
  std::string line;
  std::string name;
  while (std::getline(in, line)) {
    if (line.starts_with("```")) {
      name = name.empty() && line.starts_with("```hex ") ? line.substr(7) : "";
      continue;
    }
    if (name.empty()) continue;
    std::istringstream words(line);
    std::string word;
    words >> word;  // the offset
    while (words >> word && word.size() == 2 && word.find_first_not_of("0123456789abcdef") == std::string::npos)
      dumps[name] += word;
  }
  return dumps;
}

/// The partition of the document's worked example: two batches, closed in order.
class WorkedExample : public WalTest {
 protected:
  void play() {
    start();
    open();
    append(0, {.records = 2, .body_bytes = 19, .max_timestamp = 1'700'000'000'500});
    append(2, {.records = 1, .body_bytes = 10, .max_timestamp = 1'700'000'000'700, .epoch = 1});
    flush();
    close_and_stop();
  }
};

TEST_F(WorkedExample, DocumentShowsTheBytesOfEveryFile) {
  play();
  std::map<std::string, std::string> shown = documented();
  std::map<std::string, std::string> written;
  for (const std::string& path : files_.paths()) written[path.substr(path.rfind('/') + 1)] = hex_of(files_.content(path));
  ASSERT_EQ(written.size(), 5U);
  for (const auto& [name, bytes] : written) EXPECT_EQ(shown[name], bytes) << name;
  EXPECT_EQ(shown.size(), written.size());
}

TEST(SegmentIndexTest, ThinsOutAndStillFindsBoundaries) {
  SegmentIndex index({1000});
  std::uint64_t position = 0;
  std::int64_t base = 1000;
  while (position < (std::uint64_t{1} << 30)) {
    if (index.wants(position)) index.add({base}, position, base * 10);
    position += 1000;
    base += 7;
  }
  EXPECT_LE(index.size(), SegmentIndex::kEntriesMax);
  EXPECT_GE(index.size(), SegmentIndex::kEntriesMax / 2);
  EXPECT_LE(index.memory_bytes(), 128U * 1024);
  IndexEntry entry;
  for (const std::int64_t offset : {1000LL, 1001LL, 50'000LL, 5'000'000LL}) {
    ASSERT_TRUE(index.at_or_before({offset}, &entry));
    EXPECT_LE(entry.base.value, offset);
    EXPECT_LT(offset - entry.base.value, 7 * 1100) << "an entry at most a megabyte away";
    EXPECT_EQ(entry.position, static_cast<std::uint64_t>((entry.base.value - 1000) / 7 * 1000));
    IndexEntry again;
    ASSERT_TRUE(index.at_or_before_position(entry.position, &again));
    EXPECT_EQ(again.base, entry.base);
    ASSERT_TRUE(index.before_time(entry.max_before + 1, &again));
    EXPECT_EQ(again.base, entry.base);
  }
  EXPECT_FALSE(index.at_or_before({999}, &entry));
  EXPECT_FALSE(index.before_time(10'000, &entry));
}

TEST(SegmentIndexTest, DecodesWhatItEncodesAndNothingElse) {
  SegmentIndex index({50});
  for (int i = 0; i < 20; ++i) index.add({50 + i * 10}, static_cast<std::uint64_t>(i) * 5000, i * 100 - 1);
  const std::vector<std::byte> bytes = index.encode(100'000);
  SegmentIndex decoded;
  ASSERT_TRUE(SegmentIndex::decode(bytes, {50}, 100'000, &decoded).ok());
  EXPECT_EQ(decoded.encode(100'000), bytes);
  EXPECT_EQ(SegmentIndex::decode(bytes, {51}, 100'000, &decoded).code, ErrorCode::corrupt) << "another segment's";
  EXPECT_EQ(SegmentIndex::decode(bytes, {50}, 99'999, &decoded).code, ErrorCode::corrupt) << "covers more than there is";
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::vector<std::byte> damaged = bytes;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_FALSE(SegmentIndex::decode(damaged, {50}, 100'000, &decoded).ok()) << "bit " << bit;
  }
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(SegmentIndex::decode(Bytes(bytes).first(size), {50}, 100'000, &decoded).ok()) << size;
  }
}

TEST(SegmentIndexTest, PrependJoinsTwoHalves) {
  SegmentIndex earlier({0});
  SegmentIndex later({0});
  for (int i = 0; i < 10; ++i) earlier.add({i}, static_cast<std::uint64_t>(i) * 4096, i);
  for (int i = 8; i < 20; ++i) later.add({i}, static_cast<std::uint64_t>(i) * 4096, i);
  later.prepend(earlier);
  EXPECT_EQ(later.size(), 20U);
  IndexEntry entry;
  ASSERT_TRUE(later.at_or_before({3}, &entry));
  EXPECT_EQ(entry.position, 3U * 4096);
}

TEST(ManifestTest, DecodesWhatItEncodesAndNothingElse) {
  Manifest manifest;
  manifest.closed = true;
  manifest.run = 7;
  manifest.start = {5};
  manifest.end = {30};
  manifest.entries.push_back(
      {.base = {0}, .end = {10}, .bytes = 500, .max_timestamp = 99, .first_append_ms = 12, .frame_crc = 0xabcd1234});
  manifest.entries.push_back({.base = {10}, .end = {30}, .bytes = 700, .active = true});
  const std::vector<std::byte> bytes = manifest.encode(test::kTopicId, 3);
  Manifest decoded;
  ASSERT_TRUE(Manifest::decode(bytes, test::kTopicId, 3, &decoded).ok());
  EXPECT_EQ(decoded.encode(test::kTopicId, 3), bytes);
  EXPECT_EQ(Manifest::decode(bytes, test::kTopicId, 4, &decoded).code, ErrorCode::corrupt) << "another partition's";
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::vector<std::byte> damaged = bytes;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_FALSE(Manifest::decode(damaged, test::kTopicId, 3, &decoded).ok()) << "bit " << bit;
  }
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(Manifest::decode(Bytes(bytes).first(size), test::kTopicId, 3, &decoded).ok()) << size;
  }
  manifest.entries[1].base = {11};
  EXPECT_EQ(Manifest::decode(manifest.encode(test::kTopicId, 3), test::kTopicId, 3, &decoded).code, ErrorCode::corrupt)
      << "a hole between segments";
}

TEST(ManifestTest, ReplacementsNeedVersion2AndNothingElseDoes) {
  Manifest manifest;
  manifest.end = {30};
  manifest.entries.push_back({.base = {0}, .end = {10}, .bytes = 500, .batches_end = {10}});
  manifest.entries.push_back({.base = {10}, .end = {30}, .bytes = 700, .batches_end = {30}});
  const std::vector<std::byte> plain = manifest.encode(test::kTopicId, 3);
  EXPECT_EQ(load_be<std::uint32_t>(plain.data() + 8), 1U);
  EXPECT_EQ(plain.size(), 76U + 2 * 48);
  Manifest decoded;
  ASSERT_TRUE(Manifest::decode(plain, test::kTopicId, 3, &decoded).ok());
  EXPECT_EQ(decoded.entries[1].batches_end.value, 30) << "version 1 has no gaps at the end";

  manifest.entries[0].generation = 7;
  manifest.entries[0].batches_end = {4};
  const std::vector<std::byte> bytes = manifest.encode(test::kTopicId, 3);
  EXPECT_EQ(load_be<std::uint32_t>(bytes.data() + 8), 2U);
  EXPECT_EQ(bytes.size(), 76U + 2 * 60);
  ASSERT_TRUE(Manifest::decode(bytes, test::kTopicId, 3, &decoded).ok());
  EXPECT_EQ(decoded.entries[0].generation, 7U);
  EXPECT_EQ(decoded.entries[0].batches_end.value, 4);
  EXPECT_EQ(decoded.encode(test::kTopicId, 3), bytes);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::vector<std::byte> damaged = bytes;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_FALSE(Manifest::decode(damaged, test::kTopicId, 3, &decoded).ok()) << "bit " << bit;
  }
  manifest.entries[0].batches_end = {11};
  EXPECT_EQ(Manifest::decode(manifest.encode(test::kTopicId, 3), test::kTopicId, 3, &decoded).code, ErrorCode::corrupt)
      << "batches beyond the segment";
}

TEST(SegmentNameTest, HaveAnOffsetAndPerhapsAGeneration) {
  const auto parsed = [](std::string_view name) {
    SegmentName found;
    if (!parse_segment_name(name, "log", &found)) return std::string("none");
    return std::to_string(found.base.value) + "/" + std::to_string(found.generation);
  };
  EXPECT_EQ(parsed("00000000000000018432.log"), "18432/0");
  EXPECT_EQ(parsed("00000000000000018432-12.log"), "18432/12");
  for (const char* name : {"00000000000000018432-.log", "00000000000000018432-0.log", "00000000000000018432-01.log",
                           "00000000000000018432-1x.log", "00000000000000018432-12.index", "0018432.log", ".log", "log",
                           "00000000000000018432log", "99999999999999999999.log", "00000000000000018432-12345678901.log"}) {
    EXPECT_EQ(parsed(name), "none") << name;
  }
  EXPECT_EQ(parsed(Path::segment("d", {5}, 3, "log").view().substr(2)), "5/3");
}

class FormatVersion : public WalTest {
 protected:
  /// Puts another version into wal.state, with a checksum that holds.
  void set_version(std::uint32_t version) {
    std::vector<std::byte> bytes = files_.content(DirectoryState::kFileName);
    store_be(bytes.data() + 8, version);
    store_be(bytes.data() + bytes.size() - 4, crc32c(Bytes(bytes).first(bytes.size() - 4)));
    files_.set_content(DirectoryState::kFileName, bytes);
  }
};

TEST_F(FormatVersion, NewerAndOlderDirectoriesAreRefusedWithWhatToDo) {
  start();
  open();
  append(0);
  close_and_stop();
  set_version(2);
  Status status = under_test_->start();
  EXPECT_EQ(status.code, ErrorCode::unsupported);
  EXPECT_NE(std::string(status.text).find("format version 2, this build reads up to 1: use a newer build"), std::string::npos)
      << status.text;
  under_test_->destroy();
  set_version(0);
  status = under_test_->start();
  EXPECT_EQ(status.code, ErrorCode::unsupported);
  EXPECT_NE(std::string(status.text).find("format version 0"), std::string::npos) << status.text;
  under_test_->destroy();
  set_version(1);
  ASSERT_TRUE(under_test_->start().ok());
  open();
  EXPECT_EQ(content(), appended_);
}

TEST_F(FormatVersion, DamagedStateIsRefusedAndAMissingOneMeansCaution) {
  start();
  open();
  append(0);
  close_and_stop();
  std::vector<std::byte> bytes = files_.content(DirectoryState::kFileName);
  bytes[20] ^= std::byte{1};
  files_.set_content(DirectoryState::kFileName, bytes);
  const Status status = under_test_->start();
  EXPECT_EQ(status.code, ErrorCode::corrupt);
  EXPECT_NE(std::string(status.text).find("remove the file"), std::string::npos) << status.text;
  under_test_->destroy();
  ASSERT_TRUE(files_.remove(DirectoryState::kFileName).ok());
  ASSERT_TRUE(under_test_->start().ok());
  EXPECT_TRUE(host().logged("wal.state is missing"));
  open();
  EXPECT_FALSE(log_->state().clean) << "without the state nothing is taken for clean";
  EXPECT_EQ(content(), appended_);
}

}  // namespace
}  // namespace streambus::storage_wal
