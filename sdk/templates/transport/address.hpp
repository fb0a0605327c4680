#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <string_view>

#include "streambus/base/error.hpp"

namespace streambus::transport_acme {

/// The path of a unix-domain socket, as the system wants it.
class SocketAddress {
 public:
  /// Errors: invalid_argument.
  [[nodiscard]] Status set(std::string_view path) noexcept {
    if (path.empty() || path.size() >= sizeof address_.sun_path)
      return {ErrorCode::invalid_argument,
              "address: expected a path of 1 to 107 bytes, such as \"/run/streambus/broker.sock\""};
    std::memcpy(address_.sun_path, path.data(), path.size());
    address_.sun_path[path.size()] = '\0';
    return {};
  }
  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&address_); }
  [[nodiscard]] socklen_t bytes() const noexcept { return sizeof address_; }

 private:
  sockaddr_un address_{.sun_family = AF_UNIX, .sun_path = {}};
};

}  // namespace streambus::transport_acme
