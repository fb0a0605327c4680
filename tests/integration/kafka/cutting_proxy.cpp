#include "cutting_proxy.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

namespace streambus::test {
namespace {

constexpr std::size_t kNeverCut = std::numeric_limits<std::size_t>::max();

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void no_delay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

CuttingProxy::CuttingProxy() {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof address;
  EXPECT_EQ(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(listener_, 64), 0);
  EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length), 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { run(); });
}

CuttingProxy::~CuttingProxy() {
  stop_ = true;
  thread_.join();
  cut_all();
  ::close(listener_);
}

void CuttingProxy::close(const Link& link) {
  // A reset instead of an orderly end: what the kernel still holds is thrown away.
  const linger now{1, 0};
  for (const int fd : {link.client, link.server}) {
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    ::close(fd);
  }
}

std::size_t CuttingProxy::cut_all() {
  const std::lock_guard lock(mutex_);
  const std::size_t count = links_.size();
  for (const Link& link : links_) close(link);
  links_.clear();
  return count;
}

std::size_t CuttingProxy::cut_all_after(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  for (Link& link : links_) link.bytes_left = bytes;
  return links_.size();
}

void CuttingProxy::accept_one() {
  const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) return;
  const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(target_port_);
  if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(client);
    ::close(server);
    return;
  }
  no_delay(client);
  no_delay(server);
  links_.push_back({client, server, kNeverCut});
}

bool CuttingProxy::pass(Link& link, int from, int to, bool from_client) {
  char buffer[16 << 10];
  ssize_t count = ::recv(from, buffer, sizeof buffer, MSG_DONTWAIT);
  if (count < 0) return errno == EAGAIN;
  if (count == 0) return false;
  if (from_client && link.bytes_left != kNeverCut) {
    count = static_cast<ssize_t>(std::min(static_cast<std::size_t>(count), link.bytes_left));
    link.bytes_left -= static_cast<std::size_t>(count);
  }
  for (ssize_t done = 0; done < count;) {
    const ssize_t sent = ::send(to, buffer + done, static_cast<std::size_t>(count - done), MSG_NOSIGNAL);
    if (sent < 0) return false;
    done += sent;
  }
  return link.bytes_left != 0;
}

void CuttingProxy::run() {
  while (!stop_) {
    std::vector<pollfd> polls{{listener_, POLLIN, 0}};
    {
      const std::lock_guard lock(mutex_);
      for (const Link& link : links_) {
        polls.push_back({link.client, POLLIN, 0});
        polls.push_back({link.server, POLLIN, 0});
      }
    }
    if (::poll(polls.data(), polls.size(), 5) <= 0) continue;
    const std::lock_guard lock(mutex_);
    // Links may have been cut meanwhile; their descriptors are looked up anew, so that none is used after its close.
    std::erase_if(links_, [&](Link& link) {
      const bool good = pass(link, link.client, link.server, true) && pass(link, link.server, link.client, false);
      if (!good) close(link);
      return !good;
    });
    if ((polls[0].revents & POLLIN) != 0) accept_one();
  }
}

}  // namespace streambus::test
