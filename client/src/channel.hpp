#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "event_loop.hpp"
#include "streambus/base/buffer.hpp"
#include "streambus/client/settings.hpp"
#include "streambus/plugin/transport.hpp"
#include "streambus/wire/frame.hpp"

namespace streambus::client {

/// A request as it is sent: the fields in a pooled buffer, batches where they lie. Lives until its last byte is sent (or the
/// connection is gone), and then tells so where somebody asked.
class RequestFrame final : public Pin {
 public:
  explicit RequestFrame(BufferSource& source) noexcept : buffer(source), encoder(buffer, arena) {}

  MessageBuffer buffer;
  wire::Arena arena;
  wire::Encoder encoder;
  std::vector<PinRef> payloads;  ///< keep the batches alive
  std::span<const Slice> slices;
  std::function<void()> when_sent;  ///< called on the connection's thread

 private:
  void dispose() noexcept override {
    if (when_sent) when_sent();
    delete this;
  }
};
using RequestFrameRef = Ref<RequestFrame>;

/// A response: the message behind its header, in the buffer that it was received into.
struct ResponseFrame {
  BufferRef buffer;
  Bytes message;
  std::int16_t version = 0;
};
using Completion = std::move_only_function<void(Result<ResponseFrame>)>;

/// Decodes a response; views point into the frame and the arena.
template <class M>
[[nodiscard]] Result<> decode_response(const ResponseFrame& frame, wire::Arena& arena, M& out) {
  ByteReader reader(frame.message);
  if (wire::decode(reader, frame.version, arena, out)) return {};
  return fail(ErrorCode::corrupt, "the broker's answer cannot be understood (malformed)");
}

class Channel;

/// Whoever made a channel; called on the loop's thread.
class ChannelOwner {
 public:
  ChannelOwner() = default;
  ChannelOwner(const ChannelOwner&) = delete;
  ChannelOwner& operator=(const ChannelOwner&) = delete;
  /// Connected, versions agreed on.
  virtual void channel_ready(Channel& channel) = 0;
  /// Gone, or never came to be. Called once; all its requests have failed by then.
  virtual void channel_closed(Channel& channel, const Error& error) = 0;
  /// A request was not answered in time; channel_closed() follows.
  virtual void request_timed_out() = 0;

 protected:
  ~ChannelOwner() = default;
};

/// One connection to a broker, with its unanswered requests matched by correlation id.
/// Public calls on the loop's thread only, unless said otherwise. Session calls come on the connection's thread.
class Channel final : public Session, public std::enable_shared_from_this<Channel> {
 public:
  Channel(std::shared_ptr<EventLoop> loop, BufferSource& buffers, std::string target, std::string client_id,
          const PoolSettings& settings, ChannelOwner& owner);
  ~Channel() = default;

  /// Starts to connect; the owner is told the outcome. `transport` must outlive the connection.
  void connect(Transport& transport);
  /// Closes at once; unanswered requests fail with `reason`. The owner is not called any more.
  void close(const Error& reason);
  void disown() noexcept { owner_ = nullptr; }

  [[nodiscard]] bool ready() const noexcept { return state_ == State::ready; }
  [[nodiscard]] bool closed() const noexcept { return state_ == State::closed; }
  /// True once it was ready, closed by now or not.
  [[nodiscard]] bool became_ready() const noexcept { return became_ready_; }
  [[nodiscard]] std::size_t in_flight() const noexcept { return pending_.size(); }
  [[nodiscard]] bool can_send() const noexcept { return ready() && pending_.size() < settings_->requests_in_flight_max; }
  [[nodiscard]] const std::string& target() const noexcept { return target_; }
  [[nodiscard]] std::uint64_t requests() const noexcept { return requests_; }

  /// The version to use for a message; unsupported where client and broker have none in common.
  template <class M>
  [[nodiscard]] Result<std::int16_t> version_for() const {
    return version_for(M::kKey, M::kMinVersion, M::kMaxVersion);
  }

  /// Sends a request. `done` is called exactly once, on the loop's thread, never inline. `extra_wait_ms` is what the broker may
  /// take on purpose (a long poll), on top of the request time-out. Without `expects_response` an empty frame completes
  /// the request once it is sent. Errors (then `done` is not called): unsupported, no_space, closed.
  template <class M>
  Result<> request(const M& message, std::vector<PinRef> payloads, std::int64_t extra_wait_ms, bool expects_response,
                   Completion done) {
    STREAMBUS_TRY_ASSIGN(const std::int16_t version, version_for<M>());
    return request_version(message, version, std::move(payloads), extra_wait_ms, expects_response, std::move(done));
  }
  template <class M>
  Result<> request(const M& message, Completion done) {
    return request(message, {}, 0, true, std::move(done));
  }

  /// Gives back memory kept for large responses: the channel falls idle.
  void trim();

  // For the pool: when it was made, and last given back.
  std::int64_t created_ns = 0;
  std::int64_t idle_since_ns = 0;
  std::int64_t probed_ns = 0;

  // Session
  void opened(Connection& connection) noexcept override;
  [[nodiscard]] MutableBytes receive_buffer() noexcept override;
  void received(std::size_t bytes) noexcept override;
  void writable() noexcept override {}
  void deadline() noexcept override;
  void drain() noexcept override {}
  void closed(const Status& reason) noexcept override;

 private:
  enum class State : std::uint8_t { connecting, negotiating, ready, closed };
  struct Pending {
    std::int32_t correlation_id;
    wire::ApiKey key;
    std::int16_t version;
    std::int64_t deadline_ns;
    Completion done;
  };
  struct VersionRange {
    std::int16_t min = -1;
    std::int16_t max = -1;
  };
  static constexpr std::size_t kApiKeysMax = 128;
  static constexpr std::size_t kSmallBufferBytes = 4096;
  static constexpr std::size_t kLargeBuffersMax = 12;

  template <class M>
  Result<> request_version(const M& message, std::int16_t version, std::vector<PinRef> payloads, std::int64_t extra_wait_ms,
                           bool expects_response, Completion done) {
    auto frame = RequestFrameRef::adopt(new RequestFrame(*buffers_));
    frame->payloads = std::move(payloads);
    wire::encode_request(message, version, next_correlation_id_, client_id_, frame->encoder);
    return submit(std::move(frame), M::kKey, version, extra_wait_ms, expects_response, std::move(done));
  }
  [[nodiscard]] Result<std::int16_t> version_for(wire::ApiKey key, std::int16_t min, std::int16_t max) const;
  Result<> submit(RequestFrameRef frame, wire::ApiKey key, std::int16_t version, std::int64_t extra_wait_ms,
                  bool expects_response, Completion done);
  void negotiate(std::int16_t version);
  void on_versions(std::int16_t version, Result<ResponseFrame> outcome);
  void on_opened();
  void on_response(BufferRef buffer, std::size_t position, std::size_t bytes);
  void on_sent(std::int32_t correlation_id);
  void on_timer();
  void fail_all(const Error& error);
  void gone(const Error& error);
  void wake_connection();

  // On the connection's thread.
  static void on_wake(void* self) noexcept;
  void parse_frames() noexcept;
  [[nodiscard]] BufferRef buffer_for(std::size_t bytes) noexcept;

  const std::shared_ptr<EventLoop> loop_;
  BufferSource* const buffers_;
  const std::string target_;
  const std::string client_id_;
  const PoolSettings* const settings_;

  // Loop's thread.
  ChannelOwner* owner_;
  State state_ = State::connecting;
  bool became_ready_ = false;
  std::deque<Pending> pending_;
  std::int32_t next_correlation_id_ = 1;
  std::uint64_t requests_ = 0;
  std::array<VersionRange, kApiKeysMax> versions_{};
  Timer timer_;

  // Guarded by mutex_: from the loop to the connection's thread.
  std::mutex mutex_;
  Ref<Connection> connection_;
  std::vector<RequestFrameRef> outbox_;
  std::shared_ptr<Channel> wake_self_;  ///< set while on_wake is posted
  bool close_wanted_ = false;
  bool trim_wanted_ = false;

  // Connection's thread.
  std::shared_ptr<Channel> self_;  ///< from connect() to closed()
  BufferRef buffer_;               ///< being filled
  std::size_t start_ = 0;          ///< first byte of the frame that is not complete
  std::size_t filled_ = 0;
  std::size_t limit_ = 0;         ///< how far it may be filled
  std::vector<BufferRef> large_;  ///< kept for reuse: large responses are received into warm memory
  bool broken_ = false;
};

}  // namespace streambus::client
