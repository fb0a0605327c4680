// Reading: a run of whole batches of one segment, as a slice of its file.

#include <algorithm>
#include <new>

#include "log.hpp"
#include "streambus/base/crc32c.hpp"
#include "text.hpp"

namespace streambus::storage_wal {

Status WalLog::at(const Segment& segment, const Status& status) const noexcept {
  const Path path = path_of(segment);
  Status located = status_of(status.code, "%s: %.90s", path.c_str(), status.text);
  located.sys_errno = status.sys_errno;
  return located;
}

/// The writing state of a segment that is not sealed; null for sealed ones. Under the mutex.
WalLog::Writing* WalLog::writing_of(const Segment& segment) noexcept {
  if (active_.segment.get() == &segment) return &active_;
  for (Writing& writing : sealing_) {
    if (writing.segment.get() == &segment) return &writing;
  }
  return nullptr;
}

Status WalLog::read(const ReadRequest& request, ReadResult* result) noexcept {
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

Status WalLog::read_batches(const ReadRequest& request, ReadResult* result) {
  ReadPlace place;
  for (;;) {
    place = ReadPlace();
    STREAMBUS_TRY_STATUS(locate(request, &place));
    if (!place.segment) return {};
    if (place.file) break;
    const Status status = engine_.cache().acquire(*place.segment, path_of(*place.segment), place.bytes, &place.file);
    if (status.ok()) break;
    // Between the look and the opening it was removed, or another one was put in its place: look again.
    if (status.code != ErrorCode::not_found || is_listed(*place.segment)) return status;
  }
  STREAMBUS_TRY_STATUS(find_start(request, &place));
  std::uint64_t end = 0;
  Offset next;
  STREAMBUS_TRY_STATUS(find_end(request, place, &end, &next));
  if (end == place.start_position) return {};
  if (engine_.settings().verify_on_read) STREAMBUS_TRY_STATUS(verify(place, end));
  result->slices[0] = Slice::file(place.file->file().descriptor(), place.start_position, end - place.start_position);
  result->slice_count = 1;
  result->bytes = end - place.start_position;
  result->next = next;
  result->pin = place.file.detach();
  const std::lock_guard lock(mutex_);
  // Where this read ended the next one begins. A segment that was removed meanwhile must not be named any more.
  if (find_listed(*place.segment) != segments_.end()) hints_[next_hint_++ % kHints] = {place.segment.get(), next, end};
  return {};
}

/// Under the mutex.
std::vector<Ref<Segment>>::iterator WalLog::find_listed(const Segment& segment) noexcept {
  const auto found = std::lower_bound(segments_.begin(), segments_.end(), segment.base,
                                      [](const Ref<Segment>& other, Offset base) { return other->base < base; });
  return found != segments_.end() && found->get() == &segment ? found : segments_.end();
}

bool WalLog::is_listed(const Segment& segment) noexcept {
  const std::lock_guard lock(mutex_);
  return find_listed(segment) != segments_.end();
}

/// The segment whose offsets hold `from`; there must be segments. Under the mutex.
std::vector<Ref<Segment>>::iterator WalLog::segment_of(Offset from) noexcept {
  const auto behind = std::upper_bound(segments_.begin(), segments_.end(), from,
                                       [](Offset offset, const Ref<Segment>& segment) { return offset < segment->base; });
  return behind == segments_.begin() ? behind : behind - 1;
}

/// Finds the segment and what memory knows about the boundaries asked for. No segment: nothing to read.
Status WalLog::locate(const ReadRequest& request, ReadPlace* place) {
  const std::lock_guard lock(mutex_);
  if (request.from < start_ || request.from > end_) {
    return status_of(ErrorCode::out_of_range, "offset %lld is outside of [%lld, %lld]",
                     static_cast<long long>(request.from.value), static_cast<long long>(start_.value),
                     static_cast<long long>(end_.value));
  }
  if (request.from == end_ || request.limit <= request.from || segments_.empty()) return {};
  auto found = segment_of(request.from);
  while ((*found)->batches_end <= request.from && ++found != segments_.end()) {  // a gap that a replacement left
  }
  if (found == segments_.end()) return {};
  Segment& segment = **found;
  place->segment = *found;
  place->bytes = segment.bytes;
  place->end = segment.batches_end;
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
    place->file = writing->file;
    look_up(writing->index, request, place);
  }
  return {};
}

/// Boundaries near the start and the end of a read. The end's may lie too early, never too late.
void WalLog::look_up(const SegmentIndex& index, const ReadRequest& request, ReadPlace* place) const noexcept {
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

/// Settles where the batch that contains `from` begins.
Status WalLog::find_start(const ReadRequest& request, ReadPlace* place) {
  const bool whole_rest =
      place->start_exact && place->bytes - place->start_position <= request.bytes_max && request.limit >= place->end;
  if (!whole_rest && !place->end_known) {
    const SegmentIndex* index = nullptr;
    STREAMBUS_TRY_STATUS(index_of(*place->segment, *place->file, place->bytes, &index));
    if (index != nullptr) {
      look_up(*index, request, place);
    } else {
      const std::lock_guard lock(mutex_);
      if (const Writing* const writing = writing_of(*place->segment)) look_up(writing->index, request, place);
    }
  }
  if (place->start_exact) return {};
  HeaderCursor cursor(place->file->file(), place->start_position, place->bytes);
  for (; !cursor.at_end(); cursor.next()) {
    if (const Status status = cursor.load(); !status.ok()) return at(*place->segment, status);
    if (cursor.header().next_offset() > request.from) break;
  }
  if (cursor.at_end())
    return at(*place->segment, {ErrorCode::corrupt, "the segment ends before the offset that it should contain"});
  place->start_position = cursor.position();
  place->start_exact = true;
  return {};
}

/// Settles where the read ends: behind the last batch that lies below the limit and within bytes_max.
Status WalLog::find_end(const ReadRequest& request, const ReadPlace& place, std::uint64_t* end, Offset* next) {
  const std::uint64_t start = place.start_position;
  if (request.limit >= place.end && place.bytes - start <= request.bytes_max) {
    *end = place.bytes;
    *next = place.end;
    return {};
  }
  if (place.limit_exact && place.limit_position > start && place.limit_position - start <= request.bytes_max) {
    *end = place.limit_position;
    *next = request.limit;
    return {};
  }
  *end = start;
  *next = request.from;
  if (place.end_known && place.end_entry.position > start && place.end_entry.position - start <= request.bytes_max) {
    *end = place.end_entry.position;
    *next = place.end_entry.base;
  }
  HeaderCursor cursor(place.file->file(), *end, place.bytes);
  for (; !cursor.at_end(); cursor.next()) {
    if (const Status status = cursor.load(); !status.ok()) return at(*place.segment, status);
    const std::uint64_t batch_end = cursor.position() + cursor.header().total_bytes();
    const bool fits = batch_end - start <= request.bytes_max || (request.at_least_one && cursor.position() == start);
    if (!fits || cursor.header().next_offset() > request.limit) break;
    *end = batch_end;
    *next = cursor.header().next_offset();
  }
  return {};
}

/// The index of a segment. Null for one that is being written: its index is in memory, complete on return.
Status WalLog::index_of(const Segment& segment, OpenFile& file, std::uint64_t bytes, const SegmentIndex** index) {
  bool complete = true;
  bool writing = false;
  {
    const std::lock_guard lock(mutex_);
    const Writing* const found = writing_of(segment);
    writing = found != nullptr;
    complete = writing && found->index_complete;
  }
  *index = nullptr;
  if (writing) return complete ? Status{} : adopt_index(segment, file.file(), bytes);
  *index = file.index();
  if (*index != nullptr) return {};
  auto loaded = std::make_unique<SegmentIndex>(segment.base);
  STREAMBUS_TRY_STATUS(load_index(segment, file.file(), bytes, loaded.get()));
  *index = file.publish_index(std::move(loaded));
  return {};
}

/// Puts the part of the index that is on disk in front of what a reopened segment has in memory.
Status WalLog::adopt_index(const Segment& segment, File& file, std::uint64_t bytes) {
  SegmentIndex earlier(segment.base);
  STREAMBUS_TRY_STATUS(load_index(segment, file, bytes, &earlier));
  const std::lock_guard lock(mutex_);
  Writing* const writing = writing_of(segment);
  if (writing == nullptr || writing->index_complete) return {};
  writing->index.prepend(earlier);
  writing->index_complete = true;
  return {};
}

/// Reads the index file of a segment; rebuilds it from the headers where it is missing or wrong.
Status WalLog::load_index(const Segment& segment, File& file, std::uint64_t bytes, SegmentIndex* index) {
  std::vector<std::byte> encoded;
  Status status = read_small_file(engine_.files(), path_of(segment, "index"), SegmentIndex::kFileBytesMax, &encoded);
  if (status.ok()) status = SegmentIndex::decode(encoded, segment.base, bytes, index);
  if (status.ok()) return {};
  log_line(engine_.host(), LogLevel::warning, "%s is rebuilt: %s", path_of(segment, "index").c_str(), status.text);
  engine_.metrics().index_rebuilds.add(1);

  *index = SegmentIndex(segment.base);
  TimestampMs max_timestamp = kNoTimestamp;
  HeaderCursor cursor(file, 0, bytes);
  for (; !cursor.at_end(); cursor.next()) {
    if (const Status loaded = cursor.load(); !loaded.ok()) return at(segment, loaded);
    if (index->wants(cursor.position())) index->add(cursor.header().base_offset(), cursor.position(), max_timestamp);
    max_timestamp = std::max(max_timestamp, cursor.header().max_timestamp());
  }
  return write_index(segment, *index, bytes);
}

Status WalLog::find_time(TimestampMs timestamp, Offset* batch_base) noexcept {
  *batch_base = kNoOffset;
  try {
    std::vector<Ref<Segment>> candidates;
    {
      const std::lock_guard lock(mutex_);
      for (const Ref<Segment>& segment : segments_) {
        if (segment->end > start_ && segment->max_timestamp >= timestamp) candidates.push_back(segment);
      }
    }
    // One is enough, unless the batch that qualifies lies before the start offset.
    for (const Ref<Segment>& segment : candidates) {
      const Status status = find_time_in(segment, timestamp, batch_base);
      if (status.code == ErrorCode::not_found && !is_listed(*segment)) return find_time(timestamp, batch_base);
      if (!status.ok()) return status;
      if (*batch_base != kNoOffset) break;
    }
    return {};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "time search: out of memory"};
  }
}

Status WalLog::find_time_in(Ref<Segment> segment, TimestampMs timestamp, Offset* batch_base) {
  Ref<OpenFile> file;
  std::uint64_t bytes = 0;
  Offset start;
  {
    const std::lock_guard lock(mutex_);
    bytes = segment->bytes;
    start = start_;
    if (const Writing* const writing = writing_of(*segment)) file = writing->file;
  }
  if (!file) STREAMBUS_TRY_STATUS(engine_.cache().acquire(*segment, path_of(*segment), bytes, &file));
  const SegmentIndex* index = nullptr;
  STREAMBUS_TRY_STATUS(index_of(*segment, *file, bytes, &index));
  IndexEntry entry;
  if (index != nullptr) {
    (void)index->before_time(timestamp, &entry);
  } else {
    const std::lock_guard lock(mutex_);
    if (const Writing* const writing = writing_of(*segment)) (void)writing->index.before_time(timestamp, &entry);
  }
  HeaderCursor cursor(file->file(), entry.position, bytes);
  for (; !cursor.at_end(); cursor.next()) {
    if (const Status status = cursor.load(); !status.ok()) return at(*segment, status);
    if (cursor.header().max_timestamp() < timestamp || cursor.header().next_offset() <= start) continue;
    *batch_base = cursor.header().base_offset();
    return {};
  }
  return {};
}

/// Checks every batch of a run before it is handed out.
Status WalLog::verify(const ReadPlace& place, std::uint64_t end) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(end - place.start_position));
  std::size_t read = 0;
  STREAMBUS_TRY_STATUS(place.file->file().read_at(place.start_position, bytes, &read));
  Bytes left = Bytes(bytes).first(read);
  std::uint64_t position = place.start_position;
  while (position < end) {
    std::size_t total = 0;
    Status status = frame_batch(left, &total);
    if (status.ok() && crc32c(left.subspan(kFrameBytes, total - kFrameBytes)) != BatchHeader(left.data()).crc()) {
      status = {ErrorCode::corrupt, "checksum of a batch does not hold"};
    }
    if (!status.ok()) {
      return at(*place.segment,
                status_of(ErrorCode::corrupt, "position %llu: %.60s", static_cast<unsigned long long>(position), status.text));
    }
    left = left.subspan(total);
    position += total;
  }
  return {};
}

}  // namespace streambus::storage_wal
