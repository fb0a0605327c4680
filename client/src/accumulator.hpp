#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "event_loop.hpp"
#include "streambus/client/producer.hpp"

namespace streambus::client {

/// A producer id from the broker. `version` counts the ids that this producer got, from 1.
struct ProducerIdentity {
  std::int64_t id = kNoProducerId;
  std::int16_t epoch = -1;
  std::uint32_t version = 0;
};

/// Records on their way to one partition. Filled by the accumulator, then owned by the sender.
struct ProduceBatch {
  explicit ProduceBatch(BufferSource& source) : builder(source) {}

  BatchBuilder builder;  ///< until it is encoded
  SharedSlice encoded;
  std::uint32_t record_count = 0;
  std::uint64_t charged_bytes = 0;  ///< of the producer's buffer
  std::int64_t created_ns = 0;
  std::vector<std::uint64_t> tags;                                    ///< empty while no record had one
  std::vector<std::pair<std::uint32_t, DeliveryCallback>> callbacks;  ///< by index of the record

  // The sender's.
  enum class State : std::uint8_t { waiting, in_flight, abandoned };
  State state = State::waiting;  ///< abandoned: in flight, but reported as timed out already
  bool foreign = false;          ///< encoded by the user: not to be written to
  std::uint64_t ordinal = 0;     ///< counts the batches of its partition
  std::int32_t attempts = 0;
  std::uint32_t stamped_version = 0;  ///< of the identity that its sequence belongs to; 0: none
  std::int32_t sequence = -1;
  std::optional<Error> last_error;
};

struct ProduceTopic;

struct ProducePartition {
  ProduceTopic* topic = nullptr;
  PartitionId id = 0;

  // Guarded by the accumulator's mutex.
  std::unique_ptr<ProduceBatch> open;
  std::deque<std::unique_ptr<ProduceBatch>> closed;  ///< full, in order, before `open`
  bool listed = false;                               ///< in the accumulator's list of partitions with work

  // The sender's: loop thread only.
  std::deque<std::shared_ptr<ProduceBatch>> queue;  ///< not resolved yet, in order
  std::uint64_t next_ordinal = 0;
  std::uint32_t in_flight = 0;
  bool draining = false;  ///< something failed: nothing is sent until everything in flight is answered
  std::int64_t blocked_until_ns = 0;
  ProducerIdentity identity;
  std::uint32_t wanted_version = 1;
  std::int32_t next_sequence = 0;
  bool active = false;
};

struct ProduceTopic {
  std::string name;
  // Guarded by the accumulator's mutex.
  std::deque<std::unique_ptr<ProducePartition>> partitions;  ///< empty: not known yet
  std::optional<Error> error;                                ///< why not, final
  std::optional<Error> last_error;                           ///< why not yet
  PartitionId sticky = -1;

  // The sender's.
  bool refreshing = false;
  bool wanted = false;  ///< somebody waits for its partitions
  std::int64_t refresh_after_ns = 0;
  std::uint32_t refresh_failures = 0;
};

/// The users' side of a producer: collects records into batches, bounds their memory, makes senders wait. Thread-safe.
class Accumulator {
 public:
  struct Hooks {
    std::function<void()> kick;                     ///< there is work: called without the lock, any thread
    std::function<void(ProduceTopic&)> want_topic;  ///< its partitions are asked for: likewise
    std::function<bool()> may_block;                ///< false on the loop's thread
  };

  Accumulator(const ProducerSettings& settings, BufferSource& buffers, Clock& clock, Hooks hooks, std::uint64_t seed);

  Result<> append(const ProducerRecord& record, DeliveryCallback callback);
  Result<> append_encoded(std::string_view topic, PartitionId partition, SharedSlice batch, DeliveryCallback callback);
  Result<> flush(std::int64_t timeout_ms);
  /// Refuses records from now on; waiting senders fail with closed.
  void close();

  // From the loop's thread.
  struct Collected {
    ProducePartition* partition;
    std::unique_ptr<ProduceBatch> batch;
  };
  /// Takes the batches that are due: full ones, those that lingered, and all where room is short or a flush waits.
  /// Returns when the next one will be due.
  std::int64_t collect(std::int64_t now_ns, std::vector<Collected>& out);
  /// Gives back what a reported batch had taken.
  void release(const ProduceBatch& batch);
  void set_partitions(ProduceTopic& topic, std::size_t count);
  void set_topic_error(ProduceTopic& topic, const Error& error, bool final);

  [[nodiscard]] std::uint64_t buffered_bytes() const;
  [[nodiscard]] std::uint64_t accepted() const noexcept { return accepted_.load(std::memory_order_relaxed); }

 private:
  using Lock = std::unique_lock<std::mutex>;
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
  };

  [[nodiscard]] Result<ProduceTopic*> known_topic(Lock& lock, std::string_view name, std::int64_t deadline_ns);
  [[nodiscard]] Result<ProducePartition*> choose(ProduceTopic& topic, const ProducerRecord& record);
  [[nodiscard]] Result<> wait_for_room(Lock& lock, std::int64_t deadline_ns, std::string_view why);
  [[nodiscard]] bool wait(Lock& lock, std::int64_t deadline_ns);
  void close_batch(ProducePartition& partition);
  void list(ProducePartition& partition);
  void accept(ProduceBatch& batch, std::uint64_t bytes, std::uint64_t tag, DeliveryCallback callback);
  [[nodiscard]] Error no_partition(const ProduceTopic& topic, PartitionId partition) const;

  const ProducerSettings* const settings_;
  BufferSource* const buffers_;
  Clock* const clock_;
  const Hooks hooks_;
  std::atomic<std::uint64_t> accepted_{0};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::unordered_map<std::string, std::unique_ptr<ProduceTopic>, TextHash, std::equal_to<>> topics_;
  ProduceTopic* last_topic_ = nullptr;
  std::vector<ProducePartition*> listed_;
  std::minstd_rand random_;
  std::uint64_t buffered_bytes_ = 0;
  std::uint64_t outstanding_records_ = 0;
  std::uint32_t waiting_for_room_ = 0;
  std::uint32_t flushing_ = 0;
  bool closed_ = false;
};

}  // namespace streambus::client
