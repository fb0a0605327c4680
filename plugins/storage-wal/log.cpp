// The life of a log and its append path.

#include "log.hpp"

#include <algorithm>
#include <new>

#include "text.hpp"

namespace streambus::storage_wal {
namespace {

constexpr std::size_t kZeroBlockBytes = 65536;
constexpr std::size_t kZeroBlocksMax = 16;
constexpr std::uint64_t kSegmentBytesMin = 1024;
alignas(4096) constexpr std::byte kZeros[kZeroBlockBytes] = {};

PartitionSettings bounded(PartitionSettings settings) noexcept {
  settings.segment_bytes = std::max<std::int64_t>(settings.segment_bytes, kSegmentBytesMin);
  return settings;
}

}  // namespace

WalLog::WalLog(WalEngine& engine, const PartitionKey& key, const PartitionSettings& settings)
    : engine_(engine),
      topic_(key.topic),
      topic_id_(key.topic_id),
      partition_(key.partition),
      directory_(Path::directory(key.topic_id, key.partition)),
      acks_wait_(engine.settings().durability == Durability::fsync_batch),
      settings_(bounded(settings)) {
  (void)parse_topic_id(key.topic_id, id_);
}

WalLog::~WalLog() {
  for (const Ref<Segment>& segment : segments_) engine_.cache().drop(*segment);
}

LogState WalLog::state() noexcept {
  const std::lock_guard lock(mutex_);
  LogState state;
  state.start = start_;
  state.end = end_;
  state.durable = acks_wait_ ? durable_ : end_;
  state.bytes = bytes_;
  state.segments = static_cast<std::uint32_t>(segments_.size());
  state.clean = clean_;
  return state;
}

Status WalLog::offline_status() noexcept {
  const std::lock_guard lock(mutex_);
  return status_of(ErrorCode::offline, "%.64s-%d is offline after: %.80s", topic_.c_str(), partition_, failed_.text);
}

Status WalLog::append(Bytes batches, Offset first, Offset next, TimestampMs, AppendResult* result) noexcept {
  if (offline_.load(std::memory_order_acquire)) return offline_status();
  const MetricTimer timer(engine_.host(), engine_.metrics().append_ns);
  try {
    return append_batches(batches, first, next, result);
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "append: out of memory"};
  }
}

Status WalLog::append_batches(Bytes batches, Offset first, Offset next, AppendResult* result) {
  if (first < end_) {
    return status_of(ErrorCode::invalid_argument, "append at offset %lld, the log ends at %lld",
                     static_cast<long long>(first.value), static_cast<long long>(end_.value));
  }
  const bool rolls = active_.segment && must_roll(batches.size());
  Frames frames;
  if (active_.segment && !rolls) {
    frames.frame_crc = active_.segment->frame_crc;
    frames.max_timestamp = active_.segment->max_timestamp;
  }
  STREAMBUS_TRY_STATUS(walk_batches(batches, first, next, &frames));
  changed_.store(true, std::memory_order_relaxed);
  if (rolls) roll();
  STREAMBUS_TRY_STATUS(prepare_active());
  STREAMBUS_TRY_STATUS(write_active(batches));
  publish(batches, frames, result);
  return {};
}

bool WalLog::must_roll(std::size_t bytes) noexcept {
  const Segment& segment = *active_.segment;
  if (segment.bytes == 0) return false;
  if (segment.bytes + bytes > static_cast<std::uint64_t>(settings_.segment_bytes)) return true;
  return settings_.segment_ms >= 0 && engine_.host().wall_ms() - segment.first_append_ms > settings_.segment_ms;
}

/// Ends the active segment. All that costs time (sync, truncation, index, manifest) is left to the maintenance job.
void WalLog::roll() {
  {
    const std::lock_guard lock(mutex_);
    sealing_.push_back(std::move(active_));
    active_ = Writing();
  }
  post_maintenance();
}

/// Makes sure that there is an active segment with an open file. Errors leave the log as it was.
Status WalLog::prepare_active() {
  if (active_.segment && active_.file) return {};
  Ref<Segment> segment = active_.segment;
  if (!segment) {
    segment = Ref<Segment>::adopt(new Segment(end_));
    segment->first_append_ms = engine_.host().wall_ms();
  }
  const Path path = path_of(*segment);
  const OpenMode mode = active_.segment ? OpenMode::write : OpenMode::create;
  File* opened = nullptr;
  Status status = open_sparing(engine_.files(), engine_.cache(), path, mode, &opened);
  Ref<OpenFile> file;
  if (status.ok()) {
    file = Ref<OpenFile>::adopt(new OpenFile(opened));
    // A file that is there already is a leftover of a failed start of this very segment.
    status = active_.segment ? check_size(*opened, path, segment->bytes) : opened->truncate(0);
  }
  if (!status.ok()) {
    if (!is_retriable(status.code)) fail(status);
    return status;
  }
  const std::lock_guard lock(mutex_);
  segments_.reserve(segments_.size() + 1);  // publish() must not fail
  if (!active_.segment) {
    active_.segment = std::move(segment);
    active_.index = SegmentIndex(active_.segment->base);
    writeback_from_ = writeback_to_ = 0;
  }
  active_.file = std::move(file);
  return {};
}

/// Writes behind the last batch: one system call, which for small batches of the syncing classes also puts zeros ahead.
/// When space runs out the file is as long as its batches again; any other failure takes the log offline.
Status WalLog::write_active(Bytes batches) noexcept {
  const std::uint64_t position = active_.segment->bytes;
  const std::uint64_t end = position + batches.size();
  Slice slices[1 + kZeroBlocksMax];
  slices[0] = Slice::memory(batches);
  std::size_t count = 1;
  std::uint64_t zeros = 0;
  const std::uint64_t ahead = engine_.settings().zero_ahead_bytes;
  if (end > active_.file_bytes && batches.size() < ahead) {
    const auto segment_bytes = static_cast<std::uint64_t>(settings_.segment_bytes);
    const std::uint64_t room = end < segment_bytes ? segment_bytes - end : 0;
    zeros = std::min({std::max<std::uint64_t>(ahead, batches.size() * 4), kZeroBlockBytes * kZeroBlocksMax, room});
    for (std::uint64_t left = zeros; left > 0; left -= slices[count++].bytes) {
      slices[count] = Slice::memory({kZeros, static_cast<std::size_t>(std::min<std::uint64_t>(left, kZeroBlockBytes))});
    }
  }
  Status status = active_.file->file().write_at(position, slices, count);
  if (status.code == ErrorCode::no_space && zeros > 0) {
    zeros = 0;
    STREAMBUS_TRY_STATUS(take_back(position));
    status = active_.file->file().write_at(position, slices, 1);
  }
  if (status.ok()) {
    active_.file_bytes = std::max(active_.file_bytes, end + zeros);
    return {};
  }
  if (status.code == ErrorCode::no_space) {
    STREAMBUS_TRY_STATUS(take_back(position));
    return status;
  }
  const Status failure = at(*active_.segment, status);
  fail(failure);
  return failure;
}

/// Undoes a write that ran out of space half-way.
Status WalLog::take_back(std::uint64_t position) noexcept {
  const Status status = active_.file->file().truncate(position);
  if (status.ok()) {
    active_.file_bytes = position;
    return {};
  }
  const Status failure = at(*active_.segment, status);
  fail(failure);
  return failure;
}

void WalLog::publish(Bytes batches, const Frames& frames, AppendResult* result) {
  const WalSettings& settings = engine_.settings();
  bool flush = false;
  bool interval = false;
  bool writeback = false;
  {
    const std::lock_guard lock(mutex_);
    Segment& segment = *active_.segment;
    if (segments_.empty() || segments_.back().get() != &segment) {
      segments_.push_back(active_.segment);
      engine_.metrics().segments.add(1);
    }
    add_index_entries(batches, segment.bytes, segment.max_timestamp);
    segment.bytes += batches.size();
    segment.end = segment.batches_end = end_ = frames.end;
    segment.frame_crc = frames.frame_crc;
    segment.max_timestamp = frames.max_timestamp;
    active_.index_dirty = true;
    bytes_ += batches.size();
    appends_ += frames.batch_count;
    if (acks_wait_) {
      flush = !std::exchange(flush_queued_, true);
    } else {
      if (settings.durability == Durability::fsync_interval) interval = !std::exchange(interval_queued_, true);
      if (settings.writeback_bytes > 0 && segment.bytes - writeback_to_ >= settings.writeback_bytes) {
        writeback_to_ = segment.bytes;
        writeback = !std::exchange(maintenance_queued_, true);
      }
    }
  }
  // Durable already, as far as the weaker classes promise: no report follows.
  result->position = acks_wait_ ? static_cast<std::uint64_t>(frames.end.value) : 0;
  engine_.metrics().appends.add(frames.batch_count);
  engine_.metrics().append_bytes.add(static_cast<std::int64_t>(batches.size()));
  engine_.metrics().stored_bytes.add(static_cast<std::int64_t>(batches.size()));
  if (flush) {
    add_ref();
    engine_.host().post(WorkClass::flush, [](void* log) noexcept { static_cast<WalLog*>(log)->run_flush(); }, this);
  }
  if (interval && !engine_.interval_flusher().add(Ref<WalLog>::share(this))) post_flush();
  if (writeback) {
    add_ref();
    engine_.host().post(WorkClass::background, [](void* log) noexcept { static_cast<WalLog*>(log)->run_maintenance(); }, this);
  }
}

/// A missing entry only makes searches longer, so that running out of memory here is no failure.
void WalLog::add_index_entries(Bytes batches, std::uint64_t position, TimestampMs max_before) noexcept {
  if (!active_.index.wants(position + batches.size() - 1)) return;
  try {
    while (!batches.empty()) {
      const BatchHeader header(batches.data());
      if (active_.index.wants(position)) active_.index.add(header.base_offset(), position, max_before);
      max_before = std::max(max_before, header.max_timestamp());
      position += header.total_bytes();
      batches = batches.subspan(header.total_bytes());
    }
  } catch (const std::bad_alloc&) {
    return;
  }
}

Status WalLog::apply(const PartitionSettings& settings) noexcept {
  const std::lock_guard lock(mutex_);
  settings_ = bounded(settings);
  return {};
}

Status WalLog::delete_before(Offset start) noexcept {
  if (start > end_) {
    return status_of(ErrorCode::out_of_range, "delete before offset %lld, the log ends at %lld",
                     static_cast<long long>(start.value), static_cast<long long>(end_.value));
  }
  if (start <= start_) return {};
  try {
    if (start == end_ && active_.segment && active_.segment->bytes > 0) roll();
    const std::lock_guard maintenance(maintenance_);
    STREAMBUS_TRY_STATUS(seal_all());
    std::size_t count = 0;
    {
      const std::lock_guard lock(mutex_);
      start_ = start;
      while (count < segments_.size() && segments_[count]->sealed && segments_[count]->end <= start) ++count;
    }
    return remove_first(count, start);
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "delete: out of memory"};
  }
}

Status WalLog::retain(TimestampMs now) noexcept {
  if (offline_.load(std::memory_order_acquire)) return {};
  try {
    const auto expired = [&](const Segment& segment) {
      if (settings_.retention_ms < 0) return false;
      if (segment.bytes == 0) return true;  // all of it was compacted away
      return segment.max_timestamp != kNoTimestamp && segment.max_timestamp < now - settings_.retention_ms;
    };
    if (active_.segment && active_.segment->bytes > 0) {
      const bool old = settings_.segment_ms >= 0 && now - active_.segment->first_append_ms > settings_.segment_ms;
      if (old || expired(*active_.segment)) roll();
    }
    const std::lock_guard maintenance(maintenance_);
    STREAMBUS_TRY_STATUS(seal_all());
    std::size_t count = 0;
    Offset start = start_;
    {
      const std::lock_guard lock(mutex_);
      std::uint64_t left = bytes_;
      for (; count < segments_.size() && segments_[count]->sealed; ++count) {
        const Segment& segment = *segments_[count];
        const bool too_much =
            settings_.retention_bytes >= 0 && left - segment.bytes >= static_cast<std::uint64_t>(settings_.retention_bytes);
        if (!expired(segment) && !too_much) break;
        left -= segment.bytes;
        start = std::max(start, segment.end);
      }
      start_ = start;
    }
    if (count > 0) STREAMBUS_TRY_STATUS(remove_first(count, start));
    park_when_idle();
    return {};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "retention: out of memory"};
  }
}

Status WalLog::close() noexcept {
  {
    std::unique_lock lock(mutex_);
    closing_ = true;
    idle_.wait(lock, [this] { return !flush_running_; });
  }
  Status status;
  bool tell = false;
  {
    const std::lock_guard maintenance(maintenance_);
    try {
      status = offline_.load(std::memory_order_acquire) ? offline_status() : close_files();
    } catch (const std::bad_alloc&) {
      status = {ErrorCode::no_space, "close: out of memory"};
    }
    const std::lock_guard lock(mutex_);
    for (const Ref<Segment>& segment : segments_) engine_.cache().drop(*segment);
    engine_.metrics().segments.add(-static_cast<std::int64_t>(segments_.size()));
    engine_.metrics().stored_bytes.add(-static_cast<std::int64_t>(bytes_));
    segments_.clear();
    sealing_.clear();
    active_ = Writing();
    tell = offline_ && !std::exchange(failure_told_, true);
  }
  if (tell) engine_.host().durability().domain_failed(domain_, failed_);
  engine_.host().durability().close_domain(domain_);
  engine_.closed(topic_id_, partition_, status.ok());
  release();
  return status;
}

}  // namespace streambus::storage_wal
