#pragma once
// What compaction is told, what it remembers of a partition, and what it reports.

#include <cstdint>
#include <limits>
#include <unordered_map>

#include "streambus/base/ids.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::broker {

/// The settings of a topic that compaction goes by.
struct CompactionRules {
  bool enabled = false;
  bool deletes = true;  ///< retention and DeleteRecords may remove records, too
  double dirty_ratio_min = 0.5;
  std::int64_t lag_ms_min = 0;
  std::int64_t lag_ms_max = std::numeric_limits<std::int64_t>::max();
  std::int64_t tombstone_ms = 86'400'000;  ///< delete.retention.ms
  std::int64_t segment_bytes = std::int64_t{1} << 30;
};

/// How far a partition is compacted. Losing it costs another look at everything, nothing else.
struct CompactionProgress {
  static constexpr TimestampMs kNever = std::numeric_limits<TimestampMs>::max();

  Offset clean_end{0};            ///< below it every key is there once
  std::uint64_t clean_bytes = 0;  ///< of the batches below it
  TimestampMs horizon = kNever;   ///< when the first tombstone below it may go
};

/// Why a partition should be compacted, or not.
struct CompactionNeed {
  bool due = false;
  double dirty_ratio = 0;
};

struct CompactionReport {
  std::uint64_t passes = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t removed_records = 0;
  std::uint64_t replacements = 0;
  std::uint64_t opaque_batches = 0;  ///< in a codec that is not loaded: left as they are
};

/// The last offset that each idempotent producer wrote: its last sequence number must not get lost.
using ProducerEnds = std::unordered_map<std::int64_t, Offset>;

/// The partition that is compacted, as the compactor sees it.
class CompactionTarget {
 public:
  CompactionTarget() = default;
  CompactionTarget(const CompactionTarget&) = delete;
  CompactionTarget& operator=(const CompactionTarget&) = delete;

  /// The log, which is neither closed nor cut until unlock(); null where it is closed or others want it. Called for a piece of
  /// work at a time.
  [[nodiscard]] virtual PartitionLog* lock() noexcept = 0;
  virtual void unlock() noexcept = 0;
  /// Somebody waits for the log: what is going on is given up.
  [[nodiscard]] virtual bool interrupted() const noexcept = 0;
  /// What lies at or above it is left alone: not visible, or not durable yet.
  [[nodiscard]] virtual Offset settled_end() noexcept = 0;
  [[nodiscard]] virtual ProducerEnds producer_ends() = 0;

 protected:
  ~CompactionTarget() = default;
};

}  // namespace streambus::broker
