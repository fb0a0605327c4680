#include "migration.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "log_copy.hpp"
#include "log_scan.hpp"

namespace streambus::broker {
namespace {

/// So much is copied between two looks at who else wants the log.
constexpr std::uint64_t kStepBytes = std::uint64_t{16} << 20;
/// Less than this is left to the time without writes.
constexpr std::uint64_t kRestBytes = std::uint64_t{1} << 20;
constexpr auto kDurableWithin = std::chrono::seconds(10);

Status interrupted() noexcept { return {ErrorCode::cancelled, "the migration was interrupted"}; }

/// The base of the batch that contains the log's start; the start where there is no batch.
Status first_base(PartitionLog& log, Offset* base) {
  const LogState state = log.state();
  *base = state.start;
  BatchCursor batches(log, state.start, state.end);
  Bytes batch;
  STREAMBUS_TRY_STATUS(batches.next(&batch));
  if (!batch.empty()) *base = std::min(*base, BatchHeader(batch.data()).base_offset());
  return {};
}

/// True where the copy ends at a batch boundary of the original, within it: copying can go on behind.
Status can_go_on(PartitionLog& original, PartitionLog& copy, bool* yes) {
  const LogState of_copy = copy.state();
  const LogState state = original.state();
  *yes = of_copy.end >= state.start && of_copy.end <= state.end;
  if (!*yes || of_copy.end == state.end) return {};
  BatchCursor batches(original, of_copy.end, state.end);
  Bytes batch;
  STREAMBUS_TRY_STATUS(batches.next(&batch));
  *yes = batch.empty() || BatchHeader(batch.data()).base_offset() >= of_copy.end;
  return {};
}

}  // namespace

Migration::~Migration() {
  for (PartitionLog* const copy : copies_) {
    if (copy != nullptr) (void)copy->close();
  }
  if (copies_.empty()) return;  // they took over
  for (const Ref<Partition>& partition : spec_.partitions) partition->thaw();
}

void Migration::discard() noexcept {
  for (std::size_t id = 0; id < copies_.size(); ++id) {
    if (PartitionLog* const copy = std::exchange(copies_[id], nullptr)) (void)copy->close();
    (void)spec_.target->remove(spec_.partitions[id]->key());
  }
}

Status Migration::begin_again(std::size_t id, PartitionLog& original) {
  const PartitionKey key = spec_.partitions[id]->key();
  if (PartitionLog* const copy = std::exchange(copies_[id], nullptr)) {
    (void)copy->close();
    STREAMBUS_TRY_STATUS(spec_.target->remove(key));
  }
  Offset start;
  STREAMBUS_TRY_STATUS(first_base(original, &start));
  return spec_.target->open(key, start, spec_.settings, &copies_[id]);
}

/// Opens what an earlier attempt copied, or a new copy where that cannot be continued.
Status Migration::open_copy(std::size_t id) {
  Partition& partition = *spec_.partitions[id];
  return partition.with_log([&](PartitionLog& original) {
    Offset start;
    STREAMBUS_TRY_STATUS(first_base(original, &start));
    STREAMBUS_TRY_STATUS(spec_.target->open(partition.key(), start, spec_.settings, &copies_[id]));
    bool yes = false;
    STREAMBUS_TRY_STATUS(can_go_on(original, *copies_[id], &yes));
    return yes ? Status() : begin_again(id, original);
  });
}

Status Migration::copy_some(std::size_t id, std::uint64_t* copied) {
  Partition& partition = *spec_.partitions[id];
  *copied = 0;
  const Status status = partition.with_log([&](PartitionLog& original) {
    // Retention and DeleteRecords go on meanwhile, and may have passed the copy.
    if (copies_[id]->state().end < original.state().start) {
      STREAMBUS_TRY_STATUS(begin_again(id, original));
      compared_[id] = Offset{0};
    }
    return copy_batches(original, *copies_[id], partition.visible_end(), kStepBytes, copied);
  });
  if (status.ok() && *copied > 0) spec_.copied(*copied);
  return status;
}

/// All of the copy that was not compared yet; takes the start over from the original.
Status Migration::compare(std::size_t id) {
  PartitionLog& copy = *copies_[id];
  Offset& at = compared_[id];
  for (const Offset limit = copy.state().end; at < limit;) {
    if (!spec_.go_on()) return interrupted();
    const Status status = spec_.partitions[id]->with_log([&](PartitionLog& original) {
      const Offset start = original.state().start;
      if (limit < start) return Status(ErrorCode::cancelled, "all that was copied was deleted meanwhile");
      if (copy.state().start < start) STREAMBUS_TRY_STATUS(copy.delete_before(start));
      at = std::max(at, start);
      return compare_batches(original, copy, limit, kStepBytes, &at);
    });
    STREAMBUS_TRY_STATUS(status);
  }
  return {};
}

Status Migration::copy_most(std::size_t id) {
  for (std::uint64_t copied = kStepBytes; copied > kRestBytes;) {
    if (!spec_.go_on()) return interrupted();
    STREAMBUS_TRY_STATUS(copy_some(id, &copied));
  }
  return compare(id);
}

Status Migration::copy() {
  for (const Ref<Partition>& partition : spec_.partitions) partition->pause_compaction();
  for (std::size_t id = 0; id < copies_.size(); ++id) {
    STREAMBUS_TRY_STATUS(open_copy(id));
    STREAMBUS_TRY_STATUS(copy_most(id));
  }
  // The first partitions went on while the last ones were copied.
  for (std::size_t id = 0; id < copies_.size(); ++id) STREAMBUS_TRY_STATUS(copy_most(id));
  return {};
}

Status Migration::finish() {
  for (const Ref<Partition>& partition : spec_.partitions) STREAMBUS_TRY_STATUS(partition->freeze());
  for (std::size_t id = 0; id < copies_.size(); ++id) {
    for (std::uint64_t copied = 1; copied > 0;) STREAMBUS_TRY_STATUS(copy_some(id, &copied));
    STREAMBUS_TRY_STATUS(compare(id));
    if (copies_[id]->state().end != spec_.partitions[id]->visible_end()) {
      return {ErrorCode::internal, "the copy does not end where the original does"};
    }
  }
  const auto latest = std::chrono::steady_clock::now() + kDurableWithin;
  for (PartitionLog* const copy : copies_) {
    for (LogState state = copy->state(); state.durable < state.end; state = copy->state()) {
      if (std::chrono::steady_clock::now() > latest) return {ErrorCode::timeout, "the copy does not become durable"};
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  return {};
}

}  // namespace streambus::broker
