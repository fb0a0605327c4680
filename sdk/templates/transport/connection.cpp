#include "connection.hpp"

#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "address.hpp"

namespace streambus::transport_acme {
namespace {

constexpr std::uint64_t kTurnBytes = 1 << 20;  ///< then it is the others' turn

}  // namespace

bool Group::enter(std::size_t limit) noexcept {
  const std::lock_guard lock(mutex_);
  if (count_ >= limit) return false;
  ++count_;
  return true;
}

void Group::left() noexcept {
  const std::lock_guard lock(mutex_);
  if (--count_ == 0) empty_.notify_all();
}

bool Group::wait_empty(Host& host, std::int64_t deadline_ns) noexcept {
  constexpr std::int64_t kStepNs = 1'000'000'000;  // a far deadline must not overflow the clock of the wait
  std::unique_lock lock(mutex_);
  for (; count_ > 0;) {
    const std::int64_t left = deadline_ns - host.monotonic_ns();
    if (left <= 0) return false;
    empty_.wait_for(lock, std::chrono::nanoseconds(std::min(left, kStepNs)));
  }
  return true;
}

LocalConnection::LocalConnection(std::shared_ptr<Loop> loop, const Settings& settings, std::shared_ptr<Group> group,
                                 std::string peer)
    : loop_(std::move(loop)), settings_(settings), group_(std::move(group)), peer_(std::move(peer)) {
  ++loop_->live;
}

LocalConnection::~LocalConnection() { --loop_->live; }

void LocalConnection::begin(int fd, Session& session) noexcept {
  fd_ = fd;
  session_ = &session;
  loop_->add(*this);
  if (closing_ == Closing::no) {
    add_ref();
    session_->opened(*this);
  }
  loop_->touch(*this);
}

// ---- connecting

void LocalConnection::dial(Session& session, std::int64_t deadline_ns) noexcept {
  session_ = &session;
  dial_deadline_ = deadline_ns;
  loop_->add(*this);
  if (closing_ == Closing::no) try_connect();
}

void LocalConnection::try_connect() noexcept {
  constexpr std::int64_t kRetryNs = 2'000'000;
  SocketAddress address;
  if (const Status status = address.set(peer_); !status.ok()) return abort(status);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0 && ::connect(fd, address.get(), address.bytes()) == 0) {
    loop_->remove(*this, -1);
    return begin(fd, *std::exchange(session_, nullptr));
  }
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (error != EAGAIN) return abort(errno_status("cannot connect to " + peer_, error));
  if (loop_->host().monotonic_ns() >= dial_deadline_)
    return abort({ErrorCode::timeout, "cannot connect to " + peer_ + ": its backlog was full for the time allowed"});
  loop_->set_deadline(*this, loop_->host().monotonic_ns() + kRetryNs);
}

// ---- receiving

/// Only accepted connections wait for their output: were both ends to do so, each could wait for the other for ever.
bool LocalConnection::wants_input() const noexcept {
  return is_open() && !paused_ && closing_ == Closing::no && !(above_high_ && group_ != nullptr);
}

void LocalConnection::ready(std::uint32_t events) noexcept {
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) receive();
  loop_->touch(*this);
}

void LocalConnection::receive() noexcept {
  for (std::uint64_t budget = kTurnBytes; budget > 0 && wants_input();) {
    const MutableBytes buffer = session_->receive_buffer();
    if (buffer.empty()) {
      paused_ = true;
      return;
    }
    const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got > 0) {
      session_->received(static_cast<std::size_t>(got));
      if (static_cast<std::size_t>(got) < buffer.size()) return;
      budget -= std::min(budget, static_cast<std::uint64_t>(got));
    } else if (got == 0) {
      request_close(Closing::flush, {});
    } else if (errno != EINTR) {
      if (errno != EAGAIN) abort(errno_status("connection lost while receiving", errno));
      return;
    }
  }
}

void LocalConnection::resume_reading() noexcept {
  if (std::exchange(paused_, false) && is_open()) loop_->touch(*this);
}

// ---- sending

void LocalConnection::write(std::span<const Slice> slices, Pin* keep) noexcept {
  if (!is_open() || peer_gone_) return;
  const std::size_t before = output_.size();
  for (const Slice& slice : slices) {
    if (slice.bytes == 0) continue;
    output_.push_back({slice, nullptr});
    queued_ += slice.bytes;
  }
  if (output_.size() == before) return;
  if (keep != nullptr) {
    keep->add_ref();
    output_.back().keep = keep;
  }
  wrote_ = true;
  above_high_ = above_high_ || queued_ > settings_.write_high_water;
  loop_->touch(*this);
}

ssize_t LocalConnection::send_memory() noexcept {
  constexpr std::size_t kVectorsMax = 64;
  iovec vectors[kVectorsMax];
  std::size_t count = 0;
  for (; count < std::min(output_.size(), kVectorsMax) && !output_[count].slice.is_file(); ++count) {
    const Slice& slice = output_[count].slice;
    vectors[count] = {const_cast<std::byte*>(slice.data), static_cast<std::size_t>(slice.bytes)};
  }
  msghdr message{};
  message.msg_iov = vectors;
  message.msg_iovlen = count;
  return ::sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t LocalConnection::send_file() noexcept {
  const Slice& slice = output_.front().slice;
  auto position = static_cast<off_t>(slice.file_position);
  const ssize_t sent = ::sendfile(fd_, slice.fd, &position, static_cast<std::size_t>(std::min(slice.bytes, kTurnBytes)));
  if (sent == 0) {
    abort({ErrorCode::corrupt, "a file ends at byte " + std::to_string(slice.file_position) + ", " +
                                   std::to_string(slice.bytes) + " bytes before the range that was to be sent"});
  }
  return sent;
}

void LocalConnection::send() noexcept {
  for (std::uint64_t budget = kTurnBytes; budget > 0 && !output_.empty() && closing_ != Closing::now;) {
    const ssize_t sent = output_.front().slice.is_file() ? send_file() : send_memory();
    if (sent > 0) {
      consume(static_cast<std::uint64_t>(sent));
      budget -= std::min(budget, static_cast<std::uint64_t>(sent));
    } else if (sent < 0 && errno == EAGAIN) {
      return;
    } else if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) {
      // What the peer sent before it left is still to be read; that ends with the reason.
      peer_gone_ = true;
      return drop_output();
    } else if (sent < 0 && errno != EINTR) {
      return abort(errno_status("connection lost while sending", errno));
    }
  }
}

void LocalConnection::consume(std::uint64_t bytes) noexcept {
  queued_ -= bytes;
  while (bytes > 0) {
    Slice& slice = output_.front().slice;
    const std::uint64_t taken = std::min(bytes, slice.bytes);
    if (slice.is_file()) {
      slice.file_position += taken;
    } else {
      slice.data += taken;
    }
    slice.bytes -= taken;
    bytes -= taken;
    if (slice.bytes > 0) return;
    Pin* const keep = output_.front().keep;
    output_.pop_front();
    if (keep != nullptr) keep->release();
  }
}

void LocalConnection::drop_output() noexcept {
  for (const Queued& queued : std::exchange(output_, {})) {
    if (queued.keep != nullptr) queued.keep->release();
  }
  queued_ = 0;
}

bool LocalConnection::writable_is_due() noexcept {
  if (!wrote_ || (queued_ > 0 && !(above_high_ && queued_ <= settings_.write_low_water))) return false;
  wrote_ = queued_ > 0;
  above_high_ = false;
  return true;
}

// ---- the end of each turn

void LocalConnection::settle() noexcept {
  if (finished_) return;
  if (fd_ >= 0 && closing_ != Closing::now) send();
  if (closing_ == Closing::now || (closing_ == Closing::flush && output_.empty())) return finish();
  if (fd_ < 0) return;
  if (writable_is_due()) {
    session_->writable();
    loop_->touch(*this);
  }
  const std::uint32_t in = wants_input() ? static_cast<std::uint32_t>(EPOLLIN) : 0;
  const std::uint32_t out = output_.empty() ? 0 : static_cast<std::uint32_t>(EPOLLOUT);
  loop_->watch(*this, fd_, in | out);
}

void LocalConnection::set_deadline(std::int64_t monotonic_ns) noexcept {
  if (!finished_) loop_->set_deadline(*this, monotonic_ns);
}

void LocalConnection::due() noexcept {
  if (fd_ < 0) return try_connect();
  session_->deadline();
  loop_->touch(*this);
}

void LocalConnection::drain() noexcept {
  if (!is_open() || closing_ != Closing::no) return;
  session_->drain();
  loop_->touch(*this);
}

/// A stronger request replaces a weaker one; the first reason stays.
void LocalConnection::request_close(Closing how, const Status& reason) noexcept {
  if (finished_ || how <= closing_) return;
  if (reason_.ok()) reason_ = reason;
  closing_ = how;
  loop_->touch(*this);
}

void LocalConnection::finish() noexcept {
  finished_ = true;
  const auto own = Ref<LocalConnection>::adopt(this);  // the reference that an open connection holds to itself
  loop_->remove(*this, fd_);
  drop_output();
  if (fd_ >= 0) {
    // Input that nobody read would turn the end of the stream into an error for the peer.
    ::shutdown(fd_, SHUT_WR);
    std::byte nowhere[4096];
    for (int i = 0; i < 64 && closing_ == Closing::flush && ::recv(fd_, nowhere, sizeof nowhere, MSG_DONTWAIT) > 0; ++i) {
    }
    ::close(std::exchange(fd_, -1));
  }
  if (Session* const session = std::exchange(session_, nullptr); session != nullptr) session->closed(reason_);
  if (group_ != nullptr) group_->left();
}

}  // namespace streambus::transport_acme
