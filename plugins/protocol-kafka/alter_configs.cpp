// AlterConfigs and IncrementalAlterConfigs: for topics; the broker's own configuration is a file.

#include <algorithm>
#include <vector>

#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"
#include "topic_name.hpp"

namespace streambus::protocol_kafka {
namespace {

using wire::WireError;

constexpr std::int8_t kTopicResource = 2;

/// Kafka's number of an operation on a setting.
bool change_of(std::int8_t operation, SettingChange* change) noexcept {
  constexpr SettingChange kChanges[] = {SettingChange::set, SettingChange::reset, SettingChange::append,
                                        SettingChange::subtract};
  if (operation < 0 || static_cast<std::size_t>(operation) >= std::size(kChanges)) return false;
  *change = kChanges[operation];
  return true;
}

/// What one resource of a request asks for; false where an operation is none.
bool edits_of(std::span<const wire::AlterConfigsRequest::Config> configs, std::vector<SettingEdit>& edits) {
  for (const auto& config : configs) {
    edits.push_back({config.value ? SettingChange::set : SettingChange::reset, {config.name, config.value.value_or("")}});
  }
  return true;
}
bool edits_of(std::span<const wire::IncrementalAlterConfigsRequest::Config> configs, std::vector<SettingEdit>& edits) {
  for (const auto& config : configs) {
    SettingEdit edit{.change = SettingChange::set, .setting = {config.name, config.value.value_or("")}};
    if (!change_of(config.config_operation, &edit.change)) return false;
    if (edit.change == SettingChange::set && !config.value) edit.change = SettingChange::reset;
    edits.push_back(edit);
  }
  return true;
}

struct Problem {
  WireError error = WireError::none;
  std::string_view text;
};

template <class Request>
Problem alter(Exchange& exchange, const Request& request, const typename Request::Resource& resource) {
  constexpr bool kReplacesAll = std::is_same_v<Request, wire::AlterConfigsRequest>;
  const auto same = [&resource](const auto& other) {
    return other.resource_type == resource.resource_type && other.resource_name == resource.resource_name;
  };
  if (std::ranges::count_if(request.resources, same) > 1) {
    return {WireError::invalid_request, "the request names this resource twice"};
  }
  if (resource.resource_type != kTopicResource) {
    return {WireError::invalid_request, "expected resource type 2, a topic: the broker's own settings are in its file"};
  }
  if (!is_topic_name(resource.resource_name)) return {WireError::invalid_topic_exception, kTopicNameRule};
  std::vector<SettingEdit> edits;
  if (!edits_of(resource.configs, edits)) {
    return {WireError::invalid_request, "config operation: expected 0 (set), 1 (delete), 2 (append) or 3 (subtract)"};
  }
  const Status status = exchange.session->endpoint().broker().alter_topic(
      {.topic = resource.resource_name, .edits = edits, .replace_all = kReplacesAll, .validate_only = request.validate_only});
  if (status.ok()) return {};
  const bool setting = status.code == ErrorCode::invalid_argument || status.code == ErrorCode::unsupported;
  return {setting ? WireError::invalid_config : wire_error(status.code), exchange.arena.copy(status.message())};
}

template <class Request, class Response>
Handled alter_all(Exchange& exchange) noexcept {
  const auto& request = *static_cast<const Request*>(exchange.state);
  auto* const response = exchange.make<Response>();
  if (response == nullptr) return Handled::out_of_memory;
  response->responses = exchange.arena.array<typename Response::Resource>(request.resources.size());
  if (response->responses.size() != request.resources.size()) return Handled::out_of_memory;
  try {
    for (std::size_t i = 0; i < request.resources.size(); ++i) {
      const Problem problem = alter(exchange, request, request.resources[i]);
      auto& answer = response->responses[i];
      answer.error_code = code_of(problem.error);
      if (problem.error != WireError::none) answer.error_message = problem.text;
      answer.resource_type = request.resources[i].resource_type;
      answer.resource_name = request.resources[i].resource_name;
    }
  } catch (...) {
    return Handled::out_of_memory;
  }
  return exchange.answer(*response);
}

template <class Request, class Response>
Handled handle(Exchange& exchange) noexcept {
  auto* const request = exchange.make<Request>();
  if (request == nullptr) return Handled::out_of_memory;
  if (!exchange.decode(*request)) return Handled::malformed;
  exchange.state = request;
  return exchange.run_in_background(alter_all<Request, Response>);
}

}  // namespace

Handled handle_alter_configs(Exchange& exchange) noexcept {
  return handle<wire::AlterConfigsRequest, wire::AlterConfigsResponse>(exchange);
}

Handled handle_incremental_alter_configs(Exchange& exchange) noexcept {
  return handle<wire::IncrementalAlterConfigsRequest, wire::IncrementalAlterConfigsResponse>(exchange);
}

}  // namespace streambus::protocol_kafka
