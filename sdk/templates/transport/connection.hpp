#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "loop.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::transport_acme {

/// What the plugin's options say.
struct Settings {
  std::uint64_t write_high_water = 0;
  std::uint64_t write_low_water = 0;
  std::size_t connections_max = 0;
};

/// The accepted connections of a listener, counted, so that its drain can wait for them. Thread-safe.
class Group {
 public:
  [[nodiscard]] bool enter(std::size_t limit) noexcept;
  void left() noexcept;
  /// True when none is left, false when the time of the host's clock came first.
  [[nodiscard]] bool wait_empty(Host& host, std::int64_t deadline_ns) noexcept;

 private:
  std::mutex mutex_;
  std::condition_variable empty_;
  std::size_t count_ = 0;
};

/// One end of a unix-domain stream. It holds a reference to itself while it is open, its session another.
class LocalConnection final : public Connection, public Waiter {
 public:
  /// `group` is null on the connecting side.
  LocalConnection(std::shared_ptr<Loop> loop, const Settings& settings, std::shared_ptr<Group> group, std::string peer);

  // Connection
  void write(std::span<const Slice> slices, Pin* keep) noexcept override;
  [[nodiscard]] std::uint64_t queued_bytes() const noexcept override { return queued_; }
  void pause_reading() noexcept override { paused_ = true; }
  void resume_reading() noexcept override;
  void set_deadline(std::int64_t monotonic_ns) noexcept override;
  void close(bool flush) noexcept override { request_close(flush ? Closing::flush : Closing::now, {}); }
  void post(void (*fn)(void*) noexcept, void* context) noexcept override { loop_->post(fn, context); }
  [[nodiscard]] std::string_view peer() const noexcept override { return peer_; }

  // On the thread, outside of the session's calls.
  /// Takes the open socket over and tells the session.
  void begin(int fd, Session& session) noexcept;
  /// Connects, trying again while the listener's backlog is full, until the deadline.
  void dial(Session& session, std::int64_t deadline_ns) noexcept;
  void drain() noexcept;
  void abort(const Status& reason) noexcept { request_close(Closing::now, reason); }
  [[nodiscard]] const Group* group() const noexcept { return group_.get(); }

  // Waiter
  void ready(std::uint32_t events) noexcept override;
  void due() noexcept override;
  void settle() noexcept override;
  void shut_down() noexcept override { abort({ErrorCode::cancelled, "the transport was stopped"}); }

 private:
  enum class Closing : std::uint8_t { no, flush, now };
  struct Queued {
    Slice slice;
    Pin* keep;
  };

  ~LocalConnection() override;
  void dispose() noexcept override { delete this; }

  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0 && session_ != nullptr; }
  [[nodiscard]] bool wants_input() const noexcept;
  void try_connect() noexcept;
  void receive() noexcept;
  void send() noexcept;
  [[nodiscard]] ssize_t send_memory() noexcept;
  [[nodiscard]] ssize_t send_file() noexcept;
  void consume(std::uint64_t bytes) noexcept;
  void drop_output() noexcept;
  [[nodiscard]] bool writable_is_due() noexcept;
  void request_close(Closing how, const Status& reason) noexcept;
  void finish() noexcept;

  const std::shared_ptr<Loop> loop_;
  const Settings settings_;
  const std::shared_ptr<Group> group_;
  const std::string peer_;

  // Used by the thread alone.
  int fd_ = -1;
  Session* session_ = nullptr;
  std::int64_t dial_deadline_ = INT64_MAX;
  std::deque<Queued> output_;
  std::uint64_t queued_ = 0;
  Closing closing_ = Closing::no;
  Status reason_;
  bool finished_ = false;
  bool paused_ = false;
  bool wrote_ = false;       ///< writable() is owed once the queue is empty
  bool above_high_ = false;  ///< until the queue falls to the low-water mark
  bool peer_gone_ = false;   ///< nobody reads what is sent
};

}  // namespace streambus::transport_acme
