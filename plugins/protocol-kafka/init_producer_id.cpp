#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"

namespace streambus::protocol_kafka {
namespace {

// A client that names its old id and epoch (version 3, KIP-360) gets a new id all the same, as from Kafka: without a
// transactional id nothing ties the two together.
Handled give_id(Exchange& exchange) noexcept {
  auto* const response = exchange.make<wire::InitProducerIdResponse>();
  if (response == nullptr) return Handled::out_of_memory;
  std::int64_t id = -1;
  const Status status = exchange.session->endpoint().broker().new_producer_id(&id);
  response->error_code = code_of(status.code);
  response->producer_id = status.ok() ? id : -1;
  response->producer_epoch = status.ok() ? 0 : -1;
  return exchange.answer(*response);
}

}  // namespace

Handled handle_init_producer_id(Exchange& exchange) noexcept {
  wire::InitProducerIdRequest request;
  if (!exchange.decode(request)) return Handled::malformed;
  if (!request.transactional_id) return exchange.run_in_background(give_id);
  auto* const response = exchange.make<wire::InitProducerIdResponse>();
  if (response == nullptr) return Handled::out_of_memory;
  // Transactions do not exist here; a final error, see find_coordinator.cpp.
  response->error_code = code_of(wire::WireError::invalid_request);
  response->producer_epoch = -1;
  return exchange.answer(*response);
}

}  // namespace streambus::protocol_kafka
