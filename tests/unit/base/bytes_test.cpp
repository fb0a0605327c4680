#include "streambus/base/bytes.hpp"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace streambus {
namespace {

constexpr std::int64_t kMin64 = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMax64 = std::numeric_limits<std::int64_t>::max();

TEST(BytesTest, ZigZagMapsAsProtocolBuffersDo) {
  constexpr std::pair<std::int64_t, std::uint64_t> kPairs[] = {{0, 0},
                                                               {-1, 1},
                                                               {1, 2},
                                                               {-2, 3},
                                                               {2147483647, 4294967294},
                                                               {-2147483648LL, 4294967295},
                                                               {kMax64, UINT64_MAX - 1},
                                                               {kMin64, UINT64_MAX}};
  for (const auto& [value, mapped] : kPairs) {
    EXPECT_EQ(zigzag(value), mapped);
    EXPECT_EQ(unzigzag(mapped), value);
  }
}

TEST(BytesTest, VarintsOfEveryLengthRoundTrip) {
  for (unsigned bits = 0; bits <= 64; ++bits) {
    const std::uint64_t value = bits == 0 ? 0 : UINT64_MAX >> (64 - bits);
    std::array<std::byte, 10> memory{};
    ByteWriter out(memory);
    out.varint(value);
    ASSERT_TRUE(out.ok());
    EXPECT_EQ(out.written(), varint_bytes(value)) << bits;
    EXPECT_EQ(out.written(), bits == 0 ? 1 : (bits + 6) / 7);
    ByteReader in(Bytes(memory).first(out.written()));
    EXPECT_EQ(in.varint(), value);
    EXPECT_TRUE(in.ok());
  }
}

TEST(BytesTest, ReaderIsBadForGoodAfterTheFirstReadPastTheEnd) {
  constexpr std::array<std::byte, 3> kMemory{std::byte{1}, std::byte{2}, std::byte{3}};
  ByteReader in(kMemory);
  EXPECT_EQ(in.read<std::int16_t>(), 0x0102);
  EXPECT_EQ(in.read<std::int16_t>(), 0);
  EXPECT_FALSE(in.ok());
  EXPECT_EQ(in.read<std::int8_t>(), 0) << "the byte that is left must not be taken for another field";
  EXPECT_TRUE(in.bytes(1).empty());
  EXPECT_EQ(in.remaining(), 0U);
}

TEST(BytesTest, ReaderRefusesVarintsWithoutEnd) {
  std::array<std::byte, 11> memory{};
  memory.fill(std::byte{0x80});
  for (const std::size_t bytes : {0U, 1U, 9U, 10U, 11U}) {
    ByteReader in(Bytes(memory).first(bytes));
    EXPECT_EQ(in.varint(), 0U);
    EXPECT_FALSE(in.ok()) << bytes;
  }
}

TEST(BytesTest, WriterDropsWhatDoesNotFit) {
  std::array<std::byte, 4> memory{};
  ByteWriter out(MutableBytes(memory).first(3));
  out.write<std::int16_t>(0x0102);
  out.write<std::int16_t>(0x0304);
  EXPECT_FALSE(out.ok());
  out.write<std::int8_t>(5);
  EXPECT_EQ(out.written(), 2U) << "nothing after the gap";
  EXPECT_EQ(memory[2], std::byte{0});
  EXPECT_EQ(memory[3], std::byte{0});
}

}  // namespace
}  // namespace streambus
