#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "response_burst.hpp"
#include "streambus/base/buffer.hpp"
#include "streambus/base/bytes.hpp"
#include "streambus/wire/frame.hpp"
#include "streambus/wire/messages.hpp"

namespace streambus::protocol_kafka {

class Endpoint;
class Exchange;
class KafkaSession;

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

/// What a handler did with a request.
enum class Handled : std::uint8_t {
  answered,       ///< the answer is in the exchange
  silent,         ///< there will be no answer
  waiting,        ///< in progress; later requests of the connection may be started, their answers wait for this one
  waiting_alone,  ///< in progress; no later request of the connection is started before it is answered
  malformed,      ///< the body does not decode: the connection is closed
  out_of_memory,  ///< the connection is closed
};

/// What happens to an exchange that waits. All calls on the connection's thread.
struct Waiting {
  /// wake() was called.
  Handled (*resume)(Exchange& exchange) noexcept;
  /// The deadline passed, or (`draining`) the connection is about to be closed in an orderly way. `waiting` where it must go
  /// on: wake() will be called then.
  Handled (*expire)(Exchange& exchange, bool draining) noexcept;
  /// The connection is gone. True where wake() will still be called: the exchange is kept until then.
  bool (*abandon)(Exchange& exchange) noexcept;
};

/// One request and its answer. Belongs to a session, which reuses it; on the connection's thread unless said otherwise.
///
/// Views of the decoded request lie in the frame. The session keeps the frame's memory while the exchange waits, unless the
/// handler says that it does not need it any more (frame_needed = false).
class Exchange {
 public:
  explicit Exchange(KafkaSession& owner) noexcept
      : session(&owner), arena({.block_bytes = 2048, .keep_bytes = 64 << 10, .bytes_max = 32 << 20}) {}
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange() { reset(); }

  KafkaSession* const session;
  wire::RequestHeader header;
  Bytes body;         ///< of the request, behind the header
  wire::Arena arena;  ///< for everything that lives as long as the exchange

  /// Decodes the body into the arena's memory. False where it is malformed.
  template <class M>
  [[nodiscard]] bool decode(M& message) noexcept {
    ByteReader in(body);
    return wire::decode(in, header.api_version, arena, message);
  }

  /// A value in the arena. Null: out of memory.
  template <class T, class... Arguments>
  [[nodiscard]] T* make(Arguments&&... arguments) noexcept {
    void* const memory = arena.allocate(sizeof(T), alignof(T));
    return memory == nullptr ? nullptr : new (memory) T(std::forward<Arguments>(arguments)...);
  }

  /// Sets the answer; `response` and what it points to live in the arena, the frame or longer.
  template <class M>
  Handled answer(const M& response, std::int16_t version) noexcept {
    response_ = &response;
    response_version_ = version;
    encode_ = [](const void* message, std::int16_t as, std::int32_t correlation_id, wire::Encoder& out) noexcept {
      wire::encode_response(*static_cast<const M*>(message), as, correlation_id, out);
    };
    return Handled::answered;
  }
  template <class M>
  Handled answer(const M& response) noexcept {
    return answer(response, header.api_version);
  }

  /// References that the answer's external slices need until it was sent; the burst takes them over.
  std::span<Pin*> pins;
  std::size_t pin_count = 0;
  void release_pins() noexcept {
    while (pin_count != 0) pins[--pin_count]->release();
  }

  // While waiting.
  const Waiting* waiting = nullptr;
  void* state = nullptr;  ///< the handler's, in the arena
  std::int64_t deadline_ns = kNever;
  bool frame_needed = true;
  /// wake() is still to come although the answer does not depend on it any more (a produce request that timed out or wants no
  /// answer): the exchange is kept until then.
  bool kept = false;

  /// Any thread, at most once per wait: the session resumes the exchange on the connection's thread.
  void wake() noexcept;

  /// Runs work(exchange) on a background worker of the host, which sets the answer; then the exchange is answered.
  /// While it runs nothing else touches the exchange.
  Handled run_in_background(Handled (*work)(Exchange&) noexcept) noexcept;

  // The session's.
  Exchange* next = nullptr;  ///< in the order of answers, or in the list of free ones
  Exchange* next_woken = nullptr;
  BufferRef frame;
  std::size_t frame_bytes = 0;
  bool queued = false;   ///< in the order of answers
  bool counted = false;  ///< in the session's numbers in flight
  bool ready = false;    ///< has an answer, waits for its turn

  /// Appends the answer to a burst. False: the burst is spoilt.
  [[nodiscard]] bool encode_into(Burst& burst) noexcept;
  /// Ready for another request.
  void reset() noexcept;

 private:
  using Encode = void (*)(const void*, std::int16_t, std::int32_t, wire::Encoder&) noexcept;
  const void* response_ = nullptr;
  Encode encode_ = nullptr;
  std::int16_t response_version_ = 0;
  Handled (*work_)(Exchange&) noexcept = nullptr;
  Handled work_outcome_ = Handled::answered;
  friend struct BackgroundWork;
};

}  // namespace streambus::protocol_kafka
