#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backoff.hpp"
#include "cluster.hpp"
#include "streambus/client/consumer.hpp"

namespace streambus::client {

/// Batches of one partition in the response that they came in.
struct FetchedChunk {
  BufferRef buffer;
  Bytes batches;  ///< whole ones
  Offset from;    ///< records before it are not wanted
  Offset next;    ///< after the last batch
};

/// A partition that is consumed. Guarded by FetchState::mutex.
struct FetchPartition {
  std::string topic;
  PartitionId id = 0;
  std::optional<StartAt> start;   ///< set: the position is not known yet
  Offset position = kNoOffset;    ///< of the next record to return
  Offset fetch_from = kNoOffset;  ///< of the next record to fetch
  Offset high_watermark = kNoOffset;
  std::deque<FetchedChunk> chunks;
  std::uint64_t buffered_bytes = 0;
  std::optional<Error> error;  ///< stands still
  bool error_told = false;
  std::uint64_t generation = 0;  ///< answers to older questions are dropped
  bool asking = false;           ///< a request is under way
  std::int64_t blocked_until_ns = 0;
  std::uint32_t failures = 0;
};
using FetchPartitionRef = std::shared_ptr<FetchPartition>;

/// What the consumer's thread and the loop share.
struct FetchState {
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex.
  std::vector<FetchPartitionRef> partitions;
  std::uint64_t buffered_bytes = 0;
  bool woken = false;
  std::optional<Consumer::Trouble> trouble;
  ConsumerStatistics statistics;
};

/// The brokers' side of a consumer: finds leaders and offsets, keeps one fetch per broker under way while there is room.
/// All calls on the loop's thread.
class Fetcher : public std::enable_shared_from_this<Fetcher> {
 public:
  Fetcher(Cluster& cluster, const ConsumerSettings& settings, FetchState& state, std::uint64_t seed);

  void run();
  void shut_down();

 private:
  struct Asked {
    FetchPartitionRef partition;
    std::uint64_t generation;
    Offset from;
    StartAt start;
  };
  struct Link {
    ConnectionPool::ChannelRef channel;
    bool lending = false;
    bool fetching = false;
    std::int64_t blocked_until_ns = 0;
    std::uint32_t failures = 0;
    std::vector<Asked> fetches;
    std::vector<Asked> lookups;  ///< starting points to find
  };

  void consider(const FetchPartitionRef& partition, std::int64_t now);
  void lend(const std::string& target, Link& link);
  void send_fetch(Link& link, const std::string& target);
  void send_lookups(Link& link, const std::string& target);
  void fetched(const std::vector<Asked>& asked, const Result<ResponseFrame>& outcome);
  void found(const std::vector<Asked>& asked, const Result<ResponseFrame>& outcome);
  /// The request of these partitions was answered: they may be asked again. Under the state's mutex.
  void answered(const std::vector<Asked>& asked);
  /// The partition that an answer speaks of; null where it was not asked, or was assigned anew since.
  [[nodiscard]] static const Asked* still_asked(const std::vector<Asked>& asked, std::string_view topic, PartitionId partition);
  void take_data(FetchPartition& partition, const Asked& asked, const BufferRef& buffer, Bytes data);
  void partition_failed(FetchPartition& partition, std::int16_t code);
  void request_failed(const std::vector<Asked>& asked, const Error& error);
  void retry_later(FetchPartition& partition);
  void refresh(const std::string& topic, std::int64_t now);
  void note_trouble(const Error& error);
  void wake_at(std::int64_t time_ns) noexcept { next_ns_ = std::min(next_ns_, time_ns); }

  struct Refresh {
    bool under_way = false;
    std::int64_t after_ns = 0;
    std::uint32_t failures = 0;
  };

  Cluster* const cluster_;
  EventLoop* const loop_;
  const ConsumerSettings* const settings_;
  FetchState* const state_;
  Backoff backoff_;
  std::map<std::string, Link> links_;
  std::map<std::string, Refresh, std::less<>> refreshes_;
  std::size_t first_ = 0;
  std::int64_t next_ns_ = kNever;
  Timer timer_;
  bool shut_ = false;
};

}  // namespace streambus::client
