#include "listener.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <utility>

#include "transport.hpp"

namespace streambus::transport_tcp {

namespace {

constexpr int kAcceptsPerTurn = 64;
constexpr auto kPauseAfterShortage = std::chrono::milliseconds(100);
constexpr std::int64_t kLogIntervalNs = 1'000'000'000;

/// An accepted connection on its way to its thread.
struct HandOver {
  TcpConnection& connection;
  SessionFactory& factory;
  transport_common::AcceptGroup& group;
};

void take_over(void* context) noexcept {
  const std::unique_ptr<HandOver> hand_over(static_cast<HandOver*>(context));
  Session* session = hand_over->group.draining() ? nullptr : hand_over->factory.create_session();
  hand_over->connection.serve(session);
}

}  // namespace

void SparseLog::warn(std::string_view text) noexcept {
  const std::int64_t now = host_.monotonic_ns();
  if (now < next_ns_) {
    ++left_out_;
    return;
  }
  next_ns_ = now + kLogIntervalNs;
  if (left_out_ == 0) {
    host_.log(LogLevel::warning, text);
  } else {
    host_.log(LogLevel::warning, fmt::format("{} ({} such messages left out)", text, std::exchange(left_out_, 0)));
  }
}

TcpListener::TcpListener(TcpTransport& transport, std::shared_ptr<IoThread> thread, SessionFactory& factory, int fd,
                         std::string address)
    : transport_(transport),
      thread_(std::move(thread)),
      factory_(factory),
      address_(std::move(address)),
      group_(std::make_shared<transport_common::AcceptGroup>(thread_->host())),
      socket_(thread_->context().get_executor()),
      pause_(thread_->context().get_executor()),
      log_(thread_->host()),
      fd_(fd) {}

TcpListener::~TcpListener() = default;

Status TcpListener::start() noexcept {
  const std::lock_guard lock(mutex_);
  if (state_ != State::bound) return {ErrorCode::closed, "the listener was started before, or is closed"};
  boost::system::error_code error;
  error = socket_.assign(fd_, error);
  if (error) return errno_status(fmt::format("cannot watch the listening socket {}", address_), error.value());
  state_ = State::accepting;
  thread_->post([](void* self) noexcept { static_cast<TcpListener*>(self)->wait_acceptable(); }, this);
  return {};
}

void TcpListener::wait_acceptable() noexcept {
  if (shut_) return;
  waiting_ = true;
  socket_.async_wait(Descriptor::wait_read, Completion<TcpListener, &TcpListener::on_acceptable>{this, &memory_});
}

void TcpListener::on_acceptable(const boost::system::error_code& /*error*/) noexcept {
  waiting_ = false;
  if (shut_) return finish_if_idle();
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    if (!accept_one()) break;
  }
  if (!waiting_) wait_acceptable();
  thread_->settle_all();
}

bool TcpListener::accept_one() noexcept {
  SocketAddress peer;
  peer.bytes = sizeof peer.storage;
  const int fd = ::accept4(socket_.native_handle(), peer.get(), &peer.bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) {
    hand_over(fd, peer);
    return true;
  }
  switch (errno) {
    case EAGAIN:
      return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      pause_accepting(errno);
      return false;
    default:
      return true;  // that connection was gone before it was accepted
  }
}

void TcpListener::hand_over(int fd, const SocketAddress& peer) noexcept {
  const Settings& settings = transport_.settings();
  if (!group_->enter(settings.connections_max)) {
    ::close(fd);
    log_.warn(fmt::format("connection of {} closed: {} connections are open on {} (connections_max)", peer.text(),
                          settings.connections_max, address_));
    return;
  }
  const std::shared_ptr<IoThread> thread = transport_.choose_thread();
  auto* connection = new (std::nothrow) TcpConnection(thread, transport_.shared(), group_, peer.text(), fd);
  auto* hand_over = connection != nullptr ? new (std::nothrow) HandOver{*connection, factory_, *group_} : nullptr;
  if (hand_over != nullptr) return thread->post(&take_over, hand_over);
  if (connection != nullptr) connection->release();
  thread->remove_load();
  group_->left();
  ::close(fd);
  log_.warn(fmt::format("connection of {} closed: out of memory", peer.text()));
}

void TcpListener::pause_accepting(int errno_value) noexcept {
  log_.warn(fmt::format("cannot accept on {} for now: {}; raise the limit of open files (ulimit -n) or lower connections_max",
                        address_, ::strerror(errno_value)));
  waiting_ = true;
  pause_.expires_after(kPauseAfterShortage);
  pause_.async_wait(Completion<TcpListener, &TcpListener::on_pause_over>{this, &memory_});
}

void TcpListener::on_pause_over(const boost::system::error_code& error) noexcept { on_acceptable(error); }

void TcpListener::stop_accepting() noexcept {
  if (!group_->begin_drain()) return;
  std::unique_lock lock(mutex_);
  if (std::exchange(state_, State::stopped) == State::bound) {
    ::close(fd_);
    return;
  }
  lock.unlock();
  thread_->post([](void* self) noexcept { static_cast<TcpListener*>(self)->shut(); }, this);
  lock.lock();
  stopped_.wait(lock, [this] { return fd_ < 0; });
}

void TcpListener::shut() noexcept {
  shut_ = true;
  boost::system::error_code ignored;
  ignored = socket_.close(ignored);
  pause_.cancel();
  if (!waiting_) finish_if_idle();
}

void TcpListener::finish_if_idle() noexcept {
  const std::lock_guard lock(mutex_);
  fd_ = -1;
  stopped_.notify_all();
}

void TcpListener::drain(std::int64_t deadline_ns) noexcept {
  stop_accepting();
  transport_common::drain_group(transport_.threads(), group_, thread_->host(), deadline_ns);
}

void TcpListener::close() noexcept {
  drain(thread_->host().monotonic_ns());
  transport_.forget(*this);
  delete this;
}

}  // namespace streambus::transport_tcp
