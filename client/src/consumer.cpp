#include "streambus/client/consumer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>

#include "context_state.hpp"
#include "fetcher.hpp"

namespace streambus::client {

class Consumer::Core {
 public:
  Core(std::shared_ptr<ClientContext> context, const ConsumerSettings& settings)
      : context_(std::move(context)),
        settings_(settings),
        codecs_(&context_->codecs()),
        fetcher_(std::make_shared<Fetcher>(*context_->state().cluster, settings_, state_, std::random_device{}())) {}
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;
  ~Core() {
    loop().run([this] { fetcher_->shut_down(); });
  }

  Result<> assign(std::vector<Assignment> assignments);
  Result<> seek(std::string_view topic, PartitionId partition, StartAt start);
  Result<std::span<const ConsumedBatch>> poll(std::int64_t timeout_ms);
  void wake();
  Result<ConsumerPosition> position(std::string_view topic, PartitionId partition);
  std::optional<Trouble> trouble() {
    const std::lock_guard lock(state_.mutex);
    return state_.trouble;
  }
  ConsumerStatistics statistics() {
    const std::lock_guard lock(state_.mutex);
    return state_.statistics;
  }

 private:
  /// A chunk that was handed out, and whose it is.
  struct Taken {
    FetchPartitionRef partition;
    std::uint64_t generation;
    FetchedChunk chunk;
  };

  [[nodiscard]] EventLoop& loop() noexcept { return *context_->state().loop; }
  void kick();
  [[nodiscard]] FetchPartition* find(std::string_view topic, PartitionId partition);
  void restart(FetchPartition& partition, StartAt start);
  void drop_chunks(FetchPartition& partition);
  [[nodiscard]] std::optional<Error> next_error();
  [[nodiscard]] bool take_chunks();
  void unpack(Taken& taken);
  [[nodiscard]] Result<Bytes> body_of(Bytes batch);
  void stop(Taken& taken, const Error& error, Offset at);

  std::shared_ptr<ClientContext> context_;
  const ConsumerSettings settings_;
  const CodecSet* codecs_;
  FetchState state_;
  std::shared_ptr<Fetcher> fetcher_;
  std::atomic<bool> kicked_{false};

  // The consumer's thread.
  std::vector<Taken> taken_;
  std::vector<ConsumedBatch> batches_;
  std::deque<MessageBuffer> decompressed_;  ///< one per compressed batch handed out; reused
  std::size_t decompressed_used_ = 0;
  std::size_t turn_ = 0;
};

void Consumer::Core::kick() {
  if (kicked_.exchange(true, std::memory_order_acq_rel)) return;
  loop().post([this, fetcher = fetcher_] {
    kicked_.store(false, std::memory_order_release);
    fetcher->run();
  });
}

FetchPartition* Consumer::Core::find(std::string_view topic, PartitionId partition) {
  const auto found = std::ranges::find_if(
      state_.partitions, [&](const FetchPartitionRef& one) { return one->id == partition && one->topic == topic; });
  return found == state_.partitions.end() ? nullptr : found->get();
}

void Consumer::Core::drop_chunks(FetchPartition& partition) {
  state_.buffered_bytes -= partition.buffered_bytes;
  partition.buffered_bytes = 0;
  partition.chunks.clear();
}

void Consumer::Core::restart(FetchPartition& partition, StartAt start) {
  drop_chunks(partition);
  ++partition.generation;
  partition.asking = false;
  partition.error.reset();
  partition.error_told = false;
  partition.blocked_until_ns = 0;
  if (start.kind == StartAt::Kind::offset) {
    partition.start.reset();
    partition.position = partition.fetch_from = {start.value};
  } else {
    partition.start = start;
    partition.position = partition.fetch_from = kNoOffset;
  }
}

Result<> Consumer::Core::assign(std::vector<Assignment> assignments) {
  std::vector<FetchPartitionRef> partitions;
  for (const Assignment& assignment : assignments) {
    const bool twice = std::ranges::any_of(partitions, [&](const FetchPartitionRef& one) {
      return one->id == assignment.partition && one->topic == assignment.topic;
    });
    if (twice || assignment.partition < 0) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("partition {} of topic '{}' cannot be assigned{}", assignment.partition, assignment.topic,
                              twice ? " twice" : ": partitions count from 0"));
    }
    auto partition = std::make_shared<FetchPartition>();
    partition->topic = assignment.topic;
    partition->id = assignment.partition;
    partitions.push_back(std::move(partition));
  }
  batches_.clear();
  taken_.clear();
  {
    const std::lock_guard lock(state_.mutex);
    for (const FetchPartitionRef& old : state_.partitions) {
      drop_chunks(*old);
      ++old->generation;
    }
    state_.partitions = std::move(partitions);
    state_.trouble.reset();
    for (std::size_t i = 0; i < assignments.size(); ++i) restart(*state_.partitions[i], assignments[i].start);
  }
  kick();
  return {};
}

Result<> Consumer::Core::seek(std::string_view topic, PartitionId partition, StartAt start) {
  batches_.clear();
  taken_.clear();
  {
    const std::lock_guard lock(state_.mutex);
    FetchPartition* const found = find(topic, partition);
    if (found == nullptr)
      return fail(ErrorCode::not_found, fmt::format("partition {} of topic '{}' is not assigned", partition, topic));
    restart(*found, start);
  }
  kick();
  return {};
}

/// Under the lock: an error that was not told yet, of a partition whose good batches are all read.
std::optional<Error> Consumer::Core::next_error() {
  for (const FetchPartitionRef& partition : state_.partitions) {
    if (partition->error && !partition->error_told && partition->chunks.empty()) {
      partition->error_told = true;
      return partition->error;
    }
  }
  return std::nullopt;
}

/// Under the lock: takes chunks in turn from every partition, up to poll_bytes_max.
bool Consumer::Core::take_chunks() {
  std::uint64_t bytes = 0;
  const std::size_t count = state_.partitions.size();
  for (std::size_t i = 0; i < count && bytes < settings_.poll_bytes_max; ++i) {
    const FetchPartitionRef& partition = state_.partitions[(turn_ + i) % count];
    if (partition->chunks.empty()) continue;
    FetchedChunk chunk = std::move(partition->chunks.front());
    partition->chunks.pop_front();
    const std::uint64_t size = chunk.batches.size();
    bytes += size;
    partition->buffered_bytes -= size;
    state_.buffered_bytes -= size;
    partition->position = chunk.next;
    taken_.push_back({partition, partition->generation, std::move(chunk)});
  }
  if (count > 0) turn_ = (turn_ + 1) % count;
  return !taken_.empty();
}

Result<Bytes> Consumer::Core::body_of(Bytes batch) {
  if (settings_.check_crc) {
    std::size_t total = 0;
    STREAMBUS_TRY(to_result(check_stored_batch(batch, &total)));
  }
  if (BatchHeader(batch.data()).compression() == 0) return batch.subspan(kBatchHeaderBytes);
  if (decompressed_used_ == decompressed_.size()) decompressed_.emplace_back(context_->buffers());
  MessageBuffer& scratch = decompressed_[decompressed_used_++];
  Bytes body;
  STREAMBUS_TRY(to_result(decompress_batch(*codecs_, batch, settings_.batch_bytes_max, scratch, &body)));
  return body;
}

void Consumer::Core::stop(Taken& taken, const Error& error, Offset at) {
  FetchPartition& partition = *taken.partition;
  const std::lock_guard lock(state_.mutex);
  if (partition.generation != taken.generation) return;
  drop_chunks(partition);
  partition.position = at;
  partition.error =
      Error(error.code, fmt::format("{}[{}] at offset {}: {}", partition.topic, partition.id, at.value, error.message));
}

/// Makes the batches of a chunk readable. At a bad one the partition stops; the good ones before it are returned.
void Consumer::Core::unpack(Taken& taken) {
  Bytes rest = taken.chunk.batches;
  Offset position = taken.chunk.from;
  std::uint64_t records = 0;
  while (!rest.empty()) {
    const BatchHeader header(rest.data());
    const Bytes batch = rest.first(header.total_bytes());
    rest = rest.subspan(batch.size());
    if (header.next_offset() <= position || header.control()) {
      position = std::max(position, header.next_offset());
      continue;
    }
    const Result<Bytes> body = body_of(batch);
    if (!body) {
      stop(taken, body.error(), std::max(position, header.base_offset()));
      break;
    }
    batches_.emplace_back(taken.partition->topic, taken.partition->id, batch, *body, taken.chunk.from);
    records += static_cast<std::uint64_t>(header.record_count());
    position = header.next_offset();
  }
  const std::lock_guard lock(state_.mutex);
  state_.statistics.records_max += records;
}

Result<std::span<const ConsumedBatch>> Consumer::Core::poll(std::int64_t timeout_ms) {
  batches_.clear();
  taken_.clear();  // their memory goes back before more is fetched
  decompressed_used_ = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (batches_.empty()) {
    taken_.clear();
    {
      std::unique_lock lock(state_.mutex);
      std::optional<Error> error;
      const bool ready = state_.changed.wait_until(lock, deadline, [&] {
        error = next_error();
        return error || take_chunks() || state_.woken;
      });
      state_.woken = false;
      if (error) return std::unexpected(*error);
      if (!ready || taken_.empty()) break;
    }
    kick();  // there is room again
    for (Taken& taken : taken_) unpack(taken);
  }
  return std::span<const ConsumedBatch>(batches_);
}

void Consumer::Core::wake() {
  {
    const std::lock_guard lock(state_.mutex);
    state_.woken = true;
  }
  state_.changed.notify_all();
}

Result<ConsumerPosition> Consumer::Core::position(std::string_view topic, PartitionId partition) {
  const std::lock_guard lock(state_.mutex);
  const FetchPartition* const found = find(topic, partition);
  if (found == nullptr)
    return fail(ErrorCode::not_found, fmt::format("partition {} of topic '{}' is not assigned", partition, topic));
  return ConsumerPosition{
      .next = found->position, .high_watermark = found->high_watermark, .prefetched_bytes = found->buffered_bytes};
}

Result<Consumer> Consumer::create(std::shared_ptr<ClientContext> context, ConsumerSettings settings) {
  STREAMBUS_TRY(settings.check());
  return Consumer(std::make_shared<Core>(std::move(context), settings));
}

Consumer::Consumer(std::shared_ptr<Core> core) noexcept : core_(std::move(core)) {}
Consumer::Consumer(Consumer&&) noexcept = default;
Consumer& Consumer::operator=(Consumer&&) noexcept = default;
Consumer::~Consumer() = default;

Result<> Consumer::assign(std::vector<Assignment> assignments) { return core_->assign(std::move(assignments)); }
Result<> Consumer::seek(std::string_view topic, PartitionId partition, StartAt start) {
  return core_->seek(topic, partition, start);
}
Result<std::span<const ConsumedBatch>> Consumer::poll(std::int64_t timeout_ms) { return core_->poll(timeout_ms); }
void Consumer::wake() { core_->wake(); }
Result<ConsumerPosition> Consumer::position(std::string_view topic, PartitionId partition) const {
  return core_->position(topic, partition);
}
std::optional<Consumer::Trouble> Consumer::trouble() const { return core_->trouble(); }
ConsumerStatistics Consumer::statistics() const { return core_->statistics(); }

}  // namespace streambus::client
