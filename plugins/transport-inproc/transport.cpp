#include "transport.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace streambus::transport_inproc {

namespace {

/// The listeners of the process by name, whichever transport object they belong to.
struct Names {
  std::mutex mutex;
  std::map<std::string, InprocListener*, std::less<>> listeners;  // guarded by mutex
  std::uint64_t connections = 0;                                  // guarded by mutex; numbers the clients

  [[nodiscard]] std::string known() const {
    if (listeners.empty()) return "there is none in this process";
    std::string names;
    for (const auto& [name, listener] : listeners) names += (names.empty() ? "" : ", ") + name;
    return "there are: " + names;
  }
};

Names& names() {
  static Names instance;
  return instance;
}

/// A connection end on its way to its thread, with the maker of its session.
struct HandOver {
  InprocConnection& end;
  SessionFactory& factory;
  transport_common::AcceptGroup& group;
};

void take_over(void* context) noexcept {
  const std::unique_ptr<HandOver> hand_over(static_cast<HandOver*>(context));
  hand_over->end.serve(hand_over->group.draining() ? nullptr : hand_over->factory.create_session());
}

void turn_away(void* context) noexcept { static_cast<InprocConnection*>(context)->serve(nullptr); }

/// A client's end on its way to its thread.
struct Connect {
  InprocConnection& end;
  Session& session;
  Status failure;
};

void begin_client(void* context) noexcept {
  const std::unique_ptr<Connect> connect(static_cast<Connect*>(context));
  if (connect->failure.ok()) {
    connect->end.serve(&connect->session);
  } else {
    connect->end.refuse(connect->session, connect->failure);
  }
}

bool is_name(std::string_view text) noexcept {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  return !text.empty() && text.size() <= 64 && text.find_first_not_of(kAllowed) == std::string_view::npos;
}

Status not_a_name(std::string_view text) noexcept {
  return {ErrorCode::invalid_argument,
          fmt::format("inproc address '{}' must be a name of letters, digits, '_', '.' and '-', for example 'main'",
                      text.substr(0, 60))};
}

}  // namespace

InprocListener::InprocListener(InprocTransport& transport, SessionFactory& factory, std::string name)
    : transport_(transport),
      factory_(factory),
      name_(std::move(name)),
      group_(std::make_shared<transport_common::AcceptGroup>(transport.host())) {}

Status InprocListener::start() noexcept {
  const std::lock_guard lock(names().mutex);
  if (started_ || group_->draining()) return {ErrorCode::closed, "the listener was started before, or is closed"};
  started_ = true;
  for (InprocConnection* end : std::exchange(backlog_, {})) hand_over(*end);
  return {};
}

InprocConnection* InprocListener::offer(std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out, std::string peer) {
  const bool welcome = group_->enter(transport_.connections_max());
  if (!welcome) {
    transport_.host().log(LogLevel::warning,
                          fmt::format("connection of {} closed: {} connections are open on '{}' (connections_max)", peer,
                                      transport_.connections_max(), name_));
  }
  return new InprocConnection(transport_.choose_thread(), transport_.marks(), welcome ? group_ : nullptr, std::move(peer),
                              std::move(in), std::move(out));
}

void InprocListener::accept(InprocConnection& end) {
  if (end.group() == nullptr) return end.thread().post(&turn_away, &end);
  if (started_) return hand_over(end);
  backlog_.push_back(&end);
}

void InprocListener::hand_over(InprocConnection& end) { end.thread().post(&take_over, new HandOver{end, factory_, *group_}); }

void InprocListener::drain(std::int64_t deadline_ns) noexcept {
  {
    const std::lock_guard lock(names().mutex);
    if (const auto found = names().listeners.find(name_); found != names().listeners.end() && found->second == this) {
      names().listeners.erase(found);
    }
    (void)group_->begin_drain();
    for (InprocConnection* end : std::exchange(backlog_, {})) end->thread().post(&turn_away, end);
  }
  transport_common::drain_group(transport_.threads(), group_, transport_.host(), deadline_ns);
}

void InprocListener::close() noexcept {
  drain(transport_.host().monotonic_ns());
  transport_.forget(*this);
  delete this;
}

InprocTransport::InprocTransport(Host& host, const Options& options)
    : host_(host),
      connections_max_(static_cast<std::size_t>(options.integer("connections_max"))),
      marks_{.high = options.size("write_high_water"), .low = options.size("write_low_water")} {
  if (marks_.low > marks_.high) {
    throw std::invalid_argument(fmt::format(
        "write_low_water is {} bytes and must not be above write_high_water, which is {} bytes", marks_.low, marks_.high));
  }
  const auto asked = static_cast<unsigned>(options.integer("threads"));
  const unsigned threads = asked != 0 ? asked : std::max(1U, std::thread::hardware_concurrency());
  for (unsigned i = 0; i < threads; ++i) threads_.push_back(std::make_shared<InprocThread>(host));
}

InprocTransport::~InprocTransport() { stop(); }

Status InprocTransport::start() noexcept try {
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

Status InprocTransport::not_running() const noexcept {
  return {ErrorCode::closed, state_ == State::created ? "the transport is not started yet" : "the transport is stopped"};
}

Status InprocTransport::listen(std::string_view address, SessionFactory& factory, Listener** out) noexcept try {
  *out = nullptr;
  if (!is_name(address)) return not_a_name(address);
  const std::lock_guard lock(mutex_);
  if (state_ != State::running) return not_running();
  const std::lock_guard names_lock(names().mutex);
  if (names().listeners.contains(address)) {
    return {ErrorCode::busy,
            fmt::format("inproc address '{}' is in use in this process; choose another name for the listener", address)};
  }
  auto* listener = new InprocListener(*this, factory, std::string(address));
  names().listeners.emplace(address, listener);
  listeners_.push_back(listener);
  *out = listener;
  return {};
} catch (const std::bad_alloc&) {
  return {ErrorCode::no_space, "out of memory while making a listener"};
}

Status InprocTransport::connect(std::string_view address, std::int64_t /*timeout_ns*/, Session& session) noexcept {
  if (!is_name(address)) return not_a_name(address);
  const std::lock_guard lock(mutex_);
  if (state_ != State::running) return not_running();

  const auto up = std::make_shared<Pipe>();
  const auto down = std::make_shared<Pipe>();
  const std::shared_ptr<InprocThread> thread = choose_thread();
  auto* client = new (std::nothrow) InprocConnection(thread, marks_, nullptr, std::string(address), down, up);
  auto* connect = client != nullptr ? new (std::nothrow) Connect{*client, session, {}} : nullptr;
  if (connect == nullptr) {
    if (client != nullptr) client->release();
    thread->remove_load();
    return {ErrorCode::no_space, "out of memory while connecting"};
  }
  const std::lock_guard names_lock(names().mutex);
  if (const auto found = names().listeners.find(address); found != names().listeners.end()) {
    InprocConnection* server = found->second->offer(up, down, fmt::format("{}#{}", address, ++names().connections));
    InprocConnection::join(*client, *server);
    found->second->accept(*server);
  } else {
    connect->failure =
        Status(ErrorCode::not_found, fmt::format("no inproc listener has the name '{}'; {}", address, names().known()));
  }
  thread->post(&begin_client, connect);
  return {};
}

std::shared_ptr<InprocThread> InprocTransport::choose_thread() noexcept {
  const auto fewest = std::ranges::min_element(threads_, {}, [](const auto& thread) { return thread->load(); });
  (*fewest)->add_load();
  return *fewest;
}

void InprocTransport::forget(InprocListener& listener) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(listeners_, &listener);
}

void InprocTransport::stop() noexcept {
  std::vector<InprocListener*> listeners;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(state_, State::stopped) != State::running) return;
    listeners = listeners_;
  }
  for (InprocListener* listener : listeners) listener->drain(host_.monotonic_ns());
  transport_common::shut_down_threads(threads_);
  for (const auto& thread : threads_) thread->join();
}

}  // namespace streambus::transport_inproc
