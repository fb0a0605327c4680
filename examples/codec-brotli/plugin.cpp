#include "brotli_codec.hpp"
#include "streambus/plugin/sdk.hpp"

namespace {

using streambus::OptionType;

constexpr streambus::OptionSpec kOptions[] = {
    {"quality", OptionType::integer, "4", "0 is fastest, 11 smallest, and far slower.", 0, 11},
    {"id", OptionType::integer, "6",
     "The id in the attributes of a RecordBatch: 5 to 7 are free, and no Kafka client reads them. It stays as it is while "
     "batches "
     "are stored with it.",
     5, 7},
};

}  // namespace

STREAMBUS_PLUGIN(codec, "codec-brotli", "0.1.0", "Apache-2.0", "Brotli (RFC 7932).", streambus::codec_brotli::BrotliCodec,
                 kOptions)
