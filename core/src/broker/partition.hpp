#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>

#include "admission.hpp"
#include "compaction.hpp"
#include "durability.hpp"
#include "leader_epochs.hpp"
#include "producer_snapshots.hpp"
#include "producer_table.hpp"
#include "streambus/config/config.hpp"
#include "streambus/plugin/broker.hpp"
#include "watch_list.hpp"

namespace streambus::broker {

/// What all partitions use. Outlives them.
struct PartitionEnvironment {
  Host& host;  ///< its files() are data_dir/meta
  DomainTable& domains;
  const CodecSet& codecs;
};

/// What a partition is made of.
struct PartitionSpec {
  std::string topic;
  std::string topic_id;
  PartitionId id = 0;
  StorageEngine* engine = nullptr;  ///< null: its storage is not configured; the partition is offline
  PartitionSettings settings;
  AdmissionRules rules;
  CompactionRules compaction;
};

/// One partition: assigns offsets, decides what is visible, keeps producers and epochs.
///
/// Thread-safe. Appends are serialized by a mutex; fetches share a gate with each other and with appends, and are kept out
/// only while the log is replaced or closed. Reference-counted: a partition that is deleted answers not_found to those
/// who still hold it.
class Partition final : public DurableTarget {
 public:
  Partition(const PartitionEnvironment& environment, PartitionSpec spec);

  /// Opens the log and recovers the producers. Where `existed` and the log may have lost a tail, begins a new epoch: other
  /// values may come at offsets that a client has read. On failure the partition is offline and says why. Blocks.
  Status open(LeaderEpochs epochs, bool existed) noexcept;

  /// Opens the log again, after a failure whose cause is gone. Not concurrently with itself, open(), close() or remove().
  /// Blocks.
  Status reopen() noexcept;

  /// Writes the producers down and closes the log; later calls get `cancelled`. Blocks.
  Status close() noexcept;

  /// Closes the log and removes it from the engine; later calls get `not_found`. Blocks.
  Status remove() noexcept;

  /// See Broker. The caller holds a reference.
  ProduceOutcome produce(MutableBytes batches, ProduceWaiter& waiter) noexcept;
  void fetch(FetchCall& call) noexcept;
  [[nodiscard]] bool watch(FetchWatch& watch) noexcept;
  void find_offset(OffsetCall& call) noexcept;
  Status epoch_end(LeaderEpoch current, LeaderEpoch wanted, LeaderEpoch* epoch, Offset* end) noexcept;
  static void unwatch(FetchWatch& watch) noexcept;

  /// Takes changed settings into account. May block.
  Status apply(const PartitionSettings& settings, const AdmissionRules& rules, const CompactionRules& compaction) noexcept;

  /// Enforces retention, forgets idle producers, notices a failed domain. Where a compaction has the log, retention follows
  /// that. May block.
  void maintain(TimestampMs wall_ms, std::int64_t monotonic_ns) noexcept;

  /// See Broker::delete_records. Interrupts a compaction. May block.
  Status delete_records(Offset before, Offset* log_start) noexcept;

  /// Whether there is enough to compact. May read from the disk.
  [[nodiscard]] CompactionNeed compaction_need(TimestampMs now) noexcept;
  /// Compacts what can be compacted. From one thread at a time. Blocks for long, but gives way to whoever changes the log.
  /// Errors: see Compactor::compact.
  Status compact(const CompactionLimits& limits, CompactionReport* report) noexcept;
  /// Ends a compaction that runs, and keeps others from beginning: the broker stops.
  void stop_compaction() noexcept { compaction_stopped_.store(true); }
  [[nodiscard]] CompactionProgress compaction_progress() const;
  /// Before open(): what an earlier run wrote down.
  void restore_compaction_progress(const CompactionProgress& progress);

  /// Calls work(log) while nobody else removes, replaces or closes what the log holds; appends and reads go on. Returns what
  /// it returns; the reason where there is no log. Blocks.
  template <class Work>
  Status with_log(const Work& work) {
    const UpkeepLock upkeep(*this);
    PartitionLog* log = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (log_ == nullptr)
        return offline_reason_.ok() ? Status(ErrorCode::cancelled, "the partition is closed") : offline_reason_;
      log = log_;
    }
    return work(*log);
  }

  /// The end of what consumers see.
  [[nodiscard]] Offset visible_end() const noexcept { return {visible_.load(std::memory_order_seq_cst)}; }

  /// No compaction until thaw(): the log is being copied.
  void pause_compaction() noexcept { copied_.store(true); }
  /// Takes no more writes (producers are told to retry) and waits until all that was written is visible; writes the producers
  /// down. Blocks shortly. Errors: why the partition takes no writes anyway; timeout. thaw() follows in any case.
  Status freeze() noexcept;
  /// Takes writes again, as before freeze(), and may be compacted again.
  void thaw() noexcept;
  /// Makes this partition of a log that is open already: a copy of another partition's, whose producers were written down.
  /// Takes the log; on failure the log is closed and the partition offline. Blocks.
  Status adopt(LeaderEpochs epochs, PartitionLog* log) noexcept;
  /// Closes the log after another partition took over: later calls get `offline`, which clients retry, and find that. Blocks.
  Status retire() noexcept;

  void durable_to(Offset end) noexcept override;

  [[nodiscard]] PartitionView view() noexcept;
  /// Bytes of record batches; 0 while the log is closed.
  [[nodiscard]] std::uint64_t stored_bytes() noexcept;
  [[nodiscard]] std::vector<EpochStart> epoch_starts() const;
  [[nodiscard]] PartitionId id() const noexcept { return spec_.id; }
  [[nodiscard]] const std::string& topic() const noexcept { return spec_.topic; }
  [[nodiscard]] const std::string& topic_id() const noexcept { return spec_.topic_id; }
  [[nodiscard]] PartitionKey key() const noexcept { return {spec_.topic, spec_.topic_id, spec_.id}; }
  /// Why the partition takes no writes; ok where it does.
  [[nodiscard]] Status offline_reason() noexcept;

 private:
  void dispose() noexcept override { delete this; }

  class Compaction;
  /// Takes upkeep_; a compaction that has it gives way.
  class UpkeepLock {
   public:
    explicit UpkeepLock(Partition& partition) noexcept : partition_(partition) {
      partition_.upkeep_wanted_.fetch_add(1);
      partition_.upkeep_.lock();
      partition_.upkeep_wanted_.fetch_sub(1);
    }
    UpkeepLock(const UpkeepLock&) = delete;
    UpkeepLock& operator=(const UpkeepLock&) = delete;
    ~UpkeepLock() { partition_.upkeep_.unlock(); }

   private:
    Partition& partition_;
  };

  struct Appended {
    ProduceOutcome outcome = ProduceOutcome::done;
    bool visible_moved = false;
    bool snapshot_due = false;
  };
  [[nodiscard]] bool keeps_snapshots() const noexcept { return durability_ != Durability::memory; }
  void log(LogLevel level, const std::string& text) noexcept;

  Status open_log(PartitionLog* opened, bool existed);
  Status close_log(ErrorCode gone) noexcept;
  void install(PartitionLog* log, Ref<Domain> domain, const LogState& state);
  [[nodiscard]] PartitionLog* take_log() noexcept;
  void write_snapshot() noexcept;

  // Under mutex_.
  [[nodiscard]] Status writable() noexcept;
  void take_offline(const Status& reason) noexcept;
  [[nodiscard]] Appended append(AdmittedBatches& batches, ProduceWaiter& waiter) noexcept;
  [[nodiscard]] Appended append_failed(const Status& status, ProduceWaiter& waiter) noexcept;
  [[nodiscard]] Appended answer_duplicate(const ProducedBatch& batch, ProduceWaiter& waiter) noexcept;
  [[nodiscard]] Appended refuse_sequence(const ProducerTable::Verdict& verdict, const ProducerStamp& stamp,
                                         ProduceWaiter& waiter) noexcept;
  [[nodiscard]] Appended wait_durable(std::uint64_t position, Offset end, ProduceWaiter& waiter) noexcept;
  void remember(const AdmittedBatches& batches) noexcept;
  void raise_visible(Offset end) noexcept;

  // Under the gate.
  [[nodiscard]] ErrorCode check_epoch(LeaderEpoch claimed) const noexcept;
  void find_time(OffsetCall& call) noexcept;
  void find_max_timestamp(OffsetCall& call) noexcept;
  [[nodiscard]] bool find_in_batches(Offset batch_base, TimestampMs timestamp, Offset visible, OffsetCall& call) noexcept;

  // Constant after construction.
  const PartitionEnvironment& environment_;
  const PartitionSpec spec_;
  const Durability durability_;

  std::atomic<AdmissionRules> rules_;
  static_assert(std::atomic<AdmissionRules>::is_always_lock_free);
  std::atomic<std::int64_t> start_{0};    ///< as last seen; may lag behind the log's own
  std::atomic<std::int64_t> end_{0};      ///< the next record's offset; written under mutex_
  std::atomic<std::int64_t> visible_{0};  ///< consumers see what lies below; never goes back while the log is open
  std::atomic<bool> offline_{true};
  WatchList watches_;

  /// Outermost: held by whoever removes, replaces or closes what the log holds, so that these come one at a time.
  std::mutex upkeep_;
  std::atomic<int> upkeep_wanted_{0};        ///< others than a compaction wait for it
  std::atomic<bool> retention_owed_{false};  ///< to whoever releases it
  std::atomic<bool> compaction_stopped_{false};
  std::atomic<bool> copied_{false};  ///< not compacted meanwhile

  /// Held shared by whoever uses log_ without mutex_, exclusively (with mutex_) by whoever replaces it.
  std::shared_mutex gate_;
  mutable std::mutex mutex_;
  // Written under mutex_ and gate_, read under either.
  PartitionLog* log_ = nullptr;
  Ref<Domain> domain_;
  LeaderEpochs epochs_;
  ErrorCode gone_ = ErrorCode::ok;  ///< not_found after remove(), cancelled after close()
  // Guarded by mutex_.
  Status offline_reason_{ErrorCode::offline, "the partition is not open yet"};
  PartitionSettings settings_;
  CompactionRules compaction_;
  CompactionProgress progress_;
  std::uint32_t opens_ = 0;
  ProducerTable producers_;
  std::uint64_t last_position_ = 0;
  std::uint64_t bytes_since_snapshot_ = 0;
  bool snapshot_pending_ = false;
  bool out_of_space_ = false;
  bool frozen_ = false;
  /// Before mutex_: a snapshot is never taken of one state of the log and written in another.
  std::mutex snapshot_mutex_;
  // Guarded by snapshot_mutex_.
  ProducerSnapshots snapshots_;
};

}  // namespace streambus::broker
