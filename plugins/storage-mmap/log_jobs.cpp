// What happens behind the appends: group commit, sealing, manifests, removal.

#include <algorithm>
#include <new>

#include "batch_cursor.hpp"
#include "log.hpp"

namespace streambus::storage_mmap {

using storage_common::log_line;
using storage_common::status_of;

// ---- group commit

void MmapLog::post_flush() noexcept {
  {
    const std::lock_guard lock(mutex_);
    interval_queued_ = false;
    if (std::exchange(flush_queued_, true)) {
      flush_again_ = true;  // it may have taken its measure already
      return;
    }
  }
  add_ref();
  engine_.host().post(WorkClass::flush, [](void* log) noexcept { static_cast<MmapLog*>(log)->run_flush(); }, this);
}

/// One turn: takes all that was appended, syncs it, reports it, and posts the next turn if more came meanwhile, so that
/// the partitions that share a flush thread take turns. Counts as queued until it is done: there is never a second one
/// for the same log, whose report might overtake this one's.
void MmapLog::run_flush() noexcept {
  Flush flush;
  bool tell = false;
  bool closing = false;
  {
    const std::lock_guard lock(mutex_);
    flush_again_ = false;
    closing = closing_;  // then the engine may be gone: only this object is left
    tell = offline_ && !closing && !std::exchange(failure_told_, true);
    flush_running_ = !closing;
    if (!offline_ && !closing) collect_unsynced(&flush);
  }
  if (tell) engine_.host().durability().domain_failed(domain_, failed_);
  if (!closing) flush_now(flush);
  bool again = false;
  {
    const std::lock_guard lock(mutex_);
    again = !closing_ && (flush_again_ || (offline_ ? !failure_told_ : acks_wait_ && durable_ < end_));
    flush_queued_ = again;
    flush_running_ = false;
    idle_.notify_all();
  }
  if (again) {
    engine_.host().post(WorkClass::flush, [](void* log) noexcept { static_cast<MmapLog*>(log)->run_flush(); }, this);
  } else {
    release();
  }
}

void MmapLog::flush_now(Flush& flush) noexcept {
  if (const Status status = sync_targets(flush); !status.ok()) {
    fail(status);
    return;
  }
  if (mark_synced(flush) && acks_wait_) {
    engine_.host().durability().durable_advanced(domain_, static_cast<std::uint64_t>(flush.end.value));
  }
  if (flush.count > 0) {
    const FlushTarget& last = flush.targets[flush.count - 1];
    write_mark(*last.segment, last.end, last.bytes, last.frame_crc);
  }
}

/// The oldest segments that hold unsynced data, with what is to be synced of them. Under the mutex.
void MmapLog::collect_unsynced(Flush* flush) {
  std::size_t first = segments_.size();
  while (first > 0 && (segments_[first - 1]->synced_bytes < segments_[first - 1]->bytes || !segments_[first - 1]->entry_synced))
    --first;
  std::uint64_t bytes = 0;
  for (; first < segments_.size() && flush->count < Flush::kSegmentsMax; ++first) {
    const Segment& segment = *segments_[first];
    FlushTarget& target = flush->targets[flush->count++];
    target.segment = segments_[first];
    target.bytes = segment.bytes;
    target.synced_bytes = segment.synced_bytes;
    target.end = segment.end;
    target.frame_crc = segment.frame_crc;
    target.entry_synced = segment.entry_synced;
    if (const Writing* const writing = writing_of(segment); writing != nullptr) collect_pieces(*writing, &target);
    bytes += segment.bytes - segment.synced_bytes;
  }
  flush_bytes_ = (flush_bytes_ * 7 + bytes) / 8;
  if (first == segments_.size()) {
    flush->end = end_;  // sealing may have synced all of it
    flush->batches = appends_ - flushed_appends_;
    flushed_appends_ = appends_;
  } else {
    flush->end = flush->targets[flush->count - 1].end;
  }
}

/// The windows through which the unsynced part of a segment was stored. Under the mutex.
void MmapLog::collect_pieces(const Writing& writing, FlushTarget* target) {
  target->file = writing.file;
  if (writing.sync_all || !writing.window) return;
  std::uint64_t from = target->synced_bytes;
  const auto add = [&](const Ref<Window>& window, std::uint64_t to) {
    if (to <= from) return;
    target->pieces[target->piece_count++] = {window, from, to};
    from = to;
  };
  for (std::size_t i = 0; i < writing.earlier_count; ++i) add(writing.earlier[i].window, writing.earlier[i].end);
  add(writing.window, target->bytes);
  // What was stored before the first window (by recovery, which syncs) is no business of a flush.
  for (std::size_t i = 0; i < target->piece_count; ++i) {
    SyncPiece& piece = target->pieces[i];
    if (piece.from < piece.window->begin()) target->piece_count = 0;
  }
}

Status MmapLog::sync_targets(Flush& flush) noexcept {
  for (std::size_t i = 0; i < flush.count; ++i) {
    FlushTarget& target = flush.targets[i];
    if (target.synced_bytes < target.bytes) {
      const MetricTimer timer(engine_.host(), engine_.metrics().fsync_ns);
      if (const Status status = sync_pieces(target); !status.ok()) return at(*target.segment, status);
    }
    if (!target.entry_synced) STREAMBUS_TRY_STATUS(sync_entry());
  }
  engine_.metrics().flushed_batches.add(static_cast<std::int64_t>(flush.batches));
  return {};
}

Status MmapLog::sync_pieces(FlushTarget& target) noexcept {
  if (!target.file) {
    File* opened = nullptr;
    STREAMBUS_TRY_STATUS(engine_.cache().open(path_of(*target.segment), OpenMode::write, &opened));
    target.file = Ref<SegmentFile>::adopt(new (std::nothrow) SegmentFile(opened, target.bytes));
    if (!target.file) {
      opened->close();
      return {ErrorCode::no_space, "sync: out of memory"};
    }
  }
  if (target.piece_count == 0) STREAMBUS_TRY_STATUS(target.file->file().sync());
  for (std::size_t i = 0; i < target.piece_count; ++i) {
    SyncPiece& piece = target.pieces[i];
    STREAMBUS_TRY_STATUS(piece.window->sync(piece.from, piece.to));
  }
  // What is stored to the last page of a file that somebody cut is lost without a fault.
  std::uint64_t found = 0;
  STREAMBUS_TRY_STATUS(target.file->file().size(&found));
  if (found >= target.bytes) return {};
  return status_of(ErrorCode::io_error, "expected %llu bytes, found %llu: somebody cut the file",
                   static_cast<unsigned long long>(target.bytes), static_cast<unsigned long long>(found));
}

/// Makes the names of new segment files durable; the first time, those of the directories above as well.
Status MmapLog::sync_entry() noexcept {
  STREAMBUS_TRY_STATUS(engine_.files().sync_directory(directory_));
  if (entries_synced_.load(std::memory_order_acquire)) return {};
  STREAMBUS_TRY_STATUS(engine_.files().sync_directory(topic_id_));
  STREAMBUS_TRY_STATUS(engine_.files().sync_directory("."));
  entries_synced_.store(true, std::memory_order_release);
  return {};
}

/// True when the durable offset moved.
bool MmapLog::mark_synced(const Flush& flush) {
  Ref<Window> done[kEarlierWindowsMax];  // unmapped when the lock is gone
  std::size_t done_count = 0;
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < flush.count; ++i) {
    const FlushTarget& target = flush.targets[i];
    target.segment->synced_bytes = std::max(target.segment->synced_bytes, target.bytes);
    target.segment->entry_synced = true;
  }
  if (flush.count > 0) {
    const FlushTarget& last = flush.targets[flush.count - 1];
    durable_hint_ = {last.segment.get(), last.end, last.bytes};
    if (active_.segment.get() == last.segment.get()) {
      std::size_t kept = 0;
      for (std::size_t i = 0; i < active_.earlier_count; ++i) {
        EarlierWindow earlier = std::move(active_.earlier[i]);
        if (earlier.end > last.bytes) {
          active_.earlier[kept++] = std::move(earlier);
        } else {
          done[done_count++] = std::move(earlier.window);
        }
      }
      active_.earlier_count = kept;
      if (kept == 0 && active_.window && last.bytes >= active_.window->begin()) active_.sync_all = false;
    }
  }
  return std::exchange(durable_, std::max(durable_, flush.end)) < flush.end;
}

void MmapLog::write_mark(const Segment& segment, Offset end, std::uint64_t bytes, std::uint32_t frame_crc) {
  try {
    if (mark_slot_ == UINT32_MAX) mark_slot_ = engine_.marks().slot(id_, partition_);
  } catch (const std::bad_alloc&) {
    return;  // the mark stays stale: less strict, not wrong
  }
  engine_.marks().write(mark_slot_, id_, partition_, {segment.base, end, bytes, frame_crc});
}

/// Takes the log offline, for good as far as this object goes: no append and no acknowledgement follows. Reads go on.
/// The domain's failure is reported from a job, never from within an append.
void MmapLog::fail(const Status& status) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (offline_.load(std::memory_order_relaxed)) return;
    failed_ = status;
    offline_.store(true, std::memory_order_release);
  }
  engine_.metrics().failures.add(1);
  log_line(engine_.host(), LogLevel::error, "partition %.64s-%d goes offline: %s", topic_.c_str(), partition_, status.text);
  post_flush();
}

// ---- maintenance

void MmapLog::post_maintenance() noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(maintenance_queued_, true)) return;
  }
  add_ref();
  engine_.host().post(WorkClass::background, [](void* log) noexcept { static_cast<MmapLog*>(log)->run_maintenance(); }, this);
}

void MmapLog::run_maintenance() noexcept {
  {
    const std::lock_guard maintenance(maintenance_);
    Ref<Window> retired;
    bool idle = false;
    {
      const std::lock_guard lock(mutex_);
      std::swap(retired, retired_);
      maintenance_queued_ = false;
      idle = closing_ || offline_;
    }
    if (!idle) {
      Status status;
      try {
        status = prepare();
        if (status.ok()) status = seal_all();
      } catch (const std::bad_alloc&) {
        status = {ErrorCode::no_space, "maintenance: out of memory"};
      }
      // What ran out of space is tried again with the next roll, retention or close.
      if (!status.ok() && !is_retriable(status.code)) fail(status);
    }
  }
  release();
}

/// Seals every segment that waits for it. Under maintenance_.
Status MmapLog::seal_all() {
  bool sealed = false;
  for (;;) {
    Writing* writing = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (sealing_.empty()) break;
      writing = &sealing_.front();  // a list's elements stay where they are
    }
    STREAMBUS_TRY_STATUS(seal(*writing));
    std::list<Writing> done;  // unmapped when the lock is gone
    const std::lock_guard lock(mutex_);
    sealing_.front().segment->sealed = true;
    done.splice(done.begin(), sealing_, sealing_.begin());
    sealed = true;
  }
  return sealed ? write_manifest(start_, 0, false) : Status{};
}

/// Cuts what was prepared in vain, syncs, writes the index.
Status MmapLog::seal(Writing& writing) {
  const Segment& segment = *writing.segment;
  if (!writing.file) {
    File* opened = nullptr;
    STREAMBUS_TRY_STATUS(engine_.cache().open(path_of(segment), OpenMode::write, &opened));
    auto file = Ref<SegmentFile>::adopt(new SegmentFile(opened, segment.bytes));
    const std::lock_guard lock(mutex_);
    writing.file = std::move(file);
  }
  STREAMBUS_TRY_STATUS(writing.file->cut(segment.bytes));
  bool synced = false;
  bool entry_synced = false;
  {
    const std::lock_guard lock(mutex_);
    synced = segment.synced_bytes == segment.bytes;
    entry_synced = segment.entry_synced;
  }
  if (!synced) {
    const MetricTimer timer(engine_.host(), engine_.metrics().fsync_ns);
    if (const Status status = writing.file->file().sync(); !status.ok()) {
      // A failed sync must never be followed by one that succeeds, whatever its reason.
      fail(at(segment, status));
      return offline_status();
    }
  }
  if (!entry_synced) STREAMBUS_TRY_STATUS(sync_entry());
  STREAMBUS_TRY_STATUS(complete_index(writing, segment.bytes));
  const std::lock_guard lock(mutex_);
  writing.segment->synced_bytes = segment.bytes;
  writing.segment->entry_synced = true;
  return {};
}

/// Loads what an index lacks and writes it to its file.
Status MmapLog::complete_index(Writing& writing, std::uint64_t bytes) {
  bool complete = false;
  bool dirty = false;
  {
    const std::lock_guard lock(mutex_);
    complete = writing.index_complete;
    dirty = writing.index_dirty;
  }
  if (!dirty) return {};
  if (!complete) {
    BatchCursor cursor(*this, writing.segment, writing.window, 0, bytes);
    STREAMBUS_TRY_STATUS(adopt_index(cursor));
  }
  SegmentIndex copy;
  {
    const std::lock_guard lock(mutex_);
    copy = writing.index;
    writing.index_dirty = false;
  }
  return write_index(*writing.segment, copy, bytes);
}

/// The index can be made again from the segment: no failure of the log when it cannot be written.
Status MmapLog::write_index(const Segment& segment, const SegmentIndex& index, std::uint64_t bytes) {
  const std::vector<std::byte> encoded = index.encode(kIndexMagic, bytes);
  File* file = nullptr;
  Status status = engine_.files().open(path_of(segment, "index"), OpenMode::create, &file);
  if (status.ok()) {
    const Slice slice = Slice::memory(encoded);
    status = file->truncate(0);
    if (status.ok()) status = file->write_at(0, &slice, 1);
    // An older one that comes back with the power could name places that are no batch boundaries any more.
    if (status.ok()) status = file->sync();
    file->close();
  }
  if (!status.ok()) {
    log_line(engine_.host(), LogLevel::warning, "index of %.*s not written, it will be rebuilt: %s",
             static_cast<int>(directory_.view().size()), directory_.view().data(), status.text);
    (void)engine_.files().remove(path_of(segment, "index"));
  }
  return {};
}

Manifest MmapLog::manifest_now(bool closed, std::size_t skip) {
  Manifest manifest;
  const std::lock_guard lock(mutex_);
  manifest.closed = closed;
  manifest.run = engine_.run();
  manifest.generation = generation_;
  manifest.end = segments_.empty() ? end_ : segments_[0]->base;
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    const Segment& segment = *segments_[i];
    const bool active = &segment == active_.segment.get();
    if (!segment.sealed && !(closed && active)) break;
    manifest.end = segment.end;
    if (i < skip) continue;
    manifest.entries.push_back({segment.base, segment.end, segment.bytes, segment.max_timestamp, segment.first_append_ms,
                                segment.frame_crc, segment.generation, active});
  }
  return manifest;
}

/// Under maintenance_. `skip`: the first segments, about to be removed.
Status MmapLog::write_manifest(Offset start, std::size_t skip, bool closed) {
  Manifest manifest = manifest_now(closed, skip);
  manifest.start = start;
  changed_ = !closed;
  return storage_common::replace_file(engine_.files(), directory_, Manifest::kFileName, manifest.encode(topic_id_, partition_));
}

/// Records the new start and removes the first segments, in this order: what the manifest lists exists. Under maintenance_.
Status MmapLog::remove_first(std::size_t count, Offset start) {
  if (const Status status = write_manifest(start, count, false); !status.ok()) {
    if (!is_retriable(status.code)) fail(status);
    return status;
  }
  std::vector<Ref<Segment>> removed;
  std::uint64_t removed_bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto end = segments_.begin() + static_cast<std::ptrdiff_t>(count);
    removed.assign(segments_.begin(), end);
    segments_.erase(segments_.begin(), end);
    for (const Ref<Segment>& segment : removed) removed_bytes += segment->bytes;
    bytes_ -= removed_bytes;
    for (Hint& hint : hints_) hint = Hint();  // they name segments by address
    durable_hint_ = Hint();
  }
  engine_.metrics().segments.add(-static_cast<std::int64_t>(removed.size()));
  engine_.metrics().stored_bytes.add(-static_cast<std::int64_t>(removed_bytes));
  engine_.metrics().removed_bytes.add(static_cast<std::int64_t>(removed_bytes));
  for (const Ref<Segment>& segment : removed) {
    engine_.cache().drop(segment->views);
    remove_files(*segment);
  }
  return {};
}

/// A file that stays is removed when the log is opened the next time.
void MmapLog::remove_files(const Segment& segment) noexcept {
  if (segment.bytes == 0) return;
  (void)engine_.files().remove(path_of(segment));
  (void)engine_.files().remove(path_of(segment, "index"));
}

/// The orderly end: everything durable, nothing prepared left, all of it in the manifest. Under maintenance_.
Status MmapLog::close_files() {
  STREAMBUS_TRY_STATUS(seal_all());
  if (active_.segment && active_.segment->bytes == 0) {  // started, never written
    const Path path = path_of(*active_.segment);
    Writing unused;  // unmapped when the lock is gone
    {
      const std::lock_guard lock(mutex_);
      std::swap(unused, active_);
    }
    STREAMBUS_TRY_STATUS(engine_.files().remove(path));
  }
  if (active_.segment) {
    // As when it is sealed, except that it stays the one to append to.
    if (const Status status = seal(active_); !status.ok()) {
      fail(status);
      return status;
    }
    bool advanced = false;
    {
      const std::lock_guard lock(mutex_);
      advanced = acks_wait_ && std::exchange(durable_, end_) < end_;
    }
    if (advanced) engine_.host().durability().durable_advanced(domain_, static_cast<std::uint64_t>(end_.value));
    const Segment& segment = *active_.segment;
    if (engine_.settings().syncs()) write_mark(segment, end_, segment.bytes, segment.frame_crc);
  }
  if (!changed_) return {};  // the manifest of an earlier close tells it all
  return write_manifest(start_, 0, true);
}

}  // namespace streambus::storage_mmap
