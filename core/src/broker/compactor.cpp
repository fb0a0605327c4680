#include "compactor.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <thread>

namespace streambus::broker {
namespace {

/// Segments are put together up to this size, however large they may become: so much is rewritten for one changed record.
constexpr std::uint64_t kGroupBytesMax = std::uint64_t{64} << 20;

Status interrupted() noexcept { return {ErrorCode::cancelled, "compaction gave way"}; }

}  // namespace

/// The log for a piece of work.
class Compactor::Lease {
 public:
  explicit Lease(CompactionTarget& target) noexcept : target_(target), log_(target.lock()) {}
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() {
    if (log_ != nullptr) target_.unlock();
  }
  [[nodiscard]] PartitionLog* log() const noexcept { return log_; }

 private:
  CompactionTarget& target_;
  PartitionLog* const log_;
};

/// What stays of a range, a few batches at a time.
class Compactor::Kept final : public BatchSource {
 public:
  Kept(Compactor& compactor, Pass& pass, PartitionLog& log, Offset from, Offset to) noexcept
      : compactor_(compactor), pass_(pass), cursor_(log, from, to) {}

  Status next(Bytes* batches) noexcept override {
    *batches = {};
    try {
      return fill(batches);
    } catch (const std::bad_alloc&) {
      return {ErrorCode::busy, "out of memory while compacting"};
    }
  }

 private:
  Status fill(Bytes* batches) {
    constexpr std::size_t kRunBytes = std::size_t{256} << 10;
    MessageBuffer& out = compactor_.out_;
    out.reset();
    while (out.size() < kRunBytes) {
      Bytes batch;
      STREAMBUS_TRY_STATUS(cursor_.next(&batch));
      if (batch.empty()) break;
      STREAMBUS_TRY_STATUS(compactor_.pace(pass_.target, pass_.report, batch.size()));
      BatchFilter::Verdict verdict;
      STREAMBUS_TRY_STATUS(compactor_.filter_.look(pass_.plan, batch, &verdict));
      STREAMBUS_TRY_STATUS(compactor_.filter_.write(pass_.plan, batch, verdict, out));
    }
    pass_.report.written_bytes += out.size();
    *batches = out.view();
    return {};
  }

  Compactor& compactor_;
  Pass& pass_;
  BatchCursor cursor_;
};

Status Compactor::compact(CompactionTarget& target, const CompactionRules& rules, CompactionProgress* progress,
                          CompactionReport* report) noexcept {
  Status status;
  try {
    for (bool more = true; more && status.ok();) {
      Pass pass{.target = target,
                .rules = rules,
                .report = *report,
                .plan = {},
                .producers = target.producer_ends(),
                .log_start = {},
                .units = {},
                .dirty_begin = {},
                .group = {}};
      status = run_pass(pass, progress);
      more = pass.table_full;
    }
  } catch (const std::bad_alloc&) {
    status = {ErrorCode::busy, "out of memory while compacting"};
  }
  keys_.release();
  return status;
}

Status Compactor::run_pass(Pass& pass, CompactionProgress* progress) {
  const TimestampMs now = host_.wall_ms();
  pass.plan.now = now;
  pass.plan.new_horizon = now + std::min(pass.rules.tombstone_ms, CompactionProgress::kNever - 1 - now);
  STREAMBUS_TRY_STATUS(find_units(pass));
  pass.dirty_begin = pass.plan.map_end = std::max(progress->clean_end, pass.log_start);
  STREAMBUS_TRY_STATUS(fill_table(pass));
  pass.plan.keys = &keys_;
  pass.plan.producers = &pass.producers;
  const bool nothing_new = pass.plan.map_end == pass.dirty_begin;
  if (nothing_new && progress->horizon > now) return {};
  ++pass.report.passes;
  STREAMBUS_TRY_STATUS(clean(pass));
  *progress = {.clean_end = pass.plan.map_end, .clean_bytes = pass.clean_bytes, .horizon = pass.horizon};
  return {};
}

/// What can be compacted: segments that are complete, visible and durable.
Status Compactor::find_units(Pass& pass) {
  const Lease lease(pass.target);
  if (lease.log() == nullptr) return interrupted();
  const LogState state = lease.log()->state();
  const Offset settled = std::min(pass.target.settled_end(), state.durable);
  pass.log_start = pass.plan.start = state.start;
  pass.plan.keep_end = settled;
  for (Offset from = state.start; from < settled;) {
    const Offset to = lease.log()->segment_end(from);
    if (to == kNoOffset || to > settled) break;
    pass.units.push_back({from, to});
    from = to;
  }
  return {};
}

Status Compactor::fill_table(Pass& pass) {
  const Offset end = pass.units.empty() ? pass.log_start : pass.units.back().to;
  if (end <= pass.dirty_begin) return {};
  const std::uint64_t records = static_cast<std::uint64_t>(end - pass.dirty_begin);
  if (!keys_.allocate(static_cast<std::size_t>(std::min(records, limits_.memory_bytes / KeyOffsets::kBytesPerKey)))) {
    return {ErrorCode::busy, "no memory for the keys of a compaction"};
  }
  bool go_on = true;
  for (const Unit& unit : pass.units) {
    if (unit.to <= pass.dirty_begin) continue;
    const Lease lease(pass.target);
    if (lease.log() == nullptr) return interrupted();
    if (lease.log()->state().start > pass.log_start) return {ErrorCode::busy, "the log's start moved while it was compacted"};
    STREAMBUS_TRY_STATUS(fill_from(pass, *lease.log(), {std::max(unit.from, pass.dirty_begin), unit.to}, &go_on));
    if (!go_on) break;
    pass.plan.map_end = unit.to;
  }
  return {};
}

/// Moves pass.plan.map_end to behind the last batch whose keys the table knows. What it knows of the next one is true, too.
Status Compactor::fill_from(Pass& pass, PartitionLog& log, const Unit& unit, bool* go_on) {
  BatchCursor cursor(log, unit.from, unit.to);
  for (;;) {
    Bytes bytes;
    STREAMBUS_TRY_STATUS(cursor.next(&bytes));
    if (bytes.empty()) return {};
    const BatchHeader batch(bytes.data());
    const bool too_young = pass.rules.lag_ms_min > 0 && batch.max_timestamp() > pass.plan.now - pass.rules.lag_ms_min;
    if (too_young) {
      *go_on = false;
      return {};
    }
    STREAMBUS_TRY_STATUS(pace(pass.target, pass.report, bytes.size()));
    bool full = false;
    STREAMBUS_TRY_STATUS(add_keys(bytes, &full));
    if (full && pass.plan.map_end > pass.dirty_begin) {
      pass.table_full = true;
      *go_on = false;
      return {};
    }
    if (full) return {ErrorCode::busy, "one batch has more keys than compaction_memory holds: raise it"};
    pass.plan.map_end = batch.next_offset();
  }
}

Status Compactor::add_keys(Bytes bytes, bool* full) {
  std::size_t total = 0;
  STREAMBUS_TRY_STATUS(check_stored_batch(bytes, &total));
  const BatchHeader batch(bytes.data());
  if (batch.control()) return {};
  Bytes body;
  STREAMBUS_TRY_STATUS(filter_.open(bytes, &body));
  if (body.data() == nullptr) return {};
  ByteReader reader(body);
  for (std::int32_t i = 0; i < batch.record_count(); ++i) {
    RawRecord record;
    if (!read_record(reader, &record)) return {ErrorCode::corrupt, "a batch holds records that do not decode"};
    if (!record.has_key) continue;
    if (!keys_.put(hash_key(record.key), batch.base_offset() + record.offset_delta)) {
      *full = true;
      return {};
    }
  }
  return {};
}

Status Compactor::clean(Pass& pass) {
  const std::uint64_t group_bytes_max = std::min(kGroupBytesMax, static_cast<std::uint64_t>(pass.rules.segment_bytes));
  for (const Unit& unit : pass.units) {
    if (unit.from >= pass.plan.map_end) break;
    Survey found;
    STREAMBUS_TRY_STATUS(survey(pass, unit, &found));
    pass.clean_bytes += found.kept_bytes;
    pass.horizon = std::min(pass.horizon, found.horizon);
    const bool fits = pass.group.kept_bytes + found.kept_bytes <= group_bytes_max;
    const bool alone = !found.changed && found.kept_bytes > group_bytes_max / 2;  // copied for nothing
    if (!fits || alone) STREAMBUS_TRY_STATUS(flush(pass));
    if (alone) continue;
    pass.group.units.push_back(unit);
    pass.group.kept_bytes += found.kept_bytes;
    pass.group.changed |= found.changed;
    pass.report.removed_records += found.removed;
  }
  return flush(pass);
}

/// What would stay of a unit.
Status Compactor::survey(Pass& pass, const Unit& unit, Survey* found) {
  const Lease lease(pass.target);
  if (lease.log() == nullptr) return interrupted();
  if (lease.log()->state().start > pass.log_start) return {ErrorCode::busy, "the log's start moved while it was compacted"};
  BatchCursor cursor(*lease.log(), unit.from, unit.to);
  for (;;) {
    Bytes batch;
    STREAMBUS_TRY_STATUS(cursor.next(&batch));
    if (batch.empty()) return {};
    STREAMBUS_TRY_STATUS(pace(pass.target, pass.report, batch.size()));
    BatchFilter::Verdict verdict;
    STREAMBUS_TRY_STATUS(filter_.look(pass.plan, batch, &verdict));
    found->kept_bytes += verdict.kept_bytes;
    found->removed += verdict.removed;
    found->horizon = std::min(found->horizon, verdict.horizon);
    found->changed |= verdict.outcome != BatchFilter::Outcome::as_it_is;
    pass.report.opaque_batches += verdict.opaque ? 1 : 0;
  }
}

Status Compactor::flush(Pass& pass) {
  const Group group = std::exchange(pass.group, Group{});
  if (!group.changed) return {};
  return replace(pass, group.units.front().from, group.units.back().to);
}

Status Compactor::replace(Pass& pass, Offset from, Offset to) {
  const Lease lease(pass.target);
  if (lease.log() == nullptr) return interrupted();
  if (lease.log()->state().start > pass.log_start) return {ErrorCode::busy, "the log's start moved while it was compacted"};
  Kept kept(*this, pass, *lease.log(), from, to);
  STREAMBUS_TRY_STATUS(lease.log()->replace(from, to, kept));
  ++pass.report.replacements;
  return {};
}

/// Counts what is read, and waits where it is more than the rate allows. Errors: cancelled.
Status Compactor::pace(CompactionTarget& target, CompactionReport& report, std::uint64_t bytes) noexcept {
  constexpr std::int64_t kNsPerSecond = 1'000'000'000;
  constexpr std::int64_t kNapNs = 20'000'000;
  report.read_bytes += bytes;
  if (target.interrupted()) return interrupted();
  if (limits_.bytes_per_second == 0) return {};
  const std::int64_t cost_ns =
      static_cast<std::int64_t>(bytes) * kNsPerSecond / static_cast<std::int64_t>(limits_.bytes_per_second);
  std::int64_t now_ns = host_.monotonic_ns();
  paced_until_ns_ = std::max(paced_until_ns_, now_ns - kNapNs) + cost_ns;
  while (paced_until_ns_ > now_ns) {
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(kNapNs, paced_until_ns_ - now_ns)));
    if (target.interrupted()) return interrupted();
    now_ns = host_.monotonic_ns();
  }
  return {};
}

}  // namespace streambus::broker
