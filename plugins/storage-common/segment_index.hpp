#pragma once
// The sparse index of one segment, by offset, position and time in one table.

#include <algorithm>
#include <string_view>
#include <vector>

#include "storage-common/text.hpp"
#include "streambus/base/bytes.hpp"
#include "streambus/base/crc32c.hpp"
#include "streambus/base/ids.hpp"

namespace streambus::storage_common {

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
  [[nodiscard]] std::uint64_t first_position() const noexcept { return entries_.empty() ? UINT64_MAX : entries_[0].position; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept { return entries_.capacity() * sizeof(IndexEntry); }

  /// Puts the entries of `earlier` that lie before this index's first in front.
  void prepend(const SegmentIndex& earlier);

  /// The file's bytes. `magic`: 8 bytes, the engine's own. `segment_bytes`: how much of the segment the index covers.
  [[nodiscard]] std::vector<std::byte> encode(std::string_view magic, std::uint64_t segment_bytes) const;
  /// Errors: corrupt (checksum, magic, order, another segment, or it covers more than `segment_bytes`), unsupported (version).
  [[nodiscard]] static Status decode(std::string_view magic, Bytes bytes, Offset segment_base, std::uint64_t segment_bytes,
                                     SegmentIndex* out);

 private:
  // magic, version, entry count, segment base, covered bytes, interval; entries; checksum.
  static constexpr std::uint32_t kVersion = 1;
  static constexpr std::size_t kHeaderBytes = 40;
  static constexpr std::size_t kEntryBytes = 24;
  static constexpr std::size_t kChecksumBytes = 4;

  void thin();

  Offset segment_base_;
  std::uint64_t interval_ = kFirstInterval;
  std::uint64_t next_position_ = 0;
  std::vector<IndexEntry> entries_;
};

inline void SegmentIndex::add(Offset base, std::uint64_t position, TimestampMs max_before) {
  if (entries_.size() >= kEntriesMax) thin();
  if (entries_.capacity() == entries_.size())
    entries_.reserve(std::min(kEntriesMax, std::max<std::size_t>(16, entries_.size() * 2)));
  entries_.push_back({base, position, max_before});
  next_position_ = position + interval_;
}

inline void SegmentIndex::thin() {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries_.size(); i += 2) entries_[kept++] = entries_[i];
  entries_.resize(kept);
  interval_ *= 2;
}

inline bool SegmentIndex::at_or_before(Offset offset, IndexEntry* entry) const noexcept {
  const auto after = std::upper_bound(entries_.begin(), entries_.end(), offset,
                                      [](Offset wanted, const IndexEntry& e) { return wanted < e.base; });
  if (after == entries_.begin()) return false;
  *entry = *(after - 1);
  return true;
}

inline bool SegmentIndex::at_or_before_position(std::uint64_t position, IndexEntry* entry) const noexcept {
  const auto after = std::upper_bound(entries_.begin(), entries_.end(), position,
                                      [](std::uint64_t wanted, const IndexEntry& e) { return wanted < e.position; });
  if (after == entries_.begin()) return false;
  *entry = *(after - 1);
  return true;
}

inline bool SegmentIndex::before_time(TimestampMs timestamp, IndexEntry* entry) const noexcept {
  // max_before never falls, so the entries below the timestamp are a prefix.
  const auto after = std::partition_point(entries_.begin(), entries_.end(),
                                          [timestamp](const IndexEntry& e) { return e.max_before < timestamp; });
  if (after == entries_.begin()) return false;
  *entry = *(after - 1);
  return true;
}

inline void SegmentIndex::prepend(const SegmentIndex& earlier) {
  std::vector<IndexEntry> all;
  all.reserve(earlier.entries_.size() + entries_.size());
  for (const IndexEntry& entry : earlier.entries_) {
    if (entry.position < first_position()) all.push_back(entry);
  }
  all.insert(all.end(), entries_.begin(), entries_.end());
  entries_ = std::move(all);
  interval_ = std::max(interval_, earlier.interval_);
  while (entries_.size() > kEntriesMax) thin();
}

inline std::vector<std::byte> SegmentIndex::encode(std::string_view magic, std::uint64_t segment_bytes) const {
  std::vector<std::byte> bytes(kHeaderBytes + entries_.size() * kEntryBytes + kChecksumBytes);
  ByteWriter out(bytes);
  out.bytes(as_bytes(magic));
  out.write(kVersion);
  out.write(static_cast<std::uint32_t>(entries_.size()));
  out.write(segment_base_.value);
  out.write(segment_bytes);
  out.write(interval_);
  for (const IndexEntry& entry : entries_) {
    out.write(entry.base.value);
    out.write(entry.position);
    out.write(entry.max_before);
  }
  out.write(crc32c(Bytes(bytes).first(bytes.size() - kChecksumBytes)));
  return bytes;
}

inline Status SegmentIndex::decode(std::string_view magic, Bytes bytes, Offset segment_base, std::uint64_t segment_bytes,
                                   SegmentIndex* out) {
  if (bytes.size() < kHeaderBytes + kChecksumBytes)
    return status_of(ErrorCode::corrupt, "index of %zu bytes is too short", bytes.size());
  ByteReader in(bytes);
  if (as_text(in.bytes(8)) != magic) return {ErrorCode::corrupt, "not an index: wrong magic"};
  if (const auto version = in.read<std::uint32_t>(); version != kVersion) {
    return status_of(ErrorCode::unsupported, "index version: expected %u, found %u", kVersion, version);
  }
  const auto count = in.read<std::uint32_t>();
  if (bytes.size() != kHeaderBytes + std::size_t{count} * kEntryBytes + kChecksumBytes) {
    return status_of(ErrorCode::corrupt, "index of %u entries in %zu bytes", count, bytes.size());
  }
  if (load_be<std::uint32_t>(bytes.data() + bytes.size() - kChecksumBytes) !=
      crc32c(bytes.first(bytes.size() - kChecksumBytes))) {
    return {ErrorCode::corrupt, "index checksum does not hold"};
  }
  SegmentIndex index({in.read<std::int64_t>()});
  const auto covered = in.read<std::uint64_t>();
  if (index.segment_base_ != segment_base || covered > segment_bytes) return {ErrorCode::corrupt, "index of another segment"};
  index.interval_ = in.read<std::uint64_t>();
  index.entries_.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Offset base{in.read<std::int64_t>()};
    const auto position = in.read<std::uint64_t>();
    const auto max_before = in.read<TimestampMs>();
    if (position >= covered || (i > 0 && position <= index.entries_.back().position))
      return {ErrorCode::corrupt, "index entries out of order"};
    index.entries_.push_back({base, position, max_before});
  }
  index.next_position_ = count == 0 ? 0 : index.entries_.back().position + index.interval_;
  *out = std::move(index);
  return {};
}

}  // namespace streambus::storage_common
