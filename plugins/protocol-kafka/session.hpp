#pragma once

#include <atomic>

#include "exchange.hpp"
#include "frame_reader.hpp"
#include "response_burst.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::protocol_kafka {

class Endpoint;

/// One connection of a Kafka client.
///
/// Requests are started in the order in which they came, on the connection's thread, and their answers leave in that order.
/// A produce request may wait for durability while later requests are started; a fetch that waits for data and calls that
/// block (on a background worker) hold back later requests. No request is started while too many are unanswered or too many
/// bytes wait to be sent; then the socket is not read.
///
/// All on the connection's thread, but wake(). Destroys itself after closed() once nothing refers to it.
class KafkaSession final : public Session {
 public:
  explicit KafkaSession(Endpoint& endpoint) noexcept;
  ~KafkaSession();

  void opened(Connection& connection) noexcept override;
  [[nodiscard]] MutableBytes receive_buffer() noexcept override;
  void received(std::size_t bytes) noexcept override;
  void writable() noexcept override;
  void deadline() noexcept override;
  void drain() noexcept override;
  void closed(const Status& reason) noexcept override;

  [[nodiscard]] Endpoint& endpoint() noexcept { return endpoint_; }
  /// True once no wait for data may begin.
  [[nodiscard]] bool draining() const noexcept { return draining_; }

  /// For handlers: whose turn it is to be read first in the next fetch.
  std::uint32_t fetch_turn = 0;

  /// Any thread: see Exchange::wake().
  void wake(Exchange& exchange) noexcept;
  /// Closes the connection once the answers so far are sent; the request's own answer is not. For acks = 0.
  void close_after_answers() noexcept { close_when_empty_ = true; }

 private:
  static constexpr std::size_t kFreeMax = 8;
  static constexpr std::size_t kIdleArenaBytesMax = std::size_t{16} << 10;
  static constexpr std::int64_t kBufferRetryNs = 10'000'000;

  static void on_woken(void* context) noexcept;
  void take_woken() noexcept;

  void pump() noexcept;
  [[nodiscard]] bool may_start() const noexcept;
  [[nodiscard]] bool start_next() noexcept;
  [[nodiscard]] Handled dispatch(Exchange& exchange, MutableBytes frame) noexcept;
  void settle_new(Exchange& exchange, Handled handled) noexcept;
  void settle_waiting(Exchange& exchange, Handled handled) noexcept;
  void send_ready() noexcept;
  [[nodiscard]] bool encode(Exchange& exchange) noexcept;
  void flush() noexcept;
  void finish_pump() noexcept;
  void expire_due(std::int64_t now_ns, bool draining) noexcept;
  void rearm() noexcept;
  void arm(std::int64_t at_ns) noexcept;

  [[nodiscard]] Exchange* take_exchange() noexcept;
  void recycle(Exchange& exchange) noexcept;
  void trim() noexcept;
  void enqueue(Exchange& exchange) noexcept;
  void count(Exchange& exchange) noexcept;
  void fail(const char* what) noexcept;
  void refuse(const Exchange& exchange, const char* what) noexcept;
  void close_now() noexcept;
  void destroy_if_done() noexcept;

  Endpoint& endpoint_;
  Ref<Connection> connection_;
  FrameReader reader_;

  // Exchanges in the order of their answers.
  Exchange* queue_head_ = nullptr;
  Exchange* queue_tail_ = nullptr;
  std::uint32_t in_flight_ = 0;  ///< counted exchanges: in the queue, or kept
  std::uint64_t bytes_in_flight_ = 0;
  Exchange* alone_ = nullptr;  ///< the one that holds back later requests
  Exchange* free_ = nullptr;
  std::size_t free_count_ = 0;

  Ref<Burst> burst_;                ///< answers not handed to the connection yet
  std::int64_t armed_ns_ = kNever;  ///< the connection's deadline: at or before the next real one
  std::int64_t buffer_retry_ns_ = kNever;

  bool reading_paused_ = false;  ///< an empty receive buffer was returned
  bool draining_ = false;
  bool close_when_empty_ = false;
  bool closing_ = false;  ///< close() was called
  bool closed_ = false;

  std::atomic<Exchange*> woken_{nullptr};  ///< a stack; whoever makes it non-empty posts on_woken
};

}  // namespace streambus::protocol_kafka
