#include <algorithm>
#include <charconv>
#include <cstdio>

#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"
#include "setting_list.hpp"
#include "topic_name.hpp"

namespace streambus::protocol_kafka {
namespace {

using Request = wire::DescribeConfigsRequest;
using Response = wire::DescribeConfigsResponse;
using Result = Response::Result;
using wire::WireError;

constexpr std::int8_t kTopicResource = 2;
constexpr std::int8_t kBrokerResource = 4;

Handled refuse(Result& result, WireError error, std::string_view text) noexcept {
  result.error_code = code_of(error);
  result.error_message = text;
  return Handled::answered;
}

bool is_asked(const Request::Resource& resource, std::string_view name) noexcept {
  return !resource.configuration_keys ||
         std::ranges::find(*resource.configuration_keys, name) != resource.configuration_keys->end();
}

/// Puts the settings that were asked for into the result.
Handled fill(Exchange& exchange, const Request& request, const Request::Resource& resource, const SettingList& settings,
             Result& result) noexcept {
  const auto asked = [&](const SettingView& setting) { return is_asked(resource, setting.name); };
  const auto count = static_cast<std::size_t>(std::ranges::count_if(settings.all(), asked));
  const std::span<Response::Config> configs = exchange.arena.array<Response::Config>(count);
  if (configs.size() != count || !settings.complete()) return Handled::out_of_memory;
  std::size_t i = 0;
  for (const SettingView& setting : settings.all()) {
    if (!asked(setting)) continue;
    Response::Config& config = configs[i++];
    config.name = setting.name;
    config.value = setting.value;
    config.read_only = setting.read_only;
    config.config_source = config_source(setting.source);
    config.config_type = config_type(setting.type);
    if (request.include_documentation) config.documentation = setting.doc;
    if (request.include_synonyms) {
      config.synonyms = exchange.arena.array<Response::Synonym>(1);
      if (config.synonyms.empty()) return Handled::out_of_memory;
      config.synonyms[0] = {setting.name, setting.value, config_source(setting.source)};
    }
  }
  result.configs = configs;
  return Handled::answered;
}

Handled describe_topic(Exchange& exchange, const Request& request, const Request::Resource& resource, Result& result) noexcept {
  if (!is_topic_name(resource.resource_name)) return refuse(result, WireError::invalid_topic_exception, kTopicNameRule);
  SettingList settings(exchange.arena);
  const Status status = exchange.session->endpoint().broker().visit_settings(resource.resource_name, settings);
  if (!status.ok()) return refuse(result, wire_error(status.code), exchange.arena.copy(status.message()));
  return fill(exchange, request, resource, settings, result);
}

/// The few facts that clients look for; the broker's own configuration is a file, not an API.
Handled describe_broker(Exchange& exchange, const Request& request, const Request::Resource& resource,
                        Result& result) noexcept {
  Endpoint& endpoint = exchange.session->endpoint();
  char node[16];
  const auto end = std::to_chars(node, node + sizeof node, endpoint.broker().identity().node_id).ptr;
  const std::string_view id(node, static_cast<std::size_t>(end - node));
  if (!resource.resource_name.empty() && resource.resource_name != id) {
    return refuse(result, WireError::invalid_request, "expected the id of this broker: there is no other");
  }
  char address[300];
  const std::string_view host = endpoint.advertised_host();
  std::snprintf(address, sizeof address, "PLAINTEXT://%.*s:%u", static_cast<int>(host.size()), host.data(),
                endpoint.advertised_port());
  const auto fact = [](std::string_view name, std::string_view value, SettingType type, std::string_view doc) {
    return SettingView{name, value, doc, type, SettingSource::broker_file, true};
  };
  SettingList settings(exchange.arena);
  settings.setting(fact("broker.id", id, SettingType::int32, "Id of this node"));
  settings.setting(
      fact("advertised.listeners", address, SettingType::text, "What clients of this listener are told to connect to"));
  settings.setting(fact("auto.create.topics.enable", endpoint.broker().auto_create_topics() ? "true" : "false",
                        SettingType::boolean, "Whether naming an unknown topic creates it"));
  return fill(exchange, request, resource, settings, result);
}

}  // namespace

Handled handle_describe_configs(Exchange& exchange) noexcept {
  Request request;
  if (!exchange.decode(request)) return Handled::malformed;
  auto* const response = exchange.make<Response>();
  if (response == nullptr) return Handled::out_of_memory;
  response->results = exchange.arena.array<Result>(request.resources.size());
  if (response->results.size() != request.resources.size()) return Handled::out_of_memory;
  for (std::size_t i = 0; i < request.resources.size(); ++i) {
    const Request::Resource& resource = request.resources[i];
    Result& result = response->results[i];
    result.resource_type = resource.resource_type;
    result.resource_name = resource.resource_name;
    Handled handled = Handled::answered;
    switch (resource.resource_type) {
      case kTopicResource:
        handled = describe_topic(exchange, request, resource, result);
        break;
      case kBrokerResource:
        handled = describe_broker(exchange, request, resource, result);
        break;
      default:
        handled = refuse(result, WireError::invalid_request, "expected resource type 2 (topic) or 4 (broker)");
    }
    if (handled != Handled::answered) return handled;
  }
  return exchange.answer(*response);
}

}  // namespace streambus::protocol_kafka
