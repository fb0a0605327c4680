#pragma once

#include <string_view>

#include "streambus/base/error.hpp"
#include "streambus/plugin/broker.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus {

/// What a protocol must know of the listener that its sessions are accepted on.
/// Views are valid as long as the session factory lives.
struct ListenerInfo {
  std::string_view name;             ///< "main"
  std::string_view address;          ///< bound
  std::string_view advertised_host;  ///< what clients are told to connect to
  std::uint16_t advertised_port = 0;
};

/// A protocol plugin's object: turns bytes of connections into calls on the broker.
/// Lifecycle: create -> open_factory per listener -> sessions ... -> close_factory (all sessions are gone) -> destroy.
class Protocol {
 public:
  Protocol() = default;
  Protocol(const Protocol&) = delete;
  Protocol& operator=(const Protocol&) = delete;
  virtual ~Protocol() = default;

  /// `broker` outlives the factory.
  virtual Status open_factory(Broker& broker, const ListenerInfo& listener, SessionFactory** out) noexcept = 0;
  virtual void close_factory(SessionFactory* factory) noexcept = 0;
};

}  // namespace streambus
