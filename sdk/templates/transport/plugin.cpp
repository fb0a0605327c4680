#include "streambus/plugin/sdk.hpp"
#include "transport.hpp"

namespace {

using streambus::OptionType;

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

constexpr streambus::OptionSpec kOptions[] = {
    {"connections_max", OptionType::integer, "10000",
     "Open connections per listener; what comes beyond is closed at once and logged.", 1, 1'000'000},
    {"write_high_water", OptionType::size, "4MiB",
     "A connection with more than this waiting to be sent is not read from, until it fell to write_low_water.", 1024, kGiB},
    {"write_low_water", OptionType::size, "1MiB", "See write_high_water; must not be above it.", 0, kGiB},
};

}  // namespace

STREAMBUS_PLUGIN(transport, "transport-acme", "0.1.0", "Apache-2.0", "Unix-domain sockets, served by one thread.",
                 streambus::transport_acme::LocalTransport, kOptions)
