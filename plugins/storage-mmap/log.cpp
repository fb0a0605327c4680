// The life of a log and its append path: a copy into the window of the active segment.

#include "log.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace streambus::storage_mmap {
namespace {

using storage_common::status_of;

constexpr std::uint64_t kSegmentBytesMin = 1024;

PartitionSettings bounded(PartitionSettings settings) noexcept {
  settings.segment_bytes = std::max<std::int64_t>(settings.segment_bytes, kSegmentBytesMin);
  return settings;
}

}  // namespace

MmapLog::MmapLog(MmapEngine& engine, const PartitionKey& key, const PartitionSettings& settings)
    : engine_(engine),
      topic_(key.topic),
      topic_id_(key.topic_id),
      partition_(key.partition),
      directory_(Path::directory(key.topic_id, key.partition)),
      acks_wait_(engine.settings().durability == Durability::fsync_batch),
      settings_(bounded(settings)) {
  (void)storage_common::parse_topic_id(key.topic_id, id_);
}

MmapLog::~MmapLog() {
  for (const Ref<Segment>& segment : segments_) engine_.cache().drop(segment->views);
}

LogState MmapLog::state() noexcept {
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

/// The same failure, with the file it is about.
Status MmapLog::at(const Segment& segment, const Status& status) const noexcept {
  Status located = status_of(status.code, "%s: %.90s", path_of(segment).c_str(), status.text);
  located.sys_errno = status.sys_errno;
  return located;
}

Status MmapLog::offline_status() noexcept {
  const std::lock_guard lock(mutex_);
  return status_of(ErrorCode::offline, "%.64s-%d is offline after: %.80s", topic_.c_str(), partition_, failed_.text);
}

Status MmapLog::append(Bytes batches, Offset first, Offset next, TimestampMs, AppendResult* result) noexcept {
  if (offline_.load(std::memory_order_acquire)) return offline_status();
  const MetricTimer timer(engine_.host(), engine_.metrics().append_ns);
  try {
    return append_batches(batches, first, next, result);
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "append: out of memory"};
  }
}

Status MmapLog::append_batches(Bytes batches, Offset first, Offset next, AppendResult* result) {
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
  STREAMBUS_TRY_STATUS(storage_common::walk_batches(batches, first, next, &frames));
  changed_.store(true, std::memory_order_relaxed);
  if (rolls) roll();
  if (!active_.window || !active_.window->contains(active_.segment->bytes, batches.size())) {
    STREAMBUS_TRY_STATUS(make_room(batches.size()));
  }
  active_.window->populate_to(active_.segment->bytes + batches.size());  // a comparison, unless the job is behind
  std::memcpy(active_.window->at(active_.segment->bytes), batches.data(), batches.size());
  if (const Status status = active_.window->check(); !status.ok()) {
    const Status failure = at(*active_.segment, status);
    fail(failure);
    return failure;
  }
  publish(batches, frames, result);
  return {};
}

bool MmapLog::must_roll(std::size_t bytes) noexcept {
  const Segment& segment = *active_.segment;
  if (segment.bytes == 0) return false;
  if (segment.bytes + bytes > static_cast<std::uint64_t>(settings_.segment_bytes)) return true;
  return settings_.segment_ms >= 0 && engine_.host().wall_ms() - segment.first_append_ms > settings_.segment_ms;
}

/// Ends the active segment. All that costs time (sync, truncation, index, manifest) is left to the maintenance job.
void MmapLog::roll() {
  {
    const std::lock_guard lock(mutex_);
    sealing_.push_back(std::move(active_));
    active_ = Writing();
    prepare_failed_ = false;
  }
  post_maintenance();
}

void MmapLog::publish(Bytes batches, const Frames& frames, AppendResult* result) {
  bool flush = false;
  bool interval = false;
  bool maintenance = false;
  {
    const std::lock_guard lock(mutex_);
    Segment& segment = *active_.segment;
    if (segments_.empty() || segments_.back().get() != &segment) {
      segments_.push_back(active_.segment);
      engine_.metrics().segments.add(1);
    }
    add_index_entries(batches, segment.bytes, segment.max_timestamp);
    segment.bytes += batches.size();
    segment.end = end_ = frames.end;
    segment.frame_crc = frames.frame_crc;
    segment.max_timestamp = frames.max_timestamp;
    active_.index_dirty = true;
    bytes_ += batches.size();
    appends_ += frames.batch_count;
    if (acks_wait_) {
      flush = !std::exchange(flush_queued_, true);
    } else if (engine_.settings().durability == Durability::fsync_interval) {
      interval = !std::exchange(interval_queued_, true);
    }
    if (!maintenance_queued_ && (retired_ || wants_preparing())) maintenance = maintenance_queued_ = true;
  }
  // Durable already, as far as the weaker classes promise: no report follows.
  result->position = acks_wait_ ? static_cast<std::uint64_t>(frames.end.value) : 0;
  engine_.metrics().appends.add(frames.batch_count);
  engine_.metrics().append_bytes.add(static_cast<std::int64_t>(batches.size()));
  engine_.metrics().stored_bytes.add(static_cast<std::int64_t>(batches.size()));
  if (flush) {
    add_ref();
    engine_.host().post(WorkClass::flush, [](void* log) noexcept { static_cast<MmapLog*>(log)->run_flush(); }, this);
  }
  if (interval && !engine_.interval_flusher().add(Ref<MmapLog>::share(this))) post_flush();
  if (maintenance) {
    add_ref();
    engine_.host().post(WorkClass::background, [](void* log) noexcept { static_cast<MmapLog*>(log)->run_maintenance(); }, this);
  }
}

/// A missing entry only makes searches longer, so that running out of memory here is no failure.
void MmapLog::add_index_entries(Bytes batches, std::uint64_t position, TimestampMs max_before) noexcept {
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

Status MmapLog::apply(const PartitionSettings& settings) noexcept {
  const std::lock_guard lock(mutex_);
  settings_ = bounded(settings);
  return {};
}

Status MmapLog::delete_before(Offset start) noexcept {
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

Status MmapLog::retain(TimestampMs now) noexcept {
  if (offline_.load(std::memory_order_acquire)) return {};
  try {
    const auto expired = [&](const Segment& segment) {
      return settings_.retention_ms >= 0 && segment.max_timestamp != kNoTimestamp &&
             segment.max_timestamp < now - settings_.retention_ms;
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
      for (std::size_t i = 0; i < segments_.size() && segments_[i]->sealed; ++i) {
        const Segment& segment = *segments_[i];
        if (segment.bytes == 0) continue;  // goes with the next one
        const bool too_much =
            settings_.retention_bytes >= 0 && left - segment.bytes >= static_cast<std::uint64_t>(settings_.retention_bytes);
        if (!expired(segment) && !too_much) break;
        left -= segment.bytes;
        start = std::max(start, segment.end);
        count = i + 1;
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

Status MmapLog::close() noexcept {
  {
    std::unique_lock lock(mutex_);
    closing_ = true;
    idle_.wait(lock, [this] { return !flush_running_; });
  }
  Status status;
  bool tell = false;
  {
    const std::lock_guard maintenance(maintenance_);
    drop_spare();
    try {
      status = offline_.load(std::memory_order_acquire) ? offline_status() : close_files();
    } catch (const std::bad_alloc&) {
      status = {ErrorCode::no_space, "close: out of memory"};
    }
    const std::lock_guard lock(mutex_);
    for (const Ref<Segment>& segment : segments_) engine_.cache().drop(segment->views);
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

}  // namespace streambus::storage_mmap
