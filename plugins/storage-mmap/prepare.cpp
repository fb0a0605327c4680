// Room to append to. Prepared ahead by the maintenance job: blocks reserved, zeros written where group commits are small,
// mapped, pages populated. Where the appending thread is faster it only reserves and maps, without waiting for the device.

#include <algorithm>
#include <new>

#include "log.hpp"

namespace streambus::storage_mmap {
namespace {

constexpr std::uint64_t kFirstPrepareBytes = 65536;

}  // namespace

/// Up to where a segment that is filled up to `position` is prepared: as much again, within bounds; at least `least`.
std::uint64_t MmapLog::prepared_end(std::uint64_t position, std::uint64_t least) const noexcept {
  const auto segment_bytes = static_cast<std::uint64_t>(settings_.segment_bytes);
  const std::uint64_t ahead = std::clamp(position, kFirstPrepareBytes, engine_.settings().prepare_bytes);
  return page_ceiling(std::max(least, std::min(position + ahead, segment_bytes)));
}

/// Gives the active segment a window that holds `bytes` more. Errors leave the log as it was, or offline.
Status MmapLog::make_room(std::size_t bytes) {
  Status status = open_active();
  if (status.ok()) {
    const std::uint64_t position = active_.segment->bytes;
    if (active_.window && active_.window->contains(position, bytes)) return {};  // a spare
    Ref<Window> window;
    {
      const std::lock_guard lock(mutex_);
      window = std::move(active_.next);
    }
    if (!window || !window->contains(position, bytes)) status = extend_active(position, position + bytes, &window);
    if (status.ok()) {
      const std::lock_guard lock(mutex_);
      segments_.reserve(segments_.size() + 1);  // publish() must not fail
      prepare_failed_ = false;
      if (active_.window && engine_.settings().syncs() && active_.segment->synced_bytes < position) {
        if (active_.earlier_count < kEarlierWindowsMax) {
          active_.earlier[active_.earlier_count++] = {active_.window, position};
        } else {
          active_.sync_all = true;
        }
      }
      std::swap(active_.window, window);
      if (!retired_) std::swap(retired_, window);  // unmapping takes long: left to the job
      return {};
    }
  }
  if (!is_retriable(status.code)) {
    fail(status);
  }
  return status;
}

/// Makes sure that there is an active segment with an open file.
Status MmapLog::open_active() {
  if (active_.segment && active_.file) return {};
  if (!active_.segment) {
    auto segment = Ref<Segment>::adopt(new Segment(end_, 0));
    segment->first_append_ms = engine_.host().wall_ms();
    return start_segment(std::move(segment));
  }
  const Segment& segment = *active_.segment;
  File* opened = nullptr;
  STREAMBUS_TRY_STATUS(engine_.cache().open(path_of(segment), OpenMode::write, &opened));
  auto file = Ref<SegmentFile>::adopt(new SegmentFile(opened, segment.bytes));
  std::uint64_t found = 0;
  STREAMBUS_TRY_STATUS(opened->size(&found));
  if (found < segment.bytes) {
    return at(segment, storage_common::status_of(ErrorCode::corrupt, "expected %llu bytes, found %llu",
                                                 static_cast<unsigned long long>(segment.bytes),
                                                 static_cast<unsigned long long>(found)));
  }
  // Whatever lies behind the batches must read as zeros.
  if (found > segment.bytes) STREAMBUS_TRY_STATUS(opened->truncate(segment.bytes));
  const std::lock_guard lock(mutex_);
  active_.file = std::move(file);
  return {};
}

/// Begins a segment: in the spare that was prepared, or in a new file.
Status MmapLog::start_segment(Ref<Segment> segment) {
  const Path path = path_of(*segment);
  Spare spare;
  {
    const std::lock_guard lock(mutex_);
    segments_.reserve(segments_.size() + 1);  // publish() must not fail
    spare = std::move(spare_);
    spare_ = Spare();
  }
  if (spare.file) {
    const Status status = engine_.files().rename(Path::file(directory_, kSpareName), path);
    if (!status.ok()) {
      const std::lock_guard lock(mutex_);
      spare_ = std::move(spare);
      return status;
    }
  } else {
    File* opened = nullptr;
    STREAMBUS_TRY_STATUS(engine_.cache().open(path, OpenMode::create, &opened));
    spare.file = Ref<SegmentFile>::adopt(new SegmentFile(opened, 0));
    STREAMBUS_TRY_STATUS(opened->truncate(0));  // a leftover of a failed start of this very segment
  }
  const std::lock_guard lock(mutex_);
  active_.index = SegmentIndex(segment->base);
  active_.segment = std::move(segment);
  active_.file = std::move(spare.file);
  active_.window = std::move(spare.window);
  return {};
}

/// Reserves and maps what the next append needs, and some more.
Status MmapLog::extend_active(std::uint64_t position, std::uint64_t end, Ref<Window>* window) {
  const MetricTimer timer(engine_.host(), engine_.metrics().prepare_ns);
  engine_.metrics().inline_prepares.add(1);
  SegmentFile& file = *active_.file;
  if (const Status status = file.extend(page_ceiling(end), prepared_end(position, end)); !status.ok()) {
    return at(*active_.segment, status);
  }
  const std::uint64_t begin = page_floor(position);
  const Status status = engine_.cache().map(file.file(), begin, file.prepared() - begin, window);
  if (!status.ok()) return at(*active_.segment, status);
  (*window)->populate_from(begin);
  return {};
}

/// True where the maintenance job should prepare the next window or the next segment. Under the mutex.
bool MmapLog::wants_preparing() const noexcept {
  if (!active_.window || prepare_failed_ || closing_ || offline_.load(std::memory_order_relaxed)) return false;
  const Window& window = *active_.window;
  if (active_.segment->bytes < window.begin() + (window.end() - window.begin()) / 2) return false;
  const bool segment_goes_on = window.end() < static_cast<std::uint64_t>(settings_.segment_bytes);
  return segment_goes_on ? !active_.next : !spare_.file;
}

/// The next window or the next segment, whichever comes first. Under maintenance_. Errors: those that take the log offline.
Status MmapLog::prepare() {
  Writing active;
  std::uint64_t bytes = 0;
  std::uint64_t spare_bytes = 0;
  bool zeros = false;
  {
    const std::lock_guard lock(mutex_);
    if (!wants_preparing()) return {};
    active.segment = active_.segment;
    active.file = active_.file;
    active.window = active_.window;
    bytes = active_.segment->bytes;
    const auto segment_bytes = static_cast<std::uint64_t>(settings_.segment_bytes);
    if (active_.window->end() >= segment_bytes) {
      spare_bytes =
          page_ceiling(std::min(std::clamp(bytes, kFirstPrepareBytes, engine_.settings().prepare_bytes), segment_bytes));
    }
    zeros = flush_bytes_ < engine_.settings().zero_fill_bytes;
  }
  const MetricTimer timer(engine_.host(), engine_.metrics().prepare_ns);
  const Status status = spare_bytes > 0 ? prepare_spare(spare_bytes, zeros) : prepare_next(active, bytes, zeros);
  if (!is_retriable(status.code)) return status;
  const std::lock_guard lock(mutex_);
  prepare_failed_ = true;  // the append that needs it will say so
  return {};
}

/// Extends a file to `to` and maps [from, to).
Status MmapLog::prepare_file(SegmentFile& file, std::uint64_t from, std::uint64_t to, bool zeros, Prepared* out) {
  out->before = file.prepared();
  STREAMBUS_TRY_STATUS(zeros ? file.fill(to) : file.extend(to, to));
  STREAMBUS_TRY_STATUS(engine_.cache().map(file.file(), from, file.prepared() - from, &out->window));
  out->window->populate_from(std::max(from, page_floor(out->before)));
  return {};
}

/// What takes long, when the window can be appended to already.
Status MmapLog::populate(const Prepared& prepared, bool zeros) noexcept {
  Window& window = *prepared.window;
  window.populate_to(window.end());
  if (!zeros || window.end() <= prepared.before) return {};
  Status status = window.sync(std::max(window.begin(), page_floor(prepared.before)), window.end());
  // Batches may share pages with the zeros: a failed sync is final, whatever its reason.
  if (!status.ok()) status.code = ErrorCode::io_error;
  return status;
}

Status MmapLog::prepare_next(const Writing& active, std::uint64_t bytes, bool zeros) {
  const std::uint64_t to = prepared_end(active.window->end(), active.window->end() + 1);
  Prepared prepared;
  Status status = prepare_file(*active.file, page_floor(bytes), to, zeros, &prepared);
  if (status.ok()) {
    {
      const std::lock_guard lock(mutex_);
      const bool still = active_.segment.get() == active.segment.get() && active_.window.get() == active.window.get();
      if (!still || closing_) return {};
      active_.next = prepared.window;
    }
    status = populate(prepared, zeros);
  }
  return status.ok() ? status : at(*active.segment, status);
}

Status MmapLog::prepare_spare(std::uint64_t wanted, bool zeros) {
  const Path path = Path::file(directory_, kSpareName);
  File* opened = nullptr;
  STREAMBUS_TRY_STATUS(engine_.cache().open(path, OpenMode::create, &opened));
  Spare spare;
  spare.file = Ref<SegmentFile>::adopt(new SegmentFile(opened, 0));
  Prepared prepared;
  Status status = opened->truncate(0);
  if (status.ok()) status = prepare_file(*spare.file, 0, wanted, zeros, &prepared);
  if (!status.ok()) {
    (void)engine_.files().remove(path);
    return status;
  }
  spare.window = prepared.window;
  {
    const std::lock_guard lock(mutex_);
    spare_ = std::move(spare);
  }
  return populate(prepared, zeros);
}

/// Under maintenance_, nobody appends.
void MmapLog::drop_spare() noexcept {
  Spare spare;
  {
    const std::lock_guard lock(mutex_);
    std::swap(spare, spare_);
  }
  if (spare.file) (void)engine_.files().remove(Path::file(directory_, kSpareName));
}

/// Parks a log that was not appended to since the last time. A worker's job, under maintenance_.
void MmapLog::park_when_idle() noexcept {
  if (std::exchange(appends_at_retain_, appends_) != appends_) return;
  drop_spare();
  if (!active_.file || active_.segment->bytes == 0) return;
  {
    const std::lock_guard lock(mutex_);
    if (engine_.settings().syncs() && active_.segment->synced_bytes < active_.segment->bytes) return;
  }
  park();
}

/// Gives back what was prepared for the active segment, its windows, its descriptor and its index until somebody appends.
void MmapLog::park() noexcept {
  try {
    if (!complete_index(active_, active_.segment->bytes).ok()) return;
  } catch (const std::bad_alloc&) {
    return;
  }
  if (!active_.file->cut(active_.segment->bytes).ok()) return;
  Writing parked;
  const std::lock_guard lock(mutex_);
  std::swap(parked.file, active_.file);
  std::swap(parked.window, active_.window);
  std::swap(parked.next, active_.next);
  active_.earlier_count = 0;
  for (EarlierWindow& earlier : active_.earlier) earlier = EarlierWindow();
  active_.sync_all = false;
  active_.index = SegmentIndex(active_.segment->base);
  active_.index_complete = false;
}

}  // namespace streambus::storage_mmap
