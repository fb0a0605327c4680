#include "lz.hpp"
#include "streambus/plugin/sdk.hpp"

namespace {

constexpr streambus::OptionSpec kOptions[] = {
    {"id", streambus::OptionType::integer, "5",
     "The id in the attributes of a RecordBatch: 5 to 7 are free, and no Kafka client reads them. No other codec of the broker "
     "may "
     "have it, and it stays as it is while batches are stored with it.",
     5, 7},
};

}  // namespace

STREAMBUS_PLUGIN(codec, "codec-acme", "0.1.0", "Apache-2.0", "A small Lempel-Ziv codec.", streambus::codec_acme::LempelZiv,
                 kOptions)
