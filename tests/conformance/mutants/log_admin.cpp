// Deletion, retention, replacement, the end.

#include <algorithm>

#include "engine.hpp"

namespace streambus::storage_reference {

Status Log::apply(const PartitionSettings& settings) noexcept {
  const std::lock_guard lock(mutex_);
  settings_ = settings;
  return {};
}

/// Removes the first `count` segments (all of them: `everything`) and makes `start` the start. Under structure_.
Status Log::drop(std::size_t count, Offset start, bool everything) {
  std::vector<SegmentRef> dropped;
  std::vector<SegmentRef> kept;
  Offset end;
  {
    const std::shared_lock lock(mutex_);
    const auto middle = segments_.begin() + static_cast<std::ptrdiff_t>(everything ? segments_.size() : count);
    dropped.assign(segments_.begin(), middle);
    kept.assign(middle, segments_.end());
    end = end_;
  }
  STREAMBUS_TRY_STATUS(write_manifest(kept, start, end, false));
  {
    const std::lock_guard lock(mutex_);
    // An append may have come meanwhile, behind what is dropped.
    segments_.erase(segments_.begin(), segments_.begin() + static_cast<std::ptrdiff_t>(dropped.size()));
    start_ = start;
    durable_ = std::max(durable_, start);
  }
  remove_files(dropped);
  return {};
}

Status Log::delete_before(Offset start) noexcept {
  const std::lock_guard structure(structure_);
  std::size_t count = 0;
  bool everything = false;
  {
    const std::shared_lock lock(mutex_);
    if (start > end_) return {ErrorCode::out_of_range, name_ + ": deletion beyond the end"};
    if (start <= start_) return {};
    while (count < segments_.size() && segments_[count]->sealed && segments_[count]->to <= start) ++count;
    everything = start == end_;
  }
  return drop(count, start, everything);
}

Status Log::retain(TimestampMs now) noexcept {
  if (is(Mutation::crashes)) *static_cast<volatile int*>(nullptr) = 1;  // NOLINT: what this mutation is for
  if (is(Mutation::retention_keeps)) return {};
  const std::lock_guard structure(structure_);
  std::size_t count = 0;
  Offset start;
  bool everything = false;
  {
    const std::shared_lock lock(mutex_);
    std::uint64_t bytes = 0;
    for (const SegmentRef& segment : segments_) bytes += segment->batch_bytes;
    start = start_;
    const auto expired = [&](const Segment& segment) {
      return settings_.retention_ms >= 0 && segment.max_timestamp < now - settings_.retention_ms;
    };
    for (; count < segments_.size() && segments_[count]->sealed; ++count) {
      const Segment& segment = *segments_[count];
      const bool last = count + 1 == segments_.size();
      const bool much = settings_.retention_bytes >= 0 &&
                        bytes - segment.batch_bytes >= static_cast<std::uint64_t>(settings_.retention_bytes);
      if (!expired(segment) && (!much || last)) break;
      bytes -= segment.batch_bytes;
      start = std::max(start, segment.to);
    }
    everything = std::ranges::all_of(segments_, [&](const SegmentRef& segment) { return expired(*segment); });
    if (is(Mutation::retention_takes_active) && settings_.retention_bytes >= 0) everything = true;
    if (everything) start = end_;
    if (start == start_) return {};
  }
  return drop(count, start, everything);
}

Offset Log::segment_end(Offset from) noexcept {
  const std::shared_lock lock(mutex_);
  for (const SegmentRef& segment : segments_) {
    if (from < segment->to) return segment->sealed ? segment->to : kNoOffset;
  }
  return kNoOffset;
}

/// Writes what takes the place of [from, to) into a file of its own, durable and not yet in the manifest.
Status Log::build_replacement(Offset from, Offset to, BatchSource& batches, SegmentRef* out) {
  SegmentRef segment;
  const std::string name = std::to_string(from.value) + "-" + std::to_string(++generation_) + ".seg";
  STREAMBUS_TRY_STATUS(open_segment(name, OpenMode::create, from, &segment));
  const auto fill = [&]() -> Status {
    STREAMBUS_TRY_STATUS(segment->file.truncate(0));
    for (;;) {
      Bytes run;
      STREAMBUS_TRY_STATUS(batches.next(&run));
      if (run.empty()) break;
      while (!run.empty()) {
        std::size_t total = 0;
        STREAMBUS_TRY_STATUS(frame_batch(run, &total));
        const Bytes batch = run.first(total);
        const BatchHeader header(batch.data());
        if (header.base_offset() < segment->to || header.next_offset() > to)
          return {ErrorCode::invalid_argument, name_ + ": replace: a batch outside of the range or out of order"};
        Frame frame{.bytes = static_cast<std::uint32_t>(total), .previous = segment->to.value};
        frame.checksum = frame_checksum(frame, batch);
        const Slice slices[] = {Slice::memory(std::as_bytes(std::span(&frame, 1))), Slice::memory(batch)};
        STREAMBUS_TRY_STATUS(segment->file.write_at(segment->file_bytes, slices, 2));
        segment->add({header.base_offset(), header.next_offset(), header.max_timestamp(), segment->file_bytes + sizeof frame,
                      frame.bytes});
        run = run.subspan(total);
      }
    }
    if (is(Mutation::replace_drops_last) && !segment->entries.empty()) {
      const Entry last = segment->entries.back();
      segment->entries.pop_back();
      segment->batch_bytes -= last.bytes;
      segment->file_bytes = last.position - sizeof(Frame);
      STREAMBUS_TRY_STATUS(segment->file.truncate(segment->file_bytes));
    }
    if (is(Mutation::replace_not_synced)) return {};
    STREAMBUS_TRY_STATUS(segment->file.sync());
    return files().sync_directory(directory_);
  };
  if (const Status status = fill(); !status.ok()) {
    (void)files().remove(path(name));
    return status;
  }
  segment->to = to;
  segment->sealed = true;
  *out = std::move(segment);
  return {};
}

Status Log::replace(Offset from, Offset to, BatchSource& batches) noexcept {
  const std::lock_guard structure(structure_);
  std::vector<SegmentRef> segments;
  Offset start;
  Offset end;
  {
    const std::shared_lock lock(mutex_);
    if (failed_) return offline();
    segments = segments_;
    start = start_;
    end = end_;
  }
  const auto holds = [&](const SegmentRef& segment) {
    return segment->from == from || (segment->from < from && from == start && segment->to > from);
  };
  const auto first = std::ranges::find_if(segments, holds);
  auto last = first;
  while (last != segments.end() && (*last)->sealed && (*last)->to < to) ++last;
  if (from >= to || first == segments.end() || last == segments.end() || !(*last)->sealed || (*last)->to != to)
    return {ErrorCode::invalid_argument, name_ + ": replace: the range is not one of whole segments"};
  ++last;
  if (is(Mutation::replace_unlinks_first)) remove_files({first, last});
  SegmentRef built;
  STREAMBUS_TRY_STATUS(build_replacement((*first)->from, to, batches, &built));
  const std::vector<SegmentRef> old(first, last);
  const auto at = segments.erase(first, last);
  segments.insert(at, built);
  // After an error either manifest may be there, so the files of both stay; the next opening removes what is left over.
  STREAMBUS_TRY_STATUS(write_manifest(segments, start, end, false));
  {
    const std::lock_guard lock(mutex_);
    const auto begin = std::ranges::find(segments_, old.front());
    segments_.insert(segments_.erase(begin, begin + static_cast<std::ptrdiff_t>(old.size())), built);
    if (is(Mutation::replace_moves_end)) end_ = to;
  }
  remove_files(old);
  return {};
}

Status Log::close() noexcept {
  const std::shared_ptr<Log> self = shared_from_this();
  if (is(Mutation::hangs)) {
    for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  Status status;
  if (!is(Mutation::close_forgets)) flush();
  {
    const std::lock_guard structure(structure_);
    closed_ = true;
    if (failed_) {
      status = offline();
    } else if (!is(Mutation::close_forgets)) {
      for (const SegmentRef& segment : segments_) segment->sealed = true;
      status = write_manifest(segments_, start_, end_, true);
    }
    segments_.clear();
  }
  if (!is(Mutation::domain_left)) engine_.host().durability().close_domain(domain_);
  engine_.closed(key_);
  return status;
}

}  // namespace streambus::storage_reference
