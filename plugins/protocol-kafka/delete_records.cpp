#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"

namespace streambus::protocol_kafka {
namespace {

using Request = wire::DeleteRecordsRequest;
using Response = wire::DeleteRecordsResponse;

/// What Kafka answers for a topic whose policy is only to compact.
std::int16_t error_of(ErrorCode code) noexcept {
  return code == ErrorCode::permission_denied ? code_of(wire::WireError::policy_violation) : code_of(code);
}

Handled delete_records(Exchange& exchange) noexcept {
  const Request& request = *static_cast<const Request*>(exchange.state);
  auto* const response = exchange.make<Response>();
  if (response == nullptr) return Handled::out_of_memory;
  response->topics = exchange.arena.array<Response::Topic>(request.topics.size());
  if (response->topics.size() != request.topics.size()) return Handled::out_of_memory;
  for (std::size_t t = 0; t < request.topics.size(); ++t) {
    const Request::Topic& asked = request.topics[t];
    const std::span<Response::Partition> answers = exchange.arena.array<Response::Partition>(asked.partitions.size());
    if (answers.size() != asked.partitions.size()) return Handled::out_of_memory;
    for (std::size_t p = 0; p < answers.size(); ++p) {
      const Request::Partition& question = asked.partitions[p];
      Offset start = kNoOffset;
      const Status status =
          exchange.session->endpoint().broker().delete_records(asked.name, question.partition_index, {question.offset}, &start);
      answers[p] = {question.partition_index, status.ok() ? start.value : kNoOffset.value, error_of(status.code)};
    }
    response->topics[t] = {asked.name, answers};
  }
  return exchange.answer(*response);
}

}  // namespace

Handled handle_delete_records(Exchange& exchange) noexcept {
  auto* const request = exchange.make<Request>();
  if (request == nullptr) return Handled::out_of_memory;
  if (!exchange.decode(*request)) return Handled::malformed;
  exchange.state = request;
  return exchange.run_in_background(delete_records);
}

}  // namespace streambus::protocol_kafka
