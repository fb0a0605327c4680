#include "streambus/plugin/sdk.hpp"
#include "transport.hpp"

namespace streambus::transport_tcp {
namespace {

constexpr std::int64_t kKiB = 1024;
constexpr std::int64_t kGiB = kKiB * kKiB * kKiB;
constexpr std::int64_t kDayNs = std::int64_t{86'400} * 1'000'000'000;

constexpr OptionSpec kOptions[] = {
    {"threads", OptionType::integer, "0",
     "Threads that serve connections, each with its own event loop; 0: one per processor. A connection stays on its thread.", 0,
     1024},
    {"backlog", OptionType::integer, "1024", "Connections that the kernel holds until they are accepted.", 1, 65535},
    {"connections_max", OptionType::integer, "10000",
     "Open connections per listener; what comes beyond it is closed at once and logged. Needs as many file descriptors.", 1,
     10'000'000},
    {"idle_timeout", OptionType::duration, "600s",
     "Accepted connections without a byte in either direction for this long are closed (up to an eighth later); 0s: never.", 0,
     kDayNs},
    {"keepalive", OptionType::boolean, "true", "TCP keep-alive probes, which find peers that vanished without a word."},
    {"send_buffer", OptionType::size, "0", "Socket send buffer; 0: the kernel sizes it as it goes, which is mostly best.", 0,
     kGiB},
    {"receive_buffer", OptionType::size, "0", "Socket receive buffer; 0: the kernel sizes it as it goes, which is mostly best.",
     0, kGiB},
    {"write_high_water", OptionType::size, "4MiB",
     "A connection with more than this waiting to be sent is not read from, until it fell to write_low_water.", kKiB, kGiB},
    {"write_low_water", OptionType::size, "1MiB", "See write_high_water; must not be above it.", 0, kGiB},
    {"inflight_bytes_max", OptionType::size, "256MiB",
     "When more than this waits to be sent on all connections together, those that have something waiting are not read from.",
     kKiB, 1024 * kGiB},
};

}  // namespace
}  // namespace streambus::transport_tcp

STREAMBUS_PLUGIN(transport, "transport-tcp", "0.1.0", "Apache-2.0",
                 "Serves and opens TCP connections: one event loop per core, sendfile for file slices.",
                 streambus::transport_tcp::TcpTransport, streambus::transport_tcp::kOptions)
