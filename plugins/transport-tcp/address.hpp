#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <string_view>
#include <vector>

#include "streambus/base/error.hpp"

namespace streambus::transport_tcp {

/// A resolved socket address.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;

  [[nodiscard]] int family() const noexcept { return storage.ss_family; }
  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] std::uint16_t port() const noexcept;
  /// "127.0.0.1:9092", "[::1]:9092".
  [[nodiscard]] std::string text() const;
};

/// "HOST:PORT" in its two parts; a host in brackets is an IPv6 address.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};

/// Errors say what was expected and what was found.
[[nodiscard]] Result<HostPort> parse_host_port(std::string_view text);

/// The addresses of a host in the order to try them; at least one. `passive`: to bind, else to connect.
/// With `numeric_only` it neither blocks nor asks anybody, and a name is not_found; else it blocks on the system's resolver.
[[nodiscard]] Result<std::vector<SocketAddress>> resolve(const HostPort& target, bool passive, bool numeric_only);

/// Says why binding failed and what to do; for a taken port also which process listens there, where that can be seen.
[[nodiscard]] Error bind_error(const SocketAddress& address, int errno_value);

}  // namespace streambus::transport_tcp
