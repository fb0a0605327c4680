#include "endpoint.hpp"

#include <cstdio>
#include <new>

#include "session.hpp"

namespace streambus::protocol_kafka {

Endpoint::Endpoint(Host& host, Broker& broker, const ListenerInfo& listener, const Settings& settings)
    : connections(host.metric(MetricKind::gauge, "protocol_open_connections", "Connections open now")),
      requests(host.metric(MetricKind::counter, "protocol_requests_total", "Requests read")),
      bad_requests(host.metric(MetricKind::counter, "protocol_bad_requests_total", "Requests that closed their connection")),
      host_(host),
      broker_(broker),
      advertised_host_(listener.advertised_host),
      advertised_port_(listener.advertised_port),
      settings_(settings),
      bursts_(Ref<BurstPool>::adopt(new BurstPool(host.buffers()))) {}

Session* Endpoint::create_session() noexcept {
  auto* const session = new (std::nothrow) KafkaSession(*this);
  if (session == nullptr) complain("a client", "refused: out of memory");
  return session;
}

void Endpoint::complain(std::string_view peer, std::string_view text) noexcept {
  const std::int64_t second = host_.monotonic_ns() / 1'000'000'000;
  // Two threads may both see a new second: then a few lines more come through, which is harmless.
  if (log_second_.exchange(second, std::memory_order_relaxed) != second) log_lines_.store(0, std::memory_order_relaxed);
  if (log_lines_.fetch_add(1, std::memory_order_relaxed) >= kLinesPerSecond) {
    log_suppressed_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  char line[400];
  const std::uint64_t suppressed = log_suppressed_.exchange(0, std::memory_order_relaxed);
  int length = std::snprintf(line, sizeof line, "%.*s: %.*s", static_cast<int>(peer.size()), peer.data(),
                             static_cast<int>(text.size()), text.data());
  if (length > 0 && suppressed != 0 && static_cast<std::size_t>(length) < sizeof line) {
    length += std::snprintf(line + length, sizeof line - static_cast<std::size_t>(length), " (and %llu more complaints before)",
                            static_cast<unsigned long long>(suppressed));
  }
  host_.log(LogLevel::warning, {line, std::min(sizeof line - 1, static_cast<std::size_t>(length < 0 ? 0 : length))});
}

}  // namespace streambus::protocol_kafka
