// Compacting and cutting the log of a partition beside its producers and consumers.

#include "compactor.hpp"
#include "partition.hpp"

namespace streambus::broker {
namespace {

/// The first batch of a range.
class FirstBatch final : public HeaderVisitor {
 public:
  bool header(const BatchHeader& batch) override {
    found = true;
    max_timestamp = batch.max_timestamp();
    return false;
  }
  bool found = false;
  TimestampMs max_timestamp = kNoTimestamp;
};

}  // namespace

/// The partition as the compactor sees it.
class Partition::Compaction final : public CompactionTarget {
 public:
  explicit Compaction(Partition& partition) noexcept : partition_(partition) {}

  [[nodiscard]] PartitionLog* lock() noexcept override {
    if (interrupted()) return nullptr;
    partition_.upkeep_.lock();
    PartitionLog* log = nullptr;
    {
      const std::lock_guard lock(partition_.mutex_);
      if (partition_.writable().ok()) log = partition_.log_;
    }
    if (log == nullptr) partition_.upkeep_.unlock();
    return log;
  }
  void unlock() noexcept override {
    partition_.upkeep_.unlock();
    if (partition_.retention_owed_.exchange(false)) {
      partition_.maintain(partition_.environment_.host.wall_ms(), partition_.environment_.host.monotonic_ns());
    }
  }
  [[nodiscard]] bool interrupted() const noexcept override {
    return partition_.upkeep_wanted_.load(std::memory_order_relaxed) > 0 ||
           partition_.compaction_stopped_.load(std::memory_order_relaxed) || partition_.copied_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] Offset settled_end() noexcept override { return {partition_.visible_.load(std::memory_order_seq_cst)}; }
  [[nodiscard]] ProducerEnds producer_ends() override {
    const std::lock_guard lock(partition_.mutex_);
    return partition_.producers_.ends();
  }

 private:
  Partition& partition_;
};

CompactionNeed Partition::compaction_need(TimestampMs now) noexcept {
  if (copied_.load(std::memory_order_relaxed)) return {};
  CompactionRules rules;
  CompactionProgress progress;
  {
    const std::lock_guard lock(mutex_);
    if (!compaction_.enabled || !writable().ok() || !spec_.engine->can_replace()) return {};
    rules = compaction_;
    progress = progress_;
  }
  const std::shared_lock gate(gate_);
  if (log_ == nullptr) return {};
  const LogState state = log_->state();
  const Offset settled = std::min(Offset{visible_.load(std::memory_order_seq_cst)}, state.durable);
  const Offset dirty_begin = std::max(progress.clean_end, state.start);
  Offset dirty_end = dirty_begin;
  for (Offset to; dirty_end < settled && (to = log_->segment_end(dirty_end)) != kNoOffset && to <= settled;) dirty_end = to;
  CompactionNeed need{.due = progress.horizon <= now};
  if (dirty_end == dirty_begin) return need;

  // How much of what is not compacted yet lies in segments that can be: in proportion to the offsets.
  const auto clean_bytes =
      static_cast<double>(dirty_begin > progress.clean_end ? 0 : std::min(progress.clean_bytes, state.bytes));
  const double share = static_cast<double>(dirty_end - dirty_begin) / static_cast<double>(state.end - dirty_begin);
  const double dirty_bytes = (static_cast<double>(state.bytes) - clean_bytes) * share;
  need.dirty_ratio = dirty_bytes <= 0 ? 0 : dirty_bytes / (clean_bytes + dirty_bytes);
  need.due |= need.dirty_ratio >= rules.dirty_ratio_min;
  if (rules.lag_ms_min == 0 && rules.lag_ms_max == CompactionRules().lag_ms_max) return need;
  FirstBatch first;
  try {
    if (!scan_headers(*log_, dirty_begin, dirty_end, first).ok() || !first.found) return need;
  } catch (const std::bad_alloc&) {
    return {};
  }
  const TimestampMs age = now - first.max_timestamp;
  if (rules.lag_ms_min > 0 && age < rules.lag_ms_min) {
    need.due = progress.horizon <= now;
  } else {
    need.due |= age >= rules.lag_ms_max;
  }
  return need;
}

Status Partition::compact(const CompactionLimits& limits, CompactionReport* report) noexcept {
  CompactionRules rules;
  CompactionProgress progress;
  std::uint32_t opens = 0;
  {
    const std::lock_guard lock(mutex_);
    rules = compaction_;
    progress = progress_;
    opens = opens_;
  }
  Compaction target(*this);
  Compactor compactor(environment_.host, environment_.codecs, limits);
  Status status = compactor.compact(target, rules, &progress, report);
  if (status.code == ErrorCode::io_error || status.code == ErrorCode::corrupt) {
    log(LogLevel::error, "compaction failed, what is stored stays as it is: " + std::string(status.message()));
  }
  const std::lock_guard lock(mutex_);
  if (opens == opens_) progress_ = progress;
  return status;
}

CompactionProgress Partition::compaction_progress() const {
  const std::lock_guard lock(mutex_);
  return progress_;
}

void Partition::restore_compaction_progress(const CompactionProgress& progress) {
  const std::lock_guard lock(mutex_);
  progress_ = progress;
}

Status Partition::delete_records(Offset before, Offset* log_start) noexcept {
  const UpkeepLock upkeep(*this);
  const std::lock_guard lock(mutex_);
  if (const Status status = writable(); !status.ok()) return status;
  if (!compaction_.deletes) {
    return {ErrorCode::permission_denied,
            "cleanup.policy of the topic: expected \"delete\" in it, found \"compact\": records are deleted by their keys"};
  }
  const Offset visible{visible_.load(std::memory_order_seq_cst)};
  const Offset wanted = before == kNoOffset ? visible : before;
  if (wanted < Offset{0} || wanted > visible) {
    char text[120];
    std::snprintf(text, sizeof text, "records before offset %lld: expected an offset from 0 to %lld, the high watermark",
                  static_cast<long long>(before.value), static_cast<long long>(visible.value));
    return {ErrorCode::out_of_range, text};
  }
  Status status;
  if (wanted > log_->state().start) status = log_->delete_before(wanted);
  *log_start = log_->state().start;
  start_.store(log_start->value, std::memory_order_relaxed);
  if (status.code == ErrorCode::io_error || status.code == ErrorCode::corrupt) take_offline(status);
  return status;
}

}  // namespace streambus::broker
