// Ping-pong and streaming through each transport, beside bare blocking sockets: compare within one run.
//   streambus-microbench --benchmark_filter=Transport

#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "streambus/host/services.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::bench {
namespace {

constexpr std::size_t kMessageBytes = 128;
constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
constexpr std::size_t kRounds = 500;                             // per iteration of a ping-pong
constexpr std::uint64_t kStreamBytes = std::uint64_t{64} << 20;  // per iteration of a stream

std::int64_t now_ns() { return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count(); }

const std::vector<std::byte>& chunk() {
  static const std::vector<std::byte> bytes(kChunkBytes, std::byte{'x'});
  return bytes;
}

void check(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.text);
}

/// The host side of the plugins under test.
class Plugins {
 public:
  [[nodiscard]] Instance<Transport> make(const std::string& name) {
    auto plugin = registry_.load(PluginKind::transport, name);
    if (!plugin) throw std::runtime_error(plugin.error().message);
    const OptionValues options((*plugin)->options());
    Services::HostSpec spec;
    spec.instance_name = "bench";
    spec.component = "transport.bench";
    auto instance = create_instance<Transport>(services_, **plugin, options, std::move(spec));
    if (!instance) throw std::runtime_error(instance.error().message);
    check((*instance)->start());
    return std::move(*instance);
  }

 private:
  Services services_{ServiceSettings{}};
  PluginRegistry registry_{std::vector<std::filesystem::path>{STREAMBUS_PLUGIN_DIRECTORY}};
};

Plugins& plugins() {
  static Plugins instance;
  return instance;
}

/// A session with a fixed buffer and functions for what it does.
struct BenchSession final : Session {
  std::function<void(BenchSession&, std::size_t)> on_bytes = [](BenchSession&, std::size_t) {};
  std::function<void(BenchSession&)> on_writable = [](BenchSession&) {};
  Connection* connection = nullptr;
  std::vector<std::byte> buffer;
  std::binary_semaphore opened_signal{0};

  explicit BenchSession(std::size_t buffer_bytes) : buffer(buffer_bytes) {}
  void send(std::size_t bytes) const {
    const Slice slice = Slice::memory(Bytes(chunk()).first(bytes));
    connection->write({&slice, 1}, nullptr);
  }
  void opened(Connection& opened) noexcept override {
    connection = &opened;
    opened_signal.release();
  }
  MutableBytes receive_buffer() noexcept override { return buffer; }
  void received(std::size_t bytes) noexcept override { on_bytes(*this, bytes); }
  void writable() noexcept override { on_writable(*this); }
  void deadline() noexcept override {}
  void drain() noexcept override { connection->close(false); }
  void closed(const Status&) noexcept override {
    if (connection != nullptr) connection->release();
  }
};

/// Answers each message of kMessageBytes; or streams when a single byte came, kStreamBytes at a time.
void serve(BenchSession& session) {
  auto partial = std::make_shared<std::size_t>(0);
  session.on_bytes = [partial](BenchSession& self, std::size_t bytes) {
    for (*partial += bytes; *partial >= kMessageBytes; *partial -= kMessageBytes) self.send(kMessageBytes);
  };
}
void serve_stream(BenchSession& session) {
  auto left = std::make_shared<std::uint64_t>(0);
  session.on_writable = [left](BenchSession& self) {
    for (; *left > 0 && self.connection->queued_bytes() < 4 * kChunkBytes; *left -= kChunkBytes) self.send(kChunkBytes);
  };
  session.on_bytes = [left](BenchSession& self, std::size_t bytes) {
    *left += bytes * kStreamBytes;
    self.on_writable(self);
  };
}

/// A server of a transport plugin with one kind of sessions, and a client object of the same plugin.
class Server final : public SessionFactory {
 public:
  Server(const std::string& plugin, void (*behaviour)(BenchSession&))
      : behaviour_(behaviour), server_(plugins().make(plugin)), client_(plugins().make(plugin)) {
    check(server_->listen(plugin == "transport-tcp" ? "127.0.0.1:0" : "bench", *this, &listener_));
    check(listener_->start());
  }
  ~Server() {
    client_->stop();
    listener_->close();
    server_->stop();
  }
  Session* create_session() noexcept override {
    BenchSession& session = sessions_.emplace_back(kChunkBytes);
    behaviour_(session);
    return &session;
  }
  void connect(BenchSession& session) {
    check(client_->connect(listener_->address(), 1'000'000'000, session));
    session.opened_signal.acquire();
  }
  [[nodiscard]] std::string address() const { return std::string(listener_->address()); }

 private:
  void (*behaviour_)(BenchSession&);
  std::deque<BenchSession> sessions_;  // one is made: no two threads make any at once
  Instance<Transport> server_;
  Instance<Transport> client_;
  Listener* listener_ = nullptr;
};

/// Blocking sockets: the least that a connection can cost.
class BareSocket {
 public:
  explicit BareSocket(int fd) : fd_(fd) {
    const int one = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  ~BareSocket() { ::close(fd_); }
  BareSocket(const BareSocket&) = delete;
  BareSocket& operator=(const BareSocket&) = delete;

  static int connect_to(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in to = loopback(port);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0) throw std::runtime_error("connect failed");
    return fd;
  }
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  [[nodiscard]] bool send(std::size_t bytes) const {
    for (std::size_t done = 0; done < bytes;) {
      const ssize_t sent = ::send(fd_, chunk().data() + done, bytes - done, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      done += static_cast<std::size_t>(sent);
    }
    return true;
  }
  [[nodiscard]] std::size_t receive(MutableBytes buffer) const {
    const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
    return got > 0 ? static_cast<std::size_t>(got) : 0;
  }
  [[nodiscard]] bool receive_all(MutableBytes buffer) const {
    return ::recv(fd_, buffer.data(), buffer.size(), MSG_WAITALL) == static_cast<ssize_t>(buffer.size());
  }

 private:
  int fd_;
};

/// A thread that serves one bare connection.
class BareServer {
 public:
  explicit BareServer(std::function<void(const BareSocket&)> behaviour) {
    sockaddr_in address = BareSocket::loopback(0);
    socklen_t bytes = sizeof address;
    if (::bind(fd_, reinterpret_cast<const sockaddr*>(&address), bytes) < 0 || ::listen(fd_, 1) < 0 ||
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &bytes) < 0) {
      throw std::runtime_error("cannot listen");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, behaviour = std::move(behaviour)] { behaviour(BareSocket(::accept(fd_, nullptr, nullptr))); });
  }
  ~BareServer() {
    thread_.join();
    ::close(fd_);
  }
  BareServer(const BareServer&) = delete;
  BareServer& operator=(const BareServer&) = delete;
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

 private:
  int fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::uint16_t port_ = 0;
  std::thread thread_;
};

/// Round trips, with their percentiles as counters.
class RoundTrips {
 public:
  explicit RoundTrips(benchmark::State& state) : state_(state) { times_ns_.reserve(1 << 20); }
  RoundTrips(const RoundTrips&) = delete;
  RoundTrips& operator=(const RoundTrips&) = delete;
  ~RoundTrips() {
    if (times_ns_.empty()) return;
    std::ranges::sort(times_ns_);
    state_.counters["p50_us"] = us(times_ns_.size() / 2);
    state_.counters["p99_us"] = us(times_ns_.size() * 99 / 100);
    state_.SetItemsProcessed(static_cast<std::int64_t>(times_ns_.size()));
  }
  void add(std::int64_t ns) { times_ns_.push_back(ns); }

 private:
  [[nodiscard]] double us(std::size_t index) const { return static_cast<double>(times_ns_[index]) / 1000; }
  benchmark::State& state_;
  std::vector<std::int64_t> times_ns_;
};

void bare_ping_pong(benchmark::State& state, std::uint16_t port) {
  const BareSocket socket(BareSocket::connect_to(port));
  std::array<std::byte, kMessageBytes> answer;
  RoundTrips trips(state);
  for (auto _ : state) {
    for (std::size_t i = 0; i < kRounds; ++i) {
      const std::int64_t start = now_ns();
      if (!socket.send(kMessageBytes) || !socket.receive_all(answer)) return state.SkipWithError("the connection broke");
      trips.add(now_ns() - start);
    }
  }
}

void ping_pong_bare(benchmark::State& state) {
  const BareServer server([](const BareSocket& socket) {
    std::array<std::byte, kMessageBytes> message;
    while (socket.receive_all(message) && socket.send(kMessageBytes)) {
    }
  });
  bare_ping_pong(state, server.port());
}

/// The server side of the transport alone: a bare client, as a foreign one is.
void ping_pong_tcp_server(benchmark::State& state) {
  const Server server("transport-tcp", serve);
  const std::string address = server.address();
  const std::string_view digits = std::string_view(address).substr(address.rfind(':') + 1);
  std::uint16_t port = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), port);
  bare_ping_pong(state, port);
}

/// Both sides through the transport.
void ping_pong(benchmark::State& state, const std::string& plugin) {
  BenchSession client(kMessageBytes);
  RoundTrips trips(state);
  std::binary_semaphore done{0};
  std::int64_t start = 0;
  std::size_t got = 0, round = 0;
  const auto ping = [&] {
    start = now_ns();
    client.send(kMessageBytes);
  };
  client.on_bytes = [&](BenchSession&, std::size_t bytes) {
    got += bytes;
    if (got < kMessageBytes) return;
    got = 0;
    trips.add(now_ns() - start);
    if (++round % kRounds == 0) return done.release();
    ping();
  };
  std::function<void()> first = ping;
  Server server(plugin, serve);  // the last: its end joins the threads that use all of the above
  server.connect(client);
  for (auto _ : state) {
    client.connection->post([](void* fn) noexcept { (*static_cast<std::function<void()>*>(fn))(); }, &first);
    done.acquire();
  }
}

void stream_bare(benchmark::State& state) {
  const BareServer server([](const BareSocket& socket) {
    std::array<std::byte, 1> request;
    while (socket.receive_all(request)) {
      for (std::uint64_t sent = 0; sent < kStreamBytes; sent += kChunkBytes) {
        if (!socket.send(kChunkBytes)) return;
      }
    }
  });
  const BareSocket socket(BareSocket::connect_to(server.port()));
  std::vector<std::byte> buffer(kChunkBytes);
  for (auto _ : state) {
    if (!socket.send(1)) return state.SkipWithError("the connection broke");
    for (std::uint64_t got = 0; got < kStreamBytes;) {
      const std::size_t bytes = socket.receive(buffer);
      if (bytes == 0) return state.SkipWithError("the connection broke");
      got += bytes;
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * kStreamBytes));
}

void stream(benchmark::State& state, const std::string& plugin) {
  BenchSession client(kChunkBytes);
  std::binary_semaphore done{0};
  std::uint64_t got = 0;
  client.on_bytes = [&](BenchSession&, std::size_t bytes) {
    got += bytes;
    if (got % kStreamBytes == 0) done.release();
  };
  Server server(plugin, serve_stream);  // the last: its end joins the threads that use all of the above
  server.connect(client);
  for (auto _ : state) {
    client.connection->post([](void* session) noexcept { static_cast<BenchSession*>(session)->send(1); }, &client);
    done.acquire();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * kStreamBytes));
}

/// Runs a case; one that cannot run (a plugin is not built) says why and is skipped.
template <class Case, class... Arguments>
void guarded(benchmark::State& state, Case run, const Arguments&... arguments) try {
  run(state, arguments...);
} catch (const std::exception& error) {
  state.SkipWithError(error.what());
}

[[maybe_unused]] const bool registered = [] {
  const auto add = [](const char* name, auto run, auto... arguments) {
    benchmark::RegisterBenchmark(name, [=](benchmark::State& state) { guarded(state, run, arguments...); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  const std::string tcp = "transport-tcp";
  const std::string inproc = "transport-inproc";
  add("Transport/PingPong/bare", ping_pong_bare);
  add("Transport/PingPong/tcp_server_bare_client", ping_pong_tcp_server);
  add("Transport/PingPong/tcp", ping_pong, tcp);
  add("Transport/PingPong/inproc", ping_pong, inproc);
  add("Transport/Stream/bare", stream_bare);
  add("Transport/Stream/tcp", stream, tcp);
  add("Transport/Stream/inproc", stream, inproc);
  return true;
}();

}  // namespace
}  // namespace streambus::bench
