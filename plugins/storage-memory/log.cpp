#include "log.hpp"

#include <algorithm>
#include <cstdio>
#include <new>

#include "copy.hpp"
#include "streambus/base/record_batch.hpp"

namespace streambus::storage_memory {
namespace {

Status offset_status(ErrorCode code, const char* pattern, Offset a, Offset b) noexcept {
  char text[120];
  std::snprintf(text, sizeof text, pattern, static_cast<long long>(a.value), static_cast<long long>(b.value));
  return {code, text};
}

/// What a run of batches adds up to.
struct Batches {
  std::uint32_t count = 0;
  TimestampMs max_timestamp = kNoTimestamp;
};

/// Checks that `batches` are whole batches with the offsets first..next, rising.
Status walk(Bytes batches, Offset first, Offset next, Batches* out) noexcept {
  Offset expected = first;
  while (!batches.empty()) {
    std::size_t bytes = 0;
    if (!frame_batch(batches, &bytes).ok())
      return {ErrorCode::invalid_argument, "append: expected whole record batches of magic 2"};
    const BatchHeader header(batches.data());
    if (out->count == 0 ? header.base_offset() != first : header.base_offset() < expected) {
      return offset_status(ErrorCode::invalid_argument, "append: base offset expected %lld, found %lld", expected,
                           header.base_offset());
    }
    if (header.last_offset_delta() < 0) return {ErrorCode::invalid_argument, "append: negative last offset delta"};
    expected = header.next_offset();
    out->max_timestamp = std::max(out->max_timestamp, header.max_timestamp());
    ++out->count;
    batches = batches.subspan(bytes);
  }
  if (out->count > 0 && expected == next) return {};
  return offset_status(ErrorCode::invalid_argument, "append: the batches end at offset %lld, the caller says %lld", expected,
                       next);
}

}  // namespace

MemoryLog::MemoryLog(MemoryEngine& engine, const PartitionKey& key, Offset start, const PartitionSettings& settings)
    : engine_(engine),
      topic_id_(key.topic_id),
      partition_(key.partition),
      domain_(engine.host().durability().open_domain()),
      settings_(settings),
      start_(start),
      end_(start) {}

LogState MemoryLog::state() noexcept {
  const std::lock_guard lock(mutex_);
  LogState state;
  state.start = start_;
  state.end = state.durable = end_;
  state.bytes = bytes_;
  state.segments = static_cast<std::uint32_t>(chunks_.size());
  return state;
}

Status MemoryLog::append(Bytes batches, Offset first, Offset next, TimestampMs, AppendResult* result) noexcept {
  result->position = 0;  // as durable as it will ever be
  const MetricTimer timer(engine_.host(), engine_.metrics().append_ns);
  try {
    return append_batches(batches, first, next);
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "append: out of memory"};
  }
}

/// Small partitions take small chunks.
std::size_t MemoryLog::wanted_chunk_bytes(std::uint64_t stored_bytes) noexcept {
  std::size_t tier = 0;
  while (tier + 1 < ChunkPool::kTiers && stored_bytes >= 4 * ChunkPool::kTierBytes[tier]) ++tier;
  return ChunkPool::kTierBytes[tier];
}

Status MemoryLog::append_batches(Bytes batches, Offset first, Offset next) {
  if (first < end_)
    return offset_status(ErrorCode::invalid_argument, "append at offset %lld, the log ends at %lld", first, end_);
  Batches added;
  if (const Status status = walk(batches, first, next, &added); !status.ok()) return status;

  Chunk* chunk = nullptr;
  std::size_t position = 0;
  std::size_t wanted = 0;
  const auto take_last = [&] {
    if (chunks_.empty() || chunks_.back()->capacity() - chunks_.back()->used < batches.size()) return;
    chunk = chunks_.back().get();
    position = chunk->used;
    appending_ = true;
  };
  {
    const std::lock_guard lock(mutex_);
    take_last();
    wanted = wanted_chunk_bytes(bytes_);
  }
  if (chunk == nullptr) {
    Ref<Chunk> fresh;
    STREAMBUS_TRY_STATUS(engine_.acquire(wanted, batches.size(), true, &fresh));
    fresh->base = fresh->end = first;
    const std::lock_guard lock(mutex_);
    chunks_.push_back(std::move(fresh));
    engine_.metrics().segments.add(1);
    take_last();
  }

  copy_past_cache(chunk->data() + position, batches);

  const std::lock_guard lock(mutex_);
  appending_ = false;
  if (chunk->index.empty() || position - chunk->index.back().position >= Chunk::kIndexInterval) {
    if (chunk->index.size() < chunk->index.capacity()) chunk->index.push_back({first, static_cast<std::uint32_t>(position)});
  }
  chunk->used += batches.size();
  chunk->end = end_ = next;
  chunk->max_timestamp = std::max(chunk->max_timestamp, added.max_timestamp);
  chunk->batch_count += added.count;
  bytes_ += batches.size();
  engine_.metrics().appends.add(added.count);
  engine_.metrics().append_bytes.add(static_cast<std::int64_t>(batches.size()));
  engine_.metrics().stored_bytes.add(static_cast<std::int64_t>(batches.size()));
  return {};
}

Status MemoryLog::read(const ReadRequest& request, ReadResult* result) noexcept {
  result->slice_count = 0;
  result->bytes = 0;
  result->next = request.from;
  result->pin = nullptr;
  Ref<Chunk> chunk;
  std::size_t used = 0;
  std::size_t start = 0;
  bool start_exact = false;
  std::size_t end = 0;
  Offset next;
  {
    const std::lock_guard lock(mutex_);
    if (request.from < start_ || request.from > end_) {
      return offset_status(ErrorCode::out_of_range, "log of offsets from %lld to %lld does not have the one asked for", start_,
                           end_);
    }
    if (request.from == end_ || request.limit <= request.from || chunks_.empty()) return {};
    // The last chunk whose end is above `from` and whose predecessor's is not.
    const auto found = std::partition_point(chunks_.begin(), chunks_.end(),
                                            [&](const Ref<Chunk>& candidate) { return candidate->end <= request.from; });
    if (found == chunks_.end()) return {};
    chunk = *found;
    used = chunk->used;
    next = chunk->end;
    for (const Hint& hint : hints_) {
      if (hint.chunk == chunk.get() && hint.offset == request.from && hint.position < used) {
        start = hint.position;
        start_exact = true;
      }
    }
    if (!start_exact) {
      const auto entry = std::upper_bound(chunk->index.begin(), chunk->index.end(), request.from,
                                          [](Offset from, const Chunk::IndexEntry& e) { return from < e.base; });
      if (entry != chunk->index.begin()) start = (entry - 1)->position;
    }
    const std::size_t reach = request.bytes_max > used - start ? used : start + static_cast<std::size_t>(request.bytes_max);
    end = start;
    for (const Chunk::IndexEntry& e : chunk->index) {
      if (e.position <= reach && e.base <= request.limit && e.position > end) end = e.position;
    }
  }
  const std::byte* const data = chunk->data();
  if (!start_exact) {
    while (BatchHeader(data + start).next_offset() <= request.from) start += BatchHeader(data + start).total_bytes();
  }
  if (request.limit >= next && used - start <= request.bytes_max) {
    end = used;
  } else {
    // From a boundary that is not too far, batch by batch. `end` was found from an earlier start: never too late.
    end = std::max(end, start);
    next = end == start ? request.from : BatchHeader(data + end).base_offset();
    while (end < used) {
      const BatchHeader header(data + end);
      const std::size_t batch_end = end + header.total_bytes();
      const bool fits = batch_end - start <= request.bytes_max || (request.at_least_one && end == start);
      if (!fits || header.next_offset() > request.limit) break;
      end = batch_end;
      next = header.next_offset();
    }
  }
  if (end == start) return {};
  {
    const std::lock_guard lock(mutex_);
    hints_[next_hint_++ % kHints] = {chunk.get(), next, end};
  }
  result->slices[0] = Slice::memory({data + start, end - start});
  result->slice_count = 1;
  result->bytes = end - start;
  result->next = next;
  result->pin = chunk.detach();
  return {};
}

Status MemoryLog::find_time(TimestampMs timestamp, Offset* batch_base) noexcept {
  *batch_base = kNoOffset;
  Offset from;
  for (;;) {
    Ref<Chunk> chunk;
    std::size_t used = 0;
    {
      const std::lock_guard lock(mutex_);
      from = std::max(from, start_);
      const auto found = std::find_if(chunks_.begin(), chunks_.end(), [&](const Ref<Chunk>& candidate) {
        return candidate->end > from && candidate->max_timestamp >= timestamp;
      });
      if (found == chunks_.end()) return {};
      chunk = *found;
      used = chunk->used;
    }
    for (std::size_t position = 0; position < used;) {
      const BatchHeader header(chunk->data() + position);
      if (header.max_timestamp() >= timestamp && header.next_offset() > from) {
        *batch_base = header.base_offset();
        return {};
      }
      position += header.total_bytes();
      if (position >= used) from = header.next_offset();  // what qualified lay before the start
    }
  }
}

Status MemoryLog::apply(const PartitionSettings& settings) noexcept {
  const std::lock_guard lock(mutex_);
  settings_ = settings;
  return {};
}

/// Under the mutex. The memory is free when no reader holds it any more.
void MemoryLog::drop_first() noexcept {
  const auto bytes = static_cast<std::int64_t>(chunks_.front()->used);
  bytes_ -= chunks_.front()->used;
  engine_.metrics().segments.add(-1);
  engine_.metrics().stored_bytes.add(-bytes);
  engine_.metrics().removed_bytes.add(bytes);
  start_ = std::max(start_, chunks_.front()->end);
  chunks_.pop_front();
}

Status MemoryLog::delete_before(Offset start) noexcept {
  const std::lock_guard lock(mutex_);
  if (start > end_)
    return offset_status(ErrorCode::out_of_range, "delete before offset %lld, the log ends at %lld", start, end_);
  start_ = std::max(start_, start);
  while (!chunks_.empty() && chunks_.front()->end <= start_) drop_first();
  return {};
}

Status MemoryLog::retain(TimestampMs now) noexcept {
  const std::lock_guard lock(mutex_);
  while (!chunks_.empty()) {
    const Chunk& oldest = *chunks_.front();
    const bool expired = settings_.retention_ms >= 0 && oldest.max_timestamp != kNoTimestamp &&
                         oldest.max_timestamp < now - settings_.retention_ms;
    const bool too_much = settings_.retention_bytes >= 0 &&
                          bytes_ - oldest.used >= static_cast<std::uint64_t>(settings_.retention_bytes) && chunks_.size() > 1;
    if (!expired && !too_much) break;
    drop_first();
  }
  return {};
}

std::uint64_t MemoryLog::oldest_sequence() noexcept {
  const std::lock_guard lock(mutex_);
  return evictable() ? chunks_.front()->sequence : UINT64_MAX;
}

bool MemoryLog::evict_oldest() noexcept {
  const std::lock_guard lock(mutex_);
  if (!evictable()) return false;
  engine_.metrics().evicted_bytes.add(static_cast<std::int64_t>(chunks_.front()->used));
  drop_first();
  return true;
}

Status MemoryLog::close() noexcept {
  engine_.metrics().segments.add(-static_cast<std::int64_t>(chunks_.size()));
  engine_.metrics().stored_bytes.add(-static_cast<std::int64_t>(bytes_));
  engine_.forget(*this);
  engine_.host().durability().close_domain(domain_);
  delete this;
  return {};
}

}  // namespace streambus::storage_memory
