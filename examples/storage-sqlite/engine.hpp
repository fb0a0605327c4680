#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "database.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/options.hpp"
#include "streambus/plugin/storage.hpp"
#include "streambus/plugin/storage_metrics.hpp"

namespace streambus::storage_sqlite {

class Log;

/// A batch that was appended and is not in the database yet. Its bytes lie in memory.
class Batch final : public Pin {
 public:
  /// Copies the first batch of `batches`, which is whole.
  Batch(Ref<Log> owner, Bytes batches);

  const Ref<Log> log;
  const std::vector<std::byte> data;
  const Offset base;
  const Offset next;
  const TimestampMs time;
  Offset after;                ///< where the log ended before it
  Offset piece;                ///< where the piece begins that replace() would take it with
  std::uint64_t position = 0;  ///< as durability is reported

 private:
  ~Batch() override;
  void dispose() noexcept override { delete this; }
};

/// Keeps all partitions in one SQLite database, a table each. Durability is fsync-batch: an append waits in memory, and one job
/// at a time on the host's flush workers writes all that waits, of all partitions, in one transaction. They are one durability
/// domain: the database fails as a whole.
class Engine final : public StorageEngine {
 public:
  Engine(Host& host, const Options& options);

  [[nodiscard]] Durability durability() const noexcept override { return Durability::fsync_batch; }
  Status start() noexcept override;
  Status open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept override;
  Status remove(const PartitionKey& key) noexcept override;
  Status list(PartitionVisitor& visitor) noexcept override;
  Status stop() noexcept override;
  [[nodiscard]] bool can_replace() const noexcept override { return true; }

  // For the logs.
  [[nodiscard]] Host& host() noexcept { return host_; }
  [[nodiscard]] StorageMetrics& metrics() noexcept { return metrics_; }
  /// Held while the database is used. Lock order: this one, a log's, the engine's own.
  [[nodiscard]] std::mutex& database_mutex() noexcept { return database_mutex_; }
  [[nodiscard]] Database& database() noexcept { return database_; }
  [[nodiscard]] bool verifies_always() const noexcept { return verify_; }
  [[nodiscard]] std::uint32_t domain() noexcept;
  /// Whether the partition was closed in order when it was open last.
  [[nodiscard]] bool was_closed(const std::string& table) noexcept;
  /// Puts one append into the queue. Errors: offline, no_space (the queue is full).
  [[nodiscard]] Status enqueue(const std::vector<Ref<Batch>>& batches, std::uint64_t* position);
  /// True while the disk has no room for what waits.
  [[nodiscard]] bool is_full() noexcept;
  /// Writes what waits, under database_mutex(). no_space: it still waits, and will be tried again. Other errors are final: call
  /// fail() with them, under no lock.
  [[nodiscard]] Status write_queue();
  /// Makes durable what was written before the call. Not under database_mutex(): reads go on meanwhile. Errors are final.
  [[nodiscard]] Status sync() noexcept;
  /// Drops what waits of a log that could not write it before it was closed.
  void forget(const Log& log) noexcept;
  /// Has what is durable reported, and written what waits.
  void post_flush() noexcept;
  /// Takes the database offline. Under no lock.
  void fail(const Status& status) noexcept;
  [[nodiscard]] Status failure() noexcept;
  void closed(const std::string& table, bool in_order) noexcept;

 private:
  [[nodiscard]] Status open_database();
  [[nodiscard]] Status write_batches(const std::deque<Ref<Batch>>& batches);
  [[nodiscard]] Status try_to_write(const std::deque<Ref<Batch>>& batches);
  void run_flush() noexcept;
  void report() noexcept;
  void close_domain() noexcept;

  Host& host_;
  StorageMetrics metrics_;
  const std::uint64_t queue_bytes_max_;
  const bool verify_;
  const std::uint64_t checkpoint_bytes_;

  std::mutex database_mutex_;
  Database database_;
  bool clean_start_ = false;

  std::mutex sync_mutex_;  ///< one sync at a time, and none while the database is opened or closed; behind database_mutex_

  std::mutex mutex_;
  std::condition_variable reported_all_;
  std::set<std::string> open_;            ///< tables
  std::map<std::string, bool> in_order_;  ///< of those that this run opened: whether they were closed in order since
  std::uint32_t domain_ = 0;
  std::deque<Ref<Batch>> queue_;
  std::uint64_t queue_bytes_ = 0;
  std::uint64_t appended_ = 0;  ///< the position of the last append
  std::uint64_t written_ = 0;   ///< committed up to here
  std::uint64_t durable_ = 0;   ///< synced up to here
  std::uint64_t reported_ = 0;
  std::vector<std::pair<Ref<Log>, Offset>> unsynced_;  ///< what was written since the last sync: ends of logs
  std::int64_t unsynced_batches_ = 0;
  bool reporting_ = false;
  Status failed_;
  bool failure_told_ = false;
  bool full_ = false;
  bool flush_posted_ = false;  ///< or running
};

}  // namespace streambus::storage_sqlite
