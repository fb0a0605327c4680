#pragma once
// The options of the broker's own sections. These tables are the validation, the defaults and the reference documentation.

#include <string_view>

#include "streambus/plugin/abi.hpp"
#include "streambus/plugin/options.hpp"

namespace streambus::config {

inline constexpr std::int64_t kMs = 1'000'000;
inline constexpr std::int64_t kSecond = 1'000 * kMs;
inline constexpr std::int64_t kDay = 86'400 * kSecond;
inline constexpr std::int64_t kMiB = std::int64_t{1} << 20;

inline constexpr OptionSpec kBrokerOptions[] = {
    {.key = "data_dir",
     .type = OptionType::text,
     .default_value = "data",
     .doc =
         "Directory of everything that is kept. A relative path counts from the directory in which the broker is started. One "
         "broker at a time."},
    {.key = "node_id",
     .type = OptionType::integer,
     .default_value = "0",
     .doc = "Number of this broker, as clients see it.",
     .min = 0,
     .max = 2'147'483'647},
    {.key = "auto_create_topics",
     .type = OptionType::boolean,
     .default_value = "true",
     .doc =
         "Whether a topic comes into being, with the settings of [topic_defaults], when a client names it for the first time."},
    {.key = "retention_check_interval",
     .type = OptionType::duration,
     .default_value = "1m",
     .doc = "How often partitions are looked through for data that retention deletes, and unused buffers are given back.",
     .min = 10 * kMs,
     .max = kDay},
    {.key = "compaction_check_interval",
     .type = OptionType::duration,
     .default_value = "15s",
     .doc = "How often topics with cleanup.policy compact are looked at for what to compact.",
     .min = 10 * kMs,
     .max = kDay},
    {.key = "compaction_memory",
     .type = OptionType::size,
     .default_value = "64MiB",
     .doc =
         "Most memory for the keys that one pass of compaction knows, 32 bytes a key; what has more keys takes several passes.",
     .min = 64 * 1024,
     .max = std::int64_t{1} << 40},
    {.key = "compaction_rate",
     .type = OptionType::size,
     .default_value = "64MiB",
     .doc =
         "Most bytes per second that compaction reads, so that producers and consumers have the rest of the device; 0: as many "
         "as it can.",
     .min = 0,
     .max = std::int64_t{1} << 40},
    {.key = "shutdown_timeout",
     .type = OptionType::duration,
     .default_value = "10s",
     .doc = "How long a stop waits for requests in progress before connections are closed.",
     .min = 10 * kMs,
     .max = 3'600 * kSecond},
    {.key = "buffer_bytes_max",
     .type = OptionType::size,
     .default_value = "512MiB",
     .doc = "Most memory lent to requests and responses at one time; at the bound readers of connections wait.",
     .min = 16 * kMiB,
     .max = std::int64_t{1} << 40},
    {.key = "buffer_tiers",
     .type = OptionType::text,
     .default_value = "4KiB:1024, 64KiB:256, 1MiB:32",
     .doc = "Sizes of the buffers that are used again, ascending, each with the number of unused ones that is kept. Larger "
            "requests "
            "are served as well, but not kept."},
    {.key = "flush_threads",
     .type = OptionType::integer,
     .default_value = "2",
     .doc = "Threads that make data durable: partitions on different devices gain from more.",
     .min = 1,
     .max = 64},
    {.key = "background_threads",
     .type = OptionType::integer,
     .default_value = "2",
     .doc = "Threads for recovery, preparing and deleting segments, and administrative calls.",
     .min = 1,
     .max = 64},
};
inline constexpr std::string_view kPluginDirs = "plugin_dirs";
inline constexpr std::string_view kPluginDirsDoc =
    "Folders in which plugins are looked for, before the one of the installation. A list of absolute paths.";

inline constexpr OptionSpec kLogOptions[] = {
    {.key = "level",
     .type = OptionType::choice,
     .default_value = "info",
     .doc = "Least severe lines that are written.",
     .choices = "trace|debug|info|warning|error"},
    {.key = "format",
     .type = OptionType::choice,
     .default_value = "text",
     .doc = "Lines for people, or one JSON object a line for machines. On standard error.",
     .choices = "text|json"},
};
inline constexpr std::string_view kComponents = "components";
inline constexpr std::string_view kComponentsDoc =
    "Levels by component, as a table: [log.components] storage.wal = \"debug\". \"storage\" covers every storage.";

inline constexpr OptionSpec kListenerOptions[] = {
    {.key = "transport",
     .type = OptionType::text,
     .default_value = "tcp",
     .doc = "Name of a [transport.NAME] section; without such a section, of the plugin transport-NAME with its defaults."},
    {.key = "protocol",
     .type = OptionType::text,
     .default_value = "kafka",
     .doc = "Name of a [protocol.NAME] section; without such a section, of the plugin protocol-NAME with its defaults."},
    {.key = "address",
     .type = OptionType::text,
     .default_value = "127.0.0.1:9092",
     .doc = "Where to listen, in the transport's own terms: HOST:PORT for tcp (port 0: any free one), a name for inproc."},
    {.key = "advertised",
     .type = OptionType::text,
     .default_value = "",
     .doc = "HOST:PORT (or HOST) that clients are told to connect to; empty: the address that is bound. Set it where clients "
            "reach the broker under another name."},
};

inline constexpr OptionSpec kTopicOptions[] = {
    {.key = "storage",
     .type = OptionType::text,
     .default_value = "",
     .doc = "Name of the [storage.NAME] section that keeps the topic. In [topic_defaults] it may be left out when there is one "
            "storage only."},
    {.key = "partitions",
     .type = OptionType::integer,
     .default_value = "1",
     .doc = "Number of partitions at creation.",
     .min = 1,
     .max = 10'000},
};

/// The kinds of plugin sections, in the order in which they are read and documented.
struct KindSection {
  PluginKind kind;
  std::string_view name;
  std::string_view doc;
};
inline constexpr KindSection kKindSections[] = {
    {PluginKind::storage, "storage", "Where the data of topics is kept."},
    {PluginKind::codec, "codec",
     "A compression codec, for topics whose `compression.type` names it and for looking into batches."},
    {PluginKind::transport, "transport", "How bytes travel; only needed to change the options of a transport."},
    {PluginKind::protocol, "protocol", "What the bytes mean; only needed to change the options of a protocol."},
};

}  // namespace streambus::config
