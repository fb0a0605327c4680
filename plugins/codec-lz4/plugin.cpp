#include "lz4_codec.hpp"

namespace streambus::codec_lz4 {
namespace {

constexpr OptionSpec kOptions[] = {
    {.key = "level",
     .type = OptionType::integer,
     .default_value = "0",
     .doc =
         "How hard to compress: 0 to 2 is LZ4's fast mode, 3 to 12 its high-compression mode, which is several times slower. "
         "Reading is equally fast at all levels.",
     .min = 0,
     .max = 12},
};

}  // namespace

STREAMBUS_PLUGIN(codec, "codec-lz4", "0.1.0", "Apache-2.0", "LZ4 frames, as Kafka's clients write them: fast, moderate ratio",
                 Lz4Codec, kOptions)

}  // namespace streambus::codec_lz4
