#include "session.hpp"

#include <algorithm>
#include <cstdio>
#include <new>

#include "api_table.hpp"
#include "endpoint.hpp"
#include "streambus/base/assert.hpp"

namespace streambus::protocol_kafka {

KafkaSession::KafkaSession(Endpoint& endpoint) noexcept
    : endpoint_(endpoint), reader_(endpoint.host().buffers(), endpoint.settings().frame_bytes_max) {}

KafkaSession::~KafkaSession() {
  while (free_ != nullptr) delete std::exchange(free_, free_->next);
}

// What the transport calls

void KafkaSession::opened(Connection& connection) noexcept {
  connection_ = Ref<Connection>::adopt(&connection);
  endpoint_.connections.add(1);
}

MutableBytes KafkaSession::receive_buffer() noexcept {
  const bool full = !may_start() && reader_.has_frame();
  if (!closing_ && !draining_ && !close_when_empty_ && !full) {
    const MutableBytes space = reader_.space();
    if (!space.empty()) return space;
    buffer_retry_ns_ = endpoint_.host().monotonic_ns() + kBufferRetryNs;
    arm(buffer_retry_ns_);
  }
  reading_paused_ = true;
  return {};
}

void KafkaSession::received(std::size_t bytes) noexcept {
  if (closing_) return;
  reader_.received(bytes);
  pump();
}

void KafkaSession::writable() noexcept { pump(); }

void KafkaSession::deadline() noexcept {
  armed_ns_ = kNever;
  const std::int64_t now_ns = endpoint_.host().monotonic_ns();
  if (buffer_retry_ns_ <= now_ns) buffer_retry_ns_ = kNever;
  expire_due(now_ns, false);
  pump();
}

void KafkaSession::drain() noexcept {
  draining_ = true;
  expire_due(kNever, true);
  pump();
}

void KafkaSession::closed(const Status& reason) noexcept {
  if (!reason.ok() && !closing_ && endpoint_.host().log_enabled(LogLevel::debug)) {
    char line[256];
    std::snprintf(line, sizeof line, "%.*s: connection lost: %s", static_cast<int>(connection_->peer().size()),
                  connection_->peer().data(), reason.text);
    endpoint_.host().log(LogLevel::debug, line);
  }
  closed_ = closing_ = true;
  alone_ = nullptr;
  burst_.reset();
  reader_.clear();
  while (queue_head_ != nullptr) {
    Exchange& exchange = *std::exchange(queue_head_, queue_head_->next);
    exchange.queued = false;
    if (!exchange.ready && exchange.waiting->abandon(exchange)) exchange.kept = true;
    if (!exchange.kept) recycle(exchange);
  }
  queue_tail_ = nullptr;
  endpoint_.connections.add(-1);
  destroy_if_done();
}

// Waking up

void KafkaSession::wake(Exchange& exchange) noexcept {
  Connection* const connection = connection_.get();
  Exchange* head = woken_.load(std::memory_order_relaxed);
  do {
    exchange.next_woken = head;
  } while (!woken_.compare_exchange_weak(head, &exchange, std::memory_order_release, std::memory_order_relaxed));
  // Only the callback posted here takes the stack, so the session outlives the post: it still waits for this exchange.
  // Where another thread posts, the exchange and the session may be gone by now.
  if (head == nullptr) connection->post(&KafkaSession::on_woken, this);
}

void KafkaSession::on_woken(void* context) noexcept {
  auto& session = *static_cast<KafkaSession*>(context);
  session.take_woken();
  if (session.closed_) {
    session.destroy_if_done();
  } else {
    session.pump();
  }
}

void KafkaSession::take_woken() noexcept {
  Exchange* exchange = woken_.exchange(nullptr, std::memory_order_acquire);
  while (exchange != nullptr) {
    Exchange& current = *std::exchange(exchange, exchange->next_woken);
    if (!current.kept) {
      settle_waiting(current, current.waiting->resume(current));
    } else if (current.queued) {
      current.kept = false;  // its answer is ready and waits for its turn
    } else {
      recycle(current);
    }
  }
}

// The loop

bool KafkaSession::may_start() const noexcept {
  if (closing_ || draining_ || close_when_empty_ || alone_ != nullptr) return false;
  const Settings& settings = endpoint_.settings();
  if (in_flight_ >= settings.requests_in_flight_max) return false;
  if (in_flight_ != 0 && bytes_in_flight_ >= settings.request_bytes_in_flight_max) return false;
  const std::uint64_t unsent = burst_ ? burst_->encoder().total_bytes() : 0;
  return connection_->queued_bytes() + unsent <= settings.response_bytes_queued_max;
}

void KafkaSession::pump() noexcept {
  if (closing_) return;
  do {
    send_ready();
    while (may_start() && start_next()) send_ready();
    flush();
  } while (may_start() && reader_.has_frame());
  if (!closing_) finish_pump();
}

void KafkaSession::finish_pump() noexcept {
  if ((draining_ || close_when_empty_) && queue_head_ == nullptr) return close_now();
  reader_.rest();
  if (queue_head_ == nullptr) trim();
  rearm();
  if (reading_paused_ && !draining_ && !close_when_empty_ && buffer_retry_ns_ == kNever &&
      (may_start() || !reader_.has_frame())) {
    reading_paused_ = false;
    connection_->resume_reading();
  }
}

bool KafkaSession::start_next() noexcept {
  MutableBytes frame;
  switch (reader_.next(&frame)) {
    case FrameReader::Outcome::frame:
      break;
    case FrameReader::Outcome::need_more:
      return false;
    case FrameReader::Outcome::bad: {
      char text[200];
      std::snprintf(text, sizeof text, "%s (length field %d, at most %llu)", reader_.problem(), reader_.bad_length(),
                    static_cast<unsigned long long>(endpoint_.settings().frame_bytes_max));
      fail(text);
      return false;
    }
  }
  Exchange* const exchange = take_exchange();
  if (exchange == nullptr) {
    fail("out of memory for a request");
    return false;
  }
  exchange->frame_bytes = frame.size();
  endpoint_.requests.add(1);
  settle_new(*exchange, dispatch(*exchange, frame));
  return !closing_;
}

Handled KafkaSession::dispatch(Exchange& exchange, MutableBytes frame) noexcept {
  ByteReader in(frame);
  const bool whole_header = wire::decode(in, exchange.header);
  exchange.body = {in.position(), in.remaining()};
  const Handler handler = find_handler(exchange.header.api_key, exchange.header.api_version);
  if (handler == nullptr) {
    if (whole_header) refuse(exchange, "is not served");
    return whole_header ? Handled::silent : Handled::malformed;
  }
  // An ApiVersions request of a version to come may have any header: it is answered all the same.
  const bool any_header = handler == handle_api_versions && frame.size() >= 8;
  return whole_header || any_header ? handler(exchange) : Handled::malformed;
}

void KafkaSession::settle_new(Exchange& exchange, Handled handled) noexcept {
  switch (handled) {
    case Handled::answered:
      if (queue_head_ == nullptr) {
        // The usual case: nothing is before it.
        const bool encoded = encode(exchange);
        recycle(exchange);
        if (!encoded) fail("no memory for a response");
        return;
      }
      exchange.ready = true;
      exchange.frame = reader_.share();
      return enqueue(exchange);
    case Handled::silent:
      // Unless somebody still writes into it.
      return exchange.kept ? count(exchange) : recycle(exchange);
    case Handled::waiting_alone:
      alone_ = &exchange;
      [[fallthrough]];
    case Handled::waiting:
      if (exchange.frame_needed) exchange.frame = reader_.share();
      return enqueue(exchange);
    case Handled::malformed:
      refuse(exchange, "does not decode");
      break;
    case Handled::out_of_memory:
      refuse(exchange, "needs more memory than there is");
      break;
  }
  recycle(exchange);
}

void KafkaSession::settle_waiting(Exchange& exchange, Handled handled) noexcept {
  if (handled == Handled::waiting || handled == Handled::waiting_alone) return;
  // After a failure it stays in the queue, unanswered, until closed().
  if (handled != Handled::answered) refuse(exchange, "needs more memory than there is");
  exchange.ready = true;
  if (alone_ == &exchange) alone_ = nullptr;
}

void KafkaSession::enqueue(Exchange& exchange) noexcept {
  (queue_tail_ == nullptr ? queue_head_ : queue_tail_->next) = &exchange;
  queue_tail_ = &exchange;
  exchange.queued = true;
  count(exchange);
}

void KafkaSession::count(Exchange& exchange) noexcept {
  exchange.counted = true;
  ++in_flight_;
  bytes_in_flight_ += exchange.frame_bytes;
}

void KafkaSession::send_ready() noexcept {
  while (queue_head_ != nullptr && queue_head_->ready && !closing_) {
    Exchange& exchange = *queue_head_;
    const bool encoded = encode(exchange);
    queue_head_ = exchange.next;
    if (queue_head_ == nullptr) queue_tail_ = nullptr;
    exchange.next = nullptr;
    exchange.queued = false;
    if (!exchange.kept) recycle(exchange);
    if (!encoded) fail("no memory for a response");
  }
}

bool KafkaSession::encode(Exchange& exchange) noexcept {
  if (!burst_) burst_ = endpoint_.bursts().take();
  if (burst_ && exchange.encode_into(*burst_)) return true;
  burst_.reset();
  return false;
}

void KafkaSession::flush() noexcept {
  if (!burst_) return;
  const Ref<Burst> burst = std::move(burst_);
  const std::span<const Slice> slices = burst->encoder().slices();
  if (slices.empty()) {
    if (!closing_) fail("no memory for a response");
    return;
  }
  connection_->write(slices, burst.get());
}

// Deadlines

void KafkaSession::expire_due(std::int64_t now_ns, bool draining) noexcept {
  for (Exchange* exchange = queue_head_; exchange != nullptr; exchange = exchange->next) {
    if (!exchange->ready && (draining || exchange->deadline_ns <= now_ns)) {
      exchange->deadline_ns = draining ? exchange->deadline_ns : kNever;
      settle_waiting(*exchange, exchange->waiting->expire(*exchange, draining));
    }
  }
}

void KafkaSession::rearm() noexcept {
  std::int64_t nearest_ns = buffer_retry_ns_;
  for (const Exchange* exchange = queue_head_; exchange != nullptr; exchange = exchange->next) {
    if (!exchange->ready) nearest_ns = std::min(nearest_ns, exchange->deadline_ns);
  }
  arm(nearest_ns);
}

void KafkaSession::arm(std::int64_t at_ns) noexcept {
  // An earlier alarm is left alone and re-armed when it comes: most waits end long before their deadline.
  if (at_ns >= armed_ns_) return;
  armed_ns_ = at_ns;
  connection_->set_deadline(at_ns);
}

// Exchanges

Exchange* KafkaSession::take_exchange() noexcept {
  if (free_ == nullptr) return new (std::nothrow) Exchange(*this);
  --free_count_;
  Exchange* const exchange = std::exchange(free_, free_->next);
  exchange->next = nullptr;
  return exchange;
}

void KafkaSession::recycle(Exchange& exchange) noexcept {
  if (exchange.counted) {
    --in_flight_;
    bytes_in_flight_ -= exchange.frame_bytes;
  }
  exchange.reset();
  if (free_count_ == kFreeMax) {
    delete &exchange;
    return;
  }
  exchange.next = std::exchange(free_, &exchange);
  ++free_count_;
}

void KafkaSession::trim() noexcept {
  std::size_t held_bytes = 0;
  for (Exchange* exchange = free_; exchange != nullptr; exchange = exchange->next) {
    held_bytes += exchange->arena.held_bytes();
    if (held_bytes > kIdleArenaBytesMax) {
      held_bytes -= exchange->arena.held_bytes();
      exchange->arena.trim();
    }
  }
}

// The end

void KafkaSession::refuse(const Exchange& exchange, const char* what) noexcept {
  const wire::ApiInfo* const api = wire::find_api(exchange.header.api_key);
  char text[200];
  if (api == nullptr) {
    std::snprintf(text, sizeof text, "API key %d, version %d %s", exchange.header.api_key, exchange.header.api_version, what);
  } else {
    std::snprintf(text, sizeof text, "%.*s request, version %d %s (served are versions %d to %d)",
                  static_cast<int>(api->name.size()), api->name.data(), exchange.header.api_version, what,
                  api->served ? api->min_served : -1, api->served ? api->max : -1);
  }
  fail(text);
}

void KafkaSession::fail(const char* what) noexcept {
  if (closing_) return;
  endpoint_.bad_requests.add(1);
  char text[300];
  std::snprintf(text, sizeof text, "closing the connection: %s", what);
  endpoint_.complain(connection_->peer(), text);
  close_now();
}

void KafkaSession::close_now() noexcept {
  flush();
  if (closing_) return;  // the flush failed and came here
  closing_ = true;
  connection_->close(true);
}

void KafkaSession::destroy_if_done() noexcept {
  if (in_flight_ == 0) delete this;
}

}  // namespace streambus::protocol_kafka
