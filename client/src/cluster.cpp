#include "cluster.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wire_errors.hpp"

namespace streambus::client {

Cluster::Cluster(EventLoop& loop, ConnectionPool& pool, const ClientSettings& settings, std::vector<Address> bootstrap)
    : loop_(&loop),
      pool_(&pool),
      settings_(&settings),
      bootstrap_(std::move(bootstrap)),
      follow_advertised_(bootstrap_.front().transport == "tcp") {}

std::vector<std::string> Cluster::candidates() const {
  std::vector<std::string> targets;
  const auto add = [&](const std::string& target) {
    if (!target.empty() && std::ranges::find(targets, target) == targets.end()) targets.push_back(target);
  };
  add(last_good_);
  for (const Address& address : bootstrap_) add(address.target);
  for (const auto& [node, target] : brokers_) add(target);
  return targets;
}

void Cluster::call(const std::string& target, Send send, Completion done) {
  pool_->lend(target, [this, send = std::move(send), done = std::move(done)](Result<ConnectionPool::ChannelRef> lent) mutable {
    if (!lent) {
      done(std::unexpected(lent.error()));
      return;
    }
    const ConnectionPool::ChannelRef channel = *lent;
    const auto shared = std::make_shared<Completion>(std::move(done));
    const Result<> sent = send(*channel, [this, channel, shared](Result<ResponseFrame> outcome) {
      pool_->give_back(channel);
      (*shared)(std::move(outcome));
    });
    if (!sent) {
      pool_->give_back(channel);
      (*shared)(std::unexpected(sent.error()));
    }
  });
}

void Cluster::call_any(std::function<Result<>(Channel&, Completion)> send, Completion done) {
  call_from(std::make_shared<std::vector<std::string>>(candidates()), 0, std::move(send), std::move(done));
}

void Cluster::call_from(std::shared_ptr<std::vector<std::string>> targets, std::size_t index,
                        std::function<Result<>(Channel&, Completion)> send, Completion done) {
  const std::string target = (*targets)[index];
  auto next = [this, targets = std::move(targets), index, send, target,
               done = std::move(done)](Result<ResponseFrame> outcome) mutable {
    if (outcome) {
      last_good_ = target;
    } else if (index + 1 < targets->size() && outcome.error().code != ErrorCode::unsupported) {
      call_from(std::move(targets), index + 1, std::move(send), std::move(done));
      return;
    }
    done(std::move(outcome));
  };
  call(target, std::move(send), std::move(next));
}

void Cluster::fetch_metadata(std::vector<std::string> topics, bool may_create, std::function<void(Result<ClusterView>)> done) {
  auto send = [topics = std::move(topics), may_create](Channel& channel, Completion completion) {
    std::vector<wire::MetadataRequest::Topic> list;
    list.reserve(topics.size());
    for (const std::string& topic : topics) list.push_back({topic});
    wire::MetadataRequest request;
    if (!topics.empty()) request.topics = list;
    request.allow_auto_topic_creation = may_create;
    return channel.request(request, std::move(completion));
  };
  call_any(std::move(send), [this, done = std::move(done)](Result<ResponseFrame> outcome) { done(take_metadata(outcome)); });
}

Result<ClusterView> Cluster::take_metadata(const Result<ResponseFrame>& outcome) {
  if (!outcome) return std::unexpected(outcome.error());
  wire::Arena arena;
  wire::MetadataResponse response;
  STREAMBUS_TRY(decode_response(*outcome, arena, response));
  ClusterView view;
  view.cluster_id = response.cluster_id.value_or("");
  view.controller = response.controller_id;
  brokers_.clear();
  for (const auto& broker : response.brokers) {
    std::string target = follow_advertised_ ? join_host_port(broker.host, broker.port) : bootstrap_.front().target;
    brokers_[broker.node_id] = target;
    view.brokers.push_back({broker.node_id, std::move(target)});
  }
  for (const auto& topic : response.topics) {
    TopicInfo info{.name = std::string(topic.name),
                   .error = topic.error_code,
                   .internal = topic.is_internal,
                   .partitions = {},
                   .fetched_ns = loop_->now_ns()};
    // The count comes from what was sent; an index beyond it would be a broker's mistake and is left out.
    info.partitions.resize(topic.partitions.size());
    for (const auto& partition : topic.partitions) {
      if (partition.partition_index < 0 || static_cast<std::size_t>(partition.partition_index) >= info.partitions.size())
        continue;
      info.partitions[static_cast<std::size_t>(partition.partition_index)] = {
          .error = partition.error_code,
          .leader = partition.leader_id,
          .leader_epoch = partition.leader_epoch,
          .replicas = {partition.replica_nodes.begin(), partition.replica_nodes.end()},
          .in_sync = {partition.isr_nodes.begin(), partition.isr_nodes.end()}};
    }
    if (info.error == 0) {
      topics_[info.name] = info;
    } else {
      topics_.erase(info.name);
    }
    view.topics.push_back(std::move(info));
  }
  return view;
}

const TopicInfo* Cluster::find_topic(const std::string& topic) {
  const auto found = topics_.find(topic);
  if (found == topics_.end()) return nullptr;
  if (loop_->now_ns() - found->second.fetched_ns > settings_->metadata_max_age_ms * kMillisecond) return nullptr;
  return &found->second;
}

const std::string* Cluster::leader_target(const std::string& topic, PartitionId partition, std::int32_t* leader_epoch) {
  const TopicInfo* const info = find_topic(topic);
  if (info == nullptr || partition < 0 || static_cast<std::size_t>(partition) >= info->partitions.size()) return nullptr;
  const PartitionInfo& of = info->partitions[static_cast<std::size_t>(partition)];
  const auto broker = brokers_.find(of.leader);
  if (broker == brokers_.end()) return nullptr;
  if (leader_epoch != nullptr) *leader_epoch = of.leader_epoch;
  return &broker->second;
}

void Cluster::forget_topic(const std::string& topic) { topics_.erase(topic); }

void Cluster::refresh(const std::string& topic, bool may_create, std::function<void(Result<>)> done) {
  auto& waiting = refreshing_[topic];
  waiting.push_back(std::move(done));
  if (waiting.size() > 1) return;
  fetch_metadata({topic}, may_create, [this, topic](const Result<ClusterView>& view) {
    Result<> result;
    if (!view) {
      result = std::unexpected(view.error());
    } else if (view->topics.empty()) {
      result = fail(ErrorCode::not_found, fmt::format("topic '{}': the broker did not answer for it", topic));
    } else if (view->topics.front().error != 0) {
      result = std::unexpected(wire_error(view->topics.front().error, fmt::format("topic '{}'", topic)));
    }
    const auto waiters = std::exchange(refreshing_[topic], {});
    for (const auto& waiter : waiters) waiter(result);
  });
}

}  // namespace streambus::client
