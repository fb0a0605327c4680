#include "engine.hpp"
#include "settings.hpp"
#include "streambus/plugin/sdk.hpp"

namespace streambus::storage_wal {

constexpr OptionSpec kOptions[7] = {
    {.key = "durability",
     .type = OptionType::choice,
     .default_value = "fsync-batch",
     .doc = "When a produce request is answered: pagecache (written; survives the process, not the machine), fsync-interval "
            "(as pagecache, but the machine loses at most the last interval) or fsync-batch (on the device before the answer).",
     .choices = "pagecache|fsync-interval|fsync-batch"},
    {.key = "interval",
     .type = OptionType::duration,
     .default_value = "200ms",
     .doc = "With durability fsync-interval: the time between two syncs of a partition that was appended to.",
     .min = 1'000'000,
     .max = 3'600'000'000'000},
    {.key = "open_files_max",
     .type = OptionType::integer,
     .default_value = "256",
     .doc = "How many sealed segments are kept open for reading. Segments being appended to or read right now come on top.",
     .min = 1,
     .max = 1'000'000},
    {.key = "writeback_bytes",
     .type = OptionType::size,
     .default_value = "8MiB",
     .doc = "Tells the kernel to start writing to the device after so many appended bytes, so that dirty pages never pile up "
            "for seconds; 0 leaves the pace to the kernel. Not a matter of durability.",
     .min = 0,
     .max = std::int64_t{1} << 40},
    {.key = "zero_ahead",
     .type = OptionType::size,
     .default_value = "256KiB",
     .doc = "With the fsync classes: how far a segment is filled with zeros ahead of small appends, so that a sync has no "
            "file-system metadata to commit; 0 lets files grow append by append.",
     .min = 0,
     .max = 4 << 20},
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

WalSettings parse_settings(const Options& options) noexcept {
  WalSettings settings;
  const std::string_view durability = options.text("durability");
  settings.durability = durability == "pagecache"        ? Durability::page_cache
                        : durability == "fsync-interval" ? Durability::fsync_interval
                                                         : Durability::fsync_batch;
  settings.interval_ns = options.duration_ns("interval");
  settings.open_files_max = static_cast<std::size_t>(options.integer("open_files_max"));
  settings.writeback_bytes = options.size("writeback_bytes");
  settings.zero_ahead_bytes = settings.syncs() ? options.size("zero_ahead") : 0;
  settings.verify_on_open = options.boolean("verify_on_open");
  settings.verify_on_read = options.boolean("verify_on_read");
  return settings;
}

}  // namespace streambus::storage_wal

STREAMBUS_PLUGIN(
    storage, "storage-wal", "0.1.0", "Apache-2.0",
    "A log on disk: segments of whole record batches, group commit, durability from page cache to fsync before the answer.",
    streambus::storage_wal::WalEngine, streambus::storage_wal::kOptions)
