#include "address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

namespace streambus::transport_tcp {
namespace {

/// The inode of the socket that listens on the port, from the kernel's table; 0: none found.
unsigned long listening_inode(const char* table, std::uint16_t port) {
  constexpr std::string_view kListening = "0A";
  std::ifstream file(table);
  std::string line;
  std::getline(file, line);  // headings
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string slot, local, remote, state, skip;
    unsigned long inode = 0;
    fields >> slot >> local >> remote >> state >> skip >> skip >> skip >> skip >> skip >> inode;
    const auto colon = local.rfind(':');
    if (!fields || state != kListening || colon == std::string::npos) continue;
    if (std::stoul(local.substr(colon + 1), nullptr, 16) == port) return inode;
  }
  return 0;
}

/// " by process 1234 (java)", or nothing where it cannot be seen (another user's process).
std::string holder_of(std::uint16_t port) try {
  namespace fs = std::filesystem;
  unsigned long inode = listening_inode("/proc/net/tcp", port);
  if (inode == 0) inode = listening_inode("/proc/net/tcp6", port);
  if (inode == 0) return {};
  const std::string link = fmt::format("socket:[{}]", inode);
  std::error_code ignored;
  for (const auto& process : fs::directory_iterator("/proc", ignored)) {
    const std::string pid = process.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    for (auto fd = fs::directory_iterator(process.path() / "fd", ignored); fd != fs::directory_iterator();
         fd.increment(ignored)) {
      if (fs::read_symlink(fd->path(), ignored).native() != link) continue;
      std::string name;
      std::getline(std::ifstream(process.path() / "comm"), name);
      return fmt::format(" by process {} ({})", pid, name);
    }
  }
  return {};
} catch (const std::exception&) {
  return {};  // a process ended while we looked: the message is as good without it
}

Error malformed(std::string_view text) {
  return {ErrorCode::invalid_argument,
          fmt::format("address '{}' is not HOST:PORT; write for example 127.0.0.1:9092, localhost:9092 or [::1]:9092",
                      text.substr(0, 60))};
}

}  // namespace

std::uint16_t SocketAddress::port() const noexcept {
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

std::string SocketAddress::text() const {
  char host[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET6) {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr, host, sizeof host);
    return fmt::format("[{}]:{}", host, port());
  }
  ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr, host, sizeof host);
  return fmt::format("{}:{}", host, port());
}

Result<HostPort> parse_host_port(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::unexpected(malformed(text));
  std::string_view host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    in6_addr ignored{};
    if (::inet_pton(AF_INET6, std::string(host).c_str(), &ignored) != 1) return std::unexpected(malformed(text));
  } else if (host.find(':') != std::string_view::npos || host.find_first_of("[]/ ") != std::string_view::npos) {
    return std::unexpected(malformed(text));
  }
  const std::string_view digits = text.substr(colon + 1);
  std::uint32_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || end != digits.data() + digits.size()) return std::unexpected(malformed(text));
  if (error != std::errc() || port > 65535) {
    return fail(ErrorCode::invalid_argument, fmt::format("address '{}': the port must be 0 to 65535", text.substr(0, 60)));
  }
  return HostPort{std::string(host), static_cast<std::uint16_t>(port)};
}

Result<std::vector<SocketAddress>> resolve(const HostPort& target, bool passive, bool numeric_only) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0) | (numeric_only ? AI_NUMERICHOST : 0);
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(target.host.c_str(), std::to_string(target.port).c_str(), &hints, &found);
  if (error != 0) {
    const char* why = error == EAI_SYSTEM ? ::strerror(errno) : ::gai_strerror(error);
    return fail(ErrorCode::not_found, fmt::format("cannot resolve host '{}': {}; check the name, or write a numeric address",
                                                  target.host.substr(0, 60), why));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    SocketAddress& address = addresses.emplace_back();
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.bytes = entry->ai_addrlen;
  }
  return addresses;
}

Error bind_error(const SocketAddress& address, int errno_value) {
  const std::string text = address.text();
  switch (errno_value) {
    case EADDRINUSE:
      return {
          ErrorCode::busy,
          fmt::format("address {} is in use{}; choose another address for the listener, or stop the process that listens there",
                      text, holder_of(address.port())),
          errno_value};
    case EADDRNOTAVAIL:
      return {ErrorCode::invalid_argument,
              fmt::format("address {} is not one of this machine's addresses; use one of them, or 127.0.0.1 or 0.0.0.0", text),
              errno_value};
    case EACCES:
      return {ErrorCode::permission_denied,
              fmt::format("address {}: ports below 1024 need a privilege; choose a port above 1023", text), errno_value};
    default:
      return errno_error(fmt::format("cannot listen on {}", text), errno_value);
  }
}

}  // namespace streambus::transport_tcp
