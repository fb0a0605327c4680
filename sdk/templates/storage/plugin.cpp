#include "engine.hpp"
#include "streambus/plugin/sdk.hpp"

namespace {

constexpr streambus::OptionSpec kOptions[] = {
    {"rewrite_bytes", streambus::OptionType::size, "1MiB",
     "A file is written anew, without what was deleted, once that is more than what is left and more than this. Larger: fewer "
     "copies, more space.",
     4096, std::int64_t{1} << 40},
};

}  // namespace

STREAMBUS_PLUGIN(storage, "storage-acme", "0.1.0", "Apache-2.0", "Keeps each partition in one file.",
                 streambus::storage_acme::Engine, kOptions)
