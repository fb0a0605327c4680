#pragma once

#include <list>
#include <memory>
#include <mutex>

#include "index.hpp"
#include "streambus/base/pin.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus::storage_wal {

/// An open segment file; what reads hand out as their pin. The last reference closes it, so that slices outlive the
/// removal of the file, the closing of the log and the eviction from the cache.
class OpenFile final : public Pin {
 public:
  explicit OpenFile(File* file) noexcept : file_(file) {}

  [[nodiscard]] File& file() const noexcept { return *file_; }

  /// The index of a sealed segment, loaded by the first reader that needs it. Thread-safe.
  [[nodiscard]] const SegmentIndex* index() const noexcept { return index_.load(std::memory_order_acquire); }
  const SegmentIndex* publish_index(std::unique_ptr<const SegmentIndex> index) noexcept;

 private:
  ~OpenFile() override { delete index_.load(std::memory_order_relaxed); }
  void dispose() noexcept override {
    file_->close();
    delete this;
  }

  File* file_;
  std::atomic<const SegmentIndex*> index_{nullptr};
};

/// What is known of one segment in memory.
struct Segment final : public Pin {
  explicit Segment(Offset base_offset, std::uint32_t file_generation = 0) noexcept
      : base(base_offset), generation(file_generation), end(base_offset), batches_end(base_offset) {}

  const Offset base;               ///< the log's end when the segment was started; its file's name, with the generation
  const std::uint32_t generation;  ///< above 0: written by a replacement
  // Guarded by the log's mutex.
  Offset end;                                ///< where the next segment begins
  Offset batches_end;                        ///< after its last batch: before `end` where a replacement left a gap there
  std::uint64_t bytes = 0;                   ///< of batches
  std::uint64_t synced_bytes = 0;            ///< of them, on the device for certain
  TimestampMs max_timestamp = kNoTimestamp;  ///< of its batches
  TimestampMs first_append_ms = 0;           ///< wall clock
  std::uint32_t frame_crc = 0;  ///< over the first 21 bytes of every batch: what the batches' own checksums leave out
  bool entry_synced = false;    ///< its name is on the device
  bool sealed = false;          ///< complete, synced and listed in the manifest
  // Guarded by the cache's mutex.
  Ref<OpenFile> cached;
  std::list<Segment*>::iterator place;
  bool dropped = false;  ///< removed or closed: never cached again

 private:
  void dispose() noexcept override { delete this; }
};

/// Keeps at most a number of sealed segments open, least recently used first out. Thread-safe; opens outside its lock.
class OpenFileCache {
 public:
  OpenFileCache(FileSystem& files, std::size_t open_max) noexcept : files_(files), open_max_(open_max) {}
  OpenFileCache(const OpenFileCache&) = delete;
  OpenFileCache& operator=(const OpenFileCache&) = delete;

  /// The open file of a segment, opened if it is not. Errors: those of FileSystem::open; corrupt where the file is
  /// shorter than `bytes`.
  [[nodiscard]] Status acquire(Segment& segment, std::string_view path, std::uint64_t bytes, Ref<OpenFile>* out);
  /// Takes over a file that is open already (a segment that was just sealed).
  void put(Segment& segment, Ref<OpenFile> file);
  /// Forgets a segment that is removed or whose log closes.
  void drop(Segment& segment) noexcept;
  /// Closes all that nobody reads: before retrying what failed for want of descriptors.
  void clear() noexcept;
  [[nodiscard]] std::size_t open_count() noexcept;

 private:
  void evict(std::unique_lock<std::mutex>& lock) noexcept;

  FileSystem& files_;
  const std::size_t open_max_;
  std::mutex mutex_;
  std::list<Segment*> recent_;  ///< most recently used first
};

/// Errors: corrupt where the file is shorter than `bytes`.
[[nodiscard]] Status check_size(File& file, std::string_view path, std::uint64_t bytes) noexcept;

/// Opens a file; when descriptors ran out, closes what the cache can spare and tries once more.
[[nodiscard]] Status open_sparing(FileSystem& files, OpenFileCache& cache, std::string_view path, OpenMode mode,
                                  File** out) noexcept;

}  // namespace streambus::storage_wal
