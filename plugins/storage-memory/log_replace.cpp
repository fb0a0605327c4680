// Replacing chunks by what compaction kept of them: new chunks, put in the place of the old ones under the mutex.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <new>

#include "log.hpp"
#include "streambus/base/record_batch.hpp"

namespace streambus::storage_memory {
namespace {

Status not_a_bound(Offset from, Offset to) noexcept {
  char text[120];
  std::snprintf(text, sizeof text, "replace [%lld, %lld): expected the log's start or ends of full chunks",
                static_cast<long long>(from.value), static_cast<long long>(to.value));
  return {ErrorCode::invalid_argument, text};
}

void add(Chunk& chunk, Bytes batch) noexcept {
  const BatchHeader header(batch.data());
  const auto position = static_cast<std::uint32_t>(chunk.used);
  std::memcpy(chunk.data() + chunk.used, batch.data(), batch.size());
  if (chunk.batch_count == 0) chunk.base = header.base_offset();
  if (chunk.index.empty() || position - chunk.index.back().position >= Chunk::kIndexInterval) {
    if (chunk.index.size() < chunk.index.capacity()) chunk.index.push_back({header.base_offset(), position});
  }
  chunk.used += batch.size();
  chunk.end = header.next_offset();
  chunk.max_timestamp = std::max(chunk.max_timestamp, header.max_timestamp());
  ++chunk.batch_count;
}

}  // namespace

Offset MemoryLog::segment_end(Offset from) noexcept {
  const std::lock_guard lock(mutex_);
  if (from < start_ || from >= end_) return kNoOffset;
  const auto found =
      std::partition_point(chunks_.begin(), chunks_.end(), [&](const Ref<Chunk>& candidate) { return candidate->end <= from; });
  if (found == chunks_.end() || std::next(found) == chunks_.end()) return kNoOffset;  // the last one is appended to
  return (*found)->end;
}

Status MemoryLog::replace(Offset from, Offset to, BatchSource& batches) noexcept {
  try {
    {
      const std::lock_guard lock(mutex_);
      if (from < start_ || to <= from || chunks_.empty() || to > chunks_.back()->base) return not_a_bound(from, to);
      for (const Ref<Chunk>& chunk : chunks_) {
        const auto cuts = [&chunk](Offset bound) { return chunk->base < bound && bound < chunk->end; };
        if ((from != start_ && cuts(from)) || cuts(to)) return not_a_bound(from, to);
      }
    }
    std::vector<Ref<Chunk>> chunks;
    STREAMBUS_TRY_STATUS(write_replacement(from, to, batches, &chunks));
    return put_in_place(from, to, chunks);
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "replace: out of memory"};
  }
}

Status MemoryLog::write_replacement(Offset from, Offset to, BatchSource& batches, std::vector<Ref<Chunk>>* chunks) {
  Offset expected = from;
  std::uint64_t written = 0;
  for (;;) {
    Bytes run;
    STREAMBUS_TRY_STATUS(batches.next(&run));
    if (run.empty()) return {};
    while (!run.empty()) {
      std::size_t bytes = 0;
      if (!frame_batch(run, &bytes).ok())
        return {ErrorCode::invalid_argument, "replace: expected whole record batches of magic 2"};
      const BatchHeader header(run.data());
      if (header.base_offset() < expected || header.last_offset_delta() < 0 || header.next_offset() > to) {
        return {ErrorCode::invalid_argument, "replace: a batch lies outside of the range or out of order"};
      }
      if (chunks->empty() || chunks->back()->capacity() - chunks->back()->used < bytes) {
        // Never at the cost of other data: what is replaced makes room afterwards.
        Ref<Chunk> fresh;
        STREAMBUS_TRY_STATUS(engine_.acquire(wanted_chunk_bytes(written), bytes, false, &fresh));
        chunks->push_back(std::move(fresh));
      }
      add(*chunks->back(), run.first(bytes));
      expected = header.next_offset();
      written += bytes;
      run = run.subspan(bytes);
    }
  }
}

/// Errors: busy where chunks of the range were evicted meanwhile.
Status MemoryLog::put_in_place(Offset from, Offset to, std::vector<Ref<Chunk>>& chunks) {
  std::vector<Ref<Chunk>> old;  // given back when the mutex is free again
  const std::lock_guard lock(mutex_);
  if (start_ > from) return {ErrorCode::busy, "replace: batches of the range were evicted meanwhile"};
  const auto first =
      std::partition_point(chunks_.begin(), chunks_.end(), [from](const Ref<Chunk>& chunk) { return chunk->end <= from; });
  const auto last = std::partition_point(first, chunks_.end(), [to](const Ref<Chunk>& chunk) { return chunk->end <= to; });
  std::deque<Ref<Chunk>> next(chunks_.begin(), first);
  next.insert(next.end(), chunks.begin(), chunks.end());
  next.insert(next.end(), last, chunks_.end());
  old.assign(first, last);
  std::uint64_t old_bytes = 0;
  std::uint64_t new_bytes = 0;
  for (const Ref<Chunk>& chunk : old) old_bytes += chunk->used;
  for (const Ref<Chunk>& chunk : chunks) {
    new_bytes += chunk->used;
    if (!old.empty()) chunk->sequence = old.front()->sequence;  // as old as what it stands for
  }
  chunks_.swap(next);
  bytes_ = bytes_ - old_bytes + new_bytes;
  for (Hint& hint : hints_) hint = Hint();  // they name chunks by address
  engine_.metrics().segments.add(static_cast<std::int64_t>(chunks.size()) - static_cast<std::int64_t>(old.size()));
  engine_.metrics().stored_bytes.add(static_cast<std::int64_t>(new_bytes) - static_cast<std::int64_t>(old_bytes));
  engine_.metrics().replaced_bytes.add(static_cast<std::int64_t>(old_bytes));
  return {};
}

}  // namespace streambus::storage_memory
