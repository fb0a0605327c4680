#include "protocol.hpp"
#include "streambus/plugin/sdk.hpp"

namespace {

constexpr streambus::OptionSpec kOptions[] = {
    {"line_bytes_max", streambus::OptionType::size, "64KiB", "A longer line closes the connection.", 16, 16 << 20},
};

}  // namespace

STREAMBUS_PLUGIN(protocol, "protocol-acme", "0.1.0", "Apache-2.0", "Lines: PUT topic text, GET topic offset.",
                 streambus::protocol_acme::LineProtocol, kOptions)
