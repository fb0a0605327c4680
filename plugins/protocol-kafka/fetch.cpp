#include <algorithm>
#include <atomic>

#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"

namespace streambus::protocol_kafka {
namespace {

using Request = wire::FetchRequest;
using Response = wire::FetchResponse;
using Answer = Response::Partition;
using wire::WireError;

constexpr std::int32_t kInitialSessionEpoch = 0;
constexpr std::int32_t kFinalSessionEpoch = -1;

/// Reads in a row that find data, but less than was asked for, before the answer goes out all the same: other connections of
/// the thread want their turn.
constexpr int kRoundsMax = 16;

struct Poll;

/// Wakes a poll when a partition has new data.
class Watch final : public FetchWatch {
 public:
  void data_available() noexcept override;
  Poll* poll = nullptr;
};

/// One partition of a request.
struct Part {
  const Request::Topic* topic = nullptr;
  const Request::Partition* question = nullptr;
  Answer* answer = nullptr;
  std::span<Slice> slices;  ///< room for the answer's slices, kept over several reads
  Watch watch;
  Offset beyond;  ///< where new data would begin
};

/// One request. Lives in the exchange's arena.
struct Poll {
  Exchange* exchange = nullptr;
  Response* response = nullptr;
  std::span<Part> parts;
  std::uint64_t bytes_max = 0;
  std::uint64_t bytes_min = 0;
  std::int64_t deadline_ns = kNever;
  std::atomic<bool> woken{false};

  // Of the last read.
  std::uint64_t bytes = 0;
  bool cut = false;      ///< more can be read, but a limit was reached
  bool failed = false;   ///< a partition has an error
  bool starved = false;  ///< a partition has data and got none
};

void Watch::data_available() noexcept {
  if (!poll->woken.exchange(true, std::memory_order_acq_rel)) poll->exchange->wake();
}

/// Takes what the broker read into the answer. False: out of memory (the reference is given back).
bool take(Exchange& exchange, Part& part, const FetchCall& call) noexcept {
  const ReadResult& data = call.data;
  if (part.slices.size() < data.slice_count) part.slices = exchange.arena.array<Slice>(data.slice_count);
  if (part.slices.size() < data.slice_count) {
    if (data.pin != nullptr) data.pin->release();
    return false;
  }
  std::copy_n(data.slices, data.slice_count, part.slices.begin());
  part.answer->records = {part.slices.first(data.slice_count), data.bytes};
  if (data.pin != nullptr) exchange.pins[exchange.pin_count++] = data.pin;
  return true;
}

/// Reads one partition with what is left of the request's bytes. False: out of memory.
bool read_part(Exchange& exchange, Poll& poll, Part& part) noexcept {
  const std::uint64_t left = poll.bytes_max - std::min(poll.bytes, poll.bytes_max);
  const auto wanted = static_cast<std::uint64_t>(std::max(part.question->partition_max_bytes, 0));
  FetchCall call;
  call.topic = part.topic->topic;
  call.partition = part.question->partition;
  call.from = {part.question->fetch_offset};
  call.bytes_max = std::min(left, wanted);
  call.at_least_one = poll.bytes == 0;  // else a batch above the limit would never be read (KIP-74)
  call.current_epoch = part.question->current_leader_epoch;
  exchange.session->endpoint().broker().fetch(call);

  Answer& answer = *part.answer;
  answer.error_code = code_of(call.error);
  answer.high_watermark = call.high_watermark.value;
  answer.last_stable_offset = call.last_stable.value;
  answer.log_start_offset = call.log_start.value;
  answer.records = {};
  part.beyond = call.from;
  if (call.error != ErrorCode::ok) {
    poll.failed = true;
    if (call.data.pin != nullptr) call.data.pin->release();
    return true;
  }
  if (!take(exchange, part, call)) return false;
  poll.bytes += call.data.bytes;
  part.beyond = std::max(call.from, call.high_watermark);
  const Offset next = call.data.bytes == 0 ? call.from : call.data.next;
  poll.cut |= next < call.high_watermark;
  poll.starved |= call.data.bytes == 0 && next < call.high_watermark;
  return true;
}

/// Reads all partitions, beginning with the one whose turn it is. False: out of memory.
bool read_all(Poll& poll) noexcept {
  Exchange& exchange = *poll.exchange;
  exchange.release_pins();
  poll.bytes = 0;
  poll.cut = poll.failed = poll.starved = false;
  const std::size_t count = poll.parts.size();
  if (count == 0) return true;
  std::uint32_t& turn = exchange.session->fetch_turn;
  const std::size_t first = turn % count;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t index = (first + i) % count;
    const bool starved_before = poll.starved;
    if (!read_part(exchange, poll, poll.parts[index])) return false;
    // The first partition whose data found no room is the first one next time.
    if (poll.starved && !starved_before) turn = static_cast<std::uint32_t>(index);
  }
  return true;
}

bool is_satisfied(const Poll& poll) noexcept {
  return poll.failed || poll.cut || poll.bytes >= poll.bytes_min || poll.parts.empty();
}

void unwatch_all(Poll& poll) noexcept {
  Broker& broker = poll.exchange->session->endpoint().broker();
  for (Part& part : poll.parts) broker.unwatch(part.watch);
}

Handled answer(Poll& poll) noexcept { return poll.exchange->answer(*poll.response); }

bool is_over(const Poll& poll) noexcept {
  KafkaSession& session = *poll.exchange->session;
  return session.draining() || poll.deadline_ns <= session.endpoint().host().monotonic_ns();
}

extern const Waiting kWaiting;

/// Registers for new data of every partition, or finds that there is some already: then it was not seen, and is read.
Handled wait(Poll& poll) noexcept {
  Exchange& exchange = *poll.exchange;
  Broker& broker = exchange.session->endpoint().broker();
  for (int round = 0; round < kRoundsMax && !is_satisfied(poll) && !is_over(poll); ++round) {
    poll.woken.store(false, std::memory_order_relaxed);
    exchange.waiting = &kWaiting;
    exchange.deadline_ns = poll.deadline_ns;
    bool all = true;
    for (Part& part : poll.parts) {
      part.watch.beyond = part.beyond;
      all = broker.watch(part.topic->topic, part.question->partition, part.watch);
      if (!all) break;
    }
    // What was read so far is not kept over the wait: its memory may be wanted, and more is read in one piece then.
    exchange.release_pins();
    if (all) return Handled::waiting_alone;
    unwatch_all(poll);
    if (poll.woken.load(std::memory_order_acquire)) return Handled::waiting_alone;  // resumed in a moment
    // Data came in between, or the partition is gone: the read tells.
    if (!read_all(poll)) return Handled::out_of_memory;
  }
  return answer(poll);
}

Handled read_and_answer(Poll& poll) noexcept { return read_all(poll) ? answer(poll) : Handled::out_of_memory; }

Handled resume(Exchange& exchange) noexcept {
  auto& poll = *static_cast<Poll*>(exchange.state);
  unwatch_all(poll);
  if (!read_all(poll)) return Handled::out_of_memory;
  return wait(poll);
}

/// After unwatch_all() no watch fires any more: where one did before, wake() was called and resume() follows.
Handled expire(Exchange& exchange, bool) noexcept {
  auto& poll = *static_cast<Poll*>(exchange.state);
  unwatch_all(poll);
  if (poll.woken.load(std::memory_order_acquire)) return Handled::waiting_alone;
  return read_and_answer(poll);
}

bool abandon(Exchange& exchange) noexcept {
  auto& poll = *static_cast<Poll*>(exchange.state);
  unwatch_all(poll);
  return poll.woken.load(std::memory_order_acquire);
}

constexpr Waiting kWaiting{resume, expire, abandon};

/// Makes the answers in the order of the request. False: out of memory.
bool lay_out(Exchange& exchange, const Request& request, Poll& poll) noexcept {
  std::size_t count = 0;
  for (const Request::Topic& topic : request.topics) count += topic.partitions.size();
  poll.parts = exchange.arena.array<Part>(count);
  exchange.pins = exchange.arena.array<Pin*>(count);
  Response& response = *poll.response;
  response.responses = exchange.arena.array<Response::Topic>(request.topics.size());
  if (poll.parts.size() != count || exchange.pins.size() != count || response.responses.size() != request.topics.size())
    return false;
  std::size_t next = 0;
  for (std::size_t t = 0; t < request.topics.size(); ++t) {
    const Request::Topic& topic = request.topics[t];
    const std::span<Answer> answers = exchange.arena.array<Answer>(topic.partitions.size());
    if (answers.size() != topic.partitions.size()) return false;
    response.responses[t] = {topic.topic, answers};
    for (std::size_t p = 0; p < answers.size(); ++p) {
      answers[p].partition_index = topic.partitions[p].partition;
      // Null where all records were asked for, else the (empty) list of aborted transactions.
      if (request.isolation_level != 0) answers[p].aborted_transactions.emplace();
      Part& part = poll.parts[next++];
      part.topic = &topic;
      part.question = &topic.partitions[p];
      part.answer = &answers[p];
      part.watch.poll = &poll;
    }
  }
  return true;
}

}  // namespace

// Fetch sessions (KIP-227) are not kept: every full fetch is answered with session id 0, after which clients send full fetches.
Handled handle_fetch(Exchange& exchange) noexcept {
  auto* const request = exchange.make<Request>();
  auto* const response = exchange.make<Response>();
  auto* const poll = exchange.make<Poll>();
  if (request == nullptr || response == nullptr || poll == nullptr) return Handled::out_of_memory;
  if (!exchange.decode(*request)) return Handled::malformed;
  if (request->session_epoch != kInitialSessionEpoch && request->session_epoch != kFinalSessionEpoch) {
    response->error_code = code_of(WireError::fetch_session_id_not_found);
    return exchange.answer(*response);
  }
  Endpoint& endpoint = exchange.session->endpoint();
  poll->exchange = &exchange;
  poll->response = response;
  poll->bytes_max =
      std::min<std::uint64_t>(static_cast<std::uint64_t>(std::max(request->max_bytes, 0)), endpoint.settings().fetch_bytes_max);
  poll->bytes_min = static_cast<std::uint64_t>(std::max(request->min_bytes, 0));
  exchange.state = poll;
  if (!lay_out(exchange, *request, *poll)) return Handled::out_of_memory;
  if (!read_all(*poll)) return Handled::out_of_memory;
  if (is_satisfied(*poll) || request->max_wait_ms <= 0) return answer(*poll);
  poll->deadline_ns = endpoint.host().monotonic_ns() + std::int64_t{request->max_wait_ms} * 1'000'000;
  return wait(*poll);
}

}  // namespace streambus::protocol_kafka
