#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "manifest.hpp"
#include "marks.hpp"
#include "paths.hpp"
#include "segment.hpp"
#include "settings.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/storage.hpp"
#include "streambus/plugin/storage_metrics.hpp"

namespace streambus::storage_wal {

class WalLog;

/// What the instance shows of itself.
struct WalMetrics : StorageMetrics {
  explicit WalMetrics(Host& host) noexcept;
  Metric& index_rebuilds;
};

/// Syncs the logs that were appended to, once per interval. One thread, and only with durability fsync-interval.
class IntervalFlusher {
 public:
  IntervalFlusher() = default;
  IntervalFlusher(const IntervalFlusher&) = delete;
  IntervalFlusher& operator=(const IntervalFlusher&) = delete;
  ~IntervalFlusher();

  void start(std::int64_t interval_ns);
  void stop() noexcept;
  /// Has the log flushed at the end of the running interval; called once until then. False: not now (no memory, stopping).
  [[nodiscard]] bool add(Ref<WalLog> log) noexcept;

 private:
  void run(std::int64_t interval_ns) noexcept;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::vector<Ref<WalLog>> dirty_;
  std::thread thread_;
};

/// storage-wal. See docs/formats/wal.md for what lies on disk.
class WalEngine final : public StorageEngine {
 public:
  WalEngine(Host& host, const Options& options);

  [[nodiscard]] Durability durability() const noexcept override { return settings_.durability; }
  Status start() noexcept override;
  Status open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept override;
  Status remove(const PartitionKey& key) noexcept override;
  Status list(PartitionVisitor& visitor) noexcept override;
  Status stop() noexcept override;
  [[nodiscard]] bool can_replace() const noexcept override { return true; }
  Status inspect(Inspector& inspector) noexcept override;

  // For the logs.
  [[nodiscard]] Host& host() noexcept { return host_; }
  [[nodiscard]] FileSystem& files() noexcept { return host_.files(); }
  [[nodiscard]] const WalSettings& settings() const noexcept { return settings_; }
  [[nodiscard]] WalMetrics& metrics() noexcept { return metrics_; }
  [[nodiscard]] OpenFileCache& cache() noexcept { return cache_; }
  [[nodiscard]] SyncedMarks& marks() noexcept { return marks_; }
  [[nodiscard]] IntervalFlusher& interval_flusher() noexcept { return interval_flusher_; }
  [[nodiscard]] std::uint64_t run() const noexcept { return run_; }
  /// True where a manifest that says "closed" and was written in `run` tells the whole truth.
  [[nodiscard]] bool trusts_closed(std::uint64_t run) const noexcept { return run > unclean_run_ && !unclean_.load(); }
  /// A log is gone. `clean`: its manifest says all.
  void closed(std::string_view topic_id, PartitionId partition, bool clean) noexcept;

 private:
  using Key = std::pair<std::string, PartitionId>;

  Status start_directory();
  [[nodiscard]] DirectoryState state_of(bool clean) const noexcept { return {clean, run_, unclean_run_}; }
  Status remove_files(const PartitionKey& key);

  Host& host_;
  const WalSettings settings_;
  WalMetrics metrics_;
  OpenFileCache cache_;
  SyncedMarks marks_;
  IntervalFlusher interval_flusher_;
  std::uint64_t run_ = 0;          // constant after start()
  std::uint64_t unclean_run_ = 0;  // constant after start()
  std::atomic<bool> unclean_{false};
  std::mutex mutex_;
  std::set<Key> open_;  // guarded by mutex_
};

}  // namespace streambus::storage_wal
