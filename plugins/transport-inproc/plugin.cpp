#include "streambus/plugin/sdk.hpp"
#include "transport.hpp"

namespace streambus::transport_inproc {
namespace {

constexpr std::int64_t kKiB = 1024;
constexpr std::int64_t kGiB = kKiB * kKiB * kKiB;

constexpr OptionSpec kOptions[] = {
    {"threads", OptionType::integer, "1",
     "Threads that run this side's sessions; 0: one per processor. A connection stays on its thread.", 0, 1024},
    {"connections_max", OptionType::integer, "10000",
     "Open connections per listener; what comes beyond it is closed at once and logged.", 1, 10'000'000},
    {"write_high_water", OptionType::size, "4MiB",
     "A connection with more than this waiting to be read by the other side is not read from, until it fell to "
     "write_low_water.",
     kKiB, kGiB},
    {"write_low_water", OptionType::size, "1MiB", "See write_high_water; must not be above it.", 0, kGiB},
};

}  // namespace
}  // namespace streambus::transport_inproc

STREAMBUS_PLUGIN(transport, "transport-inproc", "0.1.0", "Apache-2.0",
                 "Connects clients in the same process by name, without sockets.", streambus::transport_inproc::InprocTransport,
                 streambus::transport_inproc::kOptions)
