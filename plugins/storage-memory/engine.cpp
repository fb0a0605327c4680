#include "engine.hpp"

#include <algorithm>
#include <cstdio>
#include <new>

#include "log.hpp"

namespace streambus::storage_memory {

MemoryMetrics::MemoryMetrics(Host& host) noexcept
    : StorageMetrics(host),
      evicted_bytes(
          host.metric(MetricKind::counter, "storage_evicted_bytes_total", "Bytes of batches that made room for newer ones")),
      rejected(host.metric(MetricKind::counter, "storage_rejected_total", "Appends refused because the capacity was used up")),
      lent_bytes(host.metric(MetricKind::gauge, "storage_memory_bytes",
                             "Memory in use by batches, those that readers hold included")) {}

MemoryEngine::MemoryEngine(Host& host, const Options& options)
    : host_(host),
      metrics_(host),
      evicts_(options.text("when_full") == "evict"),
      pool_(ChunkPool::make(options.size("capacity"))) {}

Status MemoryEngine::open(const PartitionKey& key, Offset start, const PartitionSettings& settings,
                          PartitionLog** log) noexcept {
  *log = nullptr;
  if (start < Offset{0}) return {ErrorCode::invalid_argument, "a partition cannot start at a negative offset"};
  try {
    const std::lock_guard lock(mutex_);
    for (const MemoryLog* const open : logs_) {
      if (open->is(key.topic_id, key.partition)) {
        return {ErrorCode::already_exists, std::string(key.topic) + "-" + std::to_string(key.partition) + " is open already"};
      }
    }
    logs_.reserve(logs_.size() + 1);
    auto* const opened = new MemoryLog(*this, key, start, settings);
    logs_.push_back(opened);
    *log = opened;
    return {};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory while opening a partition"};
  }
}

Status MemoryEngine::remove(const PartitionKey& key) noexcept {
  const std::lock_guard lock(mutex_);
  for (const MemoryLog* const open : logs_) {
    if (open->is(key.topic_id, key.partition)) return {ErrorCode::busy, "the partition is open: close it first"};
  }
  return {ErrorCode::not_found, "nothing is kept of a closed partition"};
}

Status MemoryEngine::list(PartitionVisitor& visitor) noexcept {
  const std::lock_guard lock(mutex_);
  for (const MemoryLog* const open : logs_) visitor.partition(open->topic_id(), open->partition());
  return {};
}

Status MemoryEngine::acquire(std::size_t wanted, std::size_t needed, bool may_evict, Ref<Chunk>* out) {
  const bool evicts = evicts_ && may_evict;
  if (ChunkPool::chunk_bytes(needed) > pool_->capacity()) {
    char text[120];
    std::snprintf(text, sizeof text, "a batch of %zu bytes is larger than the capacity of %llu", needed,
                  static_cast<unsigned long long>(pool_->capacity()));
    return {ErrorCode::too_large, text};
  }
  // Near the bound a small chunk may fit where a large one does not.
  Ref<Chunk> chunk = pool_->acquire(std::max(wanted, needed));
  if (!chunk && wanted > needed && !evicts) chunk = pool_->acquire(needed);
  while (!chunk && evicts && evict_oldest()) chunk = pool_->acquire(std::max(wanted, needed));
  if (!chunk && evicts) chunk = pool_->acquire(needed);
  if (!chunk) {
    metrics_.rejected.add(1);
    return {ErrorCode::no_space, evicts_ ? "capacity used up by data that readers hold"
                                         : "capacity used up: retention makes room, or when_full = \"evict\""};
  }
  chunk->sequence = next_sequence_.fetch_add(1, std::memory_order_relaxed);
  metrics_.lent_bytes.set(static_cast<std::int64_t>(pool_->lent_bytes()));
  *out = std::move(chunk);
  return {};
}

/// Drops the oldest chunk of the instance; false where there is none.
bool MemoryEngine::evict_oldest() noexcept {
  const std::lock_guard lock(mutex_);
  MemoryLog* oldest = nullptr;
  std::uint64_t sequence = UINT64_MAX;
  for (MemoryLog* const log : logs_) {
    if (const std::uint64_t candidate = log->oldest_sequence(); candidate < sequence) {
      sequence = candidate;
      oldest = log;
    }
  }
  return oldest != nullptr && oldest->evict_oldest();
}

void MemoryEngine::forget(MemoryLog& log) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(logs_, &log);
}

}  // namespace streambus::storage_memory
