#pragma once

#include <cstdint>

#include "streambus/base/ids.hpp"

namespace streambus {

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4), by isa-l. crc32c("123456789") is 0xe3069283.
[[nodiscard]] std::uint32_t crc32c(Bytes bytes) noexcept;

/// Continues a checksum: crc32c_extend(crc32c(a), b) is the checksum of a followed by b.
[[nodiscard]] std::uint32_t crc32c_extend(std::uint32_t crc, Bytes bytes) noexcept;

}  // namespace streambus
