#include "protocol.hpp"

#include <exception>

#include "endpoint.hpp"

namespace streambus::protocol_kafka {

Status KafkaProtocol::open_factory(Broker& broker, const ListenerInfo& listener, SessionFactory** out) noexcept {
  if (listener.advertised_host.empty() || listener.advertised_port == 0) {
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
