#pragma once

#include <atomic>
#include <mutex>

#include "streambus/base/pin.hpp"
#include "window.hpp"

namespace streambus::storage_mmap {

/// What is known of one segment in memory.
struct Segment final : public Pin {
  Segment(Offset base_offset, std::uint32_t file_generation) noexcept
      : base(base_offset), generation(file_generation), end(base_offset) {}

  const Offset base;               ///< where the segment before it ends; with the generation, its file's name
  const std::uint32_t generation;  ///< 0: appended; else made by a replacement
  // Guarded by the log's mutex.
  Offset end;                                ///< where the next one begins
  std::uint64_t bytes = 0;                   ///< of batches; 0: all of it was compacted away, and there is no file
  std::uint64_t synced_bytes = 0;            ///< of them, on the device for certain
  TimestampMs max_timestamp = kNoTimestamp;  ///< of its batches
  TimestampMs first_append_ms = 0;           ///< wall clock
  std::uint32_t frame_crc = 0;  ///< over the first 21 bytes of every batch: what the batches' own checksums leave out
  bool entry_synced = false;    ///< its name is on the device
  bool sealed = false;          ///< complete, synced and listed in the manifest
  // Guarded by the cache's mutex.
  CachedViews views;

 private:
  ~Segment() override = default;
  void dispose() noexcept override { delete this; }
};

/// The file of a segment that is appended to, prepared up to some position: blocks reserved, so that a copy into a mapping
/// never meets a full disk, and reading as zeros. The appending thread and the preparing job may extend it at the same time.
class SegmentFile final : public Pin {
 public:
  /// Takes the file over. `bytes`: its size.
  SegmentFile(File* file, std::uint64_t bytes) noexcept : file_(file), prepared_(bytes) {}

  [[nodiscard]] File& file() const noexcept { return *file_; }
  [[nodiscard]] std::uint64_t prepared() const noexcept { return prepared_.load(std::memory_order_acquire); }

  /// Extends the file to `wanted` bytes, or where the device has no room for that, to `least`. Does not wait for the device.
  /// Errors: no_space; those of the file.
  [[nodiscard]] Status extend(std::uint64_t least, std::uint64_t wanted) noexcept;
  /// The same to exactly `wanted`, writing zeros in small steps, between which the appending thread may overtake: then it ends.
  [[nodiscard]] Status fill(std::uint64_t wanted) noexcept;
  /// Cuts what was prepared and not needed. Nobody appends.
  [[nodiscard]] Status cut(std::uint64_t bytes) noexcept;

 private:
  ~SegmentFile() override = default;
  void dispose() noexcept override {
    file_->close();
    delete this;
  }
  [[nodiscard]] Status reserve(std::uint64_t bytes) noexcept;
  [[nodiscard]] Status write_zeros(std::uint64_t from, std::uint64_t to) noexcept;

  File* const file_;
  std::mutex growth_;
  std::atomic<std::uint64_t> prepared_;
};

}  // namespace streambus::storage_mmap
