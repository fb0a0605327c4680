#pragma once
// Compaction of one partition: which records stay, and the replacing of segments by what stays of them.
//
// A pass reads what is not compacted yet into a table of keys, until it is full or a record is too young, and then goes through
// the log from its start: a record stays unless its key comes again behind it, below where the table ends. Segments of which
// nothing goes are left alone; the others are replaced, small neighbours together. Segments are replaced in order, so
// that a tombstone's time begins to run only when what it deletes is gone, also where a pass is cut short.

#include <vector>

#include "batch_filter.hpp"
#include "log_scan.hpp"
#include "streambus/config/config.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus::broker {

/// One thread at a time. Keeps no memory between two partitions but buffers.
class Compactor {
 public:
  Compactor(Host& host, const CodecSet& codecs, const CompactionLimits& limits)
      : host_(host), limits_(limits), filter_(codecs, host.buffers()), out_(host.buffers()) {}

  /// Compacts what can be compacted now, in as many passes as that takes. *progress is right whatever comes back. Blocks.
  /// Errors: cancelled (others want the log), busy (its start moved meanwhile, or memory), those of the engine and of damage.
  [[nodiscard]] Status compact(CompactionTarget& target, const CompactionRules& rules, CompactionProgress* progress,
                               CompactionReport* report) noexcept;

 private:
  class Lease;
  class Kept;
  struct Unit {
    Offset from;
    Offset to;
  };
  struct Survey {
    std::uint64_t kept_bytes = 0;
    std::uint64_t removed = 0;
    TimestampMs horizon = CompactionProgress::kNever;
    bool changed = false;
  };
  /// Neighbouring units that are replaced together.
  struct Group {
    std::vector<Unit> units;
    std::uint64_t kept_bytes = 0;
    bool changed = false;
  };
  struct Pass {
    CompactionTarget& target;
    const CompactionRules& rules;
    CompactionReport& report;
    FilterPlan plan;
    ProducerEnds producers;
    Offset log_start;
    std::vector<Unit> units;  ///< what can be replaced, in order
    Offset dirty_begin;
    bool table_full = false;
    std::uint64_t clean_bytes = 0;
    TimestampMs horizon = CompactionProgress::kNever;
    Group group;
  };

  [[nodiscard]] Status run_pass(Pass& pass, CompactionProgress* progress);
  [[nodiscard]] Status find_units(Pass& pass);
  [[nodiscard]] Status fill_table(Pass& pass);
  [[nodiscard]] Status fill_from(Pass& pass, PartitionLog& log, const Unit& unit, bool* go_on);
  [[nodiscard]] Status add_keys(Bytes batch, bool* full);
  [[nodiscard]] Status clean(Pass& pass);
  [[nodiscard]] Status survey(Pass& pass, const Unit& unit, Survey* found);
  [[nodiscard]] Status flush(Pass& pass);
  [[nodiscard]] Status replace(Pass& pass, Offset from, Offset to);
  [[nodiscard]] Status pace(CompactionTarget& target, CompactionReport& report, std::uint64_t bytes) noexcept;

  Host& host_;
  const CompactionLimits limits_;
  KeyOffsets keys_;
  BatchFilter filter_;
  MessageBuffer out_;
  std::int64_t paced_until_ns_ = 0;
};

}  // namespace streambus::broker
