#pragma once
// Walking the batches of a segment file.

#include <vector>

#include "index.hpp"
#include "streambus/base/record_batch.hpp"
#include "streambus/plugin/files.hpp"

namespace streambus::storage_wal {

/// The part of a batch that its own checksum does not cover, and the checksum itself: base offset to CRC.
inline constexpr std::size_t kFrameBytes = 21;

/// What batches add up to.
struct Frames {
  Offset end;
  std::uint32_t frame_crc = 0;
  std::uint32_t batch_count = 0;
  TimestampMs max_timestamp = kNoTimestamp;
};

/// Adds up one whole batch.
void add_frame(const std::byte* batch, Frames* frames) noexcept;

/// Checks that `batches` are whole batches with the offsets first..next, rising, and adds them up on top of `frames`.
/// Errors: invalid_argument.
[[nodiscard]] Status walk_batches(Bytes batches, Offset first, Offset next, Frames* frames) noexcept;

/// A window over a file that moves forward.
class FileWindow {
 public:
  /// Reads nothing at or behind `end`.
  FileWindow(File& file, std::uint64_t end);

  [[nodiscard]] std::uint64_t end() const noexcept { return end_; }
  /// Makes min(bytes, what is left) bytes from `position` on available, until the next call. Errors: those of reading.
  [[nodiscard]] Status view(std::uint64_t position, std::size_t bytes, Bytes* out);

 private:
  File& file_;
  const std::uint64_t end_;
  std::vector<std::byte> buffer_;
  std::uint64_t from_ = 0;
  std::size_t filled_ = 0;
};

/// What is at a position where a batch may begin.
enum class BatchPlace : std::uint8_t {
  batch,     ///< a batch with the right structure and checksum
  file_end,  ///< nothing
  zeros,     ///< a header of zeros: the unused, zero-filled tail
  invalid,   ///< bytes that are no valid batch
};

/// Looks at the bytes at `position`. `batch`: valid until the window moves. `problem`: with `invalid`, what was expected and
/// found. The order of offsets is the caller's to check. Errors: those of reading.
[[nodiscard]] Status look_at_batch(FileWindow& window, std::uint64_t position, BatchPlace* place, Bytes* batch,
                                   Status* problem);

/// corrupt where the batch begins below `expected`.
[[nodiscard]] Status check_order(const BatchHeader& header, Offset expected) noexcept;

/// Why a scan ended.
enum class ScanEnd : std::uint8_t {
  file_end,  ///< exactly behind a batch
  zeros,     ///< at a header of zeros: the unused, zero-filled tail
  invalid,   ///< at bytes that are no valid batch
};

struct ScanResult {
  Frames frames;
  std::uint64_t bytes = 0;  ///< of valid batches
  std::uint64_t file_bytes = 0;
  ScanEnd reason = ScanEnd::file_end;
  Status problem;  ///< with `invalid`: what was expected and found
  SegmentIndex index;
  std::uint32_t frame_crc_at_mark = 0;  ///< at `mark_position`
  bool mark_reached = false;            ///< a batch boundary lies at `mark_position`
};

/// Reads a segment from its beginning, checking structure, checksum and order of every batch, up to `bytes_max` or the
/// first that does not hold. Errors: those of reading; damage is not an error but a result.
[[nodiscard]] Status scan_segment(File& file, Offset base, std::uint64_t bytes_max, std::uint64_t mark_position,
                                  ScanResult* out);

/// Steps through headers without reading bodies, for searches between two index entries. Holds a small buffer.
class HeaderCursor {
 public:
  HeaderCursor(File& file, std::uint64_t position, std::uint64_t end) noexcept : file_(file), position_(position), end_(end) {}

  [[nodiscard]] bool at_end() const noexcept { return position_ >= end_; }
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
  /// Loads the header at the position. Errors: io_error, corrupt (no plausible header there).
  [[nodiscard]] Status load() noexcept;
  /// The loaded header.
  [[nodiscard]] BatchHeader header() const noexcept { return BatchHeader(buffer_ + (position_ - buffered_from_)); }
  void next() noexcept { position_ += header().total_bytes(); }

 private:
  File& file_;
  std::uint64_t position_;
  const std::uint64_t end_;
  std::uint64_t buffered_from_ = 0;
  std::size_t buffered_ = 0;
  std::byte buffer_[16384];
};

}  // namespace streambus::storage_wal
