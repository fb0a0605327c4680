#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"

namespace streambus::protocol_kafka {

Handled handle_offset_for_leader_epoch(Exchange& exchange) noexcept {
  using Response = wire::OffsetForLeaderEpochResponse;
  wire::OffsetForLeaderEpochRequest request;
  if (!exchange.decode(request)) return Handled::malformed;
  auto* const response = exchange.make<Response>();
  if (response == nullptr) return Handled::out_of_memory;
  response->topics = exchange.arena.array<Response::Topic>(request.topics.size());
  if (response->topics.size() != request.topics.size()) return Handled::out_of_memory;
  for (std::size_t t = 0; t < request.topics.size(); ++t) {
    const auto& asked = request.topics[t];
    const std::span<Response::Partition> answers = exchange.arena.array<Response::Partition>(asked.partitions.size());
    if (answers.size() != asked.partitions.size()) return Handled::out_of_memory;
    for (std::size_t p = 0; p < answers.size(); ++p) {
      const auto& question = asked.partitions[p];
      LeaderEpoch epoch = -1;
      Offset end = kNoOffset;
      const Status status = exchange.session->endpoint().broker().epoch_end(
          asked.topic, question.partition, question.current_leader_epoch, question.leader_epoch, &epoch, &end);
      answers[p].partition = question.partition;
      answers[p].error_code = code_of(status.code);
      if (status.ok()) {
        answers[p].leader_epoch = epoch;
        answers[p].end_offset = end.value;
      }
    }
    response->topics[t] = {asked.topic, answers};
  }
  return exchange.answer(*response);
}

}  // namespace streambus::protocol_kafka
