#pragma once
// A storage engine for tests of the broker: batches in memory, durability reported when the test says so, errors on demand,
// and a memory of its own that survives closing, so that a test can restart a broker, cleanly or not.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "streambus/base/record_batch.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::test {

class FakeStorage final : public StorageEngine {
 public:
  struct StoredBatch {
    Offset first;
    Offset next;
    TimestampMs max_timestamp;
    std::vector<std::byte> bytes;
  };
  /// What a partition keeps, open or not.
  struct Stored {
    std::vector<std::shared_ptr<StoredBatch>> batches;
    Offset start{0};
    Offset end{0};
    Offset durable{0};
    [[nodiscard]] std::uint64_t bytes() const {
      std::uint64_t sum = 0;
      for (const auto& batch : batches) sum += batch->bytes.size();
      return sum;
    }
    bool open = false;
    bool clean = true;
    PartitionSettings settings;
    std::atomic<int> retained = 0;
    std::uint32_t domain = 0;
    std::uint64_t position = 0;  ///< of the last append
    std::set<Offset> bounds;     ///< ends of segments
    std::size_t in_segment = 0;  ///< batches in the active one
  };
  using Key = std::pair<std::string, PartitionId>;

  explicit FakeStorage(Durability durability) : durability_(durability) {}

  /// Where to report; a new one for each broker.
  void attach(DurabilitySink& sink) { sink_ = &sink; }

  // For the test.
  std::atomic<bool> synchronous{false};  ///< every append is durable on return (position 0)
  std::atomic<bool> file_slices{false};  ///< reads hand out file ranges
  std::atomic<std::int32_t> append_error{0};
  std::atomic<std::int32_t> read_error{0};
  std::set<PartitionId> refuse_open;            ///< these partitions answer corrupt
  std::atomic<bool> replaces{true};             ///< replace() works
  std::atomic<std::size_t> segment_batches{4};  ///< so many batches make a segment
  std::atomic<std::int32_t> replace_error{0};
  std::atomic<int> replacements{0};
  std::function<void()> while_replacing;  ///< called in the middle of a replace()
  std::atomic<int> appends{0};
  std::atomic<int> reads{0};

  /// Makes everything appended so far to a partition durable and says so.
  void flush(const std::string& topic_id, PartitionId partition) {
    std::uint32_t domain = 0;
    std::uint64_t position = 0;
    {
      const std::lock_guard lock(mutex_);
      Stored& stored = *partitions_.at({topic_id, partition});
      stored.durable = stored.end;
      domain = stored.domain;
      position = stored.position;
    }
    sink_->durable_advanced(domain, position);
  }
  void fail_domain(const std::string& topic_id, PartitionId partition, const Status& status) {
    sink_->domain_failed(stored(topic_id, partition).domain, status);
  }
  [[nodiscard]] Stored& stored(const std::string& topic_id, PartitionId partition) {
    const std::lock_guard lock(mutex_);
    return *partitions_.at({topic_id, partition});
  }
  [[nodiscard]] std::vector<Key> keys() {
    const std::lock_guard lock(mutex_);
    std::vector<Key> all;
    for (const auto& [key, stored] : partitions_) all.push_back(key);
    return all;
  }
  /// As after a crash: everything is closed, the last `lost` batches of each partition are gone.
  void crash(std::size_t lost) {
    const std::lock_guard lock(mutex_);
    for (auto& [key, stored] : partitions_) {
      for (std::size_t i = 0; i < lost && !stored->batches.empty(); ++i) {
        stored->end = stored->batches.back()->first;
        stored->batches.pop_back();
      }
      stored->open = false;
      stored->clean = false;
      stored->durable = stored->end;
    }
  }
  /// Puts a partition there that no topic knows.
  void plant(const std::string& topic_id, PartitionId partition) {
    const std::lock_guard lock(mutex_);
    partitions_[{topic_id, partition}] = std::make_shared<Stored>();
  }

  [[nodiscard]] Durability durability() const noexcept override { return durability_; }
  Status start() noexcept override { return {}; }
  Status stop() noexcept override { return {}; }
  [[nodiscard]] bool can_replace() const noexcept override { return replaces; }

  Status open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept override {
    if (refuse_open.contains(key.partition)) return {ErrorCode::corrupt, "segment 7 is damaged at byte 99"};
    const std::lock_guard lock(mutex_);
    auto [place, made] = partitions_.try_emplace({std::string(key.topic_id), key.partition});
    if (made) {
      place->second = std::make_shared<Stored>();
      place->second->start = place->second->end = place->second->durable = start;
    }
    Stored& stored = *place->second;
    if (stored.open) return {ErrorCode::already_exists, "open already"};
    stored.open = true;
    stored.position = 0;
    stored.domain = sink_->open_domain();
    stored.settings = settings;
    *log = new Log(*this, place->second);
    return {};
  }
  Status remove(const PartitionKey& key) noexcept override {
    const std::lock_guard lock(mutex_);
    const auto found = partitions_.find({std::string(key.topic_id), key.partition});
    if (found == partitions_.end()) return {ErrorCode::not_found, "no such partition"};
    if (found->second->open) return {ErrorCode::internal, "removed while open"};
    partitions_.erase(found);
    return {};
  }
  Status list(PartitionVisitor& visitor) noexcept override {
    for (const Key& key : keys()) visitor.partition(key.first, key.second);
    return {};
  }

 private:
  /// Keeps the batches of one read, or a file with their bytes.
  class ReadPin final : public Pin {
   public:
    ~ReadPin() override {
      if (fd >= 0) ::close(fd);
    }
    std::vector<std::shared_ptr<StoredBatch>> batches;
    std::vector<std::byte> bytes;
    int fd = -1;

   private:
    void dispose() noexcept override { delete this; }
  };

  class Log final : public PartitionLog {
   public:
    Log(FakeStorage& engine, std::shared_ptr<Stored> stored)
        : engine_(engine), stored_(std::move(stored)), domain_(stored_->domain) {}

    [[nodiscard]] LogState state() noexcept override {
      const std::lock_guard lock(engine_.mutex_);
      return {.start = stored_->start,
              .end = stored_->end,
              .durable = stored_->durable,
              .bytes = stored_->bytes(),
              .segments = 1,
              .clean = stored_->clean};
    }
    [[nodiscard]] std::uint32_t durability_domain() const noexcept override { return domain_; }

    Status append(Bytes batches, Offset first, Offset next, TimestampMs max_timestamp, AppendResult* result) noexcept override {
      const std::lock_guard lock(engine_.mutex_);
      ++engine_.appends;
      if (const auto error = engine_.append_error.load(); error != 0)
        return {static_cast<ErrorCode>(error), "append failed by the test"};
      if (first < stored_->end) return {ErrorCode::invalid_argument, "first below end"};
      while (!batches.empty()) {
        const BatchHeader header(batches.data());
        const std::size_t size = header.total_bytes();
        auto batch = std::make_shared<StoredBatch>();
        batch->first = header.base_offset();
        batch->next = header.next_offset();
        batch->max_timestamp = header.max_timestamp();
        batch->bytes.assign(batches.begin(), batches.begin() + static_cast<std::ptrdiff_t>(size));
        stored_->batches.push_back(std::move(batch));
        if (++stored_->in_segment >= engine_.segment_batches) {
          stored_->bounds.insert(stored_->batches.back()->next);
          stored_->in_segment = 0;
        }
        batches = batches.subspan(size);
      }
      stored_->end = next;
      last_max_timestamp = max_timestamp;
      const bool at_once = engine_.synchronous.load() || engine_.durability_ != Durability::fsync_batch;
      if (at_once) stored_->durable = next;
      result->position = at_once ? 0 : ++stored_->position;
      return {};
    }

    Status read(const ReadRequest& request, ReadResult* result) noexcept override {
      const std::lock_guard lock(engine_.mutex_);
      ++engine_.reads;
      result->next = request.from;
      if (const auto error = engine_.read_error.load(); error != 0)
        return {static_cast<ErrorCode>(error), "read failed by the test"};
      if (request.from < stored_->start || request.from > stored_->end) return {ErrorCode::out_of_range, "outside"};
      ReadPinOwner pin;
      for (const auto& batch : stored_->batches) {
        if (batch->next <= request.from || batch->next > request.limit) continue;
        const bool fits = result->bytes + batch->bytes.size() <= request.bytes_max;
        if (!fits && !(result->bytes == 0 && request.at_least_one)) break;
        if (!engine_.file_slices.load() && result->slice_count == ReadResult::kSlicesMax) break;
        pin.get().batches.push_back(batch);
        if (!engine_.file_slices.load()) result->slices[result->slice_count++] = Slice::memory(batch->bytes);
        result->bytes += batch->bytes.size();
        result->next = batch->next;
      }
      if (result->bytes == 0) return {};
      if (engine_.file_slices.load()) to_file(pin.get(), result);
      result->pin = pin.detach();
      return {};
    }

    Status find_time(TimestampMs timestamp, Offset* batch_base) noexcept override {
      const std::lock_guard lock(engine_.mutex_);
      *batch_base = kNoOffset;
      for (const auto& batch : stored_->batches) {
        if (batch->max_timestamp < timestamp || batch->next <= stored_->start) continue;
        *batch_base = batch->first;
        break;
      }
      return {};
    }
    Status apply(const PartitionSettings& settings) noexcept override {
      stored_->settings = settings;
      return {};
    }
    Status delete_before(Offset start) noexcept override {
      const std::lock_guard lock(engine_.mutex_);
      stored_->start = start;
      return {};
    }
    Status retain(TimestampMs) noexcept override {
      const std::lock_guard lock(engine_.mutex_);
      ++stored_->retained;
      return {};
    }
    [[nodiscard]] Offset segment_end(Offset from) noexcept override {
      const std::lock_guard lock(engine_.mutex_);
      if (from < stored_->start || from >= stored_->end) return kNoOffset;
      const auto bound = stored_->bounds.upper_bound(from);
      return bound == stored_->bounds.end() ? kNoOffset : *bound;
    }
    Status replace(Offset from, Offset to, BatchSource& source) noexcept override {
      if (const auto error = engine_.replace_error.load(); error != 0) {
        return {static_cast<ErrorCode>(error), "replace failed by the test"};
      }
      std::vector<std::shared_ptr<StoredBatch>> kept;
      Offset expected = from;
      for (;;) {
        Bytes run;
        STREAMBUS_TRY_STATUS(source.next(&run));
        if (engine_.while_replacing) engine_.while_replacing();
        if (run.empty()) break;
        for (std::size_t size = 0; !run.empty(); run = run.subspan(size)) {
          STREAMBUS_TRY_STATUS(check_stored_batch(run, &size));
          const BatchHeader header(run.data());
          if (header.base_offset() < expected || header.next_offset() > to) return {ErrorCode::invalid_argument, "outside"};
          expected = header.next_offset();
          auto batch = std::make_shared<StoredBatch>();
          batch->first = header.base_offset();
          batch->next = expected;
          batch->max_timestamp = header.max_timestamp();
          batch->bytes.assign(run.begin(), run.begin() + static_cast<std::ptrdiff_t>(size));
          kept.push_back(std::move(batch));
        }
      }
      const std::lock_guard lock(engine_.mutex_);
      const auto is_bound = [this](Offset at) { return at == stored_->start || stored_->bounds.contains(at); };
      if (!is_bound(from) || !stored_->bounds.contains(to)) return {ErrorCode::invalid_argument, "no bounds"};
      auto& batches = stored_->batches;
      const auto below = [](Offset bound) { return [bound](const auto& batch) { return batch->next <= bound; }; };
      const auto first = std::partition_point(batches.begin(), batches.end(), below(from));
      const auto last = std::partition_point(first, batches.end(), below(to));
      batches.insert(batches.erase(first, last), kept.begin(), kept.end());
      stored_->bounds.erase(stored_->bounds.upper_bound(from), stored_->bounds.find(to));
      ++engine_.replacements;
      return {};
    }
    Status close() noexcept override {
      {
        const std::lock_guard lock(engine_.mutex_);
        stored_->open = false;
        stored_->clean = true;
        stored_->durable = stored_->end;
      }
      engine_.sink_->close_domain(domain_);
      delete this;
      return {};
    }

    TimestampMs last_max_timestamp = kNoTimestamp;

   private:
    /// A ReadPin until it is handed out.
    class ReadPinOwner {
     public:
      ~ReadPinOwner() {
        if (pin_ != nullptr) pin_->release();
      }
      ReadPin& get() { return *pin_; }
      Pin* detach() { return std::exchange(pin_, nullptr); }

     private:
      ReadPin* pin_ = new ReadPin;
    };

    static void to_file(ReadPin& pin, ReadResult* result) {
      pin.fd = ::memfd_create("segment", MFD_CLOEXEC);
      constexpr char kJunk[10] = "junk junk";  // a range that does not begin at 0
      (void)!::write(pin.fd, kJunk, sizeof kJunk);
      for (const auto& batch : pin.batches) (void)!::write(pin.fd, batch->bytes.data(), batch->bytes.size());
      result->slice_count = 1;
      result->slices[0] = Slice::file(pin.fd, sizeof kJunk, result->bytes);
    }

    FakeStorage& engine_;
    std::shared_ptr<Stored> stored_;
    const std::uint32_t domain_;
  };

  const Durability durability_;
  DurabilitySink* sink_ = nullptr;
  std::mutex mutex_;
  std::map<Key, std::shared_ptr<Stored>> partitions_;
};

}  // namespace streambus::test
