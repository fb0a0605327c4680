#pragma once
// The configuration of a broker: read from one TOML file and overrides, checked as a whole, plugins loaded to check theirs.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "streambus/host/option_values.hpp"
#include "streambus/host/plugin_registry.hpp"
#include "streambus/host/services.hpp"

namespace streambus {

/// [storage.NAME], [codec.NAME], [transport.NAME], [protocol.NAME]: a plugin and its options.
struct PluginSection {
  std::string name;
  const LoadedPlugin* plugin = nullptr;
  OptionValues options;
};

/// [listener.NAME]
struct ListenerSection {
  std::string name;
  std::string transport;  ///< name of a transport section (made implicitly from "tcp" -> plugin transport-tcp)
  std::string protocol;   ///< name of a protocol section
  std::string address;
  std::string advertised_host;        ///< empty: the host of the bound address
  std::uint16_t advertised_port = 0;  ///< 0: the port of the bound address
};

/// [[topic]] and [topic_defaults]; settings by Kafka's names, checked by the broker's table of topic settings.
struct TopicSection {
  std::string name;
  std::string storage;
  std::int32_t partitions = 1;
  std::map<std::string, std::string, std::less<>> settings;
};

/// The bounds of compaction: [broker] compaction_*.
struct CompactionLimits {
  std::int64_t check_interval_ms = 15'000;
  std::uint64_t memory_bytes = std::uint64_t{64} << 20;  ///< for the keys of one pass
  std::uint64_t bytes_per_second = 0;                    ///< read at most; 0: unlimited
};

struct BrokerConfig {
  std::filesystem::path data_dir;
  std::int32_t node_id = 0;
  bool auto_create_topics = true;
  std::int64_t retention_check_interval_ms = 60'000;
  std::int64_t shutdown_timeout_ms = 10'000;
  CompactionLimits compaction;
  ServiceSettings services;
  std::vector<ListenerSection> listeners;
  std::vector<PluginSection> transports;
  std::vector<PluginSection> protocols;
  std::vector<PluginSection> storages;
  std::vector<PluginSection> codecs;
  TopicSection topic_defaults;
  std::vector<TopicSection> topics;
};

/// One complaint, with the place it speaks of: "streambus.toml:4:1: unknown key 'durabilty' ...; did you mean 'durability'?".
struct Diagnostic {
  bool is_error = true;  ///< false: a warning
  std::string text;
};

/// Where a resolved value came from, for --print-config.
struct ResolvedValue {
  std::string key;     ///< "storage.wal.durability", "topic.metrics.retention.ms"
  std::string value;   ///< as TOML; a secret as its reference
  std::string origin;  ///< "default", "streambus.toml:12", "--set"
  std::string header;  ///< of its section, as TOML, on the first value of each: "[storage.wal]", "[[topic]]"; else empty
  std::string leaf;    ///< the key inside the section, as TOML: "durability", "\"retention.ms\""
};

struct ConfigSource {
  std::string text;
  std::string name;                                ///< for messages: the file name
  std::vector<std::string> overrides;              ///< "storage.wal.durability=pagecache"
  std::vector<std::filesystem::path> plugin_dirs;  ///< from --plugin-dir
};

struct ConfigOutcome {
  std::optional<BrokerConfig> config;   ///< absent when there is an error
  std::vector<Diagnostic> diagnostics;  ///< all of them, in order of position
  std::vector<ResolvedValue> resolved;
  std::unique_ptr<PluginRegistry> registry;  ///< owns the loaded plugins that `config` points to
};

/// Parses, resolves, validates and loads the plugins named. Never throws; opens no data directory and no socket.
[[nodiscard]] ConfigOutcome load_config(const ConfigSource& source);

/// The resolved configuration as TOML, with the origin of each value as a comment. Reads back as the same configuration.
[[nodiscard]] std::string print_config(const ConfigOutcome& outcome);

/// docs/configuration.md: every section, option and topic setting with type, default and bounds, from the tables that
/// validate them. Loads every plugin of the registry's search path; those that are refused are left out.
[[nodiscard]] std::string config_reference(PluginRegistry& registry);

/// Reads a file into a ConfigSource.
[[nodiscard]] Result<ConfigSource> read_config_file(const std::filesystem::path& path);

}  // namespace streambus
