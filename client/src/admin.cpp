#include "streambus/client/admin.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <future>

#include "context_state.hpp"
#include "wire_errors.hpp"

namespace streambus::client {
namespace {

constexpr std::int8_t kTopicResource = 2;
constexpr std::int32_t kAdminTimeoutMs = 30'000;

using SendRequest = std::function<Result<>(Channel&, Completion)>;

/// Sends from the loop, waits here. An empty target: any broker.
Result<ResponseFrame> call(ClientContext& context, SendRequest send, const std::string& target = {}) {
  auto promise = std::make_shared<std::promise<Result<ResponseFrame>>>();
  auto future = promise->get_future();
  Cluster& cluster = *context.state().cluster;
  const bool ran = context.state().loop->run([&] {
    Completion done = [promise](Result<ResponseFrame> outcome) { promise->set_value(std::move(outcome)); };
    if (target.empty()) {
      cluster.call_any(send, std::move(done));
    } else {
      cluster.call(target, send, std::move(done));
    }
  });
  if (!ran) return fail(ErrorCode::closed, "the client is closed");
  return future.get();
}

Result<ClusterView> fetch_metadata(ClientContext& context, std::vector<std::string> topics) {
  auto promise = std::make_shared<std::promise<Result<ClusterView>>>();
  auto future = promise->get_future();
  const bool ran = context.state().loop->run([&] {
    context.state().cluster->fetch_metadata(std::move(topics), false,
                                            [promise](Result<ClusterView> view) { promise->set_value(std::move(view)); });
  });
  if (!ran) return fail(ErrorCode::closed, "the client is closed");
  return future.get();
}

TopicDescription describe(const TopicInfo& topic) {
  TopicDescription result{.name = topic.name, .internal = topic.internal, .partitions = {}};
  for (std::size_t i = 0; i < topic.partitions.size(); ++i) {
    const PartitionInfo& partition = topic.partitions[i];
    PartitionDescription description{.partition = static_cast<PartitionId>(i),
                                     .leader = partition.leader,
                                     .leader_epoch = partition.leader_epoch,
                                     .replicas = partition.replicas,
                                     .in_sync = partition.in_sync,
                                     .error = {}};
    if (partition.error != 0) description.error = wire_error(partition.error, fmt::format("{}[{}]", topic.name, i));
    result.partitions.push_back(std::move(description));
  }
  return result;
}

std::string source_name(std::int8_t source) {
  switch (source) {
    case 1:
      return "topic";
    case 4:
      return "broker file";
    case 5:
      return "default";
    default:
      return fmt::format("source {}", source);
  }
}

std::int64_t wanted_time(const StartAt& at) {
  if (at.kind == StartAt::Kind::beginning) return -2;
  return at.kind == StartAt::Kind::end ? -1 : at.value;
}

/// Asks one leader for offsets of partitions of which none appears twice: brokers refuse that in one request.
Result<> ask_offsets(ClientContext& context, const std::string& target, const std::vector<OffsetQuery>& queries,
                     std::vector<std::size_t> indexes, std::vector<OffsetAnswer>& answers) {
  std::ranges::stable_sort(indexes, std::less{}, [&](std::size_t index) -> const std::string& { return queries[index].topic; });
  const auto send = [&](Channel& channel, Completion done) {
    std::vector<wire::ListOffsetsRequest::Partition> partitions(indexes.size());
    std::vector<wire::ListOffsetsRequest::Topic> topics;
    for (std::size_t i = 0; i < indexes.size(); ++i) {
      const OffsetQuery& query = queries[indexes[i]];
      partitions[i].partition_index = query.partition;
      partitions[i].timestamp = wanted_time(query.at);
      if (topics.empty() || topics.back().name != query.topic)
        topics.push_back({query.topic, std::span(partitions).subspan(i, 0)});
      topics.back().partitions = {topics.back().partitions.data(), topics.back().partitions.size() + 1};
    }
    wire::ListOffsetsRequest request;
    request.topics = topics;
    return channel.request(request, std::move(done));
  };
  STREAMBUS_TRY_ASSIGN(const ResponseFrame frame, call(context, send, target));
  wire::Arena arena;
  wire::ListOffsetsResponse response;
  STREAMBUS_TRY(decode_response(frame, arena, response));
  for (const auto& topic : response.topics) {
    for (const auto& partition : topic.partitions) {
      const auto found = std::ranges::find_if(indexes, [&](std::size_t index) {
        return queries[index].partition == partition.partition_index && queries[index].topic == topic.name;
      });
      if (found == indexes.end()) continue;
      OffsetAnswer& answer = answers[*found];
      answer.timestamp_ms = partition.timestamp;
      answer.offset = Offset{partition.offset};
      if (partition.error_code != 0) {
        answer.offset =
            std::unexpected(wire_error(partition.error_code, fmt::format("{}[{}]", topic.name, partition.partition_index)));
      }
    }
  }
  return {};
}

}  // namespace

Result<ClusterDescription> Admin::describe_cluster() {
  STREAMBUS_TRY_ASSIGN(const ClusterView view, fetch_metadata(*context_, {}));
  ClusterDescription result{.cluster_id = view.cluster_id, .brokers = {}, .topics = {}};
  for (const BrokerInfo& broker : view.brokers) result.brokers.push_back({broker.node_id, broker.target});
  for (const TopicInfo& topic : view.topics) result.topics.push_back(describe(topic));
  std::ranges::sort(result.topics, std::less{}, &TopicDescription::name);
  return result;
}

Result<TopicDescription> Admin::describe_topic(std::string_view name) {
  STREAMBUS_TRY_ASSIGN(const ClusterView view, fetch_metadata(*context_, {std::string(name)}));
  if (view.topics.empty()) return fail(ErrorCode::internal, fmt::format("topic '{}': the broker did not answer for it", name));
  if (view.topics.front().error != 0)
    return std::unexpected(wire_error(view.topics.front().error, fmt::format("topic '{}'", name)));
  return describe(view.topics.front());
}

Result<std::vector<TopicSetting>> Admin::describe_settings(std::string_view topic) {
  const auto send = [name = std::string(topic)](Channel& channel, Completion done) {
    wire::DescribeConfigsRequest::Resource resource;
    resource.resource_type = kTopicResource;
    resource.resource_name = name;
    wire::DescribeConfigsRequest request;
    request.resources = {&resource, 1};
    request.include_documentation = true;
    return channel.request(request, std::move(done));
  };
  STREAMBUS_TRY_ASSIGN(const ResponseFrame frame, call(*context_, send));
  wire::Arena arena;
  wire::DescribeConfigsResponse response;
  STREAMBUS_TRY(decode_response(frame, arena, response));
  if (response.results.empty())
    return fail(ErrorCode::internal, fmt::format("topic '{}': the broker did not answer for it", topic));
  const auto& answer = response.results.front();
  if (answer.error_code != 0)
    return std::unexpected(wire_error(answer.error_code, fmt::format("topic '{}'", topic), answer.error_message));
  std::vector<TopicSetting> settings;
  for (const auto& config : answer.configs) {
    TopicSetting setting;
    setting.name = config.name;
    if (config.value) setting.value = std::string(*config.value);
    setting.source = source_name(config.config_source);
    setting.read_only = config.read_only;
    setting.sensitive = config.is_sensitive;
    setting.documentation = config.documentation.value_or("");
    settings.push_back(std::move(setting));
  }
  return settings;
}

Result<> Admin::create_topic(const NewTopic& topic) {
  const auto send = [&topic](Channel& channel, Completion done) {
    std::vector<wire::CreateTopicsRequest::Config> configs;
    for (const auto& [name, value] : topic.settings) configs.push_back({name, value});
    wire::CreateTopicsRequest::Topic wanted;
    wanted.name = topic.name;
    // -1 needs version 4 of the request; every broker that speaks less has 1 as its own default.
    const auto version = channel.version_for<wire::CreateTopicsRequest>();
    const bool defaults = version && *version >= 4;
    wanted.num_partitions = topic.partitions < 0 && !defaults ? 1 : topic.partitions;
    wanted.replication_factor = topic.replicas < 0 && !defaults ? std::int16_t{1} : topic.replicas;
    wanted.configs = configs;
    wire::CreateTopicsRequest request;
    request.topics = {&wanted, 1};
    request.timeout_ms = kAdminTimeoutMs;
    request.validate_only = topic.validate_only;
    return channel.request(request, std::move(done));
  };
  STREAMBUS_TRY_ASSIGN(const ResponseFrame frame, call(*context_, send));
  wire::Arena arena;
  wire::CreateTopicsResponse response;
  STREAMBUS_TRY(decode_response(frame, arena, response));
  for (const auto& answer : response.topics) {
    if (answer.error_code != 0)
      return std::unexpected(wire_error(answer.error_code, fmt::format("topic '{}'", topic.name), answer.error_message));
  }
  return {};
}

Result<> Admin::delete_topic(std::string_view name) {
  const auto send = [name = std::string(name)](Channel& channel, Completion done) {
    std::string_view names[1] = {name};
    wire::DeleteTopicsRequest request;
    request.topic_names = names;
    request.timeout_ms = kAdminTimeoutMs;
    return channel.request(request, std::move(done));
  };
  STREAMBUS_TRY_ASSIGN(const ResponseFrame frame, call(*context_, send));
  wire::Arena arena;
  wire::DeleteTopicsResponse response;
  STREAMBUS_TRY(decode_response(frame, arena, response));
  for (const auto& answer : response.responses) {
    if (answer.error_code != 0)
      return std::unexpected(wire_error(answer.error_code, fmt::format("topic '{}'", name), answer.error_message));
  }
  return {};
}

Result<> Admin::alter_topic(std::string_view topic, const SettingChanges& changes) {
  using Request = wire::IncrementalAlterConfigsRequest;
  const auto send = [&changes, name = std::string(topic)](Channel& channel, Completion done) {
    std::vector<Request::Config> configs;
    for (const auto& [setting, value] : changes.set) configs.push_back({setting, 0, value});
    for (const std::string& setting : changes.reset) configs.push_back({setting, 1, std::nullopt});
    for (const auto& [setting, words] : changes.append) configs.push_back({setting, 2, words});
    for (const auto& [setting, words] : changes.subtract) configs.push_back({setting, 3, words});
    Request::Resource resource;
    resource.resource_type = kTopicResource;
    resource.resource_name = name;
    resource.configs = configs;
    Request request;
    request.resources = {&resource, 1};
    request.validate_only = changes.validate_only;
    return channel.request(request, std::move(done));
  };
  STREAMBUS_TRY_ASSIGN(const ResponseFrame frame, call(*context_, send));
  wire::Arena arena;
  wire::IncrementalAlterConfigsResponse response;
  STREAMBUS_TRY(decode_response(frame, arena, response));
  for (const auto& answer : response.responses) {
    if (answer.error_code != 0)
      return std::unexpected(wire_error(answer.error_code, fmt::format("topic '{}'", topic), answer.error_message));
  }
  return {};
}

Result<Offset> Admin::delete_records(std::string_view topic, PartitionId partition, Offset before) {
  using Request = wire::DeleteRecordsRequest;
  const std::string name(topic);
  const std::string what = fmt::format("{}[{}]", name, partition);
  STREAMBUS_TRY(fetch_metadata(*context_, {name}));
  std::string leader;
  context_->state().loop->run([&] {
    const std::string* const target = context_->state().cluster->leader_target(name, partition, nullptr);
    if (target != nullptr) leader = *target;
  });
  if (leader.empty()) return fail(ErrorCode::not_found, what + ": there is no such partition, or it has no leader now");
  const auto send = [&](Channel& channel, Completion done) {
    Request::Partition wanted{partition, before.value};
    Request::Topic row{name, {&wanted, 1}};
    Request request;
    request.topics = {&row, 1};
    request.timeout_ms = kAdminTimeoutMs;
    return channel.request(request, std::move(done));
  };
  STREAMBUS_TRY_ASSIGN(const ResponseFrame frame, call(*context_, send, leader));
  wire::Arena arena;
  wire::DeleteRecordsResponse response;
  STREAMBUS_TRY(decode_response(frame, arena, response));
  for (const auto& row : response.topics) {
    for (const auto& answer : row.partitions) {
      if (answer.partition_index != partition || row.name != name) continue;
      if (answer.error_code != 0) return std::unexpected(wire_error(answer.error_code, what));
      return Offset{answer.low_watermark};
    }
  }
  return fail(ErrorCode::internal, what + ": the broker did not answer for it");
}

Result<std::vector<OffsetAnswer>> Admin::list_offsets(const std::vector<OffsetQuery>& queries) {
  std::vector<OffsetAnswer> answers(queries.size());
  std::vector<std::string> topics;
  for (const OffsetQuery& query : queries) topics.push_back(query.topic);
  std::ranges::sort(topics);
  const auto repeated = std::ranges::unique(topics);
  topics.erase(repeated.begin(), repeated.end());
  if (topics.empty()) return answers;
  STREAMBUS_TRY(fetch_metadata(*context_, topics));

  // By leader, and one round more for each time that a partition is asked for again.
  std::map<std::pair<std::string, std::size_t>, std::vector<std::size_t>> requests;
  context_->state().loop->run([&] {
    std::map<std::pair<std::string, PartitionId>, std::size_t> asked;
    for (std::size_t i = 0; i < queries.size(); ++i) {
      const OffsetQuery& query = queries[i];
      const std::string* const leader = context_->state().cluster->leader_target(query.topic, query.partition, nullptr);
      if (leader != nullptr) {
        requests[{*leader, asked[{query.topic, query.partition}]++}].push_back(i);
      } else {
        answers[i].offset =
            fail(ErrorCode::not_found,
                 fmt::format("{}[{}]: there is no such partition, or it has no leader now", query.topic, query.partition));
      }
    }
  });
  for (const auto& [key, indexes] : requests) STREAMBUS_TRY(ask_offsets(*context_, key.first, queries, indexes, answers));
  return answers;
}

}  // namespace streambus::client
