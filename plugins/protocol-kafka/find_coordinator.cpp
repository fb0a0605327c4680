#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"

namespace streambus::protocol_kafka {
namespace {

constexpr std::int8_t kGroup = 0;
constexpr std::int8_t kTransaction = 1;

struct Refusal {
  wire::WireError error = wire::WireError::none;
  std::optional<std::string_view> text;
};

/// This node is named for groups, transactions are coordinated nowhere. Clients that look at ApiVersions find no JoinGroup then
/// and say so. Those that do not look (kafka-python 2) ask in version 0, and would go on joining for ever.
/// The errors are final: clients give up and show the text, where a retriable code would have them ask again.
Refusal refusal_of(std::int8_t key_type, std::int16_t version) noexcept {
  switch (key_type) {
    case kGroup:
      if (version > 0) return {};
      return {wire::WireError::invalid_request, std::nullopt};
    case kTransaction:
      // librdkafka, which asks in versions up to 2, takes only an authorization error for final; Java, from 4 on here, shows
      // the text only of an error that it does not expect.
      return {version < 3 ? wire::WireError::transactional_id_authorization_failed : wire::WireError::invalid_request,
              "this broker does not support transactions"};
    default:
      return {wire::WireError::invalid_request, "expected key_type 0 (group) or 1 (transactional id)"};
  }
}

}  // namespace

Handled handle_find_coordinator(Exchange& exchange) noexcept {
  wire::FindCoordinatorRequest request;
  if (!exchange.decode(request)) return Handled::malformed;
  auto* const response = exchange.make<wire::FindCoordinatorResponse>();
  if (response == nullptr) return Handled::out_of_memory;
  Endpoint& endpoint = exchange.session->endpoint();
  const Refusal refusal = refusal_of(request.key_type, exchange.header.api_version);
  const bool refused = refusal.error != wire::WireError::none;
  const std::int32_t node = refused ? -1 : endpoint.broker().identity().node_id;
  const std::string_view host = refused ? std::string_view() : std::string_view(endpoint.advertised_host());
  const std::int32_t port = refused ? -1 : endpoint.advertised_port();

  response->error_code = code_of(refusal.error);
  response->error_message = refusal.text;
  response->node_id = node;
  response->host = host;
  response->port = port;
  response->coordinators = exchange.arena.array<wire::FindCoordinatorResponse::Coordinator>(request.coordinator_keys.size());
  if (response->coordinators.size() != request.coordinator_keys.size()) return Handled::out_of_memory;
  for (std::size_t i = 0; i < request.coordinator_keys.size(); ++i) {
    response->coordinators[i] = {request.coordinator_keys[i], node, host, port, code_of(refusal.error), refusal.text};
  }
  return exchange.answer(*response);
}

}  // namespace streambus::protocol_kafka
