// Producing: check, assign offsets, append, make visible, wait.

#include <cstdio>

#include "partition.hpp"

namespace streambus::broker {
namespace {

/// So much is read again at most, per partition, after a crash.
constexpr std::uint64_t kSnapshotBytes = std::uint64_t{64} << 20;

void stamp_all(MutableBytes batches, Offset first, LeaderEpoch epoch) noexcept {
  while (!batches.empty()) {
    stamp_batch(batches.data(), first, epoch);
    const BatchHeader batch(batches.data());
    first = batch.next_offset();
    batches = batches.subspan(batch.total_bytes());
  }
}

ProduceOutcome refuse(const Status& status, ProduceWaiter& waiter) noexcept {
  set_error(waiter, status.code, status.message());
  return ProduceOutcome::done;
}

}  // namespace

ProduceOutcome Partition::produce(MutableBytes batches, ProduceWaiter& waiter) noexcept {
  Workspace workspace(environment_.host.buffers());
  AdmittedBatches admitted;
  const AdmissionRules rules = rules_.load(std::memory_order_relaxed);
  const TimestampMs now = rules.log_append_time ? environment_.host.wall_ms() : kNoTimestamp;
  if (const Status status = admit(rules, environment_.codecs, batches, now, workspace, &admitted); !status.ok()) {
    return refuse(status, waiter);
  }
  Appended appended;
  {
    const std::lock_guard lock(mutex_);
    appended = append(admitted, waiter);
  }
  // A pending waiter may be gone by now.
  if (appended.visible_moved) watches_.wake(visible_.load(std::memory_order_relaxed));
  if (appended.snapshot_due) {
    add_ref();
    environment_.host.post(
        WorkClass::background,
        [](void* context) noexcept {
          auto* const self = static_cast<Partition*>(context);
          self->write_snapshot();
          {
            const std::lock_guard lock(self->mutex_);
            self->snapshot_pending_ = false;
          }
          self->release();
        },
        this);
  }
  return appended.outcome;
}

Partition::Appended Partition::append(AdmittedBatches& batches, ProduceWaiter& waiter) noexcept {
  if (const Status status = writable(); !status.ok()) return {refuse(status, waiter)};
  const bool idempotent = batches.first.producer_id >= 0;
  if (idempotent) {
    const ProducerTable::Verdict verdict = producers_.check(batches.first);
    if (verdict.error != ErrorCode::ok) return refuse_sequence(verdict, batches.first, waiter);
    if (verdict.duplicate != nullptr) return answer_duplicate(*verdict.duplicate, waiter);
    if (!producers_.prepare(batches.first.producer_id)) {
      return {refuse({ErrorCode::busy, "out of memory for another producer"}, waiter)};
    }
  }
  const Offset first{end_.load(std::memory_order_relaxed)};
  const Offset next = first + batches.record_count;
  stamp_all(batches.bytes, first, epochs_.current());
  AppendResult result;
  if (const Status status = log_->append(batches.bytes, first, next, batches.max_timestamp, &result); !status.ok()) {
    if (idempotent) producers_.discard_unused(batches.first.producer_id);
    return append_failed(status, waiter);
  }
  end_.store(next.value, std::memory_order_release);
  out_of_space_ = false;
  if (idempotent) remember(batches);
  bytes_since_snapshot_ += batches.bytes.size();

  waiter.error = ErrorCode::ok;
  waiter.base_offset = first;
  waiter.log_append_time = batches.log_append_time;
  waiter.log_start = {start_.load(std::memory_order_relaxed)};
  Appended appended;
  if (bytes_since_snapshot_ >= kSnapshotBytes && !snapshot_pending_ && keeps_snapshots()) {
    appended.snapshot_due = snapshot_pending_ = true;
  }
  if (durability_ != Durability::fsync_batch || result.position == 0) {
    raise_visible(next);
    appended.visible_moved = true;
  }
  if (result.position != 0) {
    last_position_ = result.position;
    const Appended waiting = wait_durable(result.position, next, waiter);
    appended.outcome = waiting.outcome;
    appended.visible_moved |= waiting.visible_moved;
  }
  return appended;
}

Partition::Appended Partition::wait_durable(std::uint64_t position, Offset end, ProduceWaiter& waiter) noexcept {
  waiter.position = position;
  waiter.end = end;
  if (!domain_) {
    take_offline({ErrorCode::internal, "the storage reports durability in a domain that it did not open"});
    return {refuse(offline_reason_, waiter)};
  }
  switch (domain_->wait(waiter, *this)) {
    case Domain::Wait::pending:
      return {.outcome = ProduceOutcome::pending};
    case Domain::Wait::durable:
      raise_visible(end);
      return {.outcome = ProduceOutcome::done, .visible_moved = true};
    case Domain::Wait::failed:
      break;
  }
  take_offline(domain_->failure());
  return {};
}

Partition::Appended Partition::append_failed(const Status& status, ProduceWaiter& waiter) noexcept {
  if (status.code == ErrorCode::no_space || status.code == ErrorCode::busy) {
    if (!out_of_space_)
      log(LogLevel::warning, "no room for new data, producers are told to retry: " + std::string(status.message()));
    out_of_space_ = true;
  } else {
    take_offline(status);
  }
  return {refuse(status, waiter)};
}

Partition::Appended Partition::answer_duplicate(const ProducedBatch& batch, ProduceWaiter& waiter) noexcept {
  waiter.error = ErrorCode::ok;
  waiter.base_offset = batch.first;
  waiter.log_append_time = rules_.load(std::memory_order_relaxed).log_append_time ? batch.max_timestamp : kNoTimestamp;
  waiter.log_start = {start_.load(std::memory_order_relaxed)};
  const bool durable = last_position_ == 0 ||
                       (durability_ == Durability::fsync_batch && batch.last.value < visible_.load(std::memory_order_relaxed));
  if (durable) return {};
  return wait_durable(last_position_, {end_.load(std::memory_order_relaxed)}, waiter);
}

Partition::Appended Partition::refuse_sequence(const ProducerTable::Verdict& verdict, const ProducerStamp& stamp,
                                               ProduceWaiter& waiter) noexcept {
  char text[sizeof waiter.error_text];
  std::snprintf(text, sizeof text, "producer %lld epoch %d: %.*s, sequence %d, expected %d",
                static_cast<long long>(stamp.producer_id), stamp.epoch, static_cast<int>(name_of(verdict.error).size()),
                name_of(verdict.error).data(), stamp.first_sequence, verdict.expected_sequence);
  set_error(waiter, verdict.error, text);
  return {};
}

void Partition::remember(const AdmittedBatches& batches) noexcept {
  const std::int64_t now_ns = environment_.host.monotonic_ns();
  for (MutableBytes left = batches.bytes; !left.empty();) {
    const BatchHeader batch(left.data());
    const ProducerStamp stamp = stamp_of(batch);
    producers_.record(stamp,
                      {.first_sequence = stamp.first_sequence,
                       .last_sequence = stamp.last_sequence(),
                       .first = batch.base_offset(),
                       .last = batch.last_offset(),
                       .max_timestamp = batch.max_timestamp()},
                      now_ns);
    left = left.subspan(batch.total_bytes());
  }
}

void Partition::raise_visible(Offset end) noexcept {
  std::int64_t visible = visible_.load(std::memory_order_relaxed);
  while (visible < end.value && !visible_.compare_exchange_weak(visible, end.value, std::memory_order_seq_cst)) {
  }
}

void Partition::durable_to(Offset end) noexcept {
  raise_visible(end);
  watches_.wake(visible_.load(std::memory_order_relaxed));
}

}  // namespace streambus::broker
