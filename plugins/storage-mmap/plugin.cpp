#include "engine.hpp"
#include "settings.hpp"
#include "streambus/plugin/sdk.hpp"

namespace streambus::storage_mmap {

constexpr OptionSpec kOptions[8] = {
    {.key = "durability",
     .type = OptionType::choice,
     .default_value = "fsync-batch",
     .doc =
         "When a produce request is answered: pagecache (copied into the mapped file; survives the process, not the machine), "
         "fsync-interval (as pagecache, but the machine loses at most the last interval) or fsync-batch (on the device before "
         "the answer).",
     .choices = "pagecache|fsync-interval|fsync-batch"},
    {.key = "interval",
     .type = OptionType::duration,
     .default_value = "200ms",
     .doc = "With durability fsync-interval: the time between two syncs of a partition that was appended to.",
     .min = 1'000'000,
     .max = 3'600'000'000'000},
    {.key = "prepare_bytes",
     .type = OptionType::size,
     .default_value = "16MiB",
     .doc =
         "How much of a segment is prepared ahead at most: blocks reserved, mapped, pages populated. A partition begins with "
         "64 KiB and doubles while it is appended to; what an idle one does not need is given back.",
     .min = 65536,
     .max = std::int64_t{1} << 30},
    {.key = "zero_fill",
     .type = OptionType::size,
     .default_value = "256KiB",
     .doc = "With the fsync classes: while group commits are smaller than that, zeros are written and synced when a part of a "
            "segment is prepared, so that a commit has no file-system metadata to write; 0 only reserves the blocks.",
     .min = 0,
     .max = std::int64_t{1} << 30},
    {.key = "window_bytes",
     .type = OptionType::size,
     .default_value = "64MiB",
     .doc = "How much of a segment is mapped at a time for reading; a larger batch gets a larger window.",
     .min = 4096,
     .max = std::int64_t{1} << 34},
    {.key = "windows_max",
     .type = OptionType::integer,
     .default_value = "512",
     .doc = "How many windows are kept mapped for reading. Those that are appended to or being sent right now come on top; all "
            "of them together must stay below vm.max_map_count.",
     .min = 1,
     .max = 1'000'000},
    {.key = "verify_on_open",
     .type = OptionType::boolean,
     .default_value = "false",
     .doc = "Reads and checks every stored batch when a partition is opened, sealed segments too. Slow, for after a suspicious "
            "event; without it only what may be torn is checked."},
    {.key = "verify_on_read",
     .type = OptionType::boolean,
     .default_value = "false",
     .doc = "Checks the checksum of every batch on each read. Costs a pass over the data; clients check it as well."},
};

MmapSettings parse_settings(const Options& options) noexcept {
  MmapSettings settings;
  const std::string_view durability = options.text("durability");
  settings.durability = durability == "pagecache"        ? Durability::page_cache
                        : durability == "fsync-interval" ? Durability::fsync_interval
                                                         : Durability::fsync_batch;
  settings.interval_ns = options.duration_ns("interval");
  settings.prepare_bytes = options.size("prepare_bytes");
  settings.zero_fill_bytes = settings.syncs() ? options.size("zero_fill") : 0;
  settings.window_bytes = options.size("window_bytes");
  settings.windows_max = static_cast<std::size_t>(options.integer("windows_max"));
  settings.verify_on_open = options.boolean("verify_on_open");
  settings.verify_on_read = options.boolean("verify_on_read");
  return settings;
}

}  // namespace streambus::storage_mmap

STREAMBUS_PLUGIN(
    storage, "storage-mmap", "0.1.0", "Apache-2.0",
    "A log in mapped files: appends are copies into memory, reads are slices of it; group commit, durability from page "
    "cache to fsync before the answer.",
    streambus::storage_mmap::MmapEngine, streambus::storage_mmap::kOptions)
