#include <algorithm>
#include <vector>

#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"
#include "topic_name.hpp"

namespace streambus::protocol_kafka {
namespace {

using Request = wire::MetadataRequest;
using Response = wire::MetadataResponse;
using Topic = Response::Topic;
using wire::WireError;

/// Collects topics into the arena.
class Collector final : public TopicVisitor {
 public:
  Collector(wire::Arena& arena, std::span<std::int32_t> this_node) noexcept : arena_(arena), this_node_(this_node) {}

  void topic(const TopicView& view, std::span<const PartitionView> partitions) noexcept override {
    Topic topic;
    topic.name = arena_.copy(view.name);
    topic.partitions = arena_.array<Response::Partition>(partitions.size());
    complete_ &= topic.partitions.size() == partitions.size();
    for (std::size_t i = 0; i < topic.partitions.size(); ++i) {
      Response::Partition& partition = topic.partitions[i];
      // An offline partition keeps its leader: what is good in it can be read, and a produce request says what is wrong.
      partition.partition_index = partitions[i].partition;
      partition.leader_id = this_node_[0];
      partition.leader_epoch = partitions[i].leader_epoch;
      partition.replica_nodes = this_node_;
      partition.isr_nodes = this_node_;
    }
    add(topic);
  }

  void failure(std::string_view name, WireError error) noexcept {
    Topic topic;
    topic.name = name;
    topic.error_code = code_of(error);
    add(topic);
  }

  [[nodiscard]] bool complete() const noexcept { return complete_; }
  /// A copy in the arena, for the response.
  [[nodiscard]] std::span<Topic> in_arena() noexcept {
    const std::span<Topic> copy = arena_.array<Topic>(topics_.size());
    complete_ &= copy.size() == topics_.size();
    std::copy_n(topics_.begin(), copy.size(), copy.begin());
    return copy;
  }

 private:
  /// Bounds what a request full of invalid names can take.
  static constexpr std::size_t kTopicsMax = 200'000;

  void add(const Topic& topic) noexcept {
    try {
      if (topics_.size() < kTopicsMax) return topics_.push_back(topic);
      complete_ = false;
    } catch (...) {
      complete_ = false;
    }
  }

  wire::Arena& arena_;
  std::span<std::int32_t> this_node_;
  std::vector<Topic> topics_;
  bool complete_ = true;
};

/// Finds one topic, or makes it where `create`; the failure becomes part of the answer.
void look_up(Broker& broker, std::string_view name, bool create, Collector& found) noexcept {
  if (!is_topic_name(name)) return found.failure(name, WireError::invalid_topic_exception);
  Status status = broker.visit_topic(name, found);
  if (status.code == ErrorCode::not_found && create) {
    TopicSpec spec;
    spec.name = name;
    status = broker.create_topic(spec);
    // Somebody else may have been faster.
    if (status.ok() || status.code == ErrorCode::already_exists) status = broker.visit_topic(name, found);
  }
  if (!status.ok()) found.failure(name, wire_error(status.code));
}

bool wants_all(const Request& request, std::int16_t version) noexcept {
  return !request.topics || (version == 0 && request.topics->empty());
}

bool may_create(const Exchange& exchange, const Request& request) noexcept {
  return request.allow_auto_topic_creation && exchange.session->endpoint().broker().auto_create_topics();
}

Handled answer(Exchange& exchange, const Request& request, bool create) noexcept {
  Endpoint& endpoint = exchange.session->endpoint();
  const BrokerIdentity identity = endpoint.broker().identity();
  auto* const response = exchange.make<Response>();
  const std::span<Response::Broker> brokers = exchange.arena.array<Response::Broker>(1);
  const std::span<std::int32_t> this_node = exchange.arena.array<std::int32_t>(1);
  if (response == nullptr || brokers.empty() || this_node.empty()) return Handled::out_of_memory;
  this_node[0] = identity.node_id;
  brokers[0] = {identity.node_id, endpoint.advertised_host(), endpoint.advertised_port(), std::nullopt};

  Collector found(exchange.arena, this_node);
  if (wants_all(request, exchange.header.api_version)) {
    endpoint.broker().visit_topics(found);
  } else {
    for (const Request::Topic& topic : *request.topics) look_up(endpoint.broker(), topic.name, create, found);
  }
  response->brokers = brokers;
  response->cluster_id = identity.cluster_id;
  response->controller_id = identity.node_id;
  response->topics = found.in_arena();
  return found.complete() ? exchange.answer(*response) : Handled::out_of_memory;
}

Handled create_and_answer(Exchange& exchange) noexcept {
  return answer(exchange, *static_cast<const Request*>(exchange.state), true);
}

class Ignore final : public TopicVisitor {
 public:
  void topic(const TopicView&, std::span<const PartitionView>) noexcept override {}
};

}  // namespace

Handled handle_metadata(Exchange& exchange) noexcept {
  auto* const request = exchange.make<Request>();
  if (request == nullptr) return Handled::out_of_memory;
  if (!exchange.decode(*request)) return Handled::malformed;
  if (!wants_all(*request, exchange.header.api_version) && may_create(exchange, *request)) {
    Ignore ignore;
    for (const Request::Topic& topic : *request->topics) {
      if (!is_topic_name(topic.name)) continue;
      if (exchange.session->endpoint().broker().visit_topic(topic.name, ignore).code != ErrorCode::not_found) continue;
      exchange.state = request;  // making a topic blocks
      return exchange.run_in_background(create_and_answer);
    }
  }
  return answer(exchange, *request, false);
}

}  // namespace streambus::protocol_kafka
