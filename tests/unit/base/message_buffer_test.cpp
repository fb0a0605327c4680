#include "streambus/base/message_buffer.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "allocation_count.hpp"
#include "streambus/base/buffer_pool.hpp"

namespace streambus {
namespace {

BufferPoolSettings pooled(std::size_t bytes_max = std::size_t{512} << 20) {
  BufferPoolSettings settings;
  settings.plain_malloc = false;
  settings.bytes_max = bytes_max;
  return settings;
}

class MessageBufferTest : public testing::Test {
 protected:
  BufferPool pool_{pooled()};
  MessageBuffer message_{pool_};
};

TEST_F(MessageBufferTest, BorrowsNothingUntilTheFirstWrite) {
  EXPECT_EQ(message_.capacity(), 0U);
  EXPECT_TRUE(message_.view().empty());
  EXPECT_EQ(pool_.statistics().bytes, 0U);
  message_.write<std::uint8_t>(1);
  EXPECT_EQ(message_.capacity(), 4096U);
}

TEST_F(MessageBufferTest, WritesPrimitivesBigEndianAndReadsThemBack) {
  message_.write<std::int8_t>(-2);
  message_.write<std::int16_t>(0x0102);
  message_.write<std::int32_t>(0x03040506);
  message_.write<std::int64_t>(0x0708090a0b0c0d0e);
  message_.signed_varint(-1);
  message_.varint(300);
  message_.bytes(as_bytes("text"));
  const std::string expected("\xfe\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x01\xac\x02text", 22);
  EXPECT_EQ(as_text(message_.view()), expected);

  ByteReader in(message_.view());
  EXPECT_EQ(in.read<std::int8_t>(), -2);
  EXPECT_EQ(in.read<std::int16_t>(), 0x0102);
  EXPECT_EQ(in.read<std::int32_t>(), 0x03040506);
  EXPECT_EQ(in.read<std::int64_t>(), 0x0708090a0b0c0d0e);
  EXPECT_EQ(in.signed_varint(), -1);
  EXPECT_EQ(in.varint(), 300U);
  EXPECT_EQ(as_text(in.bytes(4)), "text");
  EXPECT_TRUE(in.ok());
  EXPECT_EQ(in.remaining(), 0U);
}

TEST_F(MessageBufferTest, GrowsByDoublingAndKeepsTheContent) {
  std::string expected;
  for (int i = 0; i < 100'000; ++i) {
    message_.write<std::uint8_t>(static_cast<std::uint8_t>(i));
    expected.push_back(static_cast<char>(i));
  }
  EXPECT_TRUE(as_text(message_.view()) == expected);
  std::uint64_t gets = 0;
  for (const BufferTierStatistics& tier : pool_.statistics().tiers) gets += tier.misses + tier.hits;
  EXPECT_EQ(gets, 3U) << "4 KiB, 64 KiB, 1 MiB";
}

TEST_F(MessageBufferTest, SlicesShareTheMemoryAndSurviveGrowth) {
  message_.bytes(as_bytes("hello world"));
  const SharedSlice slice = message_.slice(6, 5);
  EXPECT_EQ(slice.bytes.data(), message_.view().data() + 6);
  ASSERT_NE(message_.extend(10'000), nullptr);
  EXPECT_NE(slice.bytes.data(), message_.view().data() + 6) << "the message moved to a larger buffer";
  EXPECT_EQ(as_text(slice.bytes), "world");
  EXPECT_EQ(as_text(message_.view().first(11)), "hello world");
}

TEST_F(MessageBufferTest, SlicesOutsideTheContentAreEmpty) {
  message_.bytes(as_bytes("abc"));
  EXPECT_EQ(message_.slice(0, 3).bytes.size(), 3U);
  for (const auto& [position, length] :
       {std::pair<std::size_t, std::size_t>{0, 4}, {3, 1}, {4, 0}, {SIZE_MAX, 2}, {1, SIZE_MAX}}) {
    const SharedSlice slice = message_.slice(position, length);
    EXPECT_TRUE(slice.bytes.empty() && !slice.pin) << position << " " << length;
  }
  EXPECT_TRUE(MessageBuffer(pool_).slice(0, 0).bytes.empty());
}

TEST_F(MessageBufferTest, ResetReusesTheMemoryWithoutAllocating) {
  message_.bytes(as_bytes("first"));
  const std::byte* const address = message_.view().data();
  const std::size_t before = test::allocations();
  message_.reset();
  EXPECT_EQ(message_.size(), 0U);
  message_.bytes(as_bytes("second"));
  EXPECT_EQ(message_.view().data(), address);
  EXPECT_EQ(test::allocations(), before);
}

TEST_F(MessageBufferTest, ResetLeavesTheMemoryToSlicesThatAreHeld) {
  message_.bytes(as_bytes("first"));
  const SharedSlice slice = message_.slice(0, 5);
  message_.reset();
  message_.bytes(as_bytes("other"));
  EXPECT_EQ(as_text(slice.bytes), "first");
  EXPECT_EQ(as_text(message_.view()), "other");
}

TEST_F(MessageBufferTest, TakeHandsTheBufferOver) {
  message_.bytes(as_bytes("mine"));
  const std::byte* const address = message_.view().data();
  const BufferRef taken = message_.take();
  EXPECT_EQ(taken->data(), address);
  EXPECT_EQ(message_.size(), 0U);
  EXPECT_EQ(message_.capacity(), 0U);
  message_.bytes(as_bytes("next"));
  EXPECT_EQ(as_text({taken->data(), 4}), "mine");
  EXPECT_EQ(as_text(message_.view()), "next");
}

TEST_F(MessageBufferTest, MovingLeavesAnEmptyMessage) {
  message_.bytes(as_bytes("abc"));
  MessageBuffer other(std::move(message_));
  EXPECT_EQ(as_text(other.view()), "abc");
  EXPECT_EQ(message_.size(), 0U);  // NOLINT(bugprone-use-after-move): what the move leaves is defined
  message_.bytes(as_bytes("xyz"));
  other = std::move(message_);
  EXPECT_EQ(as_text(other.view()), "xyz");
}

TEST_F(MessageBufferTest, PatchesAndCutsWhatWasWritten) {
  message_.write<std::int32_t>(0);
  message_.bytes(as_bytes("12345"));
  store_be(message_.at(0), static_cast<std::int32_t>(message_.size() - 4));
  message_.truncate(6);
  EXPECT_EQ(message_.size(), 6U);
  EXPECT_EQ(load_be<std::int32_t>(message_.view().data()), 5);
  message_.bytes(as_bytes("z"));
  EXPECT_EQ(as_text(message_.view().subspan(4)), "12z");
}

TEST(MessageBufferBoundTest, DropsWritesAfterAFailureUntilReset) {
  BufferPool pool(pooled(std::size_t{1} << 20));
  MessageBuffer message(pool);
  message.bytes(as_bytes("kept"));
  EXPECT_EQ(message.extend(std::size_t{2} << 20), nullptr);
  EXPECT_FALSE(message.ok());
  message.bytes(as_bytes("dropped"));
  EXPECT_EQ(message.extend(1), nullptr) << "a message with a hole must not look whole";
  EXPECT_EQ(as_text(message.view()), "kept");
  EXPECT_EQ(message.extend(SIZE_MAX), nullptr);
  message.reset();
  EXPECT_TRUE(message.ok());
  message.bytes(as_bytes("again"));
  EXPECT_EQ(as_text(message.view()), "again");
}

TEST(MessageBufferBoundTest, SizesThatWrapAroundFail) {
  BufferPool pool(pooled());
  MessageBuffer message(pool);
  message.write<std::uint8_t>(1);
  EXPECT_EQ(message.extend(SIZE_MAX), nullptr);
  message.reset();
  message.write<std::uint8_t>(1);
  EXPECT_EQ(message.extend(SIZE_MAX / 2), nullptr);
}

}  // namespace
}  // namespace streambus
