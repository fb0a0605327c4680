#pragma once

#include "streambus/base/crc32c.hpp"
#include "streambus/base/record_batch.hpp"

namespace streambus::storage_sqlite {

/// Whole batches, one behind the other without a gap, from `first` to `next`.
[[nodiscard]] inline Status check_append(Bytes batches, Offset first, Offset next) noexcept {
  if (first == next) return {ErrorCode::invalid_argument, "expected at least one batch"};
  while (!batches.empty()) {
    std::size_t bytes = 0;
    const Status framed = frame_batch(batches, &bytes);
    if (!framed.ok()) return {ErrorCode::invalid_argument, framed.message()};
    const BatchHeader header(batches.data());
    if (header.base_offset() != first || header.next_offset() <= first)
      return {ErrorCode::invalid_argument, "expected batches whose offsets follow each other"};
    first = header.next_offset();
    batches = batches.subspan(bytes);
  }
  return first == next ? Status{} : Status{ErrorCode::invalid_argument, "expected the last batch to end at `next`"};
}

/// Whole and valid by checksum. What compaction left of a batch may have fewer records than offsets.
[[nodiscard]] inline bool is_sound(Bytes bytes, std::size_t* total) noexcept {
  constexpr std::size_t kCrcStart = 21;
  if (!frame_batch(bytes, total).ok()) return false;
  const BatchHeader header(bytes.data());
  return header.next_offset() > header.base_offset() && crc32c(bytes.first(*total).subspan(kCrcStart)) == header.crc();
}

/// The checksum of a row.
[[nodiscard]] inline std::uint32_t row_crc(Offset base, Offset next, TimestampMs time, Offset after, Bytes data) noexcept {
  std::byte numbers[32];
  store_be(numbers, base.value);
  store_be(numbers + 8, next.value);
  store_be(numbers + 16, time);
  store_be(numbers + 24, after.value);
  return crc32c_extend(crc32c(numbers), data);
}

}  // namespace streambus::storage_sqlite
