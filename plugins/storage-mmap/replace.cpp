// Replacement of batches: new segments beside the old ones, synced, then one atomic replacement of the manifest. A crash
// leaves the old ones or the new ones; the others are removed when the partition is opened.

#include <algorithm>
#include <new>

#include "log.hpp"
#include "streambus/base/crc32c.hpp"

namespace streambus::storage_mmap {

using storage_common::kFrameBytes;
using storage_common::status_of;

/// The segments that a replacement writes; their files go with it unless keep() was called.
class MmapLog::Replacement {
 public:
  Replacement(MmapLog& log, Offset base, Offset to, std::uint32_t generation, std::uint64_t segment_bytes,
              TimestampMs first_append_ms) noexcept
      : log_(log),
        to_(to),
        generation_(generation),
        segment_bytes_(segment_bytes),
        first_append_ms_(first_append_ms),
        expected_(base),
        next_base_(base) {}
  Replacement(const Replacement&) = delete;
  Replacement& operator=(const Replacement&) = delete;
  ~Replacement() {
    file_.reset();
    if (kept_) return;
    for (const Ref<Segment>& segment : segments) log_.remove_files(*segment);
  }

  /// Adds whole batches. Errors: invalid_argument, those of writing.
  [[nodiscard]] Status add(Bytes run);
  /// All of it is on the device on return.
  [[nodiscard]] Status finish();
  void keep() noexcept { kept_ = true; }

  std::vector<Ref<Segment>> segments;

 private:
  [[nodiscard]] Status check(Bytes run, std::size_t* bytes) const noexcept;
  [[nodiscard]] Status begin_segment(Offset base);
  [[nodiscard]] Status end_segment(Offset end);
  [[nodiscard]] Status write(Bytes bytes);

  MmapLog& log_;
  const Offset to_;
  const std::uint32_t generation_;
  const std::uint64_t segment_bytes_;
  const TimestampMs first_append_ms_;
  Offset expected_;
  Offset next_base_;  ///< of the first segment
  Ref<SegmentFile> file_;
  SegmentIndex index_;
  bool kept_ = false;
};

/// The batch at the start of `run`: whole, in order, inside the range, valid.
Status MmapLog::Replacement::check(Bytes run, std::size_t* bytes) const noexcept {
  if (!frame_batch(run, bytes).ok()) return {ErrorCode::invalid_argument, "replace: expected whole record batches of magic 2"};
  const BatchHeader header(run.data());
  if (header.base_offset() < expected_ || header.last_offset_delta() < 0 || header.next_offset() > to_) {
    return status_of(ErrorCode::invalid_argument,
                     "replace: a batch of offsets %lld to %lld is not in order inside [%lld, %lld)",
                     static_cast<long long>(header.base_offset().value), static_cast<long long>(header.last_offset().value),
                     static_cast<long long>(expected_.value), static_cast<long long>(to_.value));
  }
  if (crc32c(run.subspan(kFrameBytes, *bytes - kFrameBytes)) != header.crc()) {
    return status_of(ErrorCode::invalid_argument, "replace: the checksum of the batch at offset %lld does not hold",
                     static_cast<long long>(header.base_offset().value));
  }
  return {};
}

Status MmapLog::Replacement::add(Bytes run) {
  Bytes pending = run.first(0);  // checked, goes to the open segment
  while (!run.empty()) {
    std::size_t bytes = 0;
    STREAMBUS_TRY_STATUS(check(run, &bytes));
    const BatchHeader header(run.data());
    const bool full = file_ && segments.back()->bytes + pending.size() + bytes > segment_bytes_;
    if (!file_ || full) {
      STREAMBUS_TRY_STATUS(write(pending));
      if (full) STREAMBUS_TRY_STATUS(end_segment(header.base_offset()));
      STREAMBUS_TRY_STATUS(begin_segment(full ? header.base_offset() : next_base_));
      pending = run.first(0);
    }
    Segment& segment = *segments.back();
    const std::uint64_t position = segment.bytes + pending.size();
    if (index_.wants(position)) index_.add(header.base_offset(), position, segment.max_timestamp);
    segment.max_timestamp = std::max(segment.max_timestamp, header.max_timestamp());
    segment.frame_crc = crc32c_extend(segment.frame_crc, run.first(kFrameBytes));
    expected_ = header.next_offset();
    pending = {pending.data(), pending.size() + bytes};
    run = run.subspan(bytes);
  }
  return write(pending);
}

Status MmapLog::Replacement::write(Bytes bytes) {
  if (bytes.empty()) return {};
  const Slice slice = Slice::memory(bytes);
  STREAMBUS_TRY_STATUS(file_->file().write_at(segments.back()->bytes, &slice, 1));
  segments.back()->bytes += bytes.size();
  return {};
}

Status MmapLog::Replacement::begin_segment(Offset base) {
  auto segment = Ref<Segment>::adopt(new Segment(base, generation_));
  segment->first_append_ms = first_append_ms_;
  segments.push_back(segment);
  index_ = SegmentIndex(base);
  File* opened = nullptr;
  STREAMBUS_TRY_STATUS(log_.engine_.cache().open(log_.path_of(*segment), OpenMode::create, &opened));
  file_ = Ref<SegmentFile>::adopt(new SegmentFile(opened, 0));
  return opened->truncate(0);
}

Status MmapLog::Replacement::end_segment(Offset end) {
  Segment& segment = *segments.back();
  segment.end = end;
  {
    const MetricTimer timer(log_.engine_.host(), log_.engine_.metrics().fsync_ns);
    STREAMBUS_TRY_STATUS(file_->file().sync());
  }
  file_.reset();
  segment.synced_bytes = segment.bytes;
  segment.entry_synced = segment.sealed = true;
  return log_.write_index(segment, index_, segment.bytes);
}

Status MmapLog::Replacement::finish() {
  if (file_) {
    STREAMBUS_TRY_STATUS(end_segment(to_));
    return log_.sync_entry();
  }
  // Nothing is kept: an entry of the manifest without a file.
  auto segment = Ref<Segment>::adopt(new Segment(next_base_, generation_));
  segment->end = to_;
  segment->first_append_ms = first_append_ms_;
  segment->entry_synced = segment->sealed = true;
  segments.push_back(std::move(segment));
  return {};
}

Offset MmapLog::segment_end(Offset from) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = std::upper_bound(segments_.begin(), segments_.end(), from,
                                      [](Offset wanted, const Ref<Segment>& segment) { return wanted < segment->end; });
  if (found == segments_.end() || found->get() == active_.segment.get()) return kNoOffset;
  return (*found)->end;
}

/// The segments that [from, to) names. Under the mutex.
Status MmapLog::check_bounds(Offset from, Offset to, std::size_t* first, std::size_t* count) {
  const auto begin = std::upper_bound(segments_.begin(), segments_.end(), from,
                                      [](Offset wanted, const Ref<Segment>& segment) { return wanted < segment->end; });
  auto end = begin;
  while (end != segments_.end() && (*end)->end <= to && (*end)->sealed) ++end;
  const bool starts_there = begin != segments_.end() && ((*begin)->base == from || from == start_);
  if (!starts_there || end == begin || (*(end - 1))->end != to) {
    return status_of(ErrorCode::invalid_argument, "replace: [%lld, %lld) is not a row of sealed segments",
                     static_cast<long long>(from.value), static_cast<long long>(to.value));
  }
  *first = static_cast<std::size_t>(begin - segments_.begin());
  *count = static_cast<std::size_t>(end - begin);
  return {};
}

Status MmapLog::replace(Offset from, Offset to, BatchSource& batches) noexcept {
  if (offline_.load(std::memory_order_acquire)) return offline_status();
  try {
    {
      const std::lock_guard maintenance(maintenance_);
      STREAMBUS_TRY_STATUS(seal_all());
    }
    std::size_t first = 0;
    std::size_t count = 0;
    Offset base;
    std::uint32_t generation = 0;
    std::uint64_t segment_bytes = 0;
    TimestampMs first_append_ms = 0;
    {
      const std::lock_guard lock(mutex_);
      STREAMBUS_TRY_STATUS(check_bounds(from, to, &first, &count));
      base = segments_[first]->base;
      generation = ++generation_;
      segment_bytes = static_cast<std::uint64_t>(settings_.segment_bytes);
      first_append_ms = segments_[first + count - 1]->first_append_ms;
    }
    Replacement made(*this, base, to, generation, segment_bytes, first_append_ms);
    for (Bytes run;;) {
      STREAMBUS_TRY_STATUS(batches.next(&run));
      if (run.empty()) break;
      STREAMBUS_TRY_STATUS(made.add(run));
    }
    STREAMBUS_TRY_STATUS(made.finish());
    const std::lock_guard maintenance(maintenance_);
    return swap_in(made, first, count);
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "replace: out of memory"};
  }
}

/// Makes the new segments the truth. Under maintenance_.
Status MmapLog::swap_in(Replacement& made, std::size_t first, std::size_t count) {
  const auto at_first = static_cast<std::ptrdiff_t>(first);
  const auto behind = static_cast<std::ptrdiff_t>(first + count);
  Manifest manifest = manifest_now(false, 0);
  manifest.start = start_;
  std::vector<ManifestEntry> entries;
  for (const Ref<Segment>& segment : made.segments) {
    entries.push_back({segment->base, segment->end, segment->bytes, segment->max_timestamp, segment->first_append_ms,
                       segment->frame_crc, segment->generation, false});
  }
  manifest.entries.erase(manifest.entries.begin() + at_first, manifest.entries.begin() + behind);
  manifest.entries.insert(manifest.entries.begin() + at_first, entries.begin(), entries.end());
  std::vector<Ref<Segment>> replaced;
  {
    // What may run out of memory comes before the manifest. Appends make room for the segments that they add.
    const std::lock_guard lock(mutex_);
    segments_.reserve(segments_.size() + made.segments.size());
    replaced.assign(segments_.begin() + at_first, segments_.begin() + behind);
  }
  bool renamed = false;
  changed_ = true;
  const Status status = storage_common::replace_file(engine_.files(), directory_, Manifest::kFileName,
                                                     manifest.encode(topic_id_, partition_), &renamed);
  if (!status.ok()) {
    if (!renamed) return status;
    // Either manifest may be the one that is found after a crash: nothing of either may go.
    made.keep();
    fail(status);
    return status;
  }
  made.keep();
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  {
    const std::lock_guard lock(mutex_);
    for (const Ref<Segment>& segment : replaced) before += segment->bytes;
    for (const Ref<Segment>& segment : made.segments) after += segment->bytes;
    segments_.erase(segments_.begin() + at_first, segments_.begin() + behind);
    segments_.insert(segments_.begin() + at_first, made.segments.begin(), made.segments.end());
    bytes_ = bytes_ - before + after;
    for (Hint& hint : hints_) hint = Hint();  // they name segments by address
    durable_hint_ = Hint();
  }
  engine_.metrics().segments.add(static_cast<std::int64_t>(made.segments.size()) - static_cast<std::int64_t>(count));
  engine_.metrics().stored_bytes.add(static_cast<std::int64_t>(after) - static_cast<std::int64_t>(before));
  engine_.metrics().replaced_bytes.add(static_cast<std::int64_t>(before));
  for (const Ref<Segment>& segment : replaced) {
    engine_.cache().drop(segment->views);
    remove_files(*segment);
  }
  return {};
}

}  // namespace streambus::storage_mmap
