#pragma once

#include "settings.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/protocol.hpp"

namespace streambus::protocol_kafka {

/// The Kafka protocol: one Endpoint per listener. Thread-safe.
class KafkaProtocol final : public Protocol {
 public:
  KafkaProtocol(Host& host, const Options& options) : host_(host), settings_(options) {}

  Status open_factory(Broker& broker, const ListenerInfo& listener, SessionFactory** out) noexcept override;
  void close_factory(SessionFactory* factory) noexcept override;

 private:
  Host& host_;
  Settings settings_;
};

}  // namespace streambus::protocol_kafka
