#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>

namespace streambus {

/// Read-only and writable views of bytes; they own nothing.
using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

/// Position of a record in a partition, counted from 0, one per record. Gaps are legal.
struct Offset {
  std::int64_t value = 0;

  constexpr auto operator<=>(const Offset&) const noexcept = default;
  friend constexpr Offset operator+(Offset offset, std::int64_t records) noexcept { return {offset.value + records}; }
  friend constexpr Offset operator-(Offset offset, std::int64_t records) noexcept { return {offset.value - records}; }
  friend constexpr std::int64_t operator-(Offset a, Offset b) noexcept { return a.value - b.value; }
};

inline constexpr Offset kNoOffset{-1};

/// Index of a partition in its topic, counted from 0.
using PartitionId = std::int32_t;

/// Increases whenever what a client read before may not be there any more. Starts at 0.
using LeaderEpoch = std::int32_t;

/// Wall-clock milliseconds since 1970, as RecordBatch carries them; -1 is "none".
using TimestampMs = std::int64_t;

inline constexpr TimestampMs kNoTimestamp = -1;

}  // namespace streambus
