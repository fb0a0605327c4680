#include "transport.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <new>
#include <utility>

namespace streambus::transport_tcp {

namespace {

// Traffic is compared over windows of this length, and only where it is worth it.
constexpr std::int64_t kTrafficWindowNs = 100'000'000;
constexpr std::uint64_t kTrafficStepBytes = 1U << 20;

/// A connect() whose host name is being resolved on a worker, then its way to its thread.
struct Request {
  Ref<TcpConnection> connection;
  IoThread& thread;
  Session& session;
  HostPort target;
  std::int64_t deadline_ns;
  Result<std::vector<SocketAddress>> addresses;
};

void begin_connect(void* context) noexcept {
  const auto* request = static_cast<Request*>(context);
  request->connection->expect_connection(request->session, request->deadline_ns);
}

void finish_connect(void* context) noexcept {
  const std::unique_ptr<Request> request(static_cast<Request*>(context));
  if (request->addresses) {
    request->connection->connect_to(std::move(*request->addresses));
  } else {
    request->connection->connect_fails(request->addresses.error().to_status());
  }
}

void resolve_name(void* context) noexcept {
  auto* request = static_cast<Request*>(context);
  request->addresses = resolve(request->target, false, false);
  request->connection->post(&finish_connect, request);
}

}  // namespace

TcpTransport::TcpTransport(Host& host, const Options& options)
    : host_(host), shared_(std::make_shared<Shared>(parse_settings(options))), traffic_(settings().threads) {
  for (std::uint32_t i = 0; i < settings().threads; ++i) threads_.push_back(std::make_shared<IoThread>(host));
}

TcpTransport::~TcpTransport() { stop(); }

Status TcpTransport::start() noexcept try {
  const std::lock_guard lock(mutex_);
  if (state_ != State::created) return {ErrorCode::closed, "the transport was started before"};
  std::uint32_t number = 0;
  for (const auto& thread : threads_) thread->start(number++);
  state_ = State::running;
  return {};
} catch (const std::system_error& error) {
  for (const auto& thread : threads_) thread->join();
  return errno_status("cannot start the transport's threads", error.code().value());
}

Status TcpTransport::not_running() const noexcept {
  return {ErrorCode::closed, state_ == State::created ? "the transport is not started yet" : "the transport is stopped"};
}

Status TcpTransport::listen(std::string_view address, SessionFactory& factory, Listener** out) noexcept {
  *out = nullptr;
  return to_status(open_listener(address, factory, out));
}

Result<> TcpTransport::open_listener(std::string_view address, SessionFactory& factory, Listener** out) {
  STREAMBUS_TRY_ASSIGN(const HostPort target, parse_host_port(address));
  STREAMBUS_TRY_ASSIGN(const std::vector<SocketAddress> addresses, resolve(target, true, false));
  const std::lock_guard lock(mutex_);
  if (state_ != State::running) return to_result(not_running());

  SocketAddress bound = addresses.front();
  const int fd = ::socket(bound.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return std::unexpected(errno_error("cannot open a socket", errno));
  const int one = 1;
  (void)::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);  // a restart need not wait for old connections
  configure_socket(fd, settings());
  if (::bind(fd, bound.get(), bound.bytes) < 0 || ::listen(fd, settings().backlog) < 0 ||
      ::getsockname(fd, bound.get(), &bound.bytes) < 0) {
    const int error = errno;
    ::close(fd);
    return std::unexpected(bind_error(bound, error));
  }
  auto* listener = new TcpListener(*this, threads_[listeners_.size() % threads_.size()], factory, fd, bound.text());
  listeners_.push_back(listener);
  *out = listener;
  return {};
}

Status TcpTransport::connect(std::string_view address, std::int64_t timeout_ns, Session& session) noexcept {
  auto target = parse_host_port(address);
  if (!target) return target.error().to_status();
  auto addresses = resolve(*target, false, true);
  const std::lock_guard lock(mutex_);
  if (state_ != State::running) return not_running();

  const std::int64_t now = host_.monotonic_ns();
  const std::int64_t deadline_ns =
      timeout_ns < std::numeric_limits<std::int64_t>::max() - now ? now + timeout_ns : transport_common::kNever;
  const std::shared_ptr<IoThread> thread = choose_thread();
  auto* connection = new (std::nothrow) TcpConnection(thread, shared_, nullptr, std::string(address), -1);
  auto* request =
      connection == nullptr
          ? nullptr
          : new (std::nothrow) Request{
                Ref<TcpConnection>::share(connection), *thread, session, std::move(*target), deadline_ns, std::move(addresses)};
  if (request == nullptr) {
    if (connection != nullptr) connection->release();
    thread->remove_load();
    return {ErrorCode::no_space, "out of memory while connecting"};
  }
  const bool numeric = request->addresses.has_value();
  thread->post(&begin_connect, request);
  if (numeric) {
    thread->post(&finish_connect, request);
  } else {
    host_.post(WorkClass::background, &resolve_name, request);
  }
  return {};
}

std::shared_ptr<IoThread> TcpTransport::choose_thread() noexcept {
  const std::lock_guard lock(choice_mutex_);
  if (const std::int64_t now = host_.monotonic_ns(); now - traffic_taken_ns_ >= kTrafficWindowNs) {
    traffic_taken_ns_ = now;
    for (std::size_t i = 0; i < threads_.size(); ++i) {
      const std::uint64_t total = threads_[i]->traffic();
      traffic_[i] = {.seen = total, .recent = total - traffic_[i].seen};
    }
  }
  ++turn_;
  std::size_t best = turn_ % threads_.size();
  for (std::size_t i = 1; i < threads_.size(); ++i) {
    const std::size_t other = (turn_ + i) % threads_.size();
    const std::uint64_t mine = traffic_[best].recent / kTrafficStepBytes;
    const std::uint64_t theirs = traffic_[other].recent / kTrafficStepBytes;
    const bool quieter = theirs * 2 < mine;
    const bool busier = mine * 2 < theirs;
    if (quieter || (!busier && threads_[other]->load() < threads_[best]->load())) best = other;
  }
  threads_[best]->add_load();
  return threads_[best];
}

void TcpTransport::forget(TcpListener& listener) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(listeners_, &listener);
}

void TcpTransport::stop() noexcept {
  std::vector<TcpListener*> listeners;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(state_, State::stopped) != State::running) return;
    listeners = listeners_;
  }
  for (TcpListener* listener : listeners) listener->drain(host_.monotonic_ns());
  transport_common::shut_down_threads(threads_);
  for (const auto& thread : threads_) thread->join();
}

}  // namespace streambus::transport_tcp
