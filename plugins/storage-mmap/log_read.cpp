// Reading: a run of whole batches, as a slice of a window.

#include <algorithm>
#include <new>

#include "batch_cursor.hpp"
#include "log.hpp"
#include "streambus/base/crc32c.hpp"

namespace streambus::storage_mmap {

using storage_common::kFrameBytes;
using storage_common::log_line;
using storage_common::status_of;

namespace {

constexpr int kAttempts = 3;  ///< of a read whose segment goes at the same time

}  // namespace

// ---- the cursor

Status MmapLog::BatchCursor::map(std::uint64_t bytes) {
  if (window_ && window_->contains(position_, bytes)) return {};
  return log_.engine_.cache().acquire(segment_->views, log_.path_of(*segment_), position_, bytes, end_, &window_);
}

Status MmapLog::BatchCursor::load(bool whole) {
  const std::uint64_t left = end_ - position_;
  if (left >= kBatchHeaderBytes) {
    STREAMBUS_TRY_STATUS(map(kBatchHeaderBytes));
    const BatchHeader found = header();
    const bool plausible = found.magic() == 2 &&
                           found.length_field() >= static_cast<std::int32_t>(kBatchHeaderBytes - kBatchLengthPrefixBytes) &&
                           found.total_bytes() <= left;
    if (plausible) return whole ? map(found.total_bytes()) : Status{};
    if (const Status status = window_->check(); !status.ok()) return log_.page_failed(*segment_, *window_, status);
  }
  return log_.at(*segment_,
                 status_of(ErrorCode::corrupt, "no batch at position %llu", static_cast<unsigned long long>(position_)));
}

// ---- reads

/// The writing state of a segment that is not sealed; null for sealed ones. Under the mutex.
MmapLog::Writing* MmapLog::writing_of(const Segment& segment) noexcept {
  if (active_.segment.get() == &segment) return &active_;
  for (Writing& writing : sealing_) {
    if (writing.segment.get() == &segment) return &writing;
  }
  return nullptr;
}

/// A page of a mapping failed: offline with the file's name. The next reader maps it again: what is good stays readable.
Status MmapLog::page_failed(Segment& segment, const Window& window, const Status& status) noexcept {
  const Status failure = at(segment, status);
  engine_.cache().forget(segment.views, window);
  fail(failure);
  return failure;
}

Status MmapLog::read(const ReadRequest& request, ReadResult* result) noexcept {
  result->slice_count = 0;
  result->bytes = 0;
  result->next = request.from;
  result->pin = nullptr;
  try {
    return read_batches(request, result);
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "read: out of memory"};
  }
}

Status MmapLog::read_batches(ReadRequest request, ReadResult* result) {
  for (int attempt = 1;;) {
    ReadPlace place;
    STREAMBUS_TRY_STATUS(locate(request, &place));
    if (!place.segment) return {};
    const Status status = read_segment(request, &place, result);
    // The file went between the look and its opening: retention, or compaction, which left another.
    if (status.code == ErrorCode::not_found && attempt++ < kAttempts) continue;
    if (!status.ok() || place.start_exact) return status;
    request.from = place.end;  // compaction left nothing from there to the end of the segment
  }
}

/// Reads from one segment. Not start_exact afterwards: no batch of it reaches `from`.
Status MmapLog::read_segment(const ReadRequest& request, ReadPlace* located, ReadResult* result) {
  ReadPlace& place = *located;
  BatchCursor cursor(*this, place.segment, place.window, place.start_position, place.bytes);
  STREAMBUS_TRY_STATUS(find_start(request, &place, cursor));
  if (!place.start_exact) return {};
  const std::uint64_t start = place.start_position;
  cursor.go_to(start);
  STREAMBUS_TRY_STATUS(cursor.load(true));
  Ref<Window> window = cursor.window();
  // One window a read: the next read goes on where it ends.
  const std::uint64_t first_bytes = cursor.header().total_bytes();
  std::uint64_t reach = std::min(request.bytes_max, window->end() - start);
  if (first_bytes > reach && request.at_least_one) reach = first_bytes;
  std::uint64_t end = 0;
  Offset next;
  STREAMBUS_TRY_STATUS(find_end(request, place, reach, cursor, &end, &next));
  if (end > start && engine_.settings().verify_on_read) {
    STREAMBUS_TRY_STATUS(verify(*place.segment, {window->at(start), static_cast<std::size_t>(end - start)}, start));
  }
  if (const Status status = window->check(); !status.ok()) return page_failed(*place.segment, *window, status);
  if (end == start) return {};
  result->slices[0] = Slice::memory({window->at(start), static_cast<std::size_t>(end - start)});
  result->slice_count = 1;
  result->bytes = end - start;
  result->next = next;
  result->pin = window.detach();
  const std::lock_guard lock(mutex_);
  // Where this read ended the next one begins. A segment that was removed meanwhile must not be named any more.
  const auto found = std::upper_bound(segments_.begin(), segments_.end(), request.from,
                                      [](Offset from, const Ref<Segment>& segment) { return from < segment->end; });
  if (found != segments_.end() && found->get() == place.segment.get())
    hints_[next_hint_++ % kHints] = {place.segment.get(), next, end};
  return {};
}

/// Finds the segment and what memory knows about the boundaries asked for. No segment: nothing to read.
Status MmapLog::locate(const ReadRequest& request, ReadPlace* place) {
  const std::lock_guard lock(mutex_);
  if (request.from < start_ || request.from > end_) {
    return status_of(ErrorCode::out_of_range, "offset %lld is outside of [%lld, %lld]",
                     static_cast<long long>(request.from.value), static_cast<long long>(start_.value),
                     static_cast<long long>(end_.value));
  }
  if (request.from == end_ || request.limit <= request.from) return {};
  auto found = std::upper_bound(segments_.begin(), segments_.end(), request.from,
                                [](Offset from, const Ref<Segment>& segment) { return from < segment->end; });
  while (found != segments_.end() && (*found)->bytes == 0) ++found;  // compacted away
  if (found == segments_.end()) return {};
  Segment& segment = **found;
  place->segment = *found;
  place->bytes = segment.bytes;
  place->end = segment.end;
  if (request.from <= segment.base) place->start_exact = true;
  const auto use_hint = [&](const Hint& hint) {
    if (hint.segment != &segment) return;
    if (hint.offset == request.from && hint.position < segment.bytes) {
      place->start_position = hint.position;
      place->start_exact = true;
    }
    if (hint.offset == request.limit) {
      place->limit_position = hint.position;
      place->limit_exact = true;
    }
  };
  for (const Hint& hint : hints_) use_hint(hint);
  use_hint(durable_hint_);
  if (const Writing* const writing = writing_of(segment); writing != nullptr) {
    // After a failure its pages may be zeros: what is good is mapped again.
    if (!offline_.load(std::memory_order_relaxed)) place->window = writing->window;
    look_up(writing->index, request, place);
  }
  return {};
}

/// Boundaries near the start and the end of a read. The end's may lie too early, never too late.
void MmapLog::look_up(const SegmentIndex& index, const ReadRequest& request, ReadPlace* place) const noexcept {
  IndexEntry entry;
  if (!place->start_exact && index.at_or_before(request.from, &entry)) {
    place->start_position = entry.position;
    place->start_known = true;
  }
  if (!place->start_exact && !place->start_known) return;
  IndexEntry by_limit;
  IndexEntry by_bytes;
  const std::uint64_t start = place->start_position;
  const std::uint64_t reach = request.bytes_max > UINT64_MAX - start ? UINT64_MAX : start + request.bytes_max;
  if (!index.at_or_before(request.limit, &by_limit) || !index.at_or_before_position(reach, &by_bytes)) return;
  place->end_entry = by_limit.position < by_bytes.position ? by_limit : by_bytes;
  place->end_known = true;
}

/// Looks up in the segment's index, which is loaded where it is not.
Status MmapLog::look_up_loaded(const ReadRequest& request, BatchCursor& cursor, ReadPlace* place) {
  Ref<LoadedIndex> index;
  STREAMBUS_TRY_STATUS(index_of(cursor, &index));
  if (index) {
    look_up(index->index, request, place);
    return {};
  }
  const std::lock_guard lock(mutex_);
  if (const Writing* const writing = writing_of(cursor.segment())) look_up(writing->index, request, place);
  return {};
}

/// Settles where the batch that contains `from`, or the first one behind it, begins.
Status MmapLog::find_start(const ReadRequest& request, ReadPlace* place, BatchCursor& cursor) {
  const bool whole_rest =
      place->start_exact && place->bytes - place->start_position <= request.bytes_max && request.limit >= place->end;
  if (!whole_rest && !place->end_known) STREAMBUS_TRY_STATUS(look_up_loaded(request, cursor, place));
  if (place->start_exact) return {};
  for (cursor.go_to(place->start_position); !cursor.at_end(); cursor.next()) {
    STREAMBUS_TRY_STATUS(cursor.load());
    if (cursor.header().next_offset() > request.from) break;
  }
  if (cursor.at_end()) {
    if (place->segment->generation > 0) return {};
    return at(*place->segment, {ErrorCode::corrupt, "the segment ends before the offset that it should contain"});
  }
  place->start_position = cursor.position();
  place->start_exact = true;
  return {};
}

/// Settles where the read ends: behind the last batch that lies below the limit and within `reach` bytes of the start.
Status MmapLog::find_end(const ReadRequest& request, const ReadPlace& place, std::uint64_t reach, BatchCursor& cursor,
                         std::uint64_t* end, Offset* next) {
  const std::uint64_t start = place.start_position;
  if (request.limit >= place.end && place.bytes - start <= reach) {
    *end = place.bytes;
    *next = place.end;
    return {};
  }
  if (place.limit_exact && place.limit_position > start && place.limit_position - start <= reach) {
    *end = place.limit_position;
    *next = request.limit;
    return {};
  }
  *end = start;
  *next = request.from;
  if (place.end_known && place.end_entry.position > start && place.end_entry.position - start <= reach) {
    *end = place.end_entry.position;
    *next = place.end_entry.base;
  }
  for (cursor.go_to(*end); !cursor.at_end() && cursor.position() - start + kBatchHeaderBytes <= reach; cursor.next()) {
    STREAMBUS_TRY_STATUS(cursor.load());
    const std::uint64_t batch_end = cursor.position() + cursor.header().total_bytes();
    if (batch_end - start > reach || cursor.header().next_offset() > request.limit) break;
    *end = batch_end;
    *next = cursor.header().next_offset();
  }
  return {};
}

// ---- indexes

/// The index of a sealed segment. Null for one that is being written: its index is in memory, complete on return.
Status MmapLog::index_of(BatchCursor& cursor, Ref<LoadedIndex>* index) {
  bool complete = true;
  bool writing = false;
  {
    const std::lock_guard lock(mutex_);
    const Writing* const found = writing_of(cursor.segment());
    writing = found != nullptr;
    complete = writing && found->index_complete;
  }
  if (writing) return complete ? Status{} : adopt_index(cursor);
  *index = engine_.cache().index(cursor.segment().views);
  if (*index) return {};
  SegmentIndex loaded(cursor.segment().base);
  STREAMBUS_TRY_STATUS(load_index(cursor, &loaded));
  *index = Ref<LoadedIndex>::adopt(new LoadedIndex(std::move(loaded)));
  engine_.cache().keep_index(cursor.segment().views, *index);
  return {};
}

/// Puts the part of the index that is on disk in front of what a reopened segment has in memory.
Status MmapLog::adopt_index(BatchCursor& cursor) {
  SegmentIndex earlier(cursor.segment().base);
  STREAMBUS_TRY_STATUS(load_index(cursor, &earlier));
  const std::lock_guard lock(mutex_);
  Writing* const writing = writing_of(cursor.segment());
  if (writing == nullptr || writing->index_complete) return {};
  writing->index.prepend(earlier);
  writing->index_complete = true;
  return {};
}

/// Reads the index file of a segment; rebuilds it from the headers where it is missing or wrong.
Status MmapLog::load_index(BatchCursor& cursor, SegmentIndex* index) {
  constexpr std::size_t kIndexBytesMax = 64 + 24 * SegmentIndex::kEntriesMax;
  const Segment& segment = cursor.segment();
  std::vector<std::byte> encoded;
  Status status = storage_common::read_small_file(engine_.files(), path_of(segment, "index"), kIndexBytesMax, &encoded);
  if (status.ok()) status = SegmentIndex::decode(kIndexMagic, encoded, segment.base, cursor.end(), index);
  if (status.ok()) return {};
  log_line(engine_.host(), LogLevel::warning, "%s is rebuilt: %s", path_of(segment, "index").c_str(), status.text);
  engine_.metrics().index_rebuilds.add(1);

  *index = SegmentIndex(segment.base);
  TimestampMs max_timestamp = kNoTimestamp;
  for (cursor.go_to(0); !cursor.at_end(); cursor.next()) {
    STREAMBUS_TRY_STATUS(cursor.load());
    if (index->wants(cursor.position())) index->add(cursor.header().base_offset(), cursor.position(), max_timestamp);
    max_timestamp = std::max(max_timestamp, cursor.header().max_timestamp());
  }
  if (cursor.window()) {
    if (const Status checked = cursor.window()->check(); !checked.ok())
      return page_failed(cursor.segment(), *cursor.window(), checked);
  }
  return write_index(segment, *index, cursor.end());
}

// ---- time

Status MmapLog::find_time(TimestampMs timestamp, Offset* batch_base) noexcept {
  *batch_base = kNoOffset;
  try {
    Status status;
    // not_found: the file went between the look and its opening, as in a read.
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      status = find_time_once(timestamp, batch_base);
      if (status.code != ErrorCode::not_found) break;
    }
    return status;
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "time search: out of memory"};
  }
}

Status MmapLog::find_time_once(TimestampMs timestamp, Offset* batch_base) {
  std::vector<Ref<Segment>> candidates;
  {
    const std::lock_guard lock(mutex_);
    for (const Ref<Segment>& segment : segments_) {
      if (segment->end > start_ && segment->bytes > 0 && segment->max_timestamp >= timestamp) candidates.push_back(segment);
    }
  }
  // One is enough, unless the batch that qualifies lies before the start offset.
  for (const Ref<Segment>& segment : candidates) {
    STREAMBUS_TRY_STATUS(find_time_in(segment, timestamp, batch_base));
    if (*batch_base != kNoOffset) break;
  }
  return {};
}

Status MmapLog::find_time_in(Ref<Segment> segment, TimestampMs timestamp, Offset* batch_base) {
  Ref<Window> window;
  std::uint64_t bytes = 0;
  Offset start;
  {
    const std::lock_guard lock(mutex_);
    bytes = segment->bytes;
    start = start_;
    const Writing* const writing = writing_of(*segment);
    if (writing != nullptr && !offline_.load(std::memory_order_relaxed)) window = writing->window;
  }
  BatchCursor cursor(*this, segment, std::move(window), 0, bytes);
  Ref<LoadedIndex> index;
  STREAMBUS_TRY_STATUS(index_of(cursor, &index));
  IndexEntry entry;
  if (index) {
    (void)index->index.before_time(timestamp, &entry);
  } else {
    const std::lock_guard lock(mutex_);
    if (const Writing* const writing = writing_of(*segment)) (void)writing->index.before_time(timestamp, &entry);
  }
  for (cursor.go_to(entry.position); !cursor.at_end(); cursor.next()) {
    STREAMBUS_TRY_STATUS(cursor.load());
    if (cursor.header().max_timestamp() < timestamp || cursor.header().next_offset() <= start) continue;
    const Offset found = cursor.header().base_offset();
    if (const Status status = cursor.window()->check(); !status.ok()) return page_failed(*segment, *cursor.window(), status);
    *batch_base = found;
    return {};
  }
  return {};
}

/// Checks every batch of a run before it is handed out.
Status MmapLog::verify(const Segment& segment, Bytes run, std::uint64_t position) const noexcept {
  Offset expected{0};
  while (!run.empty()) {
    std::size_t total = 0;
    Status status = frame_batch(run, &total);
    if (status.ok()) {
      const BatchHeader header(run.data());
      if (crc32c(run.subspan(kFrameBytes, total - kFrameBytes)) != header.crc()) {
        status = {ErrorCode::corrupt, "checksum of a batch does not hold"};
      } else if (header.base_offset() < expected) {
        status = {ErrorCode::corrupt, "base offsets do not rise"};
      }
      expected = header.next_offset();
    }
    if (!status.ok()) {
      return at(segment,
                status_of(ErrorCode::corrupt, "position %llu: %.60s", static_cast<unsigned long long>(position), status.text));
    }
    run = run.subspan(total);
    position += total;
  }
  return {};
}

}  // namespace streambus::storage_mmap
