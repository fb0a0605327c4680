#include <algorithm>
#include <vector>

#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"
#include "setting_list.hpp"
#include "topic_name.hpp"

namespace streambus::protocol_kafka {
namespace {

using Request = wire::CreateTopicsRequest;
using Response = wire::CreateTopicsResponse;
using wire::WireError;

/// Counts partitions of one topic.
class PartitionCount final : public TopicVisitor {
 public:
  void topic(const TopicView& topic, std::span<const PartitionView>) noexcept override { count = topic.partition_count; }
  PartitionId count = -1;
};

struct Problem {
  WireError error = WireError::none;
  std::string_view text;
};

/// A manual assignment must name partitions 0 to n-1, each on this node alone.
bool is_local_assignment(std::span<const Request::Assignment> assignments, std::int32_t node) {
  std::vector<bool> seen(assignments.size());
  for (const Request::Assignment& assignment : assignments) {
    const auto index = static_cast<std::size_t>(assignment.partition_index);  // a negative one becomes huge
    if (index >= seen.size() || seen[index]) return false;
    if (assignment.broker_ids.size() != 1 || assignment.broker_ids[0] != node) return false;
    seen[index] = true;
  }
  return true;
}

/// `names`: of all topics in the request, sorted.
Problem check(std::span<const std::string_view> names, const Request::Topic& topic, std::int32_t node) {
  if (std::ranges::equal_range(names, topic.name).size() > 1)
    return {WireError::invalid_request, "the request names this topic twice"};
  if (!is_topic_name(topic.name)) return {WireError::invalid_topic_exception, kTopicNameRule};
  if (!topic.assignments.empty()) {
    if (topic.num_partitions != -1 || topic.replication_factor != -1) {
      return {WireError::invalid_request, "with a manual assignment, expected num_partitions and replication_factor -1"};
    }
    if (is_local_assignment(topic.assignments, node)) return {};
    return {WireError::invalid_replica_assignment,
            "expected partitions 0 to n-1, each on this broker alone: there is no other"};
  }
  if (topic.num_partitions == 0 || topic.num_partitions < -1) {
    return {WireError::invalid_partitions, "expected a positive number of partitions, or -1 for the broker's default"};
  }
  if (topic.replication_factor != 1 && topic.replication_factor != -1) {
    return {WireError::invalid_replication_factor, "expected replication factor 1 (or -1): this broker is a single node"};
  }
  return {};
}

WireError error_of(ErrorCode code) noexcept {
  // Name and partitions were checked above: what is left to be wrong are the settings.
  const bool setting = code == ErrorCode::invalid_argument || code == ErrorCode::unsupported;
  return setting ? WireError::invalid_config : wire_error(code);
}

/// What was made, as versions from 5 on tell it (KIP-525): all of it or nothing. Java takes a number of partitions with null
/// for the settings for a reason to end in a null pointer.
void describe(Exchange& exchange, Response::Topic& answer) noexcept {
  Broker& broker = exchange.session->endpoint().broker();
  PartitionCount partitions;
  SettingList settings(exchange.arena);
  if (!broker.visit_topic(answer.name, partitions).ok() || !broker.visit_settings(answer.name, settings).ok()) return;
  answer.num_partitions = partitions.count;
  answer.replication_factor = 1;
  const auto configs = exchange.arena.array<Response::Config>(settings.all().size());
  for (std::size_t i = 0; i < configs.size(); ++i) {
    const SettingView& setting = settings.all()[i];
    configs[i] = {setting.name, setting.value, setting.read_only, config_source(setting.source), false};
  }
  answer.configs = configs;
}

void create(Exchange& exchange, std::span<const std::string_view> names, const Request::Topic& topic, bool validate_only,
            Response::Topic& answer) {
  Broker& broker = exchange.session->endpoint().broker();
  answer.name = topic.name;
  const Problem problem = check(names, topic, broker.identity().node_id);
  if (problem.error != WireError::none) {
    answer.error_code = code_of(problem.error);
    answer.error_message = problem.text;
    return;
  }
  std::vector<Setting> settings;
  for (const Request::Config& config : topic.configs) {
    if (config.value) settings.push_back({config.name, *config.value});  // null: the default
  }
  const auto assigned = static_cast<PartitionId>(topic.assignments.size());
  const Status status =
      broker.create_topic({topic.name, assigned != 0 ? assigned : topic.num_partitions, settings, validate_only});
  if (!status.ok()) {
    answer.error_code = code_of(error_of(status.code));
    answer.error_message = exchange.arena.copy(status.message());
  } else if (validate_only) {
    // Settings of a topic that is not there cannot be told; where the number of partitions was left open, it cannot either.
    answer.num_partitions = assigned != 0 ? assigned : topic.num_partitions;
    answer.replication_factor = 1;
    answer.configs.emplace();
  } else {
    describe(exchange, answer);
  }
}

Handled create_topics(Exchange& exchange) noexcept {
  const auto& request = *static_cast<const Request*>(exchange.state);
  auto* const response = exchange.make<Response>();
  if (response == nullptr) return Handled::out_of_memory;
  response->topics = exchange.arena.array<Response::Topic>(request.topics.size());
  if (response->topics.size() != request.topics.size()) return Handled::out_of_memory;
  try {
    std::vector<std::string_view> names;
    for (const Request::Topic& topic : request.topics) names.push_back(topic.name);
    std::ranges::sort(names);
    for (std::size_t i = 0; i < request.topics.size(); ++i) {
      create(exchange, names, request.topics[i], request.validate_only, response->topics[i]);
    }
  } catch (...) {
    return Handled::out_of_memory;
  }
  return exchange.answer(*response);
}

}  // namespace

Handled handle_create_topics(Exchange& exchange) noexcept {
  auto* const request = exchange.make<Request>();
  if (request == nullptr) return Handled::out_of_memory;
  if (!exchange.decode(*request)) return Handled::malformed;
  exchange.state = request;
  return exchange.run_in_background(create_topics);
}

}  // namespace streambus::protocol_kafka
