#include "zstd_codec.hpp"

namespace streambus::codec_zstd {
namespace {

constexpr OptionSpec kOptions[] = {
    {.key = "level",
     .type = OptionType::integer,
     .default_value = "3",
     .doc = "How hard to compress: -7 is fastest, 19 smallest; 0 stands for the library's default, which is 3. "
            "Levels above 9 cost much processor time and tens of megabytes of memory per thread.",
     .min = -7,
     .max = 19},
};

}  // namespace

STREAMBUS_PLUGIN(codec, "codec-zstd", "0.1.0", "Apache-2.0",
                 "Zstandard frames, as Kafka's clients write them: good ratio, slower than lz4", ZstdCodec, kOptions)

}  // namespace streambus::codec_zstd
