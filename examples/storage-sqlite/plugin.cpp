#include "engine.hpp"
#include "streambus/plugin/sdk.hpp"

namespace {

constexpr streambus::OptionSpec kOptions[] = {
    {"checkpoint_bytes", streambus::OptionType::size, "4MiB",
     "SQLite's write-ahead log is copied into the database when it is longer than this. Larger: fewer copies, more space, "
     "longer "
     "pauses.",
     4096, std::int64_t{1} << 30},
    {"queue_bytes_max", streambus::OptionType::size, "64MiB",
     "How much may wait in memory to be written; appends beyond it are refused until it is less.", 1 << 20,
     std::int64_t{1} << 40},
    {"verify_on_open", streambus::OptionType::boolean, "false",
     "Check every row against its checksum whenever a partition is opened, not only after an unclean end. What is served is "
     "always "
     "checked."},
};

}  // namespace

STREAMBUS_PLUGIN(storage, "storage-sqlite", "0.1.0", "Apache-2.0",
                 "Keeps batches in one SQLite database, a table per partition.", streambus::storage_sqlite::Engine, kOptions)
