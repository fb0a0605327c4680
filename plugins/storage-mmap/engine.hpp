#pragma once

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "settings.hpp"
#include "storage-common/interval_flusher.hpp"
#include "storage-common/small_files.hpp"
#include "storage-common/synced_marks.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/storage.hpp"
#include "streambus/plugin/storage_metrics.hpp"
#include "window.hpp"

namespace streambus::storage_mmap {

class MmapLog;

/// What the instance shows of itself.
struct MmapMetrics : StorageMetrics {
  explicit MmapMetrics(Host& host) noexcept;
  Metric& index_rebuilds;
  Metric& prepare_ns;
  Metric& inline_prepares;
};

/// storage-mmap. See docs/formats/mmap.md for what lies on disk.
class MmapEngine final : public StorageEngine {
 public:
  MmapEngine(Host& host, const Options& options);

  [[nodiscard]] Durability durability() const noexcept override { return settings_.durability; }
  [[nodiscard]] bool can_replace() const noexcept override { return true; }
  Status start() noexcept override;
  Status open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept override;
  Status remove(const PartitionKey& key) noexcept override;
  Status list(PartitionVisitor& visitor) noexcept override;
  Status stop() noexcept override;

  // For the logs.
  [[nodiscard]] Host& host() noexcept { return host_; }
  [[nodiscard]] FileSystem& files() noexcept { return host_.files(); }
  [[nodiscard]] const MmapSettings& settings() const noexcept { return settings_; }
  [[nodiscard]] MmapMetrics& metrics() noexcept { return metrics_; }
  [[nodiscard]] WindowCache& cache() noexcept { return cache_; }
  [[nodiscard]] storage_common::SyncedMarks& marks() noexcept { return marks_; }
  [[nodiscard]] storage_common::IntervalFlusher<MmapLog>& interval_flusher() noexcept { return interval_flusher_; }
  [[nodiscard]] std::uint64_t run() const noexcept { return run_; }
  /// True where a manifest that says "closed" and was written in `run` tells the whole truth.
  [[nodiscard]] bool trusts_closed(std::uint64_t run) const noexcept { return run > unclean_run_ && !unclean_.load(); }
  /// A log is gone. `clean`: its manifest says all.
  void closed(std::string_view topic_id, PartitionId partition, bool clean) noexcept;

 private:
  using Key = std::pair<std::string, PartitionId>;
  static constexpr const char* kStateFile = "mmap.state";

  Status start_directory();
  [[nodiscard]] Status write_state(bool clean);
  Status remove_files(const PartitionKey& key);

  Host& host_;
  const MmapSettings settings_;
  MmapMetrics metrics_;
  WindowCache cache_;
  storage_common::SyncedMarks marks_;
  storage_common::IntervalFlusher<MmapLog> interval_flusher_;
  std::uint64_t run_ = 0;          // constant after start()
  std::uint64_t unclean_run_ = 0;  // constant after start()
  std::atomic<bool> unclean_{false};
  std::mutex mutex_;
  std::set<Key> open_;  // guarded by mutex_
};

}  // namespace streambus::storage_mmap
