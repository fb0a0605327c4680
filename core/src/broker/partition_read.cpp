// Fetching and finding offsets.

#include <algorithm>
#include <limits>

#include "log_scan.hpp"
#include "partition.hpp"

namespace streambus::broker {
namespace {

/// The first record of a batch that is at or after a time.
struct FoundRecord {
  Offset offset = kNoOffset;
  TimestampMs timestamp = kNoTimestamp;
};

FoundRecord find_record(const CodecSet& codecs, Bytes batch_bytes, TimestampMs wanted, MessageBuffer& scratch) noexcept {
  const BatchHeader batch(batch_bytes.data());
  if (batch.log_append_time()) return {batch.base_offset(), batch.max_timestamp()};
  Bytes body;
  // Without the codec the batch's first record is the answer: earlier than the exact one, never later.
  if (!decompress_batch(codecs, batch_bytes, kBodyBytesMax, scratch, &body).ok())
    return {batch.base_offset(), batch.base_timestamp()};
  RecordReader reader(body, batch.record_count());
  for (RecordView record; reader.next(record);) {
    const TimestampMs timestamp = batch.base_timestamp() + record.timestamp_delta_ms;
    if (timestamp >= wanted) return {batch.base_offset() + record.offset_delta, timestamp};
  }
  return {};
}

/// Finds the next batch whose header claims a record at or after a time.
class NextCandidate final : public HeaderVisitor {
 public:
  explicit NextCandidate(TimestampMs wanted) noexcept : wanted_(wanted) {}
  bool header(const BatchHeader& batch) override {
    if (batch.max_timestamp() < wanted_) return true;
    base = batch.base_offset();
    return false;
  }
  Offset base = kNoOffset;

 private:
  TimestampMs wanted_;
};

}  // namespace

ErrorCode Partition::check_epoch(LeaderEpoch claimed) const noexcept {
  if (claimed < 0 || claimed == epochs_.current()) return ErrorCode::ok;
  return claimed < epochs_.current() ? ErrorCode::fenced_epoch : ErrorCode::unknown_epoch;
}

void Partition::fetch(FetchCall& call) noexcept {
  const std::shared_lock gate(gate_);
  if (log_ == nullptr) {
    call.error = gone_ == ErrorCode::ok ? ErrorCode::offline : gone_;
    return;
  }
  call.error = check_epoch(call.current_epoch);
  if (call.error != ErrorCode::ok) return;
  // The end is read before the visible offset, which may pass it in between but never the other way round.
  const std::int64_t end = end_.load(std::memory_order_acquire);
  const Offset visible{visible_.load(std::memory_order_seq_cst)};
  const Offset start = log_->state().start;
  start_.store(start.value, std::memory_order_relaxed);
  call.high_watermark = call.last_stable = visible;
  call.log_start = start;
  if (call.from < start || call.from.value > std::max(end, visible.value)) {
    call.error = ErrorCode::out_of_range;
    return;
  }
  if (call.from >= visible || (call.bytes_max == 0 && !call.at_least_one)) {
    call.data.next = call.from;
    return;
  }
  const Status status = log_->read(
      {.from = call.from, .limit = visible, .bytes_max = call.bytes_max, .at_least_one = call.at_least_one}, &call.data);
  if (status.ok()) return;
  call.error = status.code;
  if (status.code != ErrorCode::out_of_range) log(LogLevel::error, "a fetch failed: " + std::string(status.message()));
}

bool Partition::watch(FetchWatch& watch) noexcept {
  unwatch(watch);
  add_ref();
  watch.partition = this;
  if (watches_.add(watch, visible_)) return true;
  watch.partition = nullptr;
  release();
  return false;
}

void Partition::unwatch(FetchWatch& watch) noexcept {
  if (watch.partition == nullptr) return;
  auto* const partition = static_cast<Partition*>(watch.partition);
  partition->watches_.remove(watch);
  watch.partition = nullptr;
  partition->release();
}

void Partition::find_offset(OffsetCall& call) noexcept {
  const std::shared_lock gate(gate_);
  if (log_ == nullptr) {
    call.error = gone_ == ErrorCode::ok ? ErrorCode::offline : gone_;
    return;
  }
  call.error = check_epoch(call.current_epoch);
  if (call.error != ErrorCode::ok) return;
  switch (call.timestamp) {
    case OffsetCall::kLatest:
      call.offset = {visible_.load(std::memory_order_seq_cst)};
      break;
    case OffsetCall::kEarliest:
      call.offset = log_->state().start;
      break;
    case OffsetCall::kMaxTimestamp:
      find_max_timestamp(call);
      break;
    default:
      if (call.timestamp < 0) {
        call.error = ErrorCode::invalid_argument;
        return;
      }
      find_time(call);
  }
  // The epoch of the record found, or of the next record at the ends.
  if (call.error != ErrorCode::ok || call.offset == kNoOffset) return;
  const auto& starts = epochs_.starts();
  const auto after = std::upper_bound(starts.begin(), starts.end(), call.offset,
                                      [](Offset offset, const EpochStart& entry) { return offset < entry.start; });
  call.leader_epoch = after == starts.begin() ? starts.front().epoch : std::prev(after)->epoch;
}

void Partition::find_time(OffsetCall& call) noexcept {
  const Offset visible{visible_.load(std::memory_order_seq_cst)};
  Offset base = kNoOffset;
  if (const Status status = log_->find_time(call.timestamp, &base); !status.ok()) {
    call.error = status.code;
    return;
  }
  while (base != kNoOffset && base < visible && !find_in_batches(base, call.timestamp, visible, call)) {
    // A header that promised more than its records hold: on to the next batch that promises it.
    NextCandidate next(call.timestamp);
    const Offset behind = call.offset;
    call.offset = kNoOffset;
    try {
      if (const Status status = scan_headers(*log_, behind, visible, next); !status.ok()) call.error = status.code;
    } catch (const std::bad_alloc&) {
      call.error = ErrorCode::busy;
    }
    if (call.error != ErrorCode::ok) return;
    base = next.base;
  }
}

/// False where the batch holds no such record; call.offset is then the offset after the batch. Errors end the search (true).
bool Partition::find_in_batches(Offset batch_base, TimestampMs timestamp, Offset visible, OffsetCall& call) noexcept {
  MessageBuffer bytes(environment_.host.buffers());
  MessageBuffer scratch(environment_.host.buffers());
  // Retention may have moved the start into or beyond the batch in the meantime.
  const Offset at = std::max(batch_base, log_->state().start);
  Status status = read_batch(*log_, at, visible, bytes);
  std::size_t size = 0;
  if (status.ok()) status = frame_batch(bytes.view(), &size);
  if (!status.ok()) {
    call.error = status.code == ErrorCode::out_of_range ? ErrorCode::ok : status.code;
    return true;
  }
  const FoundRecord found = find_record(environment_.codecs, bytes.view().first(size), timestamp, scratch);
  if (found.offset == kNoOffset) {
    call.offset = BatchHeader(bytes.view().data()).next_offset();
    return false;
  }
  call.offset = found.offset;
  call.found_timestamp = found.timestamp;
  return true;
}

void Partition::find_max_timestamp(OffsetCall& call) noexcept {
  // The engine finds the first batch at or after a time; the largest time with an answer below the visible end is the
  // largest timestamp. The answers ascend with the time, so halving the range finds it.
  const Offset visible{visible_.load(std::memory_order_seq_cst)};
  const auto reachable = [&](TimestampMs timestamp) {
    Offset base = kNoOffset;
    const Status status = log_->find_time(timestamp, &base);
    if (!status.ok()) call.error = status.code;
    return status.ok() && base != kNoOffset && base < visible;
  };
  if (!reachable(0)) return;
  TimestampMs low = 0;
  TimestampMs high = std::numeric_limits<TimestampMs>::max();
  while (low < high && call.error == ErrorCode::ok) {
    const TimestampMs middle = low + (high - low) / 2 + 1;
    if (reachable(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  if (call.error != ErrorCode::ok) return;
  call.timestamp = low;
  find_time(call);
  call.timestamp = OffsetCall::kMaxTimestamp;
}

Status Partition::epoch_end(LeaderEpoch current, LeaderEpoch wanted, LeaderEpoch* epoch, Offset* end) noexcept {
  const std::shared_lock gate(gate_);
  if (log_ == nullptr) return {gone_ == ErrorCode::ok ? ErrorCode::offline : gone_, "the partition is not open"};
  if (const ErrorCode error = check_epoch(current); error != ErrorCode::ok) return {error, "the leader epoch is another one"};
  const LeaderEpochs::EpochEnd found = epochs_.end_of(wanted, {end_.load(std::memory_order_acquire)});
  *epoch = found.epoch;
  *end = found.end;
  return {};
}

}  // namespace streambus::broker
