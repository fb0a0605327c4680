// The life of a partition: opening, recovering, closing, maintenance. Appending is in partition_append.cpp, reading in
// partition_read.cpp.

#include "partition.hpp"

#include <chrono>
#include <new>
#include <thread>

#include "meta_file.hpp"

namespace streambus::broker {
namespace {

/// Producers that did nothing for so long are forgotten (Kafka's producer.id.expiration.ms). On the monotonic clock:
/// a wall clock that jumps must not fence anybody.
constexpr std::int64_t kProducerIdleNs = std::int64_t{24} * 3600 * 1'000'000'000;

}  // namespace

Partition::Partition(const PartitionEnvironment& environment, PartitionSpec spec)
    : environment_(environment),
      spec_(std::move(spec)),
      durability_(spec_.engine == nullptr ? Durability::memory : spec_.engine->durability()),
      rules_(spec_.rules),
      settings_(spec_.settings),
      compaction_(spec_.compaction),
      snapshots_(environment.host.files(), spec_.topic_id, spec_.id) {}

void Partition::log(LogLevel level, const std::string& text) noexcept {
  environment_.host.log(level, "partition " + spec_.topic + "/" + std::to_string(spec_.id) + ": " + text);
}

Status Partition::open(LeaderEpochs epochs, bool existed) noexcept {
  {
    const std::lock_guard lock(mutex_);
    epochs_ = std::move(epochs);
  }
  try {
    return open_log(nullptr, existed);
  } catch (const std::bad_alloc&) {
    const std::lock_guard lock(mutex_);
    offline_reason_ = {ErrorCode::no_space, "out of memory while opening the partition"};
    return offline_reason_;
  }
}

Status Partition::adopt(LeaderEpochs epochs, PartitionLog* log) noexcept {
  {
    const std::lock_guard lock(mutex_);
    epochs_ = std::move(epochs);
  }
  if (!keeps_snapshots()) {
    const std::lock_guard lock(snapshot_mutex_);
    snapshots_.remove();  // they would outlive what they speak of
  }
  try {
    return open_log(log, false);
  } catch (const std::bad_alloc&) {
    (void)log->close();
    const std::lock_guard lock(mutex_);
    offline_reason_ = {ErrorCode::no_space, "out of memory while opening the partition"};
    return offline_reason_;
  }
}

/// Opens the log unless it is given.
Status Partition::open_log(PartitionLog* opened, bool existed) {
  const auto failed = [this](const Status& status) {
    const std::lock_guard lock(mutex_);
    offline_reason_ = status;
    return offline_reason_;
  };
  if (spec_.engine == nullptr) {
    return failed({ErrorCode::offline, "the storage section that keeps this topic is not in the configuration: add it again"});
  }
  const std::lock_guard no_snapshot_meanwhile(snapshot_mutex_);
  PartitionSettings settings;
  {
    const std::lock_guard lock(mutex_);
    settings = settings_;
  }
  if (opened == nullptr) {
    if (Status status = spec_.engine->open(key(), {0}, settings, &opened); !status.ok()) return failed(status);
  }
  const LogState state = opened->state();

  ProducerTable producers;
  std::uint64_t replayed = 0;
  if (keeps_snapshots()) {
    const auto recovered = snapshots_.recover(*opened, state.start, state.end, environment_.host.monotonic_ns(), producers);
    if (!recovered) {
      (void)opened->close();
      return failed(recovered.error().to_status());
    }
    replayed = *recovered;
  }
  Ref<Domain> domain = environment_.domains.find(opened->durability_domain());
  const std::scoped_lock lock(mutex_, gate_);
  // Weaker classes may have lost a tail that clients have read; a log that was open before shows it.
  const bool values_may_change = durability_ == Durability::memory ||
                                 (durability_ != Durability::fsync_batch && !state.clean) ||
                                 state.end.value < visible_.load(std::memory_order_relaxed);
  if (existed && values_may_change) epochs_.raise(state.start, state.end);
  producers_ = std::move(producers);
  progress_.clean_end = std::min(progress_.clean_end, state.end);
  ++opens_;
  install(opened, std::move(domain), state);
  bytes_since_snapshot_ = replayed;  // so that the next start need not walk them again
  return {};
}

/// Under mutex_ and gate_.
void Partition::install(PartitionLog* log, Ref<Domain> domain, const LogState& state) {
  log_ = log;
  domain_ = std::move(domain);
  start_.store(state.start.value, std::memory_order_relaxed);
  end_.store(state.end.value, std::memory_order_release);
  const Offset visible = durability_ == Durability::fsync_batch ? state.durable : state.end;
  visible_.store(visible.value, std::memory_order_seq_cst);
  offline_reason_ = {};
  last_position_ = 0;
  offline_.store(false, std::memory_order_release);
}

PartitionLog* Partition::take_log() noexcept {
  const std::scoped_lock lock(mutex_, gate_);
  return std::exchange(log_, nullptr);
}

Status Partition::reopen() noexcept {
  const UpkeepLock upkeep(*this);
  {
    const std::lock_guard lock(mutex_);
    if (gone_ != ErrorCode::ok) return {gone_, "the partition is closed"};
    take_offline({ErrorCode::offline, "the partition is being opened again"});
  }
  // Not under the lock: closing tells those who still wait.
  if (PartitionLog* const old = take_log()) (void)old->close();
  LeaderEpochs epochs;
  {
    const std::lock_guard lock(mutex_);
    epochs = epochs_;
  }
  const Status status = open(std::move(epochs), true);
  log(status.ok() ? LogLevel::info : LogLevel::error,
      status.ok() ? std::string("opened again") : "could not be opened again: " + std::string(status.message()));
  return status;
}

Status Partition::close() noexcept { return close_log(ErrorCode::cancelled); }

Status Partition::retire() noexcept { return close_log(ErrorCode::offline); }

/// Later calls get `gone`.
Status Partition::close_log(ErrorCode gone) noexcept {
  const UpkeepLock upkeep(*this);
  PartitionLog* closing = nullptr;
  bool snapshot_due = false;
  {
    const std::scoped_lock lock(mutex_, gate_);
    if (gone_ == ErrorCode::ok) gone_ = gone;
    closing = std::exchange(log_, nullptr);
    snapshot_due = bytes_since_snapshot_ > 0;
  }
  watches_.close();
  if (closing == nullptr) return {};
  if (snapshot_due) write_snapshot();
  return closing->close();
}

Status Partition::remove() noexcept {
  const UpkeepLock upkeep(*this);
  PartitionLog* closing = nullptr;
  {
    const std::scoped_lock lock(mutex_, gate_);
    gone_ = ErrorCode::not_found;
    closing = std::exchange(log_, nullptr);
  }
  watches_.close();
  if (closing != nullptr) (void)closing->close();  // what is about to be removed need not be durable
  {
    const std::lock_guard lock(snapshot_mutex_);
    snapshots_.remove();
  }
  if (spec_.engine == nullptr) return {};
  const Status status = spec_.engine->remove(key());
  return status.code == ErrorCode::not_found ? Status() : status;
}

Status Partition::freeze() noexcept {
  constexpr auto kVisibleWithin = std::chrono::seconds(10);
  {
    const std::lock_guard lock(mutex_);
    if (const Status status = writable(); !status.ok()) return status;
    frozen_ = true;
    take_offline({ErrorCode::offline, "the topic is moving to another storage: retry"});
  }
  const auto latest = std::chrono::steady_clock::now() + kVisibleWithin;
  while (visible_.load(std::memory_order_seq_cst) < end_.load(std::memory_order_acquire)) {
    if (std::chrono::steady_clock::now() > latest) {
      return {ErrorCode::timeout, "what was written does not become durable"};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  write_snapshot();
  return {};
}

void Partition::thaw() noexcept {
  copied_.store(false);
  const std::lock_guard lock(mutex_);
  if (!std::exchange(frozen_, false)) return;
  offline_reason_ = {};
  offline_.store(false, std::memory_order_release);
}

void Partition::write_snapshot() noexcept {
  if (!keeps_snapshots()) return;
  const std::lock_guard one_at_a_time(snapshot_mutex_);
  try {
    MetaWriter encoded;
    {
      const std::lock_guard lock(mutex_);
      ProducerSnapshots::encode({end_.load(std::memory_order_relaxed)}, producers_, encoded);
      bytes_since_snapshot_ = 0;
      if (gone_ == ErrorCode::not_found) return;
    }
    // A failure costs a longer start, nothing else: the log knows.
    if (const auto written = snapshots_.write(encoded.bytes()); !written) {
      log(LogLevel::warning, "the snapshot of producers was not written: " + written.error().message);
    }
  } catch (const std::bad_alloc&) {
    log(LogLevel::warning, "out of memory while writing the snapshot of producers");
  }
}

Status Partition::apply(const PartitionSettings& settings, const AdmissionRules& rules,
                        const CompactionRules& compaction) noexcept {
  rules_.store(rules, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  settings_ = settings;
  compaction_ = compaction;
  return log_ == nullptr ? Status() : log_->apply(settings);
}

void Partition::maintain(TimestampMs wall_ms, std::int64_t monotonic_ns) noexcept {
  const std::unique_lock upkeep(upkeep_, std::try_to_lock);
  const std::lock_guard lock(mutex_);
  producers_.expire(monotonic_ns - kProducerIdleNs);
  if (!writable().ok()) return;
  if (!upkeep.owns_lock()) {
    retention_owed_.store(true);
    return;
  }
  if (const Status status = log_->retain(wall_ms); !status.ok()) {
    log(LogLevel::warning, "retention failed: " + std::string(status.message()));
    if (status.code == ErrorCode::io_error || status.code == ErrorCode::corrupt) take_offline(status);
    return;
  }
  start_.store(log_->state().start.value, std::memory_order_relaxed);
}

Status Partition::writable() noexcept {
  if (gone_ != ErrorCode::ok)
    return {gone_, gone_ == ErrorCode::not_found   ? "the topic was deleted"
                   : gone_ == ErrorCode::cancelled ? "the broker is stopping"
                                                   : "the topic has moved to another storage: retry"};
  if (domain_ && domain_->failed() && offline_reason_.ok()) take_offline(domain_->failure());
  if (offline_reason_.ok()) return {};
  Status reason = offline_reason_;
  reason.code = ErrorCode::offline;
  return reason;
}

void Partition::take_offline(const Status& reason) noexcept {
  if (!offline_reason_.ok()) return;
  offline_reason_ = reason;
  offline_.store(true, std::memory_order_release);
  if (reason.code != ErrorCode::offline) log(LogLevel::error, "takes no more writes: " + std::string(reason.message()));
}

Status Partition::offline_reason() noexcept {
  const std::lock_guard lock(mutex_);
  return writable();
}

std::uint64_t Partition::stored_bytes() noexcept {
  const std::shared_lock gate(gate_);
  return log_ == nullptr ? 0 : log_->state().bytes;
}

PartitionView Partition::view() noexcept {
  const std::shared_lock gate(gate_);
  const bool offline = offline_.load(std::memory_order_acquire) || (domain_ && domain_->failed());
  return {.error = offline ? ErrorCode::offline : ErrorCode::ok, .partition = spec_.id, .leader_epoch = epochs_.current()};
}

std::vector<EpochStart> Partition::epoch_starts() const {
  const std::lock_guard lock(mutex_);
  return epochs_.starts();
}

}  // namespace streambus::broker
