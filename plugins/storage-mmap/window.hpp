#pragma once

#include <algorithm>
#include <atomic>
#include <list>
#include <mutex>
#include <utility>
#include <vector>

#include "storage-common/segment_index.hpp"
#include "streambus/base/pin.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus::storage_mmap {

using storage_common::SegmentIndex;

inline constexpr std::uint64_t kPageBytes = 4096;  ///< positions of windows are multiples of it, as File::map asks

[[nodiscard]] constexpr std::uint64_t page_floor(std::uint64_t position) noexcept { return position & ~(kPageBytes - 1); }
[[nodiscard]] constexpr std::uint64_t page_ceiling(std::uint64_t position) noexcept {
  return page_floor(position + kPageBytes - 1);
}

/// A mapped piece of a segment file; what reads hand out as their pin. The last reference unmaps it, so that slices outlive
/// the removal of the file, the closing of the log and the eviction from the cache.
class Window final : public Pin {
 public:
  Window(Mapping* mapping, std::uint64_t begin) noexcept
      : mapping_(mapping),
        data_(mapping->bytes().data()),
        begin_(begin),
        end_(begin + mapping->bytes().size()),
        populated_(end_) {}

  [[nodiscard]] std::uint64_t begin() const noexcept { return begin_; }
  [[nodiscard]] std::uint64_t end() const noexcept { return end_; }
  [[nodiscard]] bool contains(std::uint64_t position, std::uint64_t bytes) const noexcept {
    return position >= begin_ && position <= end_ && bytes <= end_ - position;
  }
  /// The byte at a position of the file that the window contains.
  [[nodiscard]] std::byte* at(std::uint64_t position) const noexcept { return data_ + (position - begin_); }
  /// See Mapping::check().
  [[nodiscard]] Status check() const noexcept { return mapping_->check(); }
  /// Syncs [from, to), positions of the file inside the window.
  [[nodiscard]] Status sync(std::uint64_t from, std::uint64_t to) noexcept { return mapping_->sync(from - begin_, to - from); }

  /// Says that the pages from a position on are to be populated, by populate_to(). Before the window is shared.
  void populate_from(std::uint64_t position) noexcept { populated_.store(position, std::memory_order_relaxed); }
  /// Populates up to a position, in steps that the appending thread and the preparing job share: each is done once.
  void populate_to(std::uint64_t position) noexcept {
    constexpr std::uint64_t kStepBytes = 262144;
    while (populated_.load(std::memory_order_relaxed) < position) {
      const std::uint64_t from = populated_.fetch_add(kStepBytes, std::memory_order_relaxed);
      if (from < end_) mapping_->populate(from - begin_, std::min(kStepBytes, end_ - from));
    }
  }

 private:
  ~Window() override = default;
  void dispose() noexcept override {
    mapping_->close();
    delete this;
  }

  Mapping* const mapping_;
  std::byte* const data_;
  const std::uint64_t begin_;
  const std::uint64_t end_;
  std::atomic<std::uint64_t> populated_;
};

/// The index of a sealed segment, loaded by the first reader that needs it.
class LoadedIndex final : public Pin {
 public:
  explicit LoadedIndex(SegmentIndex loaded) noexcept : index(std::move(loaded)) {}
  const SegmentIndex index;

 private:
  ~LoadedIndex() override = default;
  void dispose() noexcept override { delete this; }
};

class WindowCache;

/// What a segment has in the cache. Guarded by the cache's mutex.
class CachedViews {
 private:
  friend class WindowCache;
  struct Entry {
    CachedViews* owner;
    Ref<Window> window;
  };
  std::vector<std::list<Entry>::iterator> windows_;
  Ref<LoadedIndex> index_;
  bool dropped_ = false;  ///< removed or closed: never cached again
};

/// Keeps at most a number of windows of segments mapped, least recently used first out, and with a segment's windows its index.
/// Many GiB are read through few mappings. Thread-safe; maps outside its lock.
class WindowCache {
 public:
  WindowCache(FileSystem& files, std::uint64_t window_bytes, std::size_t windows_max) noexcept
      : files_(files), window_bytes_(window_bytes), windows_max_(windows_max) {}
  WindowCache(const WindowCache&) = delete;
  WindowCache& operator=(const WindowCache&) = delete;

  /// A window that contains [position, position + bytes), which lies within the file's first `file_bytes`.
  /// Errors: those of FileSystem::open and File::map; corrupt where the file is shorter.
  [[nodiscard]] Status acquire(CachedViews& views, std::string_view path, std::uint64_t position, std::uint64_t bytes,
                               std::uint64_t file_bytes, Ref<Window>* out);
  /// Maps [position, position + bytes) of an open file; when there are too many mappings, gives up those that nobody reads and
  /// tries once more.
  [[nodiscard]] Status map(File& file, std::uint64_t position, std::uint64_t bytes, Ref<Window>* out);
  /// Opens a file; when descriptors ran out, does likewise.
  [[nodiscard]] Status open(std::string_view path, OpenMode mode, File** out) noexcept;

  /// The loaded index of a sealed segment; null: none yet.
  [[nodiscard]] Ref<LoadedIndex> index(CachedViews& views) noexcept;
  /// Keeps an index while the segment has windows.
  void keep_index(CachedViews& views, Ref<LoadedIndex> index) noexcept;

  /// Forgets a window whose pages failed: the next reader maps them again.
  void forget(CachedViews& views, const Window& window) noexcept;
  /// Forgets a segment that is removed or whose log closes.
  void drop(CachedViews& views) noexcept;
  /// Unmaps all that nobody reads.
  void clear() noexcept;
  [[nodiscard]] std::size_t window_count() noexcept;

 private:
  using Entry = CachedViews::Entry;
  void put(CachedViews& views, Ref<Window> window);
  void take_out(CachedViews& views, std::list<Entry>::iterator entry, std::list<Entry>* out) noexcept;

  FileSystem& files_;
  const std::uint64_t window_bytes_;
  const std::size_t windows_max_;
  std::mutex mutex_;
  std::list<Entry> recent_;  ///< most recently used first
};

}  // namespace streambus::storage_mmap
