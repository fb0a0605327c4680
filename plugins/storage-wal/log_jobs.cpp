// What happens behind the appends: group commit, sealing, writeback, manifests, removal.

#include <algorithm>
#include <new>

#include "log.hpp"
#include "text.hpp"

namespace streambus::storage_wal {

// ---- group commit

void WalLog::post_flush() noexcept {
  {
    const std::lock_guard lock(mutex_);
    interval_queued_ = false;
    if (std::exchange(flush_queued_, true)) {
      flush_again_ = true;  // it may have taken its measure already
      return;
    }
  }
  add_ref();
  engine_.host().post(WorkClass::flush, [](void* log) noexcept { static_cast<WalLog*>(log)->run_flush(); }, this);
}

/// One turn: takes all that was appended, syncs it, reports it, and posts the next turn if more came meanwhile, so that
/// the partitions that share a flush thread take turns. Counts as queued until it is done: there is never a second one
/// for the same log, whose report might overtake this one's.
void WalLog::run_flush() noexcept {
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
    engine_.host().post(WorkClass::flush, [](void* log) noexcept { static_cast<WalLog*>(log)->run_flush(); }, this);
  } else {
    release();
  }
}

void WalLog::flush_now(Flush& flush) noexcept {
  if (const Status status = sync_targets(flush); !status.ok()) {
    fail(status);
    return;
  }
  if (mark_synced(flush) && acks_wait_) {
    engine_.host().durability().durable_advanced(domain_, static_cast<std::uint64_t>(flush.end.value));
  }
  if (flush.count > 0) write_mark(flush.targets[flush.count - 1]);
}

/// The oldest segments that hold unsynced data, with their files. Under the mutex.
void WalLog::collect_unsynced(Flush* flush) {
  std::size_t first = segments_.size();
  while (first > 0 && (segments_[first - 1]->synced_bytes < segments_[first - 1]->bytes || !segments_[first - 1]->entry_synced))
    --first;
  for (; first < segments_.size() && flush->count < Flush::kSegmentsMax; ++first) {
    Segment& segment = *segments_[first];
    const Writing* const writing = writing_of(segment);
    flush->targets[flush->count++] = {segments_[first],  writing != nullptr ? writing->file : Ref<OpenFile>(),
                                      segment.bytes,     segment.end,
                                      segment.frame_crc, segment.entry_synced};
  }
  if (first == segments_.size()) {
    flush->end = end_;  // sealing may have synced all of it
    flush->batches = appends_ - flushed_appends_;
    flushed_appends_ = appends_;
  } else {
    flush->end = flush->targets[flush->count - 1].end;
  }
}

Status WalLog::sync_targets(Flush& flush) noexcept {
  for (std::size_t i = 0; i < flush.count; ++i) {
    FlushTarget& target = flush.targets[i];
    if (!target.file) {
      File* file = nullptr;
      STREAMBUS_TRY_STATUS(open_sparing(engine_.files(), engine_.cache(), path_of(*target.segment), OpenMode::write, &file));
      target.file = Ref<OpenFile>::adopt(new (std::nothrow) OpenFile(file));
      if (!target.file) {
        file->close();
        return {ErrorCode::no_space, "sync: out of memory"};
      }
    }
    if (const Status status = timed_sync(target.file->file()); !status.ok()) return at(*target.segment, status);
    if (!target.entry_synced) STREAMBUS_TRY_STATUS(sync_entry());
  }
  engine_.metrics().flushed_batches.add(static_cast<std::int64_t>(flush.batches));
  return {};
}

Status WalLog::timed_sync(File& file) noexcept {
  const MetricTimer timer(engine_.host(), engine_.metrics().fsync_ns);
  return file.sync();
}

/// Makes the names of new segment files durable; the first time, those of the directories above as well.
Status WalLog::sync_entry() noexcept {
  STREAMBUS_TRY_STATUS(engine_.files().sync_directory(directory_));
  if (entries_synced_.load(std::memory_order_acquire)) return {};
  STREAMBUS_TRY_STATUS(engine_.files().sync_directory(topic_id_));
  STREAMBUS_TRY_STATUS(engine_.files().sync_directory("."));
  entries_synced_.store(true, std::memory_order_release);
  return {};
}

/// True when the durable offset moved.
bool WalLog::mark_synced(const Flush& flush) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < flush.count; ++i) {
    const FlushTarget& target = flush.targets[i];
    target.segment->synced_bytes = std::max(target.segment->synced_bytes, target.bytes);
    target.segment->entry_synced = true;
  }
  if (flush.count > 0) {
    const FlushTarget& last = flush.targets[flush.count - 1];
    if (find_listed(*last.segment) != segments_.end()) durable_hint_ = {last.segment.get(), last.end, last.bytes};
  }
  return std::exchange(durable_, std::max(durable_, flush.end)) < flush.end;
}

void WalLog::write_mark(const FlushTarget& target) {
  try {
    if (mark_slot_ == UINT32_MAX) mark_slot_ = engine_.marks().slot(id_, partition_);
  } catch (const std::bad_alloc&) {
    return;  // the mark stays stale: less strict, not wrong
  }
  engine_.marks().write(mark_slot_, id_, partition_, {target.segment->base, target.end, target.bytes, target.frame_crc});
}

/// Takes the log offline, for good as far as this object goes: no append and no acknowledgement follows. Reads go on.
/// The domain's failure is reported from a job, never from within an append.
void WalLog::fail(const Status& status) noexcept {
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

void WalLog::post_maintenance() noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(maintenance_queued_, true)) return;
  }
  add_ref();
  engine_.host().post(WorkClass::background, [](void* log) noexcept { static_cast<WalLog*>(log)->run_maintenance(); }, this);
}

void WalLog::run_maintenance() noexcept {
  {
    const std::lock_guard maintenance(maintenance_);
    Ref<OpenFile> file;
    std::uint64_t from = 0;
    std::uint64_t to = 0;
    std::uint64_t reserve = 0;
    bool idle = false;
    {
      const std::lock_guard lock(mutex_);
      maintenance_queued_ = false;
      idle = closing_ || offline_;
      if (!idle && writeback_to_ > writeback_from_) {
        file = active_.file;
        from = std::exchange(writeback_from_, writeback_to_);
        to = writeback_to_;
        reserve = reserve_ahead();
      }
    }
    // Hints: what fails shows in the write or in the sync.
    if (reserve > 0) (void)file->file().reserve(reserve);
    if (file) (void)file->file().start_writeback(from, to - from);
    if (!idle) {
      Status status;
      try {
        status = seal_all();
      } catch (const std::bad_alloc&) {
        status = {ErrorCode::no_space, "sealing: out of memory"};
      }
      // What ran out of space is tried again with the next roll, retention or close.
      if (!status.ok() && status.code != ErrorCode::no_space && status.code != ErrorCode::busy) fail(status);
    }
  }
  release();
}

/// Up to where the active segment should have blocks: appends into them cost a quarter less than appends for which the file
/// system must find blocks. Only for what is appended to quickly, and never beyond the segment's size. 0: it has enough.
/// Under the mutex.
std::uint64_t WalLog::reserve_ahead() noexcept {
  constexpr std::uint64_t kAheadMax = std::uint64_t{64} << 20;
  const std::uint64_t bytes = active_.segment->bytes;
  const std::uint64_t ahead = std::min(bytes, kAheadMax);
  if (active_.reserved_bytes >= bytes + ahead / 2) return 0;
  const std::uint64_t wanted = std::min(bytes + ahead, static_cast<std::uint64_t>(settings_.segment_bytes));
  if (wanted <= active_.reserved_bytes) return 0;
  return active_.reserved_bytes = wanted;
}

/// Seals every segment that waits for it. Under maintenance_.
Status WalLog::seal_all() {
  bool sealed = false;
  for (;;) {
    Writing* writing = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (sealing_.empty()) break;
      writing = &sealing_.front();  // a list's elements stay where they are
    }
    STREAMBUS_TRY_STATUS(seal(*writing));
    Writing done;
    {
      const std::lock_guard lock(mutex_);
      sealing_.front().segment->sealed = true;
      done = std::move(sealing_.front());
      sealing_.pop_front();
    }
    sealed = true;
    // Readers of the tail are likely to come by: keep it open, with its index.
    if (done.file) {
      (void)done.file->publish_index(std::make_unique<const SegmentIndex>(std::move(done.index)));
      engine_.cache().put(*done.segment, std::move(done.file));
    }
  }
  return sealed ? write_manifest(start_, 0, false) : Status{};
}

/// Cuts the unused zeros and blocks, syncs, writes the index.
Status WalLog::seal(Writing& writing) {
  const Segment& segment = *writing.segment;
  if (!writing.file) {
    File* file = nullptr;
    STREAMBUS_TRY_STATUS(open_sparing(engine_.files(), engine_.cache(), path_of(segment), OpenMode::write, &file));
    auto opened = Ref<OpenFile>::adopt(new OpenFile(file));
    const std::lock_guard lock(mutex_);
    writing.file = std::move(opened);
  }
  if (std::max(writing.file_bytes, writing.reserved_bytes) > segment.bytes) {
    STREAMBUS_TRY_STATUS(writing.file->file().truncate(segment.bytes));
    writing.file_bytes = segment.bytes;
    writing.reserved_bytes = 0;
  }
  bool synced = false;
  bool entry_synced = false;
  {
    const std::lock_guard lock(mutex_);
    synced = segment.synced_bytes == segment.bytes;
    entry_synced = segment.entry_synced;
  }
  if (!synced) {
    if (const Status status = timed_sync(writing.file->file()); !status.ok()) {
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
Status WalLog::complete_index(Writing& writing, std::uint64_t bytes) {
  bool complete = false;
  bool dirty = false;
  {
    const std::lock_guard lock(mutex_);
    complete = writing.index_complete;
    dirty = writing.index_dirty;
  }
  if (!dirty) return {};
  if (!complete) STREAMBUS_TRY_STATUS(adopt_index(*writing.segment, writing.file->file(), bytes));
  SegmentIndex copy;
  {
    const std::lock_guard lock(mutex_);
    copy = writing.index;
    writing.index_dirty = false;
  }
  return write_index(*writing.segment, copy, bytes);
}

/// The index can be made again from the segment: not synced, and no failure of the log when it cannot be written.
Status WalLog::write_index(const Segment& segment, const SegmentIndex& index, std::uint64_t bytes) {
  const std::vector<std::byte> encoded = index.encode(bytes);
  File* file = nullptr;
  Status status = engine_.files().open(path_of(segment, "index"), OpenMode::create, &file);
  if (status.ok()) {
    const Slice slice = Slice::memory(encoded);
    status = file->truncate(0);
    if (status.ok()) status = file->write_at(0, &slice, 1);
    file->close();
  }
  if (!status.ok()) {
    log_line(engine_.host(), LogLevel::warning, "index of %.*s not written, it will be rebuilt: %s",
             static_cast<int>(directory_.view().size()), directory_.view().data(), status.text);
  }
  return {};
}

/// Under maintenance_. `skip`: the first segments, about to be removed.
Status WalLog::write_manifest(Offset start, std::size_t skip, bool closed) {
  std::vector<std::byte> encoded;
  {
    const std::lock_guard lock(mutex_);
    encoded = manifest_of(segments_, start, skip, closed);
  }
  changed_ = !closed;
  return replace_file(engine_.files(), directory_, Manifest::kFileName, encoded);
}

/// The manifest that lists what is complete of `segments`. Under the mutex.
std::vector<std::byte> WalLog::manifest_of(const std::vector<Ref<Segment>>& segments, Offset start, std::size_t skip,
                                           bool closed) const {
  Manifest manifest;
  manifest.closed = closed;
  manifest.run = engine_.run();
  manifest.start = start;
  manifest.end = segments.empty() ? end_ : segments[0]->base;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = *segments[i];
    const bool active = &segment == active_.segment.get();
    if (!segment.sealed && !(closed && active)) break;
    manifest.end = segment.end;
    if (i < skip) continue;
    manifest.entries.push_back({.base = segment.base,
                                .end = segment.end,
                                .bytes = segment.bytes,
                                .max_timestamp = segment.max_timestamp,
                                .first_append_ms = segment.first_append_ms,
                                .frame_crc = segment.frame_crc,
                                .generation = segment.generation,
                                .batches_end = segment.batches_end,
                                .active = active});
  }
  return manifest.encode(topic_id_, partition_);
}

/// Records the new start and removes the first segments, in this order: what the manifest lists exists. Under maintenance_.
Status WalLog::remove_first(std::size_t count, Offset start) {
  if (const Status status = write_manifest(start, count, false); !status.ok()) {
    if (status.code != ErrorCode::no_space && status.code != ErrorCode::busy) fail(status);
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
  remove_files(removed);
  return {};
}

/// A file that stays is removed when the log is opened the next time.
void WalLog::remove_files(const std::vector<Ref<Segment>>& segments) noexcept {
  for (const Ref<Segment>& segment : segments) {
    engine_.cache().drop(*segment);
    (void)engine_.files().remove(path_of(*segment));
    (void)engine_.files().remove(path_of(*segment, "index"));
  }
}

/// Parks a log that was not appended to since the last time. A worker's job.
void WalLog::park_when_idle() noexcept {
  if (!active_.file || std::exchange(appends_at_retain_, appends_) != appends_ || active_.segment->bytes == 0) return;
  {
    const std::lock_guard lock(mutex_);
    if (engine_.settings().syncs() && active_.segment->synced_bytes < active_.segment->bytes) return;
  }
  park();
}

/// Gives up the descriptor and the index of the active segment until somebody needs them.
void WalLog::park() noexcept {
  try {
    if (!complete_index(active_, active_.segment->bytes).ok()) return;
  } catch (const std::bad_alloc&) {
    return;
  }
  Ref<OpenFile> file;
  const std::lock_guard lock(mutex_);
  file = std::move(active_.file);
  active_.index = SegmentIndex(active_.segment->base);
  active_.index_complete = false;
}

/// The orderly end: everything durable, no zeros left, all of it in the manifest. Under maintenance_.
Status WalLog::close_files() {
  STREAMBUS_TRY_STATUS(seal_all());
  if (active_.segment && active_.segment->bytes == 0) {  // started, never written
    const Path path = path_of(*active_.segment);
    active_ = Writing();
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
    if (engine_.settings().syncs())
      write_mark({active_.segment, {}, active_.segment->bytes, end_, active_.segment->frame_crc, true});
  }
  if (!changed_) return {};  // the manifest of an earlier close tells it all
  return write_manifest(start_, 0, true);
}

}  // namespace streambus::storage_wal
