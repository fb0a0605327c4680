#include "streambus/base/crc32c.hpp"

#include <isa-l/crc.h>

#include <algorithm>

namespace streambus {

std::uint32_t crc32c(Bytes bytes) noexcept { return crc32c_extend(0, bytes); }

std::uint32_t crc32c_extend(std::uint32_t crc, Bytes bytes) noexcept {
  constexpr std::size_t kStepBytes = std::size_t{1} << 30;  // isa-l takes the length as an int
  std::uint32_t state = ~crc;
  while (!bytes.empty()) {
    const std::size_t step = std::min(bytes.size(), kStepBytes);
    // isa-l's parameter is not const; it only reads.
    state = crc32_iscsi(const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data())),
                        static_cast<int>(step), state);
    bytes = bytes.subspan(step);
  }
  return ~state;
}

}  // namespace streambus
