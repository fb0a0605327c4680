#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "accumulator.hpp"
#include "backoff.hpp"
#include "cluster.hpp"
#include "streambus/plugin/codec.hpp"

namespace streambus::client {

/// The brokers' side of a producer: sends batches in order, retries, keeps sequences. All calls on the loop's thread.
///
/// Order: a partition's batches leave in order on one connection. When one fails, nothing more of that partition is sent until
/// everything in flight is answered; then sending starts again at the first batch that is not done, with the same sequences.
/// A batch refused for its sequence while it is the first one left was certainly not written (a batch before it was given up):
/// the partition then goes on under a new producer id, from sequence 0.
class Sender : public std::enable_shared_from_this<Sender> {
 public:
  Sender(Cluster& cluster, BufferSource& buffers, const ProducerSettings& settings, Accumulator& accumulator,
         const Codec* codec, BatchCallback on_batch, std::uint64_t seed);

  /// Does what can be done now, and sets the timer for the rest.
  void run();
  /// Asks for a topic's partitions, for as long as somebody waits for them.
  void want_topic(ProduceTopic& topic);
  /// Gives up what is left and the connections. Nothing is called afterwards.
  void shut_down();

  /// Counters; buffered_bytes and records_accepted are the accumulator's.
  [[nodiscard]] const ProducerStatistics& statistics() const noexcept { return statistics_; }

 private:
  using BatchRef = std::shared_ptr<ProduceBatch>;
  struct Pick {
    ProducePartition* partition;
    BatchRef batch;
  };
  /// The connection to one broker.
  struct Link {
    ConnectionPool::ChannelRef channel;
    bool lending = false;
    std::int64_t blocked_until_ns = 0;
    std::uint32_t failures = 0;
    std::optional<Error> last_error;
    std::vector<Pick> picks;  ///< for the request that is put together
    std::uint64_t pick_bytes = 0;
  };

  // One round.
  void take_collected(std::int64_t now);
  void expire(std::int64_t now);
  [[nodiscard]] bool send_round(std::int64_t now);
  void consider(ProducePartition& partition, std::int64_t now);
  [[nodiscard]] Link* link_for(ProducePartition& partition, std::int64_t now);
  [[nodiscard]] bool identified(ProducePartition& partition);
  [[nodiscard]] Result<> prepare(ProducePartition& partition, ProduceBatch& batch);
  [[nodiscard]] Result<> stamp_encoded(ProduceBatch& batch, const BatchStamp& stamp);
  void send_picks(Link& link, std::int64_t now);
  [[nodiscard]] Result<> send_request(Link& link, std::vector<Pick>& picks);

  // Outcomes.
  void answered(const std::vector<Pick>& picks, const Result<ResponseFrame>& outcome);
  void settle(const Pick& pick, const Error& error, bool retriable);
  void succeed(const Pick& pick, Offset base_offset, TimestampMs log_append_time);
  void left_flight(ProducePartition& partition, ProduceBatch& batch);
  void after_drain(ProducePartition& partition);
  void remove(ProducePartition& partition, const ProduceBatch& batch);
  void report(ProducePartition& partition, ProduceBatch& batch, const Result<>& outcome, Offset base_offset,
              TimestampMs log_append_time);

  void lend(const std::string& target, Link& link);
  void refresh(ProduceTopic& topic, std::int64_t now);
  void request_identity();
  void wake_at(std::int64_t time_ns) noexcept { next_ns_ = std::min(next_ns_, time_ns); }

  Cluster* const cluster_;
  EventLoop* const loop_;
  BufferSource* const buffers_;
  const ProducerSettings* const settings_;
  Accumulator* const accumulator_;
  const Codec* const codec_;
  const BatchCallback on_batch_;
  const std::uint32_t in_flight_max_;  ///< per partition

  Backoff backoff_;
  std::vector<ProducePartition*> active_;  ///< with batches in their queue
  std::size_t first_ = 0;                  ///< where the next round starts, so that every partition gets its turn
  std::map<std::string, Link> links_;
  std::vector<Accumulator::Collected> collected_;
  ProducerIdentity identity_;
  bool requesting_identity_ = false;
  std::int64_t identity_after_ns_ = 0;
  std::uint32_t identity_failures_ = 0;
  std::optional<Error> identity_error_;
  std::int64_t next_ns_ = kNever;
  ProducerStatistics statistics_;
  Timer timer_;
  bool shut_ = false;
};

}  // namespace streambus::client
