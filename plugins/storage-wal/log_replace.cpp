// Replacing sealed segments by what compaction kept of them: new files beside the old ones, then one manifest that names
// them instead. Until that is in place the old ones are the truth, afterwards the new ones; what is not named is removed,
// here or when the log is opened the next time.

#include <algorithm>
#include <new>

#include "log.hpp"
#include "text.hpp"

namespace streambus::storage_wal {
namespace {

/// Written data is pushed to the device in such portions, so that the sync at the end does not hold up those of appends.
constexpr std::uint64_t kWritebackBytes = std::uint64_t{4} << 20;

Status not_a_bound(Offset from, Offset to) noexcept {
  return status_of(ErrorCode::invalid_argument, "replace [%lld, %lld): expected the log's start or ends of sealed segments",
                   static_cast<long long>(from.value), static_cast<long long>(to.value));
}

struct CloseFile {
  void operator()(File* file) const noexcept { file->close(); }
};

/// Writes batches to new segments, one behind the other; a new one is begun where the size is reached.
class SegmentWriter {
 public:
  SegmentWriter(FileSystem& files, std::string_view directory, std::uint32_t generation, std::uint64_t segment_bytes,
                TimestampMs first_append_ms, Offset from, Offset to) noexcept
      : files_(files),
        directory_(directory),
        generation_(generation),
        segment_bytes_(segment_bytes),
        first_append_ms_(first_append_ms),
        expected_(from),
        to_(to) {}

  struct Written {
    Ref<Segment> segment;
    SegmentIndex index;
  };
  [[nodiscard]] std::vector<Written>& written() noexcept { return written_; }

  Status begin(Offset base) {
    auto segment = Ref<Segment>::adopt(new Segment(base, generation_));
    segment->first_append_ms = first_append_ms_;
    segment->sealed = segment->entry_synced = true;
    const Path path = Path::segment(directory_, base, generation_, "log");
    written_.push_back({std::move(segment), SegmentIndex(base)});  // before the file: it is then removed whatever happens
    File* file = nullptr;
    STREAMBUS_TRY_STATUS(files_.open(path, OpenMode::create, &file));
    file_.reset(file);
    writeback_from_ = 0;
    return file_->truncate(0);
  }

  Status write(Bytes batches) {
    while (!batches.empty()) {
      std::size_t bytes = 0;
      while (bytes < batches.size()) {
        std::size_t batch_bytes = 0;
        STREAMBUS_TRY_STATUS(check(batches.subspan(bytes), &batch_bytes));
        const Segment& segment = *written_.back().segment;
        if (segment.bytes > 0 && segment.bytes + batch_bytes > segment_bytes_) {
          if (bytes == 0) {
            STREAMBUS_TRY_STATUS(finish(expected_));
            STREAMBUS_TRY_STATUS(begin(expected_));
          } else {
            break;  // first what still belongs to this segment
          }
        }
        take(batches.data() + bytes, batch_bytes);
        bytes += batch_bytes;
      }
      STREAMBUS_TRY_STATUS(put(batches.first(bytes)));
      batches = batches.subspan(bytes);
    }
    return {};
  }

  /// Ends the last segment: everything of it is on the device but its name.
  Status finish(Offset end) {
    Segment& segment = *written_.back().segment;
    segment.end = end;
    segment.synced_bytes = segment.bytes;
    const Status status = file_->sync();
    file_.reset();
    return status;
  }

 private:
  Status check(Bytes batches, std::size_t* bytes) const noexcept {
    if (!frame_batch(batches, bytes).ok())
      return {ErrorCode::invalid_argument, "replace: expected whole record batches of magic 2"};
    const BatchHeader header(batches.data());
    if (header.base_offset() >= expected_ && header.last_offset_delta() >= 0 && header.next_offset() <= to_) return {};
    return status_of(ErrorCode::invalid_argument, "replace: expected offsets in [%lld, %lld), found %lld to %lld",
                     static_cast<long long>(expected_.value), static_cast<long long>(to_.value),
                     static_cast<long long>(header.base_offset().value), static_cast<long long>(header.last_offset().value));
  }

  void take(const std::byte* batch, std::size_t bytes) {
    Segment& segment = *written_.back().segment;
    SegmentIndex& index = written_.back().index;
    const BatchHeader header(batch);
    if (index.wants(segment.bytes)) index.add(header.base_offset(), segment.bytes, segment.max_timestamp);
    Frames frames;
    frames.frame_crc = segment.frame_crc;
    frames.max_timestamp = segment.max_timestamp;
    add_frame(batch, &frames);
    segment.frame_crc = frames.frame_crc;
    segment.max_timestamp = frames.max_timestamp;
    segment.bytes += bytes;
    segment.batches_end = expected_ = frames.end;
  }

  /// Writes the bytes that the segment counts already.
  Status put(Bytes bytes) noexcept {
    const std::uint64_t end = written_.back().segment->bytes;
    const Slice slice = Slice::memory(bytes);
    STREAMBUS_TRY_STATUS(file_->write_at(end - bytes.size(), &slice, 1));
    if (end - writeback_from_ < kWritebackBytes) return {};
    (void)file_->start_writeback(writeback_from_, end - writeback_from_);
    writeback_from_ = end;
    return {};
  }

  FileSystem& files_;
  const std::string_view directory_;
  const std::uint32_t generation_;
  const std::uint64_t segment_bytes_;
  const TimestampMs first_append_ms_;
  Offset expected_;  ///< the least offset that may follow
  const Offset to_;
  std::vector<Written> written_;
  std::unique_ptr<File, CloseFile> file_;
  std::uint64_t writeback_from_ = 0;
};

}  // namespace

struct WalLog::Replacement {
  Offset from;
  Offset to;
  std::vector<Ref<Segment>> old;
  std::vector<Ref<Segment>> fresh;
  std::uint64_t segment_bytes = 0;
};

Offset WalLog::segment_end(Offset from) noexcept {
  const std::lock_guard lock(mutex_);
  if (from < start_ || from >= end_ || segments_.empty()) return kNoOffset;
  const Segment& segment = **segment_of(from);
  return &segment == active_.segment.get() ? kNoOffset : segment.end;
}

Status WalLog::replace(Offset from, Offset to, BatchSource& batches) noexcept {
  if (offline_.load(std::memory_order_acquire)) return offline_status();
  try {
    return replace_segments(from, to, batches);
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "replace: out of memory"};
  }
}

Status WalLog::replace_segments(Offset from, Offset to, BatchSource& batches) {
  {
    const std::lock_guard maintenance(maintenance_);
    STREAMBUS_TRY_STATUS(seal_all());  // those that were ended a moment ago
  }
  Replacement plan{.from = from, .to = to, .old = {}, .fresh = {}};
  STREAMBUS_TRY_STATUS(plan_replacement(from, to, &plan));
  Status status;
  try {
    status = write_replacement(plan, batches);
  } catch (const std::bad_alloc&) {
    status = {ErrorCode::no_space, "replace: out of memory"};
  }
  if (!status.ok()) {
    remove_files(plan.fresh);
    return status;
  }
  const std::lock_guard maintenance(maintenance_);
  return adopt_replacement(plan);
}

/// Which segments are meant. They stay where they are until the call ends: nothing else removes segments meanwhile.
Status WalLog::plan_replacement(Offset from, Offset to, Replacement* plan) {
  const std::lock_guard lock(mutex_);
  if (from < start_ || to <= from || to > end_ || segments_.empty()) return not_a_bound(from, to);
  auto segment = segment_of(from);
  if (from != start_ && from != (*segment)->base) return not_a_bound(from, to);
  while (segment != segments_.end() && (*segment)->sealed && (*segment)->base < to) plan->old.push_back(*segment++);
  if (plan->old.empty() || plan->old.back()->end != to) return not_a_bound(from, to);
  plan->segment_bytes = static_cast<std::uint64_t>(settings_.segment_bytes);
  return {};
}

/// Writes and syncs the new segments with their names. On failure plan.fresh names what may be on disk.
Status WalLog::write_replacement(Replacement& plan, BatchSource& batches) {
  TimestampMs first_append_ms = plan.old.front()->first_append_ms;
  for (const Ref<Segment>& segment : plan.old) first_append_ms = std::min(first_append_ms, segment->first_append_ms);
  SegmentWriter writer(engine_.files(), directory_, ++generation_, plan.segment_bytes, first_append_ms, plan.from, plan.to);
  const auto write_all = [&]() -> Status {
    STREAMBUS_TRY_STATUS(writer.begin(plan.old.front()->base));
    for (;;) {
      Bytes run;
      STREAMBUS_TRY_STATUS(batches.next(&run));
      if (run.empty()) break;
      STREAMBUS_TRY_STATUS(writer.write(run));
    }
    return writer.finish(plan.to);
  };
  Status status;
  try {
    status = write_all();
  } catch (const std::bad_alloc&) {
    status = {ErrorCode::no_space, "replace: out of memory"};
  }
  for (const SegmentWriter::Written& written : writer.written()) plan.fresh.push_back(written.segment);
  if (!status.ok()) return status;
  for (const SegmentWriter::Written& written : writer.written()) {
    STREAMBUS_TRY_STATUS(write_index(*written.segment, written.index, written.segment->bytes));
  }
  // The names must be there before a manifest that lists them. As with every sync: one that failed is final.
  status = sync_entry();
  if (!status.ok()) fail(status);
  return status;
}

/// Puts the new segments into the manifest, then in front of readers, and removes the old ones. Under maintenance_.
Status WalLog::adopt_replacement(Replacement& plan) {
  std::vector<std::byte> encoded;
  {
    const std::lock_guard lock(mutex_);
    std::vector<Ref<Segment>> segments = segments_;
    const auto first = segments.begin() + (find_listed(*plan.old.front()) - segments_.begin());
    const auto place = segments.erase(first, first + static_cast<std::ptrdiff_t>(plan.old.size()));
    segments.insert(place, plan.fresh.begin(), plan.fresh.end());
    encoded = manifest_of(segments, start_, 0, false);
    segments_.reserve(segments_.size() + plan.fresh.size() + 1);  // publishing must not fail
  }
  changed_ = true;
  const Status status = replace_file(engine_.files(), directory_, Manifest::kFileName, encoded);
  if (!status.ok()) {
    // Which manifest a crash would leave is open as long as the old one is not written again; both files stay till then.
    const bool full = status.code == ErrorCode::no_space || status.code == ErrorCode::busy;
    if (full && write_manifest(start_, 0, false).ok()) {
      remove_files(plan.fresh);
    } else {
      fail(status);
    }
    return status;
  }
  publish_replacement(plan);
  remove_files(plan.old);
  return {};
}

void WalLog::publish_replacement(Replacement& plan) {
  std::uint64_t old_bytes = 0;
  std::uint64_t fresh_bytes = 0;
  for (const Ref<Segment>& segment : plan.old) old_bytes += segment->bytes;
  for (const Ref<Segment>& segment : plan.fresh) fresh_bytes += segment->bytes;
  {
    const std::lock_guard lock(mutex_);
    const auto first = find_listed(*plan.old.front());
    const auto place = segments_.erase(first, first + static_cast<std::ptrdiff_t>(plan.old.size()));
    segments_.insert(place, plan.fresh.begin(), plan.fresh.end());
    bytes_ = bytes_ - old_bytes + fresh_bytes;
    for (Hint& hint : hints_) hint = Hint();  // they name segments by address
    durable_hint_ = Hint();
  }
  engine_.metrics().segments.add(static_cast<std::int64_t>(plan.fresh.size()) - static_cast<std::int64_t>(plan.old.size()));
  engine_.metrics().stored_bytes.add(static_cast<std::int64_t>(fresh_bytes) - static_cast<std::int64_t>(old_bytes));
  engine_.metrics().replaced_bytes.add(static_cast<std::int64_t>(old_bytes));
}

}  // namespace streambus::storage_wal
