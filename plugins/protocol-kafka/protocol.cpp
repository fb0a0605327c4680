#include "protocol.hpp"

#include <exception>

#include "endpoint.hpp"

namespace streambus::protocol_kafka {

Status KafkaProtocol::open_factory(Broker& broker, const ListenerInfo& listener, SessionFactory** out) noexcept {
  // A transport that knows no ports (its addresses are plain names) advertises its name and port 0.
  const bool has_port = listener.address.find(':') != std::string_view::npos;
  if (listener.advertised_host.empty() || (has_port && listener.advertised_port == 0)) {
    return {ErrorCode::invalid_argument,
            "a Kafka listener needs an advertised host and port: clients connect to what the broker tells them"};
  }
  try {
    *out = new Endpoint(host_, broker, listener, settings_);
    return {};
  } catch (const std::exception& error) {
    return {ErrorCode::no_space, error.what()};
  }
}

void KafkaProtocol::close_factory(SessionFactory* factory) noexcept { delete static_cast<Endpoint*>(factory); }

}  // namespace streambus::protocol_kafka
