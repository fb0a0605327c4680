#pragma once
// The sparse index of one segment, by offset, position and time in one table.

#include <span>
#include <vector>

#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"
#include "streambus/plugin/files.hpp"

namespace streambus::storage_wal {

/// Where a batch starts, and the largest timestamp of all batches of the segment before it.
struct IndexEntry {
  Offset base;
  std::uint64_t position = 0;
  TimestampMs max_before = kNoTimestamp;
};

/// Entries every few KiB, at most kEntriesMax: when the table is full, every second entry goes and the distance doubles.
/// Not thread-safe.
class SegmentIndex {
 public:
  static constexpr std::size_t kEntriesMax = 4096;
  static constexpr std::uint64_t kFirstInterval = 4096;
  static constexpr std::size_t kFileBytesMax = 64 + 24 * kEntriesMax;

  explicit SegmentIndex(Offset segment_base = {}) noexcept : segment_base_(segment_base) {}

  /// True where a batch at `position` deserves an entry.
  [[nodiscard]] bool wants(std::uint64_t position) const noexcept { return position >= next_position_; }
  /// Adds an entry, positions rising. May allocate (amortized).
  void add(Offset base, std::uint64_t position, TimestampMs max_before);

  /// The last entry with base <= offset, position <= position, or with max_before < timestamp. False where there is none.
  [[nodiscard]] bool at_or_before(Offset offset, IndexEntry* entry) const noexcept;
  [[nodiscard]] bool at_or_before_position(std::uint64_t position, IndexEntry* entry) const noexcept;
  [[nodiscard]] bool before_time(TimestampMs timestamp, IndexEntry* entry) const noexcept;

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] std::span<const IndexEntry> entries() const noexcept { return entries_; }
  [[nodiscard]] std::uint64_t first_position() const noexcept { return entries_.empty() ? UINT64_MAX : entries_[0].position; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept { return entries_.capacity() * sizeof(IndexEntry); }

  /// Puts the entries of `earlier` that lie before this index's first in front.
  void prepend(const SegmentIndex& earlier);

  /// The file's bytes. `segment_bytes`: how much of the segment the index covers.
  [[nodiscard]] std::vector<std::byte> encode(std::uint64_t segment_bytes) const;
  /// Errors: corrupt (checksum, magic, order, another segment, or it covers more than `segment_bytes`), unsupported (version).
  [[nodiscard]] static Status decode(Bytes bytes, Offset segment_base, std::uint64_t segment_bytes, SegmentIndex* out);

 private:
  void thin();

  Offset segment_base_;
  std::uint64_t interval_ = kFirstInterval;
  std::uint64_t next_position_ = 0;
  std::vector<IndexEntry> entries_;
};

}  // namespace streambus::storage_wal
