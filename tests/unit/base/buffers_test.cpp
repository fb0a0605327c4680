#include "streambus/base/buffers.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include "allocation_count.hpp"
#include "streambus/base/buffer_pool.hpp"
#include "streambus/base/misuse.hpp"

namespace streambus {
namespace {

BufferPoolSettings pooled(std::size_t bytes_max = std::size_t{512} << 20) {
  BufferPoolSettings settings;
  settings.plain_malloc = false;
  settings.bytes_max = bytes_max;
  return settings;
}

std::uint64_t lent(const BufferPool& pool) {
  std::uint64_t count = 0;
  for (const BufferTierStatistics& tier : pool.statistics().tiers) count += tier.in_use;
  return count;
}

TEST(BuffersTest, WithBufferLendsForTheCallOnly) {
  BufferPool pool(pooled());
  std::size_t seen_bytes = 0;
  std::uint64_t lent_inside = 0;
  const Status status = with_buffer(pool, 5'000, [&](MutableBytes bytes) {
    std::memset(bytes.data(), 1, bytes.size());
    seen_bytes = bytes.size();
    lent_inside = lent(pool);
  });
  EXPECT_TRUE(status.ok());
  EXPECT_GE(seen_bytes, 5'000U);
  EXPECT_EQ(lent_inside, 1U);
  EXPECT_EQ(lent(pool), 0U);
}

TEST(BuffersTest, WithBufferGivesBackWhenTheFunctionThrows) {
  BufferPool pool(pooled());
  EXPECT_THROW((void)with_buffer(pool, 1, [](MutableBytes) { throw std::runtime_error("no"); }), std::runtime_error);
  EXPECT_EQ(lent(pool), 0U);
}

TEST(BuffersTest, WithBufferPassesTheRefusalOn) {
  BufferPool pool(pooled(std::size_t{1} << 20));
  const BufferRef all = *pool.get(std::size_t{1} << 20);
  bool called = false;
  EXPECT_EQ(with_buffer(pool, 1, [&](MutableBytes) { called = true; }).code, ErrorCode::busy);
  EXPECT_FALSE(called);
}

TEST(BuffersTest, ASliceIsTheSameBytesAtTheSameAddress) {
  BufferPool pool(pooled());
  BufferRef buffer = *pool.get(4096);
  const auto slice = zero_copy_slice(buffer, 100, 50);
  ASSERT_TRUE(slice.has_value());
  EXPECT_EQ(slice->bytes.data(), buffer->data() + 100);
  EXPECT_EQ(slice->bytes.size(), 50U);
  EXPECT_TRUE(slice->pin);
}

TEST(BuffersTest, SlicingChecksItsBounds) {
  BufferPool pool(pooled());
  const BufferRef buffer = *pool.get(4096);
  EXPECT_TRUE(zero_copy_slice(buffer, 0, 4096).has_value());
  EXPECT_TRUE(zero_copy_slice(buffer, 4096, 0).has_value());
  const std::pair<std::size_t, std::size_t> outside[] = {{0, 4097}, {1, 4096},     {4096, 1},
                                                         {4097, 0}, {SIZE_MAX, 2}, {2, SIZE_MAX}};
  for (const auto& [offset, length] : outside) {
    const auto slice = zero_copy_slice(buffer, offset, length);
    ASSERT_FALSE(slice.has_value()) << offset << " " << length;
    EXPECT_EQ(slice.error().code, ErrorCode::out_of_range);
  }
  EXPECT_EQ(zero_copy_slice(buffer, 1, 4096).error().message,
            "slice of a buffer: expected a range inside its 4096 bytes, found 4096 bytes from 1");
  EXPECT_EQ(zero_copy_slice(BufferRef{}, 0, 0).error().code, ErrorCode::invalid_argument);
}

TEST(BuffersTest, HoldersShareAViewAndTheLastGivesTheBufferBack) {
  BufferPool pool(pooled());
  BufferRef buffer = *pool.get(4096);
  std::memset(buffer->data(), 42, 4096);
  SharedSlice slice = *zero_copy_slice(buffer, 0, 4096);
  EXPECT_FALSE(buffer->unique());
  buffer.reset();
  EXPECT_EQ(lent(pool), 1U) << "the slice keeps the buffer";
  {
    std::vector<std::thread> readers;
    for (int i = 0; i < 4; ++i) {
      readers.emplace_back([copy = slice] {
        for (const std::byte byte : copy.bytes) ASSERT_EQ(byte, std::byte{42});
      });
    }
    for (std::thread& reader : readers) reader.join();
  }
  EXPECT_EQ(lent(pool), 1U);
  slice = {};
  EXPECT_EQ(lent(pool), 0U);
}

TEST(BuffersTest, SlicingAllocatesNothing) {
  if (kMisuseChecks) GTEST_SKIP() << "slices carry a checksum in this build";
  BufferPool pool(pooled());
  const BufferRef buffer = *pool.get(4096);
  const std::size_t before = test::allocations();
  const SharedSlice one = *zero_copy_slice(buffer, 0, 10);
  const SharedSlice two = one;  // NOLINT(performance-unnecessary-copy-initialization): the copy is what is tested
  EXPECT_EQ(test::allocations(), before);
}

TEST(BuffersDeathTest, StopsOnAWriteIntoSharedBytes) {
  if (!kMisuseChecks) GTEST_SKIP() << "needs a debug or address-sanitizer build";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  BufferPool pool(pooled());
  const BufferRef buffer = *pool.get(4096);
  EXPECT_DEATH(
      {
        SharedSlice slice = *zero_copy_slice(buffer, 10, 10);
        buffer->data()[12] ^= std::byte{1};
        slice = {};
      },
      "written after they were shared");
  {
    const SharedSlice slice = *zero_copy_slice(buffer, 10, 10);
    buffer->data()[20] ^= std::byte{1};  // behind the slice: allowed, a message under construction goes on there
  }
}

}  // namespace
}  // namespace streambus
