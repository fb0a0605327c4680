#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "chunk.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/options.hpp"
#include "streambus/plugin/storage.hpp"
#include "streambus/plugin/storage_metrics.hpp"

namespace streambus::storage_memory {

class MemoryLog;

extern const OptionSpec kOptions[2];

struct MemoryMetrics : StorageMetrics {
  explicit MemoryMetrics(Host& host) noexcept;
  Metric& evicted_bytes;
  Metric& rejected;
  Metric& lent_bytes;
};

/// storage-memory: batches in recycled memory, bounded as a whole, gone with the process.
class MemoryEngine final : public StorageEngine {
 public:
  MemoryEngine(Host& host, const Options& options);

  [[nodiscard]] Durability durability() const noexcept override { return Durability::memory; }
  Status start() noexcept override { return {}; }
  Status open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept override;
  /// Closing forgets a partition already: there is never anything to remove, unless it is open still (busy).
  Status remove(const PartitionKey& key) noexcept override;
  /// The open partitions: there are no others.
  Status list(PartitionVisitor& visitor) noexcept override;
  Status stop() noexcept override { return {}; }
  [[nodiscard]] bool can_replace() const noexcept override { return true; }

  // For the logs.
  [[nodiscard]] Host& host() noexcept { return host_; }
  [[nodiscard]] MemoryMetrics& metrics() noexcept { return metrics_; }
  /// A chunk for a batch of `needed` bytes, `wanted` if there is room for so many; makes room by evicting where the option
  /// says so and `may_evict`. Called without any log's mutex. Errors: no_space, too_large (larger than the whole capacity).
  [[nodiscard]] Status acquire(std::size_t wanted, std::size_t needed, bool may_evict, Ref<Chunk>* out);
  void forget(MemoryLog& log) noexcept;

 private:
  [[nodiscard]] bool evict_oldest() noexcept;

  Host& host_;
  MemoryMetrics metrics_;
  const bool evicts_;
  const Ref<ChunkPool> pool_;
  std::atomic<std::uint64_t> next_sequence_{1};
  std::mutex mutex_;  ///< taken before a log's
  std::vector<MemoryLog*> logs_;
};

}  // namespace streambus::storage_memory
