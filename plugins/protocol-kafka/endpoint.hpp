#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "response_burst.hpp"
#include "settings.hpp"
#include "streambus/plugin/broker.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/protocol.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::protocol_kafka {

/// What the sessions of one listener share; makes them. Thread-safe. Lives until all of its sessions are gone.
class Endpoint final : public SessionFactory {
 public:
  Endpoint(Host& host, Broker& broker, const ListenerInfo& listener, const Settings& settings);
  ~Endpoint() = default;

  [[nodiscard]] Session* create_session() noexcept override;

  [[nodiscard]] Host& host() noexcept { return host_; }
  [[nodiscard]] Broker& broker() noexcept { return broker_; }
  /// What clients are told to connect to.
  [[nodiscard]] const std::string& advertised_host() const noexcept { return advertised_host_; }
  [[nodiscard]] std::uint16_t advertised_port() const noexcept { return advertised_port_; }
  [[nodiscard]] const Settings& settings() const noexcept { return settings_; }
  [[nodiscard]] BurstPool& bursts() noexcept { return *bursts_; }

  /// A warning about one client. At most kLinesPerSecond of them in a second for the listener; what was left out is counted
  /// and said with the next line. `text` must not hold bytes that came from the client.
  void complain(std::string_view peer, std::string_view text) noexcept;

  Metric& connections;   ///< gauge
  Metric& requests;      ///< counter
  Metric& bad_requests;  ///< counter: closed a connection

 private:
  static constexpr std::uint32_t kLinesPerSecond = 5;

  Host& host_;
  Broker& broker_;
  std::string advertised_host_;
  std::uint16_t advertised_port_;
  Settings settings_;
  Ref<BurstPool> bursts_;
  std::atomic<std::int64_t> log_second_{0};
  std::atomic<std::uint32_t> log_lines_{0};
  std::atomic<std::uint64_t> log_suppressed_{0};
};

}  // namespace streambus::protocol_kafka
