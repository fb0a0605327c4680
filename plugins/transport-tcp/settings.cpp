#include "settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <thread>

namespace streambus::transport_tcp {

Settings parse_settings(const Options& options) {
  Settings settings;
  const auto threads = static_cast<std::uint32_t>(options.integer("threads"));
  settings.threads = threads != 0 ? threads : std::max(1U, std::thread::hardware_concurrency());
  settings.keepalive = options.boolean("keepalive");
  settings.send_buffer_bytes = static_cast<int>(std::min<std::uint64_t>(options.size("send_buffer"), 1U << 30));
  settings.receive_buffer_bytes = static_cast<int>(std::min<std::uint64_t>(options.size("receive_buffer"), 1U << 30));
  settings.backlog = static_cast<int>(options.integer("backlog"));
  settings.connections_max = static_cast<std::size_t>(options.integer("connections_max"));
  settings.idle_timeout_ns = options.duration_ns("idle_timeout");
  settings.marks = {.high = options.size("write_high_water"), .low = options.size("write_low_water")};
  settings.inflight_bytes_max = options.size("inflight_bytes_max");
  if (settings.marks.low > settings.marks.high) {
    throw std::invalid_argument(
        fmt::format("write_low_water is {} bytes and must not be above write_high_water, which is {} bytes", settings.marks.low,
                    settings.marks.high));
  }
  return settings;
}

}  // namespace streambus::transport_tcp
