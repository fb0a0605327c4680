#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "streambus/base/error.hpp"

namespace streambus::client {

/// Where a broker listens: the transport's short name ("tcp", "inproc") and what that transport connects to.
struct Address {
  std::string transport;
  std::string target;  ///< "127.0.0.1:9092", "[::1]:9092"; the listener's name for inproc

  /// As the user wrote it: "127.0.0.1:9092", "inproc:NAME".
  [[nodiscard]] std::string text() const;
  bool operator==(const Address&) const = default;
};

/// Parses "HOST:PORT", "[IPV6]:PORT" or "TRANSPORT:TARGET". Errors: invalid_argument, saying what is wrong with it.
[[nodiscard]] Result<Address> parse_address(std::string_view text);

/// A list separated by commas, all of one transport.
[[nodiscard]] Result<std::vector<Address>> parse_bootstrap(std::string_view text);

/// "host:port" with brackets around an IPv6 host.
[[nodiscard]] std::string join_host_port(std::string_view host, std::int32_t port);

}  // namespace streambus::client
