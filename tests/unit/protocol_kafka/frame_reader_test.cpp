#include "frame_reader.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "fake_host.hpp"
#include "session_driver.hpp"

namespace streambus::protocol_kafka::test {
namespace {

class FrameReaderTest : public ::testing::Test {
 protected:
  /// Gives the reader `bytes`, at most `chunk` at a time, and returns the frames that came out.
  std::vector<std::string> feed(std::string_view bytes, std::size_t chunk) {
    std::vector<std::string> frames;
    while (!bytes.empty()) {
      const MutableBytes space = reader_.space();
      EXPECT_FALSE(space.empty());
      const std::size_t count = std::min({space.size(), bytes.size(), chunk});
      std::memcpy(space.data(), bytes.data(), count);
      bytes.remove_prefix(count);
      reader_.received(count);
      MutableBytes frame;
      while (reader_.next(&frame) == FrameReader::Outcome::frame) frames.emplace_back(as_text(frame));
      high_water_ = std::max(high_water_, reader_.held_bytes());
      reader_.rest();
    }
    return frames;
  }

  streambus::test::FakeBuffers buffers_{BufferPoolSettings{}};
  FrameReader reader_{buffers_, std::uint64_t{101} << 20};
  std::size_t high_water_ = 0;
};

TEST_F(FrameReaderTest, CutsFramesWhateverTheChunks) {
  std::mt19937 random(7);
  std::vector<std::string> expected;
  std::string stream;
  std::string short_stream;  // what is delivered in the smallest pieces
  for (const std::size_t size : {0, 1, 5, 4091, 4092, 4093, 8000, 65532, 65533, 70000, 300, 1048572, 1048573, 2000000, 17, 9}) {
    std::string body(size, '\0');
    for (char& c : body) c = static_cast<char>(random());
    if (size >= 2) body[0] = body[1] = 0;  // produce requests
    stream += raw_frame(body);
    expected.push_back(std::move(body));
    if (expected.size() == 10) short_stream = stream;
  }
  for (const std::size_t chunk : {1UL << 30, 1UL << 16, 1000UL}) {
    reader_.clear();
    EXPECT_EQ(feed(stream, chunk), expected) << "chunks of " << chunk;
    EXPECT_EQ(reader_.held_bytes(), 0U);
  }
  expected.resize(10);
  EXPECT_EQ(feed(short_stream, 7), expected);
  EXPECT_EQ(buffers_.lent_bytes(), 0U);
}

TEST_F(FrameReaderTest, AnIdleConnectionBorrowsNothingAndStartsSmall) {
  EXPECT_EQ(reader_.held_bytes(), 0U);
  EXPECT_EQ(feed(raw_frame("abc"), 1 << 20).size(), 1U);
  EXPECT_EQ(high_water_, FrameReader::kSmallBytes);
  EXPECT_EQ(reader_.held_bytes(), 0U);
}

TEST_F(FrameReaderTest, HalfARequestThenSilenceHoldsLittle) {
  std::string start = raw_frame(std::string(10, '\0'));
  store_be(reinterpret_cast<std::byte*>(start.data()), std::int32_t{100 << 20});
  EXPECT_TRUE(feed(start, 1 << 20).empty());
  EXPECT_FALSE(reader_.space().empty());
  EXPECT_LE(reader_.held_bytes(), FrameReader::kMediumBytes);
  // As bytes come, the buffer grows with them.
  EXPECT_TRUE(feed(std::string(1 << 20, 'x'), 1 << 16).empty());
  EXPECT_LE(reader_.held_bytes(), std::size_t{5} << 20);
}

TEST_F(FrameReaderTest, ALargeFrameThatTricklesInIsMovedAFewTimesOnly) {
  EXPECT_EQ(feed(raw_frame(std::string(3'000'000, '\0')), 500).size(), 1U);
  EXPECT_LE(buffers_.gets, 6U);
  buffers_.gets = 0;
  EXPECT_EQ(feed(raw_frame(std::string(900'000, '\0')), 1 << 18).size(), 1U);
  EXPECT_EQ(buffers_.gets, 1U) << "frames of a size that was seen before go into one buffer";
}

TEST_F(FrameReaderTest, LearnsTheSizeOfFramesAndForgetsIt) {
  const std::string large = raw_frame(std::string(900'000, '\0'));
  EXPECT_EQ(feed(large, 1 << 20).size(), 1U);
  high_water_ = 0;
  const MutableBytes space = reader_.space();
  EXPECT_EQ(space.size(), FrameReader::kLargeBytes);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(feed(raw_frame("small"), 1 << 20).size(), 1U);
  EXPECT_LE(reader_.space().size(), FrameReader::kMediumBytes);
}

TEST_F(FrameReaderTest, ASharedFrameIsNotOverwritten) {
  const std::string first = raw_frame("first frame");
  MutableBytes space = reader_.space();
  std::memcpy(space.data(), first.data(), first.size());
  reader_.received(first.size());
  MutableBytes frame;
  ASSERT_EQ(reader_.next(&frame), FrameReader::Outcome::frame);
  const BufferRef held = reader_.share();
  for (int i = 0; i < 50; ++i) feed(raw_frame(std::string(500, 'z')), 1 << 20);
  EXPECT_EQ(as_text(frame), "first frame");
}

TEST_F(FrameReaderTest, WithoutMemoryThereIsNoSpaceUntilThereIs) {
  buffers_.exhausted = true;
  EXPECT_TRUE(reader_.space().empty());
  buffers_.exhausted = false;
  EXPECT_FALSE(reader_.space().empty());
}

struct BadLength {
  const char* first_bytes;
  std::size_t count;
  const char* says;
};

class BadLengthTest : public ::testing::TestWithParam<BadLength> {};

TEST_P(BadLengthTest, IsNamed) {
  streambus::test::FakeBuffers buffers{BufferPoolSettings{}};
  FrameReader reader(buffers, std::uint64_t{101} << 20);
  const MutableBytes space = reader.space();
  std::memcpy(space.data(), GetParam().first_bytes, GetParam().count);
  reader.received(GetParam().count);
  MutableBytes frame;
  ASSERT_EQ(reader.next(&frame), FrameReader::Outcome::bad);
  EXPECT_NE(std::string(reader.problem()).find(GetParam().says), std::string::npos) << reader.problem();
}

INSTANTIATE_TEST_SUITE_P(Lengths, BadLengthTest,
                         ::testing::Values(BadLength{"\xff\xff\xff\xff", 4, "negative"}, BadLength{"\x80\0\0\0", 4, "negative"},
                                           BadLength{"\x7f\xff\xff\xff", 4, "frame_bytes_max"},
                                           BadLength{"\x06\x60\0\0", 4, "frame_bytes_max"},
                                           BadLength{"\x16\x03\x01\x02", 4, "TLS"}, BadLength{"\x16\x03\x03\0", 4, "TLS"},
                                           BadLength{"GET / HTTP/1.1", 14, "HTTP"}, BadLength{"POST", 4, "HTTP"},
                                           BadLength{"SSH-", 4, "SSH"},
                                           // 5 MiB of anything but a produce request.
                                           BadLength{"\0\x50\0\0\0\x03", 6, "not a produce"}));

}  // namespace
}  // namespace streambus::protocol_kafka::test
