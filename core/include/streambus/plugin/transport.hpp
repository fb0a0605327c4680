#pragma once
// The transport contract: moves bytes between a connection and its session. A transport knows no protocol.
// It owns its threads and event loop; a connection lives on one of them ("its thread") for life.

#include <cstdint>
#include <span>
#include <string_view>

#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"
#include "streambus/base/pin.hpp"
#include "streambus/base/slice.hpp"

namespace streambus {

/// One connection, made by a transport, used by its session. Reference-counted: the session gets one reference with
/// opened() and releases it when it is done; calls after closed() are harmless.
/// All calls but post() and the reference count only on the connection's thread.
class Connection : public Pin {
 public:
  /// Queues slices for sending, in order, and sends at once what the peer takes. The slice structs are copied; `keep`
  /// (may be null for static memory) is referenced until the last byte is sent or the connection is closed.
  virtual void write(std::span<const Slice> slices, Pin* keep) noexcept = 0;
  /// Bytes queued and not yet taken by the operating system or the peer.
  [[nodiscard]] virtual std::uint64_t queued_bytes() const noexcept = 0;
  /// Stops asking the session for receive buffers until resume_reading(): back-pressure towards the peer.
  virtual void pause_reading() noexcept = 0;
  virtual void resume_reading() noexcept = 0;
  /// Calls Session::deadline() at the given monotonic time; replaces the earlier deadline. INT64_MAX: none.
  virtual void set_deadline(std::int64_t monotonic_ns) noexcept = 0;
  /// Closes after the queued bytes are sent (`flush`) or at once. Session::closed() follows.
  virtual void close(bool flush) noexcept = 0;
  /// Runs fn(context) on the connection's thread. Any thread; does not block, does not run inline. Always runs, after
  /// closed() too, as long as the caller holds a reference to the connection.
  virtual void post(void (*fn)(void*) noexcept, void* context) noexcept = 0;
  /// "127.0.0.1:51234"; valid while the reference is held.
  [[nodiscard]] virtual std::string_view peer() const noexcept = 0;
};

/// The protocol's side of a connection. All calls come on the connection's thread, never nested.
class Session {
 public:
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// First call. The session takes over one reference to the connection.
  virtual void opened(Connection& connection) noexcept = 0;
  /// Where to put the next bytes; asked only when the connection is readable, so that idle sessions hold no buffer.
  /// Empty: not now; reading pauses until resume_reading().
  [[nodiscard]] virtual MutableBytes receive_buffer() noexcept = 0;
  /// `bytes` were put at the start of the span that receive_buffer() returned.
  virtual void received(std::size_t bytes) noexcept = 0;
  /// queued_bytes() fell to zero, or below the transport's low-water mark after it was above the high-water mark.
  virtual void writable() noexcept = 0;
  /// The time of set_deadline() came.
  virtual void deadline() noexcept = 0;
  /// The transport is draining: answer what is in progress, take no new request, close(true) when done.
  virtual void drain() noexcept = 0;
  /// Last call: the connection is gone; ok where the peer closed in an orderly way. The session destroys itself when
  /// nothing it waits for is outstanding.
  virtual void closed(const Status& reason) noexcept = 0;

 protected:
  ~Session() = default;
};

/// Makes the session of an accepted connection. Thread-safe.
class SessionFactory {
 public:
  SessionFactory() = default;
  SessionFactory(const SessionFactory&) = delete;
  SessionFactory& operator=(const SessionFactory&) = delete;
  /// Null: refuse the connection (the factory has logged why).
  [[nodiscard]] virtual Session* create_session() noexcept = 0;

 protected:
  ~SessionFactory() = default;
};

/// A listening end point.
class Listener {
 public:
  Listener() = default;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  /// The address that is really bound: "127.0.0.1:9092" also where port 0 was asked for. Valid while the listener lives.
  [[nodiscard]] virtual std::string_view address() const noexcept = 0;
  /// Starts to accept; until then connections wait in the backlog.
  virtual Status start() noexcept = 0;
  /// Stops accepting, calls Session::drain() on every connection and returns when all are closed or the deadline
  /// (monotonic) passed; what is left is closed at once. Blocks.
  virtual void drain(std::int64_t deadline_ns) noexcept = 0;
  /// Destroys the listener; drained before.
  virtual void close() noexcept = 0;

 protected:
  ~Listener() = default;
};

/// A transport plugin's object. Lifecycle: create -> start -> listen/connect ... -> stop -> destroy. Thread-safe.
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  /// Starts the transport's threads.
  virtual Status start() noexcept = 0;
  /// Binds. `factory` outlives the listener. Errors name the address and say who may hold it.
  virtual Status listen(std::string_view address, SessionFactory& factory, Listener** out) noexcept = 0;
  /// Starts to connect; opened() or closed() of the session tells the outcome. The session must live until closed().
  virtual Status connect(std::string_view address, std::int64_t timeout_ns, Session& session) noexcept = 0;
  /// Closes every connection that is left, joins the threads. Blocks.
  virtual void stop() noexcept = 0;
};

}  // namespace streambus
