#include "connection.hpp"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace streambus::transport_tcp {

namespace {

// One connection's turn on its thread: when it is over, the others come first.
constexpr std::uint64_t kReadTurnBytes = 1U << 20;
constexpr std::uint64_t kWriteTurnBytes = 2U << 20;
// Well below IOV_MAX (1024): longer queues take several calls.
constexpr std::size_t kVectorsMax = 128;
// How long a closed connection waits for the peer to have read what was sent last.
constexpr std::int64_t kLingerNs = 1'000'000'000;
constexpr std::int64_t kIdleChecks = 8;

}  // namespace

void configure_socket(int fd, const Settings& settings) noexcept {
  const auto set = [fd](int level, int option, int value) { (void)::setsockopt(fd, level, option, &value, sizeof value); };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  if (settings.keepalive) set(SOL_SOCKET, SO_KEEPALIVE, 1);
  if (settings.send_buffer_bytes > 0) set(SOL_SOCKET, SO_SNDBUF, settings.send_buffer_bytes);
  if (settings.receive_buffer_bytes > 0) set(SOL_SOCKET, SO_RCVBUF, settings.receive_buffer_bytes);
}

TcpConnection::TcpConnection(const std::shared_ptr<IoThread>& thread, std::shared_ptr<Shared> shared,
                             std::shared_ptr<transport_common::AcceptGroup> group, std::string peer, int fd)
    : ConnectionBase(thread, shared->settings.marks, std::move(group), std::move(peer)),
      shared_(std::move(shared)),
      io_(*thread),
      socket_(io_.context().get_executor()),
      fd_(fd) {}

TcpConnection::~TcpConnection() = default;

void TcpConnection::serve(Session* session) noexcept {
  io_.add(*this);
  boost::system::error_code error;
  error = socket_.assign(fd_, error);
  if (error) {
    ::close(std::exchange(fd_, -1));
    abort({ErrorCode::io_error, fmt::format("cannot watch the connection of {}: {}", peer(), error.message()), error.value()});
  }
  if (session == nullptr) return close(false);
  begin(session);
}

void TcpConnection::begin(Session* session) noexcept {
  if (group() != nullptr && shared_->settings.idle_timeout_ns > 0) {
    quiet_since_ns_ = io_.host().monotonic_ns();
    set_transport_deadline(quiet_since_ns_ + shared_->settings.idle_timeout_ns / kIdleChecks);
  }
  attach(session);
}

// Reading.

void TcpConnection::wait_readable() noexcept {
  waits_readable_ = true;
  socket_.async_wait(Descriptor::wait_read, Completion<TcpConnection, &TcpConnection::on_readable>{this, &read_memory_});
}

void TcpConnection::on_readable(const boost::system::error_code& /*error*/) noexcept {
  waits_readable_ = false;
  if (socket_gone_) return let_go();
  if (lingering_) return discard_input();
  read_turn();
  io_.settle_all();
}

bool TcpConnection::reads_wait() const noexcept {
  // Those that hold nothing may go on: else one who does not read could stop all others.
  if (output_.empty() || group() == nullptr) return false;
  const std::uint64_t of_others = shared_->queued_bytes.load(std::memory_order_relaxed) - counted_bytes_;
  return of_others + output_.bytes() > shared_->settings.inflight_bytes_max;
}

void TcpConnection::continue_reading() noexcept {
  if (!waits_readable_ && wants_input() && !reads_wait()) wait_readable();
}

void TcpConnection::read_turn() noexcept {
  std::uint64_t budget = kReadTurnBytes;
  while (wants_input() && !reads_wait()) {
    const MutableBytes buffer = ask_for_buffer();
    if (buffer.empty()) break;
    const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got > 0) {
      const auto bytes = static_cast<std::size_t>(got);
      active_ = true;
      io_.count_traffic(bytes);
      session()->received(bytes);
      if (bytes < buffer.size() || bytes >= budget) break;  // drained, or others' turn
      budget -= bytes;
      continue;
    }
    if (got == 0) {
      peer_finished_ = true;
      request_close(Closing::flush, {});
    } else if (errno == EINTR) {
      continue;
    } else if (errno != EAGAIN) {
      abort(errno_status("connection lost while receiving", errno));
    }
    break;
  }
  touch();
}

// Sending.

void TcpConnection::write(std::span<const Slice> slices, Pin* keep) noexcept {
  if (!is_open()) return;
  const std::uint64_t before = output_.bytes();
  output_.push(slices, keep);
  if (output_.bytes() != before) note_queued(output_.bytes());
}

void TcpConnection::wait_writable() noexcept {
  waits_writable_ = true;
  socket_.async_wait(Descriptor::wait_write, Completion<TcpConnection, &TcpConnection::on_writable>{this, &write_memory_});
}

void TcpConnection::on_writable(const boost::system::error_code& /*error*/) noexcept {
  waits_writable_ = false;
  if (socket_gone_) return let_go();
  if (dial_ != nullptr) {
    on_connect_ready();
  } else {
    touch();
  }
  io_.settle_all();
}

void TcpConnection::flush_output() noexcept {
  if (!waits_writable_) {
    Sent outcome = Sent::all;
    std::uint64_t budget = kWriteTurnBytes;
    while (outcome == Sent::all && !output_.empty()) {
      outcome = output_.front().is_file() ? send_file(budget) : send_memory(budget);
    }
    if (outcome == Sent::part && !output_.empty()) wait_writable();
  }
  count_queued();
}

TcpConnection::Sent TcpConnection::send_memory(std::uint64_t& budget) noexcept {
  std::array<iovec, kVectorsMax> vectors;
  std::size_t count = 0;
  std::uint64_t wanted = 0;
  for (; count < output_.size() && count < kVectorsMax && !output_.at(count).is_file(); ++count) {
    const Slice& slice = output_.at(count);
    vectors[count] = {const_cast<std::byte*>(slice.data), static_cast<std::size_t>(slice.bytes)};
    wanted += slice.bytes;
  }
  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = count;
  // More follows at once (a file range, further slices): let the kernel fill its packets.
  const int more = count < output_.size() ? MSG_MORE : 0;
  const ssize_t done = ::sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL | more);
  if (done < 0) return not_sent("connection lost while sending");
  return sent(static_cast<std::uint64_t>(done), wanted, budget);
}

TcpConnection::Sent TcpConnection::send_file(std::uint64_t& budget) noexcept {
  const Slice& slice = output_.front();
  auto position = static_cast<off_t>(slice.file_position);
  const std::uint64_t wanted = std::min(slice.bytes, budget);
  const ssize_t done = ::sendfile(fd_, slice.fd, &position, static_cast<std::size_t>(wanted));
  if (done < 0) return not_sent("cannot send a file range");
  if (done == 0) {
    abort({ErrorCode::corrupt, fmt::format("a file ends at byte {}, {} bytes before the range that was to be sent to {}",
                                           slice.file_position, slice.bytes, peer())});
    return Sent::failed;
  }
  return sent(static_cast<std::uint64_t>(done), wanted, budget);
}

TcpConnection::Sent TcpConnection::sent(std::uint64_t bytes, std::uint64_t wanted, std::uint64_t& budget) noexcept {
  active_ = true;
  io_.count_traffic(bytes);
  output_.consume(bytes);
  if (bytes < wanted || bytes >= budget) return Sent::part;  // the socket is full, or others' turn
  budget -= bytes;
  return Sent::all;
}

TcpConnection::Sent TcpConnection::not_sent(std::string_view what) noexcept {
  if (errno == EINTR) return Sent::all;
  if (errno == EAGAIN) return Sent::part;
  abort(errno_status(what, errno));
  return Sent::failed;
}

void TcpConnection::count_queued() noexcept {
  const std::uint64_t now = output_.bytes();
  if (now == counted_bytes_) return;
  shared_->queued_bytes.fetch_add(now - counted_bytes_, std::memory_order_relaxed);  // modulo 2^64: also downwards
  counted_bytes_ = now;
}

// Connecting.

void TcpConnection::expect_connection(Session& session, std::int64_t deadline_ns) noexcept {
  expect(&session);
  io_.add(*this);
  set_transport_deadline(deadline_ns);
}

void TcpConnection::connect_to(std::vector<SocketAddress> addresses) noexcept {
  if (is_closed()) return;  // timed out or stopped while the name was being resolved
  dial_ = std::make_unique<Dial>();
  dial_->addresses = std::move(addresses);
  try_next_address();
}

void TcpConnection::connect_fails(const Status& reason) noexcept { abort(reason); }

void TcpConnection::try_next_address() noexcept {
  for (; dial_->next < dial_->addresses.size(); ++dial_->next) {
    const SocketAddress& address = dial_->addresses[dial_->next];
    fd_ = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ >= 0) {
      configure_socket(fd_, shared_->settings);
      boost::system::error_code error;
      if (::connect(fd_, address.get(), address.bytes) == 0 || errno == EINPROGRESS) {
        error = socket_.assign(fd_, error);
        if (!error) return wait_writable();
        errno = error.value();
      }
    }
    dial_->last = errno_status(fmt::format("cannot connect to {}", peer()), errno);
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  connect_fails(dial_->last);
}

void TcpConnection::on_connect_ready() noexcept {
  int error = 0;
  socklen_t bytes = sizeof error;
  if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &bytes) < 0) error = errno;
  if (error == 0) {
    dial_.reset();
    return begin(session());
  }
  dial_->last = errno_status(fmt::format("cannot connect to {}", peer()), error);
  boost::system::error_code ignored;
  ignored = socket_.close(ignored);
  fd_ = -1;
  ++dial_->next;
  try_next_address();
}

// Closing.

void TcpConnection::transport_due(std::int64_t now_ns) noexcept {
  if (lingering_) return close_socket();
  if (!is_open())
    return connect_fails({ErrorCode::timeout, fmt::format("no connection to {} within the time allowed", peer())});
  const std::int64_t timeout_ns = shared_->settings.idle_timeout_ns;
  if (group() == nullptr || timeout_ns == 0) return;
  if (std::exchange(active_, false)) quiet_since_ns_ = now_ns;
  if (now_ns - quiet_since_ns_ >= timeout_ns) {
    return abort(
        {ErrorCode::timeout, fmt::format("no byte in either direction for {} ms (idle_timeout)", timeout_ns / 1'000'000)});
  }
  set_transport_deadline(std::min(now_ns + timeout_ns / kIdleChecks, quiet_since_ns_ + timeout_ns));
}

void TcpConnection::release_io(bool flushed) noexcept {
  output_.clear();
  count_queued();
  dial_.reset();
  if (!flushed || peer_finished_ || fd_ < 0) return close_socket();
  // A socket closed with unread input resets the connection, and the peer may lose what we sent last. So: no more
  // output, discard input until the peer closes too, for a bounded time.
  ::shutdown(fd_, SHUT_WR);
  lingering_ = true;
  set_transport_deadline(io_.host().monotonic_ns() + kLingerNs);
  discard_input();
}

void TcpConnection::discard_input() noexcept {
  std::array<std::byte, 16384> nowhere;
  for (std::uint64_t total = 0; total < kReadTurnBytes;) {
    const ssize_t got = ::recv(fd_, nowhere.data(), nowhere.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) return close_socket();
    total += static_cast<std::uint64_t>(got);
  }
  if (!waits_readable_) wait_readable();
}

void TcpConnection::shut_down() noexcept {
  if (lingering_) return close_socket();
  ConnectionBase::shut_down();
}

void TcpConnection::close_socket() noexcept {
  boost::system::error_code ignored;
  if (fd_ >= 0) ignored = socket_.close(ignored);
  fd_ = -1;
  lingering_ = false;
  socket_gone_ = true;
  io_.remove(*this);
  let_go();
}

void TcpConnection::let_go() noexcept {
  if (!waits_readable_ && !waits_writable_) release();
}

}  // namespace streambus::transport_tcp
