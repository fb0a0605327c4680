#include "segment.hpp"

#include "paths.hpp"
#include "text.hpp"

namespace streambus::storage_wal {

const SegmentIndex* OpenFile::publish_index(std::unique_ptr<const SegmentIndex> index) noexcept {
  const SegmentIndex* expected = nullptr;
  if (index_.compare_exchange_strong(expected, index.get(), std::memory_order_acq_rel)) return index.release();
  return expected;  // another reader was faster
}

Status OpenFileCache::acquire(Segment& segment, std::string_view path, std::uint64_t bytes, Ref<OpenFile>* out) {
  {
    const std::lock_guard lock(mutex_);
    if (segment.cached) {
      recent_.splice(recent_.begin(), recent_, segment.place);
      *out = segment.cached;
      return {};
    }
  }
  File* file = nullptr;
  STREAMBUS_TRY_STATUS(open_sparing(files_, *this, path, OpenMode::read, &file));
  Ref<OpenFile> opened = Ref<OpenFile>::adopt(new OpenFile(file));
  STREAMBUS_TRY_STATUS(check_size(*file, path, bytes));
  put(segment, opened);
  *out = std::move(opened);
  return {};
}

void OpenFileCache::put(Segment& segment, Ref<OpenFile> file) {
  std::unique_lock lock(mutex_);
  if (segment.cached || segment.dropped) return;
  recent_.push_front(&segment);
  segment.place = recent_.begin();
  segment.cached = std::move(file);
  evict(lock);
}

void OpenFileCache::evict(std::unique_lock<std::mutex>& lock) noexcept {
  while (recent_.size() > open_max_) {
    Ref<OpenFile> victim = std::move(recent_.back()->cached);
    recent_.pop_back();
    lock.unlock();  // closing is a system call
    victim.reset();
    lock.lock();
  }
}

void OpenFileCache::drop(Segment& segment) noexcept {
  Ref<OpenFile> file;
  const std::lock_guard lock(mutex_);
  segment.dropped = true;
  if (!segment.cached) return;
  file = std::move(segment.cached);
  recent_.erase(segment.place);
}

void OpenFileCache::clear() noexcept {
  std::list<Segment*> victims;
  const std::lock_guard lock(mutex_);
  for (Segment* const segment : recent_) segment->cached.reset();
  recent_.swap(victims);
}

std::size_t OpenFileCache::open_count() noexcept {
  const std::lock_guard lock(mutex_);
  return recent_.size();
}

Status check_size(File& file, std::string_view path, std::uint64_t bytes) noexcept {
  std::uint64_t found = 0;
  STREAMBUS_TRY_STATUS(file.size(&found));
  if (found >= bytes) return {};
  return status_of(ErrorCode::corrupt, "%.*s: expected at least %llu bytes, found %llu", static_cast<int>(path.size()),
                   path.data(), static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(found));
}

Status open_sparing(FileSystem& files, OpenFileCache& cache, std::string_view path, OpenMode mode, File** out) noexcept {
  const Status status = files.open(path, mode, out);
  if (status.code != ErrorCode::busy) return status;
  cache.clear();
  return files.open(path, mode, out);
}

}  // namespace streambus::storage_wal
