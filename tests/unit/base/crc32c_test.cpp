#include "streambus/base/crc32c.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "streambus/base/bytes.hpp"

namespace streambus {
namespace {

/// The examples of RFC 3720, appendix B.4; the RFC lists the checksum's bytes least significant first.
TEST(Crc32cTest, AgreesWithTheExamplesOfTheRfc) {
  std::array<std::byte, 32> bytes{};
  EXPECT_EQ(crc32c(bytes), 0x8a9136aaU) << "32 bytes of zeroes";
  bytes.fill(std::byte{0xff});
  EXPECT_EQ(crc32c(bytes), 0x62a8ab43U) << "32 bytes of ones";
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(bytes), 0x46dd794eU) << "32 bytes, ascending";
  std::ranges::reverse(bytes);
  EXPECT_EQ(crc32c(bytes), 0x113fdb5cU) << "32 bytes, descending";

  constexpr std::array<unsigned char, 48> kReadCommand{0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
                                                       0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
                                                       0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
  EXPECT_EQ(crc32c(std::as_bytes(std::span(kReadCommand))), 0xd9963a56U) << "an iSCSI read command";
}

TEST(Crc32cTest, ChecksTheUsualDigits) {
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283U);
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(Crc32cTest, ContinuesWhereItStopped) {
  const Bytes text = as_bytes("The quick brown fox jumps over the lazy dog");
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(crc32c_extend(crc32c(text.first(cut)), text.subspan(cut)), crc32c(text)) << cut;
  }
}

TEST(Crc32cTest, DoesNotDependOnAlignment) {
  std::vector<std::byte> memory(1024 + 64, std::byte{0});
  const auto fill = [&](std::size_t start) {
    for (std::size_t i = 0; i < 1024; ++i) memory[start + i] = static_cast<std::byte>(i * 7);
    return crc32c(Bytes(memory).subspan(start, 1024));
  };
  const std::uint32_t expected = fill(0);
  for (std::size_t start = 1; start < 64; ++start) EXPECT_EQ(fill(start), expected) << start;
}

}  // namespace
}  // namespace streambus
