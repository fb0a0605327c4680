#include <algorithm>
#include <atomic>

#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"

namespace streambus::protocol_kafka {
namespace {

using Request = wire::ProduceRequest;
using Response = wire::ProduceResponse;
using Answer = Response::Partition;
using wire::WireError;

/// First version whose batches can be of format 2.
constexpr std::int16_t kBatchFormat2From = 3;

struct Progress;

/// One partition of a request.
class Waiter final : public ProduceWaiter {
 public:
  void completed() noexcept override;
  Progress* progress = nullptr;
  Answer* answer = nullptr;
  bool pending = false;
  std::atomic<bool> finished{false};  ///< the outcome may be read
};

/// One request. Lives in the exchange's arena until the last waiter is through.
struct Progress {
  Exchange* exchange = nullptr;
  Response* response = nullptr;
  std::span<Waiter> waiters;
  std::atomic<std::int32_t> outstanding{1};  ///< waiters, and one for the handler

  /// True for the last one.
  [[nodiscard]] bool one_done() noexcept { return outstanding.fetch_sub(1, std::memory_order_acq_rel) == 1; }
};

void Waiter::completed() noexcept {
  Progress& all = *progress;
  finished.store(true, std::memory_order_release);
  if (all.one_done()) all.exchange->wake();
}

void refuse(Answer& answer, WireError error, std::string_view text) noexcept {
  answer.error_code = code_of(error);
  answer.base_offset = -1;
  answer.error_message = text;
}

/// The waiter's outcome becomes the answer.
void tell(const Waiter& waiter) noexcept {
  Answer& answer = *waiter.answer;
  answer.error_code = code_of(waiter.error);
  answer.base_offset = waiter.error == ErrorCode::ok ? waiter.base_offset.value : -1;
  answer.log_append_time_ms = waiter.log_append_time;
  answer.log_start_offset = waiter.log_start.value;
  if (waiter.error != ErrorCode::ok) answer.error_message = waiter.error_text;
}

/// Why no partition of the request can be served; none where it can.
WireError whole_request_error(const Exchange& exchange, const Request& request, std::string_view* text) noexcept {
  if (exchange.header.api_version < kBatchFormat2From) {
    *text = "expected Produce version 3 or later: message formats 0 and 1 are not supported";
    return WireError::unsupported_for_message_format;
  }
  if (request.acks < -1 || request.acks > 1) {
    *text = "expected acks 0, 1 or -1 (all)";
    return WireError::invalid_required_acks;
  }
  if (request.transactional_id) {
    *text = "this broker does not support transactions";
    return WireError::invalid_request;
  }
  return WireError::none;
}

/// Makes the answers in the order of the request. False: out of memory.
bool lay_out(Exchange& exchange, const Request& request, Response& response, std::size_t* batches) noexcept {
  response.responses = exchange.arena.array<Response::Topic>(request.topic_data.size());
  if (response.responses.size() != request.topic_data.size()) return false;
  for (std::size_t t = 0; t < request.topic_data.size(); ++t) {
    const Request::Topic& topic = request.topic_data[t];
    Response::Topic& answers = response.responses[t];
    answers.name = topic.name;
    answers.partition_responses = exchange.arena.array<Answer>(topic.partition_data.size());
    if (answers.partition_responses.size() != topic.partition_data.size()) return false;
    for (std::size_t p = 0; p < topic.partition_data.size(); ++p) {
      answers.partition_responses[p].index = topic.partition_data[p].index;
      *batches += topic.partition_data[p].records.empty() ? 0 : 1;
    }
  }
  return true;
}

/// Hands every partition's batches to the broker. True where a partition failed at once.
bool append_all(Broker& broker, const Request& request, Progress& progress) noexcept {
  bool failed = false;
  std::size_t next = 0;
  for (std::size_t t = 0; t < request.topic_data.size(); ++t) {
    const Request::Topic& topic = request.topic_data[t];
    for (std::size_t p = 0; p < topic.partition_data.size(); ++p) {
      Answer& answer = progress.response->responses[t].partition_responses[p];
      const MutableBytes records = topic.partition_data[p].records;
      if (records.empty()) {
        refuse(answer, WireError::invalid_record, "expected a record batch, found none");
        failed = true;
        continue;
      }
      Waiter& waiter = progress.waiters[next++];
      waiter.progress = &progress;
      waiter.answer = &answer;
      waiter.pending = true;
      progress.outstanding.fetch_add(1, std::memory_order_relaxed);
      if (broker.produce({topic.name, topic.partition_data[p].index, records}, waiter) == ProduceOutcome::pending) continue;
      waiter.pending = false;
      progress.outstanding.fetch_sub(1, std::memory_order_relaxed);  // the handler's own is still there
      tell(waiter);
      failed |= waiter.error != ErrorCode::ok;
    }
  }
  return failed;
}

Handled resume(Exchange& exchange) noexcept {
  const auto& progress = *static_cast<const Progress*>(exchange.state);
  for (const Waiter& waiter : progress.waiters) {
    if (waiter.pending) tell(waiter);
  }
  return exchange.answer(*progress.response);
}

/// The client's patience is over. What was appended stays; whether it becomes durable the client does not learn.
Handled expire(Exchange& exchange, bool draining) noexcept {
  if (draining) return Handled::waiting;
  const auto& progress = *static_cast<const Progress*>(exchange.state);
  for (const Waiter& waiter : progress.waiters) {
    if (!waiter.pending) continue;
    if (waiter.finished.load(std::memory_order_acquire)) {
      tell(waiter);
    } else {
      refuse(*waiter.answer, WireError::request_timed_out, "the batch was appended but was not durable within timeout_ms");
    }
  }
  exchange.kept = true;
  return exchange.answer(*progress.response);
}

bool abandon(Exchange&) noexcept { return true; }

constexpr Waiting kWaiting{resume, expire, abandon};

/// Answers every partition with the same error.
Handled refuse_all(Exchange& exchange, const Request& request, Response& response, WireError error,
                   std::string_view text) noexcept {
  for (const Response::Topic& topic : response.responses) {
    for (Answer& answer : topic.partition_responses) refuse(answer, error, text);
  }
  if (request.acks != 0) return exchange.answer(response);
  exchange.session->close_after_answers();
  return Handled::silent;
}

/// Some partitions are not durable yet.
Handled wait(Exchange& exchange, const Request& request, Progress& progress) noexcept {
  // The batches were read: only the names are needed of the frame, which can take the next request then.
  for (Response::Topic& topic : progress.response->responses) {
    const std::size_t length = topic.name.size();
    topic.name = exchange.arena.copy(topic.name);
    if (topic.name.size() != length) topic.name = {};  // a nameless answer: there was no memory for a few bytes
  }
  exchange.frame_needed = false;
  exchange.waiting = &kWaiting;
  const std::int64_t now_ns = exchange.session->endpoint().host().monotonic_ns();
  exchange.deadline_ns = now_ns + std::int64_t{std::max(request.timeout_ms, 0)} * 1'000'000;
  return Handled::waiting;
}

}  // namespace

Handled handle_produce(Exchange& exchange) noexcept {
  Request request;
  if (!exchange.decode(request)) return Handled::malformed;
  auto* const progress = exchange.make<Progress>();
  auto* const response = exchange.make<Response>();
  std::size_t batches = 0;
  if (progress == nullptr || response == nullptr || !lay_out(exchange, request, *response, &batches))
    return Handled::out_of_memory;

  std::string_view text;
  if (const WireError error = whole_request_error(exchange, request, &text); error != WireError::none) {
    return refuse_all(exchange, request, *response, error, text);
  }
  progress->exchange = &exchange;
  progress->response = response;
  progress->waiters = exchange.arena.array<Waiter>(batches);
  if (progress->waiters.size() != batches) return Handled::out_of_memory;
  exchange.state = progress;

  KafkaSession& session = *exchange.session;
  const bool failed = append_all(session.endpoint().broker(), request, *progress);
  if (request.acks == 0) {
    // As Kafka does: the only sign that a producer without answers can get, which makes it look for the partition anew.
    if (failed) session.close_after_answers();
    if (progress->one_done()) return Handled::silent;
    exchange.frame_needed = false;
    exchange.kept = true;
    return Handled::silent;
  }
  if (progress->outstanding.load(std::memory_order_acquire) == 1) return resume(exchange);
  const Handled handled = wait(exchange, request, *progress);
  // From here on the last waiter may wake the exchange; its answer is made on this thread all the same.
  if (progress->one_done()) return resume(exchange);
  return handled;
}

}  // namespace streambus::protocol_kafka
