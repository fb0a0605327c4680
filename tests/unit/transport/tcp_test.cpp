// What only a TCP transport has: sockets of foreign peers, addresses, limits of the operating system.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <deque>
#include <vector>

#include "transport_fixture.hpp"

namespace streambus::test {
namespace {

constexpr const char* kTcp = "transport-tcp";

std::uint16_t port_of(std::string_view address) {
  std::uint16_t port = 0;
  const std::string_view digits = address.substr(address.rfind(':') + 1);
  std::from_chars(digits.data(), digits.data() + digits.size(), port);
  return port;
}

/// A plain blocking socket.
class RawPeer {
 public:
  explicit RawPeer(std::string_view address) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port_of(address));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  }
  ~RawPeer() { close(); }
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  [[nodiscard]] bool connected() const noexcept { return connected_; }
  [[nodiscard]] bool send(std::string_view text) const {
    return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  void finish_sending() const { ::shutdown(fd_, SHUT_WR); }
  void reset() {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  /// Reads until the other side ends the stream; "<error>" is appended when it was reset.
  [[nodiscard]] std::string read_all() const {
    std::string text;
    char buffer[65536];
    for (;;) {
      const ssize_t got = ::recv(fd_, buffer, sizeof buffer, 0);
      if (got == 0) return text;
      if (got < 0) return text + "<error>";
      text.append(buffer, static_cast<std::size_t>(got));
    }
  }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool connected_ = false;
};

TEST(TcpTest, HalfCloseDeliversTheRestThenClosesInOrder) {
  TestFactory factory([](TestSession& session) {
    session.on_bytes = [](TestSession& self, Bytes) {
      if (self.text().ends_with("end")) self.send("answer");
    };
  });
  TransportPair pair(kTcp);
  pair.listen(factory);
  const RawPeer peer(pair.listener->address());
  ASSERT_TRUE(peer.send("request and end"));
  peer.finish_sending();
  EXPECT_EQ(peer.read_all(), "answer");
  ASSERT_TRUE(eventually([&] { return factory.at(0).is_closed.load(); }));
  EXPECT_EQ(factory.at(0).text(), "request and end");
  EXPECT_TRUE(factory.at(0).reason().ok()) << factory.at(0).reason().text;
}

TEST(TcpTest, ResetIsAnErrorWithItsReason) {
  TestFactory factory;
  TransportPair pair(kTcp);
  pair.listen(factory);
  RawPeer peer(pair.listener->address());
  ASSERT_TRUE(peer.send("x"));
  ASSERT_TRUE(eventually([&] { return factory.count() == 1 && factory.at(0).bytes_received == 1; }));
  peer.reset();
  ASSERT_TRUE(eventually([&] { return factory.at(0).is_closed.load(); }));
  EXPECT_EQ(factory.at(0).reason().sys_errno, ECONNRESET) << factory.at(0).reason().text;
}

TEST(TcpTest, ResetWhileSendingCloses) {
  const std::string large(std::size_t{32} << 20, 'x');
  TestFactory factory([&](TestSession& session) { session.on_bytes = [&](TestSession& self, Bytes) { self.send(large); }; });
  TransportPair pair(kTcp);
  pair.listen(factory);
  RawPeer peer(pair.listener->address());
  ASSERT_TRUE(peer.send("x"));
  ASSERT_TRUE(eventually([&] { return factory.count() == 1 && factory.at(0).bytes_received == 1; }));
  peer.reset();
  ASSERT_TRUE(eventually([&] { return factory.at(0).is_closed.load(); }));
  EXPECT_FALSE(factory.at(0).reason().ok());
}

TEST(TcpTest, IdleConnectionsAreClosedBusyOnesAreNot) {
  TestFactory factory;
  TransportPair pair(kTcp, {{"idle_timeout", "80ms"}});
  pair.listen(factory);
  const RawPeer idle(pair.listener->address());
  ASSERT_TRUE(eventually([&] { return factory.count() == 1; }));
  const RawPeer busy(pair.listener->address());
  ASSERT_TRUE(eventually([&] { return busy.send("x") && factory.at(0).is_closed; }));
  ASSERT_EQ(factory.count(), 2U);
  EXPECT_EQ(factory.at(0).reason().code, ErrorCode::timeout);
  EXPECT_TRUE(factory.at(0).reason().message().contains("idle_timeout")) << factory.at(0).reason().text;
  EXPECT_TRUE(eventually([&] { return factory.at(1).is_closed.load(); })) << "idle from now on";
  EXPECT_GT(factory.at(1).bytes_received, 0U);
}

TEST(TcpTest, TotalBoundHoldsBackOnlyThoseThatHoldSomething) {
  const std::string answer(std::size_t{1} << 20, 'x');
  TestFactory factory([&](TestSession& session) {
    session.buffer_bytes = 1;
    session.on_bytes = [&](TestSession& self, Bytes byte) {
      if (byte[0] == std::byte{'?'}) self.send(answer);
    };
  });
  TransportPair pair(
      kTcp, {{"inflight_bytes_max", "2MiB"}, {"write_high_water", "512MiB"}, {"send_buffer", "64KiB"}, {"threads", "1"}});
  pair.listen(factory);
  const RawPeer greedy(pair.listener->address());
  ASSERT_TRUE(greedy.send(std::string(100, '?')));
  ASSERT_TRUE(eventually([&] { return factory.count() == 1 && factory.at(0).bytes_received >= 3; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(factory.at(0).bytes_received, 20U) << "the bound over all connections did not stop the reader";
  const RawPeer modest(pair.listener->address());
  ASSERT_TRUE(modest.send("........"));
  EXPECT_TRUE(eventually([&] { return factory.count() == 2 && factory.at(1).bytes_received == 8; })) << "others must go on";
  greedy.finish_sending();
  EXPECT_EQ(greedy.read_all().size(), 100 * answer.size());
}

TEST(TcpTest, AddressesAreUnderstoodOrExplained) {
  TestFactory factory;
  LoadedTransport transport(kTcp);
  const auto listen = [&](std::string_view address) {
    Listener* listener = nullptr;
    const Status status = transport->listen(address, factory, &listener);
    std::string outcome = status.ok() ? std::string(listener->address()) : status.text;
    if (listener != nullptr) listener->close();
    return outcome;
  };
  EXPECT_TRUE(listen("127.0.0.1:0").starts_with("127.0.0.1:"));
  EXPECT_NE(listen("127.0.0.1:0"), "127.0.0.1:0");
  EXPECT_NE(port_of(listen("localhost:0")), 0);
  EXPECT_TRUE(listen("0.0.0.0:0").starts_with("0.0.0.0:"));
  if (const std::string v6 = listen("[::1]:0"); !v6.contains("not one of this machine's")) {
    EXPECT_TRUE(v6.starts_with("[::1]:")) << v6;
    EXPECT_NE(v6, "[::1]:0");
  }
  for (const char* bad : {"", ":", "9092", "127.0.0.1", "127.0.0.1:", ":9092", "::1:9092", "[::1]9092", "[zz]:1", "a b:1",
                          "host:http", "h:-1", "h:1x"}) {
    const std::string text = listen(bad);
    EXPECT_TRUE(text.contains("is not HOST:PORT; write for example 127.0.0.1:9092")) << bad << " gave: " << text;
  }
  EXPECT_TRUE(listen("127.0.0.1:65536").contains("the port must be 0 to 65535"));
  EXPECT_TRUE(listen("127.0.0.1:99999999999999").contains("the port must be 0 to 65535"));
  EXPECT_TRUE(listen("192.0.2.1:0").contains("not one of this machine's addresses")) << listen("192.0.2.1:0");
  EXPECT_TRUE(listen("no-such-host.invalid:1").contains("cannot resolve host 'no-such-host.invalid'"));
  TestSession session;
  EXPECT_EQ(transport->connect("nonsense", 1, session).code, ErrorCode::invalid_argument);
}

TEST(TcpTest, APortInUseNamesTheProcessThatListens) {
  TestFactory factory;
  TransportPair pair(kTcp);
  pair.listen(factory);
  Listener* second = nullptr;
  const Status status = pair.server->listen(pair.listener->address(), factory, &second);
  EXPECT_EQ(status.sys_errno, EADDRINUSE);
  EXPECT_TRUE(status.message().contains("by process " + std::to_string(::getpid()))) << status.text;
  EXPECT_TRUE(status.message().ends_with("stop the process that listens there")) << status.text;
}

TEST(TcpTest, HostNamesAreResolvedForConnecting) {
  TestFactory factory;
  TestSession client;
  TestSession lost;
  TransportPair pair(kTcp);
  pair.listen(factory);
  const std::string address = "localhost:" + std::to_string(port_of(pair.listener->address()));
  ASSERT_TRUE(pair.client->connect(address, 10'000'000'000, client).ok());
  EXPECT_TRUE(eventually([&] { return client.is_open.load(); }));
  ASSERT_TRUE(pair.client->connect("no-such-host.invalid:1", 10'000'000'000, lost).ok());
  ASSERT_TRUE(eventually([&] { return lost.is_closed.load(); }));
  EXPECT_EQ(lost.reason().code, ErrorCode::not_found) << lost.reason().text;
  pair.client->stop();
}

TEST(TcpTest, ConnectingTakesNoLongerThanAllowed) {
  // A listener whose backlog is full answers nothing.
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), bytes), 0);
  ASSERT_EQ(::listen(fd, 0), 0);
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  const std::string target = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  std::deque<TestSession> clients(4);
  LoadedTransport transport(kTcp);
  for (TestSession& client : clients) ASSERT_TRUE(transport->connect(target, 50'000'000, client).ok());
  const auto timed_out = [&] {
    return std::ranges::any_of(
        clients, [](const TestSession& client) { return client.is_closed && client.reason().code == ErrorCode::timeout; });
  };
  EXPECT_TRUE(eventually(timed_out));
  transport->stop();
  ::close(fd);
}

TEST(TcpTest, AcceptGoesOnAfterFilesRanOut) {
  TestFactory factory;
  TransportPair pair(kTcp);
  pair.listen(factory);
  const RawPeer first(pair.listener->address());
  ASSERT_TRUE(eventually([&] { return factory.count() == 1; }));
  // The second peer's own socket must exist before the limit falls.
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = static_cast<rlim_t>(fd) + 1;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<int> fillers;
  for (int filler = ::dup(fd); filler >= 0; filler = ::dup(fd)) fillers.push_back(filler);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port_of(pair.listener->address()));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  const bool logged = eventually([&] { return pair.server.host().logged("Too many open files") >= 1; });
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  for (const int filler : fillers) ::close(filler);
  EXPECT_TRUE(connected);
  EXPECT_TRUE(logged);
  EXPECT_TRUE(eventually([&] { return factory.count() == 2; })) << "accepting did not go on";
  ::close(fd);
}

}  // namespace
}  // namespace streambus::test
