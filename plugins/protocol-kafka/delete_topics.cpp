#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"

namespace streambus::protocol_kafka {
namespace {

Handled delete_topics(Exchange& exchange) noexcept {
  using Response = wire::DeleteTopicsResponse;
  const auto& request = *static_cast<const wire::DeleteTopicsRequest*>(exchange.state);
  auto* const response = exchange.make<Response>();
  if (response == nullptr) return Handled::out_of_memory;
  response->responses = exchange.arena.array<Response::Topic>(request.topic_names.size());
  if (response->responses.size() != request.topic_names.size()) return Handled::out_of_memory;
  for (std::size_t i = 0; i < request.topic_names.size(); ++i) {
    const Status status = exchange.session->endpoint().broker().delete_topic(request.topic_names[i]);
    // A name that cannot exist is as unknown as any other.
    const ErrorCode code = status.code == ErrorCode::invalid_argument ? ErrorCode::not_found : status.code;
    response->responses[i] = {request.topic_names[i], code_of(code), std::nullopt};
    if (!status.ok()) response->responses[i].error_message = exchange.arena.copy(status.message());
  }
  return exchange.answer(*response);
}

}  // namespace

Handled handle_delete_topics(Exchange& exchange) noexcept {
  auto* const request = exchange.make<wire::DeleteTopicsRequest>();
  if (request == nullptr) return Handled::out_of_memory;
  if (!exchange.decode(*request)) return Handled::malformed;
  exchange.state = request;
  return exchange.run_in_background(delete_topics);
}

}  // namespace streambus::protocol_kafka
