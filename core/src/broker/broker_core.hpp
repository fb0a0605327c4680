#pragma once
// The broker behind every protocol.
//
// Lock order, outermost first; a thread that holds one takes only later ones:
//   BrokerCore::admin_mutex_       one administrative change at a time; held while files are written
//   Partition::upkeep_             held while a log is compacted, cut or closed
//   Partition::snapshot_mutex_
//   BrokerCore::topics_mutex_      who finds a topic shares it, briefly; nothing blocks under it
//   Partition::mutex_              the append lock
//   Partition::gate_
//   Domain::publish_mutex_, Domain::mutex_
//   WatchList::mutex_              FetchWatch::data_available() is called under it
// ProduceWaiter::completed() is called under none.

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "streambus/config/config.hpp"
#include "topic.hpp"
#include "topic_policy.hpp"

namespace streambus::broker {

class Migration;

struct BrokerSettings {
  std::int32_t node_id = 0;
  bool auto_create_topics = true;
  std::int64_t maintenance_interval_ms = 60'000;
  CompactionLimits compaction{};
  std::function<void()> housekeeping{};  ///< called with every round of maintenance, on its thread; must not throw
  TopicSection topic_defaults;
};

/// What compaction shows of itself.
struct CompactionMetrics {
  explicit CompactionMetrics(Host& host) noexcept;
  Metric& runs;
  Metric& failures;
  Metric& read_bytes;
  Metric& written_bytes;
  Metric& removed_records;
  Metric& run_ns;
  Metric& dirty_permille;
};

/// Topics, partitions and what clients do with them. Uses storage engines and codecs that others own and that outlive it.
class BrokerCore final : public Broker {
 public:
  /// `host.files()` is data_dir/meta. `engines` by the names of their sections, started. `domains` is their sink.
  BrokerCore(Host& host, DomainTable& domains, const CodecSet& codecs,
             std::map<std::string, StorageEngine*, std::less<>> engines, BrokerSettings settings);
  ~BrokerCore();

  /// Opens all stored topics, removes what interrupted deletions left, makes `topics` what the configuration says. Blocks.
  /// A partition that does not open is offline and logged, the others work.
  /// Errors: what makes the whole broker unusable: the list of topics cannot be read or written, a topic cannot be created.
  [[nodiscard]] Result<> start(const std::vector<TopicSection>& topics);

  /// Starts the threads that enforce retention, compact and migrate.
  void start_maintenance();

  /// Runs maintenance now, on the calling thread. Blocks.
  void maintain() noexcept;

  /// Compacts every partition that needs it now, on the calling thread, the dirtiest first. Blocks. One thread at a time.
  void compact() noexcept;

  /// Moves the topics whose storage was changed, on the calling thread. Blocks. One thread at a time.
  void migrate() noexcept;

  /// Closes all partitions; whoever still waits is told `cancelled`. Idempotent. Blocks.
  void stop() noexcept;

  /// Opens a partition again after its storage failed and the cause is gone. Blocks.
  /// Errors: not_found, those of the engine; the partition stays offline then.
  Status reopen_partition(std::string_view topic, PartitionId partition) noexcept;

  /// Why a partition takes no writes; ok where it does. Errors of its own: not_found.
  Status partition_status(std::string_view topic, PartitionId partition) noexcept;

  BrokerIdentity identity() const noexcept override;
  void visit_topics(TopicVisitor& visitor) noexcept override;
  Status visit_topic(std::string_view name, TopicVisitor& visitor) noexcept override;
  bool auto_create_topics() const noexcept override { return settings_.auto_create_topics; }
  Status create_topic(const TopicSpec& spec) noexcept override;
  Status delete_topic(std::string_view name) noexcept override;
  Status visit_settings(std::string_view topic, SettingVisitor& visitor) noexcept override;
  ProduceOutcome produce(const ProduceCall& call, ProduceWaiter& waiter) noexcept override;
  void fetch(FetchCall& call) noexcept override;
  bool watch(std::string_view topic, PartitionId partition, FetchWatch& watch) noexcept override;
  void unwatch(FetchWatch& watch) noexcept override { Partition::unwatch(watch); }
  void find_offset(OffsetCall& call) noexcept override;
  Status epoch_end(std::string_view topic, PartitionId partition, LeaderEpoch current, LeaderEpoch wanted, LeaderEpoch* epoch,
                   Offset* end) noexcept override;
  Status new_producer_id(std::int64_t* id) noexcept override;
  Status alter_topic(const TopicEdit& edit) noexcept override;
  Status delete_records(std::string_view topic, PartitionId partition, Offset before, Offset* log_start) noexcept override;
  void visit_usage(UsageVisitor& visitor) noexcept override;

 private:
  struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const noexcept { return std::hash<std::string_view>()(name); }
  };

  [[nodiscard]] Ref<Partition> find(std::string_view topic, PartitionId partition) const noexcept;
  [[nodiscard]] Ref<Topic> find(std::string_view topic) const noexcept;
  [[nodiscard]] std::vector<Ref<Partition>> all_partitions() const;
  void log(LogLevel level, const std::string& text) noexcept { host_.log(level, text); }
  // Of the thread that migrates: broker_migration.cpp.
  void run_migrations() noexcept;
  void migrate(Topic& topic);
  [[nodiscard]] Status migrate_once(Topic& topic, const std::string& storage, StorageEngine& target);
  [[nodiscard]] Status take_over(Topic& topic, const std::string& storage, Migration& migration);
  [[nodiscard]] bool wants_migration(const Topic& topic, const std::string& storage) const noexcept;
  void show_migration(Topic& topic, std::string text);
  void queue_migration(const std::string& topic);

  void run_periodically(std::int64_t interval_ms, void (BrokerCore::*work)() noexcept);

  // Of the thread that compacts: broker_compaction.cpp.
  void compact(Partition& partition) noexcept;
  void write_compaction_progress() noexcept;

  // Under admin_mutex_.
  [[nodiscard]] Result<> load_topics();
  [[nodiscard]] Result<> store_raised_epochs();
  void remove_orphans() noexcept;
  [[nodiscard]] Result<> configure_topic(const TopicSection& section);
  [[nodiscard]] Result<> update_topic(const TopicSection& section);
  [[nodiscard]] Result<> plan_migration(Topic& topic, std::string_view storage);
  [[nodiscard]] Result<> check_storage(std::string_view topic, std::string_view storage) const;
  [[nodiscard]] Result<SettingMap> edited_settings(const Topic& topic, const TopicEdit& edit) const;
  [[nodiscard]] Result<> change_settings(Topic& topic, SettingMap settings);
  [[nodiscard]] Result<> check_can_compact(std::string_view topic, const SettingMap& settings, std::string_view storage) const;
  void read_compaction_progress();
  [[nodiscard]] Result<StoredTopic> plan_topic(std::string_view name, std::int32_t partitions,
                                               std::span<const Setting> settings, std::string_view storage) const;
  [[nodiscard]] Result<> create(std::string_view name, StoredTopic planned);
  [[nodiscard]] Result<> grow(Topic& topic, std::size_t partition_count);
  [[nodiscard]] Result<> check_running() const;
  [[nodiscard]] Result<> check_room(std::size_t more_partitions) const;
  [[nodiscard]] Ref<Partition> make_partition(std::string_view name, const StoredTopic& topic, std::size_t id) const;
  [[nodiscard]] StorageEngine* engine(std::string_view storage) const noexcept;
  void publish(Ref<Topic> topic);

  // Constant after construction.
  Host& host_;
  const CodecSet& codecs_;
  const std::map<std::string, StorageEngine*, std::less<>> engines_;
  const BrokerSettings settings_;
  const PartitionEnvironment environment_;

  std::mutex admin_mutex_;
  // Guarded by admin_mutex_.
  TopicStore store_;
  std::int64_t producer_ids_left_ = 0;
  std::int64_t next_producer_id_ = 0;
  bool stopped_ = false;

  mutable std::shared_mutex topics_mutex_;
  // Guarded by topics_mutex_; changed with admin_mutex_ held too.
  std::unordered_map<std::string, Ref<Topic>, NameHash, std::equal_to<>> topics_;
  std::map<std::string_view, Topic*> by_name_;  ///< the same ones, in order

  std::string cluster_id_;  ///< constant after start()

  /// What [[topic]] sections say; they are applied at each start. Constant after start().
  std::map<std::string, SettingMap, std::less<>> configured_;
  CompactionMetrics compaction_metrics_;

  std::thread maintenance_;
  std::thread compaction_;
  std::thread migration_;
  std::mutex maintenance_mutex_;
  std::condition_variable maintenance_wake_;
  std::deque<std::string> migrations_;  ///< topics that wait for their move; guarded by maintenance_mutex_
  std::atomic<bool> stopping_{false};   ///< written under maintenance_mutex_
};

/// Calls work(0) to work(count - 1) from a few threads and returns when all are done.
template <class Work>
void for_each_parallel(std::size_t count, const Work& work) {
  constexpr std::size_t kThreadsMax = 4;
  constexpr std::size_t kWorthAThread = 16;
  std::atomic<std::size_t> next{0};
  const auto run = [&] {
    for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) work(i);
  };
  std::vector<std::jthread> helpers;
  for (std::size_t i = 1; i < kThreadsMax && i * kWorthAThread < count; ++i) helpers.emplace_back(run);
  run();
}

}  // namespace streambus::broker
