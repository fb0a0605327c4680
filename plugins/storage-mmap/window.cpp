#include "window.hpp"

#include <algorithm>

#include "storage-common/text.hpp"

namespace streambus::storage_mmap {

using storage_common::status_of;

Status WindowCache::acquire(CachedViews& views, std::string_view path, std::uint64_t position, std::uint64_t bytes,
                            std::uint64_t file_bytes, Ref<Window>* out) {
  {
    const std::lock_guard lock(mutex_);
    for (const auto entry : views.windows_) {
      if (!entry->window->contains(position, bytes)) continue;
      recent_.splice(recent_.begin(), recent_, entry);
      *out = entry->window;
      return {};
    }
  }
  File* file = nullptr;
  STREAMBUS_TRY_STATUS(open(path, OpenMode::write, &file));  // mappings are for reading and writing
  // Readers that start anywhere share windows that begin at multiples; a batch that crosses such a bound gets its own.
  std::uint64_t begin = position / window_bytes_ * window_bytes_;
  begin = page_floor(begin);
  std::uint64_t end = std::min(file_bytes, begin + window_bytes_);
  if (position + bytes > end) {
    begin = page_floor(position);
    end = std::min(file_bytes, std::max(begin + window_bytes_, position + bytes));
  }
  Status status = map(*file, begin, end - begin, out);
  if (status.code == ErrorCode::out_of_range) {
    // Somebody cut the file: what is left of it stays readable.
    begin = page_floor(position);
    status = map(*file, begin, position + bytes - begin, out);
  }
  file->close();
  if (status.code == ErrorCode::out_of_range) {
    status = status_of(ErrorCode::corrupt, "%.*s: expected at least %llu bytes: %.60s", static_cast<int>(path.size()),
                       path.data(), static_cast<unsigned long long>(file_bytes), std::string(status.text).c_str());
  }
  if (status.ok()) put(views, *out);
  return status;
}

Status WindowCache::map(File& file, std::uint64_t position, std::uint64_t bytes, Ref<Window>* out) {
  Mapping* mapping = nullptr;
  Status status = file.map(position, bytes, &mapping);
  if (status.code == ErrorCode::no_space) {
    clear();
    status = file.map(position, bytes, &mapping);
  }
  if (!status.ok()) return status;
  auto* const window = new (std::nothrow) Window(mapping, position);
  if (window == nullptr) {
    mapping->close();
    return {ErrorCode::no_space, "map: out of memory"};
  }
  *out = Ref<Window>::adopt(window);
  return {};
}

Status WindowCache::open(std::string_view path, OpenMode mode, File** out) noexcept {
  const Status status = files_.open(path, mode, out);
  if (status.code != ErrorCode::busy) return status;
  clear();
  return files_.open(path, mode, out);
}

void WindowCache::put(CachedViews& views, Ref<Window> window) {
  std::list<Entry> added;
  added.push_back({&views, std::move(window)});
  std::list<Entry> victims;  // unmapped when the lock is gone
  const std::lock_guard lock(mutex_);
  if (views.dropped_) return;
  views.windows_.reserve(views.windows_.size() + 1);
  // One that was mapped while the segment was shorter.
  const auto same = std::find_if(views.windows_.begin(), views.windows_.end(),
                                 [&](auto entry) { return entry->window->begin() == added.front().window->begin(); });
  if (same != views.windows_.end()) take_out(views, *same, &victims);
  views.windows_.push_back(added.begin());
  recent_.splice(recent_.begin(), added);
  while (recent_.size() > windows_max_) take_out(*recent_.back().owner, std::prev(recent_.end()), &victims);
}

/// Under the mutex.
void WindowCache::take_out(CachedViews& views, std::list<Entry>::iterator entry, std::list<Entry>* out) noexcept {
  std::erase(views.windows_, entry);
  if (views.windows_.empty()) views.index_.reset();
  out->splice(out->begin(), recent_, entry);
}

Ref<LoadedIndex> WindowCache::index(CachedViews& views) noexcept {
  const std::lock_guard lock(mutex_);
  return views.index_;
}

void WindowCache::keep_index(CachedViews& views, Ref<LoadedIndex> index) noexcept {
  const std::lock_guard lock(mutex_);
  if (!views.dropped_ && !views.windows_.empty()) views.index_ = std::move(index);
}

void WindowCache::forget(CachedViews& views, const Window& window) noexcept {
  std::list<Entry> victims;
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(views.windows_.begin(), views.windows_.end(), [&](auto entry) { return entry->window.get() == &window; });
  if (found != views.windows_.end()) take_out(views, *found, &victims);
}

void WindowCache::drop(CachedViews& views) noexcept {
  std::list<Entry> victims;
  const std::lock_guard lock(mutex_);
  views.dropped_ = true;
  while (!views.windows_.empty()) take_out(views, views.windows_.back(), &victims);
}

void WindowCache::clear() noexcept {
  std::list<Entry> victims;
  const std::lock_guard lock(mutex_);
  for (Entry& entry : recent_) {
    entry.owner->windows_.clear();
    entry.owner->index_.reset();
  }
  recent_.swap(victims);
}

std::size_t WindowCache::window_count() noexcept {
  const std::lock_guard lock(mutex_);
  return recent_.size();
}

}  // namespace streambus::storage_mmap
