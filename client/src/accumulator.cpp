#include "accumulator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "streambus/client/partitioner.hpp"

namespace streambus::client {
namespace {

TimestampMs wall_clock_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

Accumulator::Accumulator(const ProducerSettings& settings, BufferSource& buffers, Clock& clock, Hooks hooks, std::uint64_t seed)
    : settings_(&settings),
      buffers_(&buffers),
      clock_(&clock),
      hooks_(std::move(hooks)),
      random_(static_cast<std::uint32_t>(seed)) {}

/// Waits for any change; false when the deadline passed.
bool Accumulator::wait(Lock& lock, std::int64_t deadline_ns) {
  const std::int64_t left_ns = deadline_ns - clock_->now_ns();
  if (left_ns <= 0) return false;
  // Short steps: the clock may be another one than the condition variable's.
  changed_.wait_for(lock, std::chrono::nanoseconds(std::min<std::int64_t>(left_ns, 100 * kMillisecond)));
  return true;
}

Result<ProduceTopic*> Accumulator::known_topic(Lock& lock, std::string_view name, std::int64_t deadline_ns) {
  if (last_topic_ != nullptr && last_topic_->name == name && !last_topic_->partitions.empty()) return last_topic_;
  auto found = topics_.find(name);
  if (found == topics_.end()) {
    auto topic = std::make_unique<ProduceTopic>();
    topic->name = name;
    found = topics_.emplace(topic->name, std::move(topic)).first;
  }
  ProduceTopic* const topic = found->second.get();
  if (topic->partitions.empty()) {
    topic->error.reset();
    lock.unlock();
    hooks_.want_topic(*topic);
    lock.lock();
  }
  while (topic->partitions.empty()) {
    if (closed_) return fail(ErrorCode::closed, "the producer is closed");
    if (topic->error) return std::unexpected(*topic->error);
    if (!wait(lock, deadline_ns)) {
      if (topic->last_error) return std::unexpected(*topic->last_error);
      return fail(ErrorCode::timeout,
                  fmt::format("topic '{}': the broker did not describe it within {} ms", name, settings_->send_timeout_ms));
    }
  }
  last_topic_ = topic;
  return topic;
}

Error Accumulator::no_partition(const ProduceTopic& topic, PartitionId partition) const {
  return Error(ErrorCode::not_found, fmt::format("topic '{}' has no partition {}: it has {} (0 to {})", topic.name, partition,
                                                 topic.partitions.size(), topic.partitions.size() - 1));
}

Result<ProducePartition*> Accumulator::choose(ProduceTopic& topic, const ProducerRecord& record) {
  const auto count = static_cast<std::int32_t>(topic.partitions.size());
  PartitionId chosen = record.partition;
  if (chosen == kAnyPartition && record.key) {
    chosen = partition_of_key(*record.key, count);
  } else if (chosen == kAnyPartition) {
    // Keyless records fill one batch, then move on to another partition: large batches, even spread.
    const bool stay = topic.sticky >= 0 && topic.partitions[static_cast<std::size_t>(topic.sticky)]->open;
    if (!stay && count > 1) {
      const auto step = 1 + static_cast<std::int32_t>(random_() % static_cast<std::uint32_t>(count - 1));
      topic.sticky = topic.sticky < 0 ? static_cast<PartitionId>(random_() % static_cast<std::uint32_t>(count))
                                      : (topic.sticky + step) % count;
    } else if (!stay) {
      topic.sticky = 0;
    }
    chosen = topic.sticky;
  }
  if (chosen < 0 || chosen >= count) return std::unexpected(no_partition(topic, chosen));
  return topic.partitions[static_cast<std::size_t>(chosen)].get();
}

Result<> Accumulator::wait_for_room(Lock& lock, std::int64_t deadline_ns, std::string_view why) {
  ++waiting_for_room_;
  lock.unlock();
  hooks_.kick();
  lock.lock();
  const bool in_time = wait(lock, deadline_ns);
  --waiting_for_room_;
  if (closed_) return fail(ErrorCode::closed, "the producer is closed");
  if (in_time) return {};
  return fail(ErrorCode::busy,
              fmt::format("{} ({} bytes wait to be acknowledged); send slower, or raise buffer_bytes_max (now {})", why,
                          buffered_bytes_, settings_->buffer_bytes_max));
}

void Accumulator::list(ProducePartition& partition) {
  if (std::exchange(partition.listed, true)) return;
  listed_.push_back(&partition);
}

void Accumulator::close_batch(ProducePartition& partition) {
  if (partition.open) partition.closed.push_back(std::move(partition.open));
}

void Accumulator::accept(ProduceBatch& batch, std::uint64_t bytes, std::uint64_t tag, DeliveryCallback callback) {
  const std::uint32_t index = batch.record_count;
  batch.charged_bytes += bytes;
  buffered_bytes_ += bytes;
  if (tag != 0 || !batch.tags.empty()) {
    batch.tags.resize(index);
    batch.tags.push_back(tag);
  }
  if (callback) batch.callbacks.emplace_back(index, std::move(callback));
}

Result<> Accumulator::append(const ProducerRecord& record, DeliveryCallback callback) {
  const std::int64_t now = clock_->now_ns();
  const std::int64_t deadline = hooks_.may_block() ? now + settings_->send_timeout_ms * kMillisecond : now;
  const Record encoded{.timestamp_ms = record.timestamp_ms == kNoTimestamp ? wall_clock_ms() : record.timestamp_ms,
                       .key = record.key,
                       .value = record.value,
                       .headers = record.headers};
  Lock lock(mutex_);
  if (closed_) return fail(ErrorCode::closed, "the producer is closed");
  STREAMBUS_TRY_ASSIGN(ProduceTopic* const topic, known_topic(lock, record.topic, deadline));
  STREAMBUS_TRY_ASSIGN(ProducePartition* const partition, choose(*topic, record));
  bool kick = false;
  for (;;) {
    if (!partition->open) {
      partition->open = std::make_unique<ProduceBatch>(*buffers_);
      partition->open->created_ns = clock_->now_ns();
    }
    ProduceBatch& batch = *partition->open;
    const std::size_t bytes = batch.builder.record_bytes(encoded);
    if (!batch.builder.empty() && batch.builder.estimated_bytes() + bytes > settings_->batch_bytes_max) {
      close_batch(*partition);
      kick = true;
      continue;
    }
    // A record larger than the whole buffer still goes, alone.
    if (buffered_bytes_ > 0 && buffered_bytes_ + bytes > settings_->buffer_bytes_max) {
      STREAMBUS_TRY(wait_for_room(lock, deadline, "the producer's buffer is full"));
      continue;
    }
    const bool first = batch.builder.empty();
    if (batch.builder.append(encoded)) {
      accept(batch, bytes, record.tag, std::move(callback));
      ++batch.record_count;
      ++outstanding_records_;
      accepted_.fetch_add(1, std::memory_order_relaxed);
      kick = kick || first || batch.builder.estimated_bytes() >= settings_->batch_bytes_max;
      break;
    }
    if (batch.builder.ok() && first) return fail(ErrorCode::too_large, "the record is larger than a batch can be (2 GiB)");
    const bool out_of_memory = !batch.builder.ok();
    if (first) {
      partition->open.reset();
    } else {
      close_batch(*partition);
      list(*partition);
    }
    if (out_of_memory) STREAMBUS_TRY(wait_for_room(lock, deadline, "no buffer memory is left in this process"));
  }
  list(*partition);
  lock.unlock();
  if (kick) hooks_.kick();
  return {};
}

Result<> Accumulator::append_encoded(std::string_view topic_name, PartitionId id, SharedSlice slice,
                                     DeliveryCallback callback) {
  std::size_t total = 0;
  STREAMBUS_TRY(to_result(frame_batch(slice.bytes, &total)));
  const BatchHeader header(slice.bytes.data());
  if (total != slice.bytes.size() || header.record_count() <= 0) {
    return fail(
        ErrorCode::invalid_record,
        fmt::format("expected one whole batch with records; found {} bytes of which the first batch takes {}, with {} records",
                    slice.bytes.size(), total, header.record_count()));
  }
  const std::int64_t now = clock_->now_ns();
  const std::int64_t deadline = hooks_.may_block() ? now + settings_->send_timeout_ms * kMillisecond : now;
  Lock lock(mutex_);
  if (closed_) return fail(ErrorCode::closed, "the producer is closed");
  STREAMBUS_TRY_ASSIGN(ProduceTopic* const topic, known_topic(lock, topic_name, deadline));
  if (id < 0 || static_cast<std::size_t>(id) >= topic->partitions.size()) return std::unexpected(no_partition(*topic, id));
  while (buffered_bytes_ > 0 && buffered_bytes_ + total > settings_->buffer_bytes_max) {
    STREAMBUS_TRY(wait_for_room(lock, deadline, "the producer's buffer is full"));
  }
  ProducePartition& partition = *topic->partitions[static_cast<std::size_t>(id)];
  auto batch = std::make_unique<ProduceBatch>(*buffers_);
  batch->created_ns = clock_->now_ns();
  batch->foreign = true;
  batch->encoded = std::move(slice);
  accept(*batch, total, 0, std::move(callback));
  batch->record_count = static_cast<std::uint32_t>(header.record_count());
  outstanding_records_ += batch->record_count;
  accepted_.fetch_add(batch->record_count, std::memory_order_relaxed);
  close_batch(partition);
  partition.closed.push_back(std::move(batch));
  list(partition);
  lock.unlock();
  hooks_.kick();
  return {};
}

std::int64_t Accumulator::collect(std::int64_t now_ns, std::vector<Collected>& out) {
  std::int64_t next = kNever;
  const Lock lock(mutex_);
  const bool all = waiting_for_room_ > 0 || flushing_ > 0 || closed_;
  std::erase_if(listed_, [&](ProducePartition* partition) {
    for (auto& batch : partition->closed) out.push_back({partition, std::move(batch)});
    partition->closed.clear();
    if (partition->open) {
      const std::int64_t due = partition->open->created_ns + settings_->linger_ms * kMillisecond;
      const bool full = partition->open->builder.estimated_bytes() >= settings_->batch_bytes_max;
      if (!all && !full && due > now_ns) {
        next = std::min(next, due);
        return false;
      }
      if (!partition->open->builder.empty()) out.push_back({partition, std::move(partition->open)});
      partition->open.reset();
    }
    partition->listed = false;
    return true;
  });
  return next;
}

void Accumulator::release(const ProduceBatch& batch) {
  {
    const Lock lock(mutex_);
    buffered_bytes_ -= batch.charged_bytes;
    outstanding_records_ -= batch.record_count;
  }
  changed_.notify_all();
}

void Accumulator::set_partitions(ProduceTopic& topic, std::size_t count) {
  {
    const Lock lock(mutex_);
    topic.last_error.reset();
    while (topic.partitions.size() < count) {
      auto partition = std::make_unique<ProducePartition>();
      partition->topic = &topic;
      partition->id = static_cast<PartitionId>(topic.partitions.size());
      topic.partitions.push_back(std::move(partition));
    }
  }
  changed_.notify_all();
}

void Accumulator::set_topic_error(ProduceTopic& topic, const Error& error, bool final) {
  {
    const Lock lock(mutex_);
    topic.last_error = error;
    if (final) topic.error = error;
  }
  changed_.notify_all();
}

Result<> Accumulator::flush(std::int64_t timeout_ms) {
  const std::int64_t deadline = clock_->now_ns() + timeout_ms * kMillisecond;
  Lock lock(mutex_);
  ++flushing_;
  lock.unlock();
  hooks_.kick();
  lock.lock();
  while (outstanding_records_ > 0 && wait(lock, deadline)) {
  }
  --flushing_;
  if (outstanding_records_ == 0) return {};
  return fail(ErrorCode::timeout,
              fmt::format("{} records were not acknowledged within {} ms", outstanding_records_, timeout_ms));
}

void Accumulator::close() {
  {
    const Lock lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

std::uint64_t Accumulator::buffered_bytes() const {
  const Lock lock(mutex_);
  return buffered_bytes_;
}

}  // namespace streambus::client
