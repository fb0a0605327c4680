#include "api_table.hpp"
#include "errors.hpp"

namespace streambus::protocol_kafka {

// The body of the request is not looked at: whatever a client says of itself, it gets the ranges.
Handled handle_api_versions(Exchange& exchange) noexcept {
  using Response = wire::ApiVersionsResponse;
  auto* const response = exchange.make<Response>();
  const std::span<Response::ApiRange> ranges = exchange.arena.array<Response::ApiRange>(wire::kApis.size());
  if (response == nullptr || ranges.empty()) return Handled::out_of_memory;
  std::size_t count = 0;
  for (const wire::ApiInfo& api : wire::kApis) {
    if (api.served) ranges[count++] = {static_cast<std::int16_t>(api.key), api.min_advertised, api.max};
  }
  response->api_keys = ranges.first(count);
  const std::int16_t version = exchange.header.api_version;
  if (version >= Response::kMinVersion && version <= Response::kMaxVersion) return exchange.answer(*response);
  // To an unknown version: version 0, the error and the list (KIP-511), so that the client can step down.
  response->error_code = code_of(wire::WireError::unsupported_version);
  return exchange.answer(*response, 0);
}

}  // namespace streambus::protocol_kafka
