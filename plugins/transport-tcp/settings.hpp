#pragma once

#include <cstdint>

#include "streambus/plugin/options.hpp"
#include "transport-common/connection_base.hpp"

namespace streambus::transport_tcp {

/// The plugin's options, parsed once. Their meaning is in the option table in plugin.cpp.
struct Settings {
  std::uint32_t threads = 1;
  bool keepalive = false;
  int send_buffer_bytes = 0;
  int receive_buffer_bytes = 0;
  int backlog = 0;
  std::size_t connections_max = 0;
  std::int64_t idle_timeout_ns = 0;  ///< 0: none
  transport_common::WaterMarks marks;
  std::uint64_t inflight_bytes_max = 0;
};

/// Throws std::invalid_argument where the options contradict each other.
[[nodiscard]] Settings parse_settings(const Options& options);

}  // namespace streambus::transport_tcp
