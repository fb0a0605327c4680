#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <utility>
#include <vector>

#include "address.hpp"
#include "transport.hpp"

namespace streambus::transport_acme {

template <class Call>
void LocalListener::run(Call call) noexcept {
  struct Waiting {
    Call& call;
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
  } waiting{call, {}, {}};
  loop_->post(
      [](void* context) noexcept {
        auto& self = *static_cast<Waiting*>(context);
        self.call();
        const std::lock_guard lock(self.mutex);
        self.done = true;
        self.changed.notify_all();
      },
      &waiting);
  std::unique_lock lock(waiting.mutex);
  waiting.changed.wait(lock, [&] { return waiting.done; });
}

Status LocalListener::bind_once() {
  SocketAddress address;
  STREAMBUS_TRY_STATUS(address.set(path_));
  if (fd_ >= 0) ::close(fd_);
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return errno_status("cannot make a socket", errno);
  if (::bind(fd_, address.get(), address.bytes()) == 0) return {};
  const int error = errno;
  // A socket that nobody listens on is what a broker left that was killed.
  if (error == EADDRINUSE && ::connect(fd_, address.get(), address.bytes()) != 0 && errno == ECONNREFUSED) {
    ::unlink(path_.c_str());
    return {ErrorCode::not_found, {}};
  }
  if (error == EADDRINUSE) return {ErrorCode::busy, path_ + " is in use: another process listens there", error};
  return errno_status("cannot listen on " + path_, error);
}

Status LocalListener::bind() {
  Status status = bind_once();
  if (status.code == ErrorCode::not_found && status.message().empty()) status = bind_once();
  if (status.ok() && ::listen(fd_, SOMAXCONN) != 0) status = errno_status("cannot listen on " + path_, errno);
  if (!status.ok() && fd_ >= 0) ::close(std::exchange(fd_, -1));  // the path is not ours
  return status;
}

Status LocalListener::start() noexcept {
  Status status;
  run([&] {
    if (started_) {
      status = {ErrorCode::closed, "the listener was started before"};
      return;
    }
    started_ = true;
    loop_->add(*this);
    loop_->watch(*this, fd_, EPOLLIN);
  });
  return status;
}

void LocalListener::ready(std::uint32_t /*events*/) noexcept {
  constexpr std::int64_t kPauseNs = 10'000'000;
  constexpr int kTurn = 64;
  for (int i = 0; i < kTurn; ++i) {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      accepted(fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      // Would be ready again at once: try when something may have been given back.
      loop_->host().log(LogLevel::warning, path_ + ": cannot accept connections for now: out of descriptors or memory");
      loop_->watch(*this, fd_, 0);
      return loop_->set_deadline(*this, loop_->host().monotonic_ns() + kPauseNs);
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

void LocalListener::due() noexcept { loop_->watch(*this, fd_, EPOLLIN); }

void LocalListener::accepted(int fd) noexcept {
  if (!group_->enter(settings_.connections_max)) {
    loop_->host().log(LogLevel::warning, path_ + ": a connection was closed: " + std::to_string(settings_.connections_max) +
                                             " are open (connections_max)");
    ::close(fd);
    return;
  }
  Session* const session = factory_.create_session();
  if (session == nullptr) {
    ::close(fd);
    return group_->left();
  }
  auto* const connection = new LocalConnection(loop_, settings_, group_, path_);
  connection->begin(fd, *session);
}

void LocalListener::drain(std::int64_t deadline_ns) noexcept {
  const auto each = [this](auto visit) {
    run([&] {
      if (!std::exchange(draining_, true)) {
        loop_->remove(*this, fd_);
        ::close(std::exchange(fd_, -1));
        ::unlink(path_.c_str());
      }
      const std::vector<Waiter*> all(loop_->waiters().begin(), loop_->waiters().end());
      for (Waiter* waiter : all) {
        auto* const connection = dynamic_cast<LocalConnection*>(waiter);
        if (connection != nullptr && connection->group() == group_.get()) visit(*connection);
      }
    });
  };
  each([](LocalConnection& connection) { connection.drain(); });
  if (group_->wait_empty(loop_->host(), deadline_ns)) return;
  each([](LocalConnection& connection) {
    connection.abort({ErrorCode::timeout, "the connection was still open when the time to drain was over"});
  });
  constexpr std::int64_t kPatienceNs = 10'000'000'000;
  if (!group_->wait_empty(loop_->host(), loop_->host().monotonic_ns() + kPatienceNs))
    loop_->host().log(LogLevel::error, path_ + ": a session blocks the thread: connections are still open");
}

void LocalListener::close() noexcept {
  if (fd_ >= 0) drain(loop_->host().monotonic_ns());
  delete this;
}

}  // namespace streambus::transport_acme
