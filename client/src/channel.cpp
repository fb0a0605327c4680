#include "channel.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace streambus::client {
namespace {

constexpr std::size_t kFrameBytesMax = std::size_t{1} << 30;
constexpr std::size_t kLargeBufferStep = std::size_t{1} << 20;
constexpr std::int64_t kMemoryRetryNs = 10 * kMillisecond;

}  // namespace

Channel::Channel(std::shared_ptr<EventLoop> loop, BufferSource& buffers, std::string target, std::string client_id,
                 const PoolSettings& settings, ChannelOwner& owner)
    : loop_(std::move(loop)),
      buffers_(&buffers),
      target_(std::move(target)),
      client_id_(std::move(client_id)),
      settings_(&settings),
      owner_(&owner),
      timer_(*loop_, [this] { on_timer(); }) {
  created_ns = idle_since_ns = probed_ns = loop_->now_ns();
}

void Channel::connect(Transport& transport) {
  self_ = shared_from_this();
  const auto keep = self_;
  const Status status = transport.connect(target_, settings_->connect_timeout_ms * kMillisecond, *this);
  if (status.ok()) return;
  // Refused at once: no session call will come. The owner is told later, as in every other case.
  self_.reset();
  loop_->post([keep, error = Error(status)] { keep->gone(error); });
}

void Channel::close(const Error& reason) {
  if (state_ == State::closed) return;
  owner_ = nullptr;
  gone(reason);
}

/// The channel is of no use any more: tells everybody, once.
void Channel::gone(const Error& error) {
  if (state_ == State::closed) return;
  const auto keep = shared_from_this();
  state_ = State::closed;
  timer_.cancel();
  {
    const std::lock_guard lock(mutex_);
    close_wanted_ = true;
  }
  wake_connection();
  fail_all(error);
  if (ChannelOwner* const owner = std::exchange(owner_, nullptr)) owner->channel_closed(*this, error);
}

void Channel::fail_all(const Error& error) {
  std::deque<Pending> failed;
  failed.swap(pending_);
  for (Pending& pending : failed) {
    loop_->post([done = std::move(pending.done), error]() mutable { done(std::unexpected(error)); });
  }
}

Result<std::int16_t> Channel::version_for(wire::ApiKey key, std::int16_t min, std::int16_t max) const {
  const auto index = static_cast<std::size_t>(key);
  const VersionRange broker = index < versions_.size() ? versions_[index] : VersionRange{};
  const std::int16_t version = std::min(max, broker.max);
  if (broker.max < 0 || version < min || version < broker.min) {
    return fail(
        ErrorCode::unsupported,
        fmt::format("{}: request type {} is not spoken by both sides (client: versions {} to {}, broker: {})", target_, index,
                    min, max, broker.max < 0 ? std::string("none") : fmt::format("{} to {}", broker.min, broker.max)));
  }
  return version;
}

Result<> Channel::submit(RequestFrameRef frame, wire::ApiKey key, std::int16_t version, std::int64_t extra_wait_ms,
                         bool expects_response, Completion done) {
  if (state_ == State::closed) return fail(ErrorCode::closed, fmt::format("{}: the connection is closed", target_));
  const std::int32_t id = next_correlation_id_++;
  frame->slices = frame->encoder.slices();
  if (!frame->encoder.ok()) {
    const bool memory = !frame->buffer.ok();
    return fail(
        memory ? ErrorCode::busy : ErrorCode::invalid_argument,
        memory ? "out of buffer memory for a request" : "a name in the request is too long, or does not exist in this version");
  }
  if (!expects_response) {
    frame->when_sent = [weak = weak_from_this(), loop = loop_, id] {
      loop->post([weak, id] {
        if (const auto self = weak.lock()) self->on_sent(id);
      });
    };
  }
  ++requests_;
  pending_.push_back(
      {id, key, version, loop_->now_ns() + (settings_->request_timeout_ms + extra_wait_ms) * kMillisecond, std::move(done)});
  timer_.at(std::min(timer_.time_ns(), pending_.back().deadline_ns));
  {
    const std::lock_guard lock(mutex_);
    outbox_.push_back(std::move(frame));
  }
  wake_connection();
  return {};
}

void Channel::wake_connection() {
  const std::lock_guard lock(mutex_);
  if (!connection_ || wake_self_) return;
  wake_self_ = shared_from_this();
  connection_->post(&Channel::on_wake, this);
}

void Channel::trim() {
  {
    const std::lock_guard lock(mutex_);
    trim_wanted_ = true;
  }
  wake_connection();
}

void Channel::on_timer() {
  const std::int64_t now = loop_->now_ns();
  std::int64_t next = kNever;
  for (const Pending& pending : pending_) {
    if (pending.deadline_ns <= now) {
      if (owner_ != nullptr) owner_->request_timed_out();
      gone(Error(ErrorCode::timeout, fmt::format("{}: no answer to a request within {} ms; the connection was closed", target_,
                                                 settings_->request_timeout_ms)));
      return;
    }
    next = std::min(next, pending.deadline_ns);
  }
  timer_.at(next);
}

void Channel::on_opened() {
  if (state_ != State::connecting) return;
  state_ = State::negotiating;
  negotiate(wire::ApiVersionsRequest::kMaxVersion);
}

void Channel::negotiate(std::int16_t version) {
  wire::ApiVersionsRequest message;
  message.client_software_name = "streambus";
  message.client_software_version = "0.1.0";
  const auto sent =
      request_version(message, version, {}, 0, true, [this, version, weak = weak_from_this()](Result<ResponseFrame> outcome) {
        if (const auto self = weak.lock()) on_versions(version, std::move(outcome));
      });
  if (!sent) gone(sent.error());
}

void Channel::on_versions(std::int16_t version, Result<ResponseFrame> outcome) {
  if (state_ != State::negotiating || !outcome) return;  // its failure closed the channel
  wire::Arena arena;
  wire::ApiVersionsResponse response;
  // A broker that does not know the version answers in version 0 (KIP-511).
  if (!decode_response(*outcome, arena, response) || (response.error_code != 0 && version != 0)) {
    if (version == 0) {
      gone(Error(ErrorCode::corrupt,
                 fmt::format("{}: does not answer as a Kafka broker does; is this the right port?", target_)));
    } else {
      negotiate(0);
    }
    return;
  }
  for (const auto& api : response.api_keys) {
    const auto index = static_cast<std::size_t>(api.api_key);
    if (index < versions_.size()) versions_[index] = {api.min_version, api.max_version};
  }
  state_ = State::ready;
  became_ready_ = true;
  if (owner_ != nullptr) owner_->channel_ready(*this);
}

void Channel::on_response(BufferRef buffer, std::size_t position, std::size_t bytes) {
  const Bytes frame(buffer->data() + position, bytes);
  ByteReader peek(frame);
  const auto id = peek.read<std::int32_t>();
  const auto found = std::ranges::find(pending_, id, &Pending::correlation_id);
  if (!peek.ok() || found == pending_.end()) {
    if (state_ != State::closed) {
      gone(Error(ErrorCode::corrupt,
                 fmt::format("{}: an answer to no request (correlation id {}); is this a Kafka broker?", target_, id)));
    }
    return;
  }
  Pending pending = std::move(*found);
  pending_.erase(found);
  if (pending_.empty()) timer_.cancel();
  ByteReader reader(frame);
  wire::ResponseHeader header;
  if (!wire::decode(reader, pending.key, pending.version, header)) {
    const Error error(ErrorCode::corrupt, fmt::format("{}: an answer with a malformed header", target_));
    pending.done(std::unexpected(error));
    gone(error);
    return;
  }
  const Bytes message(reader.position(), reader.remaining());
  pending.done(ResponseFrame{std::move(buffer), message, pending.version});
}

void Channel::on_sent(std::int32_t correlation_id) {
  const auto found = std::ranges::find(pending_, correlation_id, &Pending::correlation_id);
  if (found == pending_.end()) return;
  Pending pending = std::move(*found);
  pending_.erase(found);
  if (pending_.empty()) timer_.cancel();
  pending.done(ResponseFrame{});
}

// ---- on the connection's thread ----

void Channel::opened(Connection& connection) noexcept {
  bool close = false;
  {
    const std::lock_guard lock(mutex_);
    connection_ = Ref<Connection>::adopt(&connection);
    close = close_wanted_;
  }
  if (close) {
    connection.close(false);
    return;
  }
  loop_->post([self = self_] { self->on_opened(); });
}

void Channel::on_wake(void* context) noexcept {
  auto* const channel = static_cast<Channel*>(context);
  std::shared_ptr<Channel> self;
  std::vector<RequestFrameRef> frames;
  bool close = false;
  {
    const std::lock_guard lock(channel->mutex_);
    self = std::move(channel->wake_self_);
    channel->wake_self_.reset();
    frames.swap(channel->outbox_);
    close = channel->close_wanted_;
    if (std::exchange(channel->trim_wanted_, false)) channel->large_.clear();
  }
  if (close) {
    channel->connection_->close(false);
    return;
  }
  for (const RequestFrameRef& frame : frames) channel->connection_->write(frame->slices, frame.get());
}

BufferRef Channel::buffer_for(std::size_t bytes) noexcept {
  const bool large = bytes > kLargeBufferStep;
  if (large) {
    for (const BufferRef& kept : large_) {
      if (kept->capacity() >= bytes && kept->unique()) return kept;
    }
    bytes = (bytes + kLargeBufferStep - 1) / kLargeBufferStep * kLargeBufferStep;
  }
  Buffer* buffer = nullptr;
  if (!buffers_->get(bytes, &buffer).ok()) return {};
  auto ref = BufferRef::adopt(buffer);
  if (!large) return ref;
  const auto unused = std::ranges::find_if(large_, [](const BufferRef& kept) { return kept->unique(); });
  if (unused != large_.end()) {
    *unused = ref;  // too small for what comes now
  } else if (large_.size() < kLargeBuffersMax) {
    large_.push_back(ref);
  }
  return ref;
}

MutableBytes Channel::receive_buffer() noexcept {
  if (broken_) return {};
  const std::size_t available = filled_ - start_;
  const std::size_t total =
      available >= wire::kFrameLengthBytes
          ? wire::kFrameLengthBytes + static_cast<std::size_t>(load_be<std::int32_t>(buffer_->data() + start_))
          : 0;
  if (!buffer_ || filled_ == limit_ || start_ + std::max(total, wire::kFrameLengthBytes) > limit_) {
    BufferRef next = buffer_for(std::max(total, kSmallBufferBytes));
    if (!next) {
      connection_->set_deadline(loop_->now_ns() + kMemoryRetryNs);
      return {};
    }
    if (available > 0) std::memcpy(next->data(), buffer_->data() + start_, available);
    // A large frame is received to its end and no further; small ones share a buffer.
    limit_ = total > kSmallBufferBytes ? total : kSmallBufferBytes;
    buffer_ = std::move(next);
    start_ = 0;
    filled_ = available;
  }
  return {buffer_->data() + filled_, limit_ - filled_};
}

void Channel::received(std::size_t bytes) noexcept {
  filled_ += bytes;
  parse_frames();
}

void Channel::parse_frames() noexcept {
  while (filled_ - start_ >= wire::kFrameLengthBytes) {
    const auto length = load_be<std::int32_t>(buffer_->data() + start_);
    if (length < 4 || static_cast<std::size_t>(length) > kFrameBytesMax) {
      broken_ = true;
      const Error error(ErrorCode::corrupt,
                        fmt::format("{}: sent a frame of {} bytes; is this a Kafka broker?", target_, length));
      loop_->post([self = self_, error] { self->gone(error); });
      return;
    }
    const std::size_t total = wire::kFrameLengthBytes + static_cast<std::size_t>(length);
    if (filled_ - start_ < total) return;
    loop_->post([self = self_, buffer = buffer_, position = start_ + wire::kFrameLengthBytes,
                 bytes = total - wire::kFrameLengthBytes]() mutable { self->on_response(std::move(buffer), position, bytes); });
    start_ += total;
  }
  if (start_ == filled_) {
    buffer_.reset();
    start_ = filled_ = limit_ = 0;
  }
}

void Channel::deadline() noexcept { connection_->resume_reading(); }

void Channel::closed(const Status& reason) noexcept {
  const auto self = std::move(self_);
  self_.reset();
  Error error =
      reason.ok() ? Error(ErrorCode::closed, fmt::format("{}: the broker closed the connection", target_)) : Error(reason);
  if (error.message.find(target_) == std::string::npos) error.message = fmt::format("{}: {}", target_, error.message);
  loop_->post([self, error] { self->gone(error); });
  buffer_.reset();
  large_.clear();
}

}  // namespace streambus::client
