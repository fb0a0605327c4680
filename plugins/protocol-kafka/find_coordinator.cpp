#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"

namespace streambus::protocol_kafka {
namespace {

constexpr std::int8_t kGroup = 0;

struct Refusal {
  wire::WireError error = wire::WireError::none;
  std::optional<std::string_view> text;
};

/// Groups are coordinated here; transactions nowhere. invalid_request is final: clients give up and show the text, where a
/// retriable code would have them ask for ever.
Refusal refusal_of(std::int8_t key_type) noexcept {
  if (key_type == kGroup) return {};
  return {wire::WireError::invalid_request,
          key_type == 1 ? "this broker does not support transactions" : "expected key_type 0 (group) or 1 (transactional id)"};
}

}  // namespace

Handled handle_find_coordinator(Exchange& exchange) noexcept {
  wire::FindCoordinatorRequest request;
  if (!exchange.decode(request)) return Handled::malformed;
  auto* const response = exchange.make<wire::FindCoordinatorResponse>();
  if (response == nullptr) return Handled::out_of_memory;
  Endpoint& endpoint = exchange.session->endpoint();
  const Refusal refusal = refusal_of(request.key_type);
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
