#include "streambus/client/partitioner.hpp"

#include <bit>
#include <cstring>

namespace streambus::client {

std::uint32_t murmur2(Bytes data) noexcept {
  constexpr std::uint32_t kMultiplier = 0x5bd1e995;
  constexpr std::uint32_t kSeed = 0x9747b28c;
  constexpr int kShift = 24;
  std::uint32_t hash = kSeed ^ static_cast<std::uint32_t>(data.size());
  std::size_t position = 0;
  for (; position + 4 <= data.size(); position += 4) {
    std::uint32_t block;
    std::memcpy(&block, data.data() + position, sizeof block);
    if constexpr (std::endian::native == std::endian::big) block = std::byteswap(block);
    block *= kMultiplier;
    block ^= block >> kShift;
    block *= kMultiplier;
    hash = (hash * kMultiplier) ^ block;
  }
  const std::size_t tail = data.size() - position;
  for (std::size_t i = 0; i < tail; ++i) hash ^= std::to_integer<std::uint32_t>(data[position + i]) << (8 * i);
  if (tail > 0) hash *= kMultiplier;
  hash ^= hash >> 13;
  hash *= kMultiplier;
  return hash ^ (hash >> 15);
}

PartitionId partition_of_key(Bytes key, std::int32_t partition_count) noexcept {
  return static_cast<PartitionId>((murmur2(key) & 0x7fffffffU) % static_cast<std::uint32_t>(partition_count));
}

}  // namespace streambus::client
