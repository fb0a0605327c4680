#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "streambus/plugin/host.hpp"
#include "streambus/plugin/options.hpp"
#include "streambus/plugin/storage.hpp"
#include "streambus/plugin/storage_metrics.hpp"

namespace streambus::storage_acme {

/// Keeps each partition in one file, "<topic id>-<partition>.log" (log_file.hpp has its format). Durability is fsync-batch: an
/// append is answered when the file was synced, and one sync answers all that came before it.
class Engine final : public StorageEngine {
 public:
  Engine(Host& host, const Options& options);

  [[nodiscard]] Durability durability() const noexcept override { return Durability::fsync_batch; }
  Status start() noexcept override;
  Status open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept override;
  Status remove(const PartitionKey& key) noexcept override;
  Status list(PartitionVisitor& visitor) noexcept override;
  Status stop() noexcept override { return {}; }
  [[nodiscard]] bool can_replace() const noexcept override { return true; }

  // For the logs.
  [[nodiscard]] Host& host() noexcept { return host_; }
  [[nodiscard]] FileSystem& files() noexcept { return host_.files(); }
  [[nodiscard]] StorageMetrics& metrics() noexcept { return metrics_; }
  [[nodiscard]] std::uint64_t rewrite_bytes() const noexcept { return rewrite_bytes_; }
  void closed(const std::string& path) noexcept;

 private:
  Host& host_;
  StorageMetrics metrics_;
  const std::uint64_t rewrite_bytes_;

  std::mutex mutex_;
  std::set<std::string> open_;  ///< paths of the partitions that are open
};

}  // namespace streambus::storage_acme
