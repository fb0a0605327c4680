// The bytes on disk: docs/formats/mmap.md is compared with what the engine writes, and the manifest with its decoder.

#include <fstream>
#include <map>
#include <sstream>

#include "manifest.hpp"
#include "mmap_fixture.hpp"

namespace streambus::storage_mmap {
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

/// The hex dumps of the document, by the name in their fence: ```hex NAME. A line is "offset  bytes  = remark".
std::map<std::string, std::string> documented() {
  std::ifstream in(std::string(STREAMBUS_TEST_SOURCE_DIR) + "/docs/formats/mmap.md");
  std::map<std::string, std::string> dumps;
  std::string line;
  std::string name;
  while (std::getline(in, line)) {
    if (line.starts_with("```")) {
      name = name.empty() && line.starts_with("```hex ") ? line.substr(7) : "";
      continue;
    }
    if (name.empty()) continue;
    std::istringstream words(line.substr(0, line.find('=')));
    std::string word;
    words >> word;  // the offset
    while (words >> word) dumps[name] += word;
  }
  return dumps;
}

class MmapFormat : public MmapTest {};

/// The partition of the document's worked example: two segments, the second made by a replacement, closed in order.
TEST_F(MmapFormat, DocumentShowsTheBytesOfEveryFile) {
  class One final : public BatchSource {
   public:
    Status next(Bytes* batches) noexcept override {
      *batches = std::exchange(left_, {});
      return {};
    }

   private:
    const std::vector<std::byte> batch_ = make_batch({.base = 1, .body_bytes = 10, .max_timestamp = 1'700'000'000'500});
    Bytes left_ = batch_;
  } kept;
  start();
  open({.segment_bytes = 1024});
  append(0, {.body_bytes = 10, .max_timestamp = 1'700'000'000'500});
  append(1, {.body_bytes = 10, .max_timestamp = 1'700'000'000'500});
  ASSERT_TRUE(log_->apply({.segment_bytes = 1024, .segment_ms = 1}).ok());
  host().wall += 1000;
  append(2, {.records = 2, .body_bytes = 19, .max_timestamp = 1'700'000'000'700, .epoch = 1});
  work();
  ASSERT_TRUE(log_->replace({0}, {2}, kept).ok());
  close_and_stop();
  std::map<std::string, std::string> shown = documented();
  std::map<std::string, std::string> written;
  for (const std::string& path : files_.paths()) written[path.substr(path.rfind('/') + 1)] = hex_of(files_.content(path));
  ASSERT_EQ(written.size(), 7U);
  for (const auto& [name, bytes] : written) EXPECT_EQ(shown[name], bytes) << name;
  EXPECT_EQ(shown.size(), written.size());
}

TEST(MmapManifest, DecodesWhatItEncodesAndNothingElse) {
  Manifest manifest;
  manifest.closed = true;
  manifest.run = 7;
  manifest.start = {5};
  manifest.end = {30};
  manifest.generation = 3;
  manifest.entries.push_back({.base = {0},
                              .end = {10},
                              .bytes = 500,
                              .max_timestamp = 99,
                              .first_append_ms = 12,
                              .frame_crc = 0xabcd1234,
                              .generation = 2});
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
}

}  // namespace
}  // namespace streambus::storage_mmap
