// Appending, reading, flushing.

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>

#include "engine.hpp"

namespace streambus::storage_reference {
namespace {

/// The memory of one read.
class Copy final : public Pin {
 public:
  std::vector<std::byte> bytes;

 private:
  void dispose() noexcept override { delete this; }
};

[[gnu::noinline]] void throw_something() { throw std::runtime_error("an exception that nobody asked for"); }

}  // namespace

Log::Log(Engine& engine, const PartitionKey& key, const PartitionSettings& settings)
    : engine_(engine),
      name_(std::string(key.topic) + "-" + std::to_string(key.partition)),
      key_(directory_of(key)),
      directory_(key_),
      settings_(settings) {}

bool Log::is(Mutation mutation) const noexcept { return engine_.mutation() == mutation; }
FileSystem& Log::files() const noexcept { return engine_.host().files(); }
Status Log::offline() const noexcept { return {ErrorCode::offline, name_ + " is offline after a failure: " + failure_.text}; }

LogState Log::state() noexcept {
  const std::shared_lock lock(mutex_);
  LogState state{.start = start_,
                 .end = end_,
                 .durable = durable_,
                 .segments = static_cast<std::uint32_t>(segments_.size()),
                 .clean = clean_};
  for (const SegmentRef& segment : segments_) state.bytes += segment->batch_bytes;
  return state;
}

Status Log::check(Bytes batches, Offset first, Offset next) const {
  Offset expected = first;
  bool begun = false;
  while (!batches.empty()) {
    std::size_t total = 0;
    const Status framed = frame_batch(batches, &total);
    if (!framed.ok()) return {ErrorCode::invalid_argument, framed.text};
    const BatchHeader header(batches.data());
    if (begun ? header.base_offset() < expected : header.base_offset() != first)
      return {ErrorCode::invalid_argument, "append: a batch's base offset is not what the call says"};
    begun = true;
    expected = header.next_offset();
    batches = batches.subspan(total);
  }
  if (!begun || expected != next) return {ErrorCode::invalid_argument, "append: the batches do not end where the call says"};
  return {};
}

/// Writes the batches behind the active segment, or behind a new one. On failure the file is as before.
Status Log::write(Bytes batches, SegmentRef& segment, std::vector<Entry>* entries) {
  const std::int64_t now = engine_.host().wall_ms();
  const bool full = segment != nullptr && (segment->file_bytes >= static_cast<std::uint64_t>(settings_.segment_bytes) ||
                                           (settings_.segment_ms >= 0 && now - segment->begun_ms >= settings_.segment_ms));
  if (segment == nullptr || segment->sealed || full) {
    char name[40];
    std::snprintf(name, sizeof name, "%020lld.log", static_cast<long long>(end_.value));
    STREAMBUS_TRY_STATUS(open_segment(name, OpenMode::create, end_, &segment));
    STREAMBUS_TRY_STATUS(segment->file.truncate(0));
    segment->begun_ms = now;
    new_entries_ = true;
  }
  std::vector<Frame> frames;
  std::vector<Slice> slices;
  std::vector<Bytes> pieces;
  for (Bytes left = batches; !left.empty(); left = left.subspan(pieces.back().size()))
    pieces.push_back(left.first(BatchHeader(left.data()).total_bytes()));
  frames.reserve(pieces.size());
  std::uint64_t at = segment->file_bytes;
  Offset previous = end_;
  for (const Bytes piece : pieces) {
    Frame& frame = frames.emplace_back();
    frame.bytes = static_cast<std::uint32_t>(piece.size());
    frame.previous = previous.value;
    frame.checksum = frame_checksum(frame, piece);
    slices.push_back(Slice::memory(std::as_bytes(std::span(&frame, 1))));
    slices.push_back(Slice::memory(piece));
    const BatchHeader header(piece.data());
    previous = header.next_offset();
    entries->push_back({header.base_offset(), header.next_offset(), header.max_timestamp(), at + sizeof(Frame), frame.bytes});
    at += sizeof(Frame) + piece.size();
  }
  if (is(Mutation::fsync_before_write)) (void)segment->file.sync();
  const Status status = segment->file.write_at(segment->file_bytes, slices.data(), slices.size());
  if (status.ok()) return {};
  if (is(Mutation::no_space_leaves_part)) {
    segment->file_bytes += sizeof(Frame);
    return status;
  }
  const bool undone = segment->file.truncate(segment->file_bytes).ok();
  if (status.code == ErrorCode::no_space && undone && !is(Mutation::no_space_is_final)) return status;
  fail_domain(status);
  return status;
}

void Log::publish(const SegmentRef& segment, const std::vector<Entry>& entries, AppendResult* result) {
  {
    const std::lock_guard lock(mutex_);
    if (segments_.empty() || segments_.back() != segment) segments_.push_back(segment);
    for (const Entry& entry : entries) segment->add(entry);
    segment->dirty = true;
    end_ = segment->to;
    result->position = ++position_;
  }
  post_flush();
}

Status Log::append(Bytes batches, Offset first, Offset next, TimestampMs, AppendResult* result) noexcept {
  if (is(Mutation::throws) && first.value >= 3) throw_something();
  SegmentRef segment;
  {
    const std::shared_lock lock(mutex_);
    if (failed_) return offline();
    if (first < end_ && !is(Mutation::append_unchecked)) return {ErrorCode::invalid_argument, name_ + ": append below the end"};
    if (first > end_ && is(Mutation::gap_refused)) return {ErrorCode::invalid_argument, name_ + ": append behind a gap"};
    if (!segments_.empty()) segment = segments_.back();
  }
  STREAMBUS_TRY_STATUS(check(batches, first, next));
  ++raced_;
  if (is(Mutation::end_too_early)) {
    {
      const std::lock_guard lock(mutex_);
      end_ = next;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    const std::lock_guard lock(mutex_);
    end_ = first;
  }
  std::vector<Entry> entries;
  if (is(Mutation::append_in_parts)) {
    for (Bytes left = batches; !left.empty();) {
      const Bytes piece = left.first(BatchHeader(left.data()).total_bytes());
      entries.clear();
      STREAMBUS_TRY_STATUS(write(piece, segment, &entries));
      publish(segment, entries, result);
      left = left.subspan(piece.size());
    }
    return {};
  }
  STREAMBUS_TRY_STATUS(write(batches, segment, &entries));
  if (is(Mutation::append_waits)) STREAMBUS_TRY_STATUS(segment->file.sync());
  if (is(Mutation::bytes_kept)) {
    callers_ = batches;
    callers_segment_ = segment;
    callers_at_ = entries.front().position;
  }
  publish(segment, entries, result);
  return {};
}

Status Log::read(const ReadRequest& request, ReadResult* result) noexcept {
  *result = {};
  result->next = request.from;
  if (is(Mutation::bytes_kept) && !callers_.empty()) {
    const Slice slice = Slice::memory(std::exchange(callers_, {}));
    (void)callers_segment_->file.write_at(callers_at_, &slice, 1);
  }
  struct Place {
    SegmentRef segment;
    Entry entry;
  };
  std::vector<Place> places;
  std::uint64_t bytes = 0;
  {
    const std::shared_lock lock(mutex_);
    if (is(Mutation::data_race)) ++raced_;
    if (request.from < start_ || (request.from > end_ && !is(Mutation::read_past_end)))
      return {ErrorCode::out_of_range, name_ + ": the offset is outside of the log"};
    const Offset from = is(Mutation::offset_off_by_one) ? request.from + 1 : request.from;
    for (const SegmentRef& segment : segments_) {
      if (segment->to <= from) continue;
      auto entry = std::ranges::upper_bound(segment->entries, from, {}, &Entry::next);
      for (; entry != segment->entries.end(); ++entry) {
        const bool below = is(Mutation::read_past_limit) ? entry->first < request.limit : entry->next <= request.limit;
        const bool fits = bytes + entry->bytes <= request.bytes_max || (places.empty() && request.at_least_one);
        if (!below || !fits) break;
        places.push_back({segment, *entry});
        bytes += entry->bytes;
      }
      if (entry != segment->entries.end()) break;
    }
  }
  if (places.empty()) return {};
  auto* const copy = new (std::nothrow) Copy;
  if (copy == nullptr) return {ErrorCode::no_space, "read: out of memory"};
  Ref<Copy> held = Ref<Copy>::adopt(copy);
  copy->bytes.resize(static_cast<std::size_t>(bytes));
  std::size_t at = 0;
  for (const Place& place : places) {
    const MutableBytes out = MutableBytes(copy->bytes).subspan(at, place.entry.bytes);
    std::size_t read = 0;
    STREAMBUS_TRY_STATUS(place.segment->file.read_at(place.entry.position, out, &read));
    std::size_t total = 0;
    const bool good =
        read == out.size() && check_batch(out, &total).ok() && BatchHeader(out.data()).base_offset() == place.entry.first;
    if (!good && !is(Mutation::crc_not_checked) && !is(Mutation::torn_batch_served) && !is(Mutation::bytes_kept) &&
        !is(Mutation::no_space_leaves_part))
      return {ErrorCode::corrupt, directory_ + "/" + place.segment->name + ": a batch is damaged"};
    at += out.size();
  }
  if (is(Mutation::slice_freed_early)) {
    static std::mutex mutex;
    static Ref<Copy> last;
    const std::lock_guard lock(mutex);
    if (last) std::ranges::fill(last->bytes, std::byte{0xdd});
    last = held;
  }
  result->slices[0] = Slice::memory(copy->bytes);
  result->slice_count = 1;
  result->bytes = bytes;
  result->next = places.back().entry.next;
  result->pin = held.detach();
  return {};
}

Status Log::find_time(TimestampMs timestamp, Offset* batch_base) noexcept {
  *batch_base = kNoOffset;
  const std::shared_lock lock(mutex_);
  for (const SegmentRef& segment : segments_) {
    if (segment->max_timestamp < timestamp) continue;
    auto entry = segment->entries.begin();
    if (is(Mutation::time_unsorted)) entry = std::ranges::lower_bound(segment->entries, timestamp, {}, &Entry::max_timestamp);
    for (; entry != segment->entries.end(); ++entry) {
      if (entry->next <= start_ || entry->max_timestamp < timestamp) continue;
      *batch_base = entry->first;
      return {};
    }
  }
  return {};
}

void Log::post_flush() {
  {
    const std::lock_guard lock(mutex_);
    if (flush_posted_) return;
    flush_posted_ = true;
  }
  auto* const self = new std::shared_ptr<Log>(shared_from_this());
  engine_.host().post(
      WorkClass::flush,
      [](void* context) noexcept {
        const std::unique_ptr<std::shared_ptr<Log>> log(static_cast<std::shared_ptr<Log>*>(context));
        (*log)->flush();
      },
      self);
}

void Log::report(std::uint64_t position) {
  DurabilitySink& sink = engine_.host().durability();
  if (is(Mutation::completion_never)) return;
  if (is(Mutation::completion_beyond)) position += 1000;
  sink.durable_advanced(domain_, position);
  if (is(Mutation::completion_twice)) sink.durable_advanced(domain_, position);
  if (is(Mutation::completion_backwards) && position > 1) sink.durable_advanced(domain_, position - 1);
}

void Log::fail_domain(const Status& status) {
  {
    const std::lock_guard lock(mutex_);
    failed_ = true;
    failure_ = status;
  }
  engine_.host().durability().domain_failed(domain_, status);
}

Status Log::sync_dirty(const std::vector<SegmentRef>& dirty) {
  if (is(Mutation::skipped_fsync) || is(Mutation::fsync_before_write) || is(Mutation::append_waits)) return {};
  for (const SegmentRef& segment : dirty) STREAMBUS_TRY_STATUS(segment->file.sync());
  if (!new_entries_.exchange(false) || is(Mutation::directory_not_synced)) return {};
  return files().sync_directory(directory_);
}

/// Makes everything durable that is appended by now, and reports it. One flush reports after the other: `reporting_` and no
/// lock sees to it.
void Log::flush() {
  {
    std::unique_lock lock(mutex_);
    quiet_.wait(lock, [this] { return !reporting_; });
    reporting_ = true;
    flush_posted_ = false;
  }
  flush_and_report();
  {
    const std::lock_guard lock(mutex_);
    reporting_ = false;
  }
  quiet_.notify_all();
  const std::lock_guard structure(structure_);
  if (!closed_) seal();
}

void Log::flush_and_report() {
  std::uint64_t target = 0;
  std::unique_lock structure(structure_);
  if (closed_) return;
  Offset end;
  std::vector<SegmentRef> dirty;
  {
    const std::lock_guard lock(mutex_);
    if (failed_ || position_ == reported_) return;
    target = position_;
    end = end_;
    for (const SegmentRef& segment : segments_) {
      if (std::exchange(segment->dirty, false)) dirty.push_back(segment);
    }
  }
  if (is(Mutation::ack_before_durable)) report(target);
  const Status status = sync_dirty(dirty);
  structure.unlock();
  if (!status.ok() && !is(Mutation::error_swallowed)) return fail_domain(status);
  {
    const std::lock_guard lock(mutex_);
    durable_ = std::max(durable_, std::min(end, end_));
    reported_ = target;
    if (is(Mutation::completion_under_lock)) return report(target);
  }
  if (!is(Mutation::ack_before_durable)) report(target);
}

/// Puts full segments into the manifest. A failure costs nothing: the next flush tries again.
void Log::seal() {
  std::vector<SegmentRef> segments;
  Offset start;
  Offset end;
  bool any = false;
  {
    const std::lock_guard lock(mutex_);
    if (failed_) return;
    segments = segments_;
    start = start_;
    end = end_;
    for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
      if (segments[i]->sealed) continue;
      if (segments[i]->dirty) break;
      any = segments[i]->sealed = true;
    }
  }
  if (any && !write_manifest(segments, start, end, false).ok()) return;  // it stays as it is in memory; recovery finds the file
}

}  // namespace streambus::storage_reference
