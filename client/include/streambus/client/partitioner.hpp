#pragma once

#include <cstdint>

#include "streambus/base/ids.hpp"

namespace streambus::client {

/// MurmurHash2, 32 bits, seed 0x9747b28c: what Kafka's Java client hashes keys with.
[[nodiscard]] std::uint32_t murmur2(Bytes data) noexcept;

/// The partition of a key, as Kafka's Java client chooses it: records with one key meet in one partition, whichever of the
/// two clients wrote them. `partition_count` >= 1.
[[nodiscard]] PartitionId partition_of_key(Bytes key, std::int32_t partition_count) noexcept;

}  // namespace streambus::client
