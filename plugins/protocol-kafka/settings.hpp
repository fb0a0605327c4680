#pragma once

#include <cstdint>

#include "streambus/plugin/options.hpp"

namespace streambus::protocol_kafka {

/// Options of the plugin. `frame_bytes_max` stays below 0x16030000, the length that a TLS hello reads as: TLS and HTTP on a
/// plain listener are always recognised.
inline constexpr OptionSpec kOptions[] = {
    {"frame_bytes_max", OptionType::size, "101MiB",
     "Largest produce request that is read; a longer one closes the connection. Topics bound their batches by "
     "max.message.bytes.",
     64 << 10, 256 << 20},
    {"requests_in_flight_max", OptionType::integer, "64",
     "Requests of one connection that may be unanswered at once; further ones wait in the socket.", 1, 4096},
    {"request_bytes_in_flight_max", OptionType::size, "64MiB",
     "Bytes of unanswered requests of one connection; one request always goes through.", 64 << 10, std::int64_t{4} << 30},
    {"response_bytes_queued_max", OptionType::size, "4MiB",
     "Response bytes waiting to be sent on one connection above which no further request of it is started.", 64 << 10,
     std::int64_t{4} << 30},
    {"fetch_bytes_max", OptionType::size, "55MiB", "Most bytes of batches in one fetch response, whatever the client asks for.",
     64 << 10, std::int64_t{1} << 30},
};

/// The options, parsed once.
struct Settings {
  std::uint64_t frame_bytes_max = 0;
  std::uint32_t requests_in_flight_max = 0;
  std::uint64_t request_bytes_in_flight_max = 0;
  std::uint64_t response_bytes_queued_max = 0;
  std::uint64_t fetch_bytes_max = 0;

  explicit Settings(const Options& options)
      : frame_bytes_max(options.size("frame_bytes_max")),
        requests_in_flight_max(static_cast<std::uint32_t>(options.integer("requests_in_flight_max"))),
        request_bytes_in_flight_max(options.size("request_bytes_in_flight_max")),
        response_bytes_queued_max(options.size("response_bytes_queued_max")),
        fetch_bytes_max(options.size("fetch_bytes_max")) {}
};

}  // namespace streambus::protocol_kafka
