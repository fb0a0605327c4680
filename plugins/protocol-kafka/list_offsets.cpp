#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"

namespace streambus::protocol_kafka {
namespace {

using Request = wire::ListOffsetsRequest;
using Response = wire::ListOffsetsResponse;

/// Times from which on they are asked for (KIP-734); below -3 lie those of tiered storage, which does not exist here.
bool is_known(TimestampMs timestamp, std::int16_t version) noexcept {
  return timestamp >= OffsetCall::kEarliest || (timestamp == OffsetCall::kMaxTimestamp && version >= 7);
}

Handled find_offsets(Exchange& exchange) noexcept {
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
      Response::Partition& answer = answers[p];
      answer.partition_index = question.partition_index;
      if (!is_known(question.timestamp, exchange.header.api_version)) {
        answer.error_code = code_of(wire::WireError::unsupported_version);
        continue;
      }
      OffsetCall call;
      call.topic = asked.name;
      call.partition = question.partition_index;
      call.timestamp = question.timestamp;
      call.current_epoch = question.current_leader_epoch;
      exchange.session->endpoint().broker().find_offset(call);
      answer.error_code = code_of(call.error);
      if (call.error != ErrorCode::ok) continue;
      answer.timestamp = call.found_timestamp;
      answer.offset = call.offset.value;
      answer.leader_epoch = call.leader_epoch;
    }
    response->topics[t] = {asked.name, answers};
  }
  return exchange.answer(*response);
}

}  // namespace

Handled handle_list_offsets(Exchange& exchange) noexcept {
  auto* const request = exchange.make<Request>();
  if (request == nullptr) return Handled::out_of_memory;
  if (!exchange.decode(*request)) return Handled::malformed;
  exchange.state = request;
  bool blocks = false;  // the ends are at hand, other times may need the disk
  for (const Request::Topic& topic : request->topics) {
    for (const Request::Partition& partition : topic.partitions) {
      blocks |= partition.timestamp != OffsetCall::kLatest && partition.timestamp != OffsetCall::kEarliest;
    }
  }
  return blocks ? exchange.run_in_background(find_offsets) : find_offsets(exchange);
}

}  // namespace streambus::protocol_kafka
