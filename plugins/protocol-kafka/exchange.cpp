#include "exchange.hpp"

#include "endpoint.hpp"
#include "session.hpp"

namespace streambus::protocol_kafka {

struct BackgroundWork {
  static void run(void* context) noexcept {
    auto& exchange = *static_cast<Exchange*>(context);
    exchange.work_outcome_ = exchange.work_(exchange);
    exchange.wake();
  }
  static Handled resume(Exchange& exchange) noexcept { return exchange.work_outcome_; }
  static Handled expire(Exchange&, bool) noexcept { return Handled::waiting_alone; }
  static bool abandon(Exchange&) noexcept { return true; }

  static constexpr Waiting kWaiting{resume, expire, abandon};
};

void Exchange::wake() noexcept { session->wake(*this); }

Handled Exchange::run_in_background(Handled (*work)(Exchange&) noexcept) noexcept {
  work_ = work;
  waiting = &BackgroundWork::kWaiting;
  // The worker may be done before this returns: from here on only the session's own fields are touched until it is resumed.
  session->endpoint().host().post(WorkClass::background, &BackgroundWork::run, this);
  return Handled::waiting_alone;
}

bool Exchange::encode_into(Burst& burst) noexcept {
  wire::Encoder& encoder = burst.encoder();
  encode_(response_, response_version_, header.correlation_id, encoder);
  while (pin_count != 0) {
    if (!burst.add_pin(pins[pin_count - 1])) return false;
    --pin_count;
  }
  return encoder.ok();
}

void Exchange::reset() noexcept {
  release_pins();
  pins = {};
  header = {};
  body = {};
  waiting = nullptr;
  state = nullptr;
  deadline_ns = kNever;
  frame_needed = true;
  next = next_woken = nullptr;
  frame.reset();
  frame_bytes = 0;
  queued = counted = ready = kept = false;
  response_ = nullptr;
  encode_ = nullptr;
  arena.reset();
}

}  // namespace streambus::protocol_kafka
