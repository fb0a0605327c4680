#include "engine.hpp"
#include "streambus/plugin/sdk.hpp"

namespace streambus::storage_memory {

constexpr OptionSpec kOptions[2] = {
    {.key = "capacity",
     .type = OptionType::size,
     .default_value = "1GiB",
     .doc = "Memory for the batches of all partitions of this instance. It is taken as it is needed and kept for reuse.",
     .min = 4 << 20,
     .max = std::int64_t{1} << 46},
    {.key = "when_full",
     .type = OptionType::choice,
     .default_value = "reject",
     .doc = "What an append meets when the capacity is used up: reject (a retriable error, until retention or a deletion made "
            "room) "
            "or evict (the oldest batches of the whole instance go, read or not: a ring buffer).",
     .choices = "reject|evict"},
};

}  // namespace streambus::storage_memory

STREAMBUS_PLUGIN(storage, "storage-memory", "0.1.0", "Apache-2.0",
                 "Batches in recycled memory, bounded; gone with the process.", streambus::storage_memory::MemoryEngine,
                 streambus::storage_memory::kOptions)
