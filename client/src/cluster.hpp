#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "address.hpp"
#include "connection_pool.hpp"
#include "event_loop.hpp"
#include "streambus/client/settings.hpp"

namespace streambus::client {

struct BrokerInfo {
  std::int32_t node_id = 0;
  std::string target;  ///< what the transport connects to
};

struct PartitionInfo {
  std::int16_t error = 0;
  std::int32_t leader = -1;
  std::int32_t leader_epoch = -1;
  std::vector<std::int32_t> replicas;
  std::vector<std::int32_t> in_sync;
};

struct TopicInfo {
  std::string name;
  std::int16_t error = 0;
  bool internal = false;
  std::vector<PartitionInfo> partitions;  ///< by index
  std::int64_t fetched_ns = 0;
};

/// What a metadata request answered.
struct ClusterView {
  std::string cluster_id;
  std::int32_t controller = -1;
  std::vector<BrokerInfo> brokers;
  std::vector<TopicInfo> topics;
};

/// Knows brokers, topics and leaders, and sends single requests. All calls on the loop's thread; callbacks come there.
class Cluster {
 public:
  /// `follow_advertised`: connect to the addresses that brokers advertise (tcp); else to the bootstrap target (inproc).
  Cluster(EventLoop& loop, ConnectionPool& pool, const ClientSettings& settings, std::vector<Address> bootstrap);

  /// Fetches metadata anew: all topics where `topics` is empty. One attempt over the known brokers.
  void fetch_metadata(std::vector<std::string> topics, bool may_create, std::function<void(Result<ClusterView>)> done);

  /// Where the leader of a partition listens; null while it is not known: then refresh().
  [[nodiscard]] const std::string* leader_target(const std::string& topic, PartitionId partition, std::int32_t* leader_epoch);
  /// What is known of a topic; null where nothing is, or it is too old.
  [[nodiscard]] const TopicInfo* find_topic(const std::string& topic);
  /// Forgets what is known of a topic: the next look asks again.
  void forget_topic(const std::string& topic);
  /// Fetches the metadata of a topic; concurrent calls share one request. One attempt.
  void refresh(const std::string& topic, bool may_create, std::function<void(Result<>)> done);

  /// Builds and sends a message on a lent connection, passing the completion on.
  using Send = std::move_only_function<Result<>(Channel&, Completion)>;
  /// Sends one request to the broker at `target` and gives the connection back. One attempt.
  void call(const std::string& target, Send send, Completion done);
  /// The same to whichever broker can be reached, the last good one first.
  void call_any(std::function<Result<>(Channel&, Completion)> send, Completion done);

  [[nodiscard]] EventLoop& loop() noexcept { return *loop_; }
  [[nodiscard]] ConnectionPool& pool() noexcept { return *pool_; }
  [[nodiscard]] const ClientSettings& settings() const noexcept { return *settings_; }

 private:
  void call_from(std::shared_ptr<std::vector<std::string>> targets, std::size_t index,
                 std::function<Result<>(Channel&, Completion)> send, Completion done);
  [[nodiscard]] std::vector<std::string> candidates() const;
  [[nodiscard]] Result<ClusterView> take_metadata(const Result<ResponseFrame>& outcome);

  EventLoop* const loop_;
  ConnectionPool* const pool_;
  const ClientSettings* const settings_;
  const std::vector<Address> bootstrap_;
  const bool follow_advertised_;
  std::map<std::int32_t, std::string> brokers_;
  std::map<std::string, TopicInfo, std::less<>> topics_;
  std::map<std::string, std::vector<std::function<void(Result<>)>>> refreshing_;
  std::string last_good_;
};

}  // namespace streambus::client
