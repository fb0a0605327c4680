// docs/configuration.md, written from the tables that validate a configuration.

#include <algorithm>

#include "document.hpp"
#include "sections.hpp"
#include "streambus/config/config.hpp"
#include "streambus/config/topic_settings.hpp"

namespace streambus {
namespace {

using namespace config;

constexpr std::string_view kIntroduction = R"(# Configuration

One TOML file says what a broker is made of. Run `streambusd --config FILE`; without `--config` the defaults of
`config/streambus.toml` apply. This page is written by `streambusd --print-reference` from the tables that check a
configuration.

| command | what it does |
|---|---|
| `streambusd --config F --check-config` | loads and checks the file and every plugin that it names; exit code 0 or 2 |
| `streambusd --config F --print-config` | prints the resolved configuration with the origin of every value |
| `streambusd --config F --set storage.wal.durability=pagecache` | overrides one value; may be repeated. The value is TOML, and a bare word is a string. `--set topic.NAME.KEY=VALUE` speaks of the `[[topic]]` of that name |

How values are written:

- a **size** is a number of bytes, or a string with a unit: `65536`, `"64KiB"`, `"1GB"` (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB);
- a **duration** is a string with a unit: `"250ms"`, `"5s"`, `"1h"` (ns, us, ms, s, m, h, d); a bare number is refused;
- a **secret** is a reference, `"env:NAME"` (an environment variable) or `"file:PATH"`; never the secret itself.

All mistakes of a file are reported at once, each with its position, what was expected and what was found.

)";

constexpr std::string_view kPlugins = R"(## Plugins

Sections `[storage.NAME]`, `[codec.NAME]`, `[transport.NAME]` and `[protocol.NAME]` make an instance of a plugin under a name
of your choice. The key `plugin` is a plugin's name (`storage-wal`), found by what the file says of itself, or the absolute
path of a shared object; left out, it is the kind and the name of the section (`[codec.lz4]` is `codec-lz4`). The other keys
are the plugin's own options. Plugins are looked for in `--plugin-dir`, then `broker.plugin_dirs`, then in
`lib/streambus/plugins` beside the folder of the program. Two files with one plugin name are an error.

- A storage is used when `[topic_defaults]` or a topic names it.
- A codec is used when a `compression.type` names it (by the section's name, or as `codec-TYPE`), or when any topic or
  `[topic_defaults]` has `producer`, where clients choose the codec. The others only decode batches that clients send in them.
- A transport or protocol is used when a listener names it, and needs no section to be used with its defaults.

The broker warns of a section that nothing uses.

)";

/// One cell of a table: no line breaks, bars escaped.
std::string cell(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '|') result += '\\';
    result += c == '\n' ? ' ' : c;
  }
  return result;
}

std::string code(std::string_view text) { return "`" + cell(text) + "`"; }

std::string_view type_name(OptionType type) {
  switch (type) {
    case OptionType::boolean:
      return "boolean";
    case OptionType::integer:
      return "integer";
    case OptionType::real:
      return "real";
    case OptionType::text:
      return "string";
    case OptionType::size:
      return "size";
    case OptionType::duration:
      return "duration";
    case OptionType::choice:
      return "choice";
  }
  return "";
}

std::string default_of(const OptionSpec& spec) {
  if (spec.default_value == nullptr) return "required";
  const bool is_bare = spec.type == OptionType::boolean || spec.type == OptionType::integer || spec.type == OptionType::real;
  return code(is_bare ? spec.default_value : quote(spec.default_value));
}

std::string option_table(std::span<const OptionSpec> options) {
  std::string text = "| key | type | default | values | meaning |\n|---|---|---|---|---|\n";
  for (const OptionSpec& spec : options) {
    text += "| " + code(spec.key) + " | " + std::string(type_name(spec.type)) + (spec.secret ? ", secret" : "") + " | " +
            default_of(spec) + " | " + cell(describe_values(spec)) + " | " + cell(spec.doc) + " |\n";
  }
  return text;
}

std::string row(std::string_view key, std::string_view type, std::string_view doc) {
  return "| " + code(key) + " | " + std::string(type) + " | | | " + cell(doc) + " |\n";
}

std::string plugin_part(PluginRegistry& registry, const KindSection& kind) {
  std::string text = "### [" + std::string(kind.name) + ".NAME]\n\n" + std::string(kind.doc) + "\n\n";
  std::vector<PluginFile> files = registry.scan();
  std::ranges::sort(files, {}, [](const PluginFile& file) { return std::string_view(file.stamp.name); });
  for (const PluginFile& file : files) {
    if (!file.refusal.empty() || file.stamp.kind != static_cast<std::uint8_t>(kind.kind)) continue;
    const auto plugin = registry.load(kind.kind, file.path.empty() ? std::string(file.stamp.name) : file.path.string());
    if (!plugin) continue;
    text += "#### `" + std::string((*plugin)->name()) + "`\n\n" + (*plugin)->descriptor().summary + "\n\n";
    text += (*plugin)->options().empty() ? "No options.\n\n" : option_table((*plugin)->options()) + "\n";
  }
  return text;
}

std::string setting_part() {
  std::string text =
      "### Topic settings\n\nKeys of `[topic_defaults]` and `[[topic]]`, by Kafka's own names; clients give the same ones when "
      "they "
      "create topics. Write them in quotes (`\"retention.ms\" = \"7d\"`) or bare (`retention.ms = \"7d\"`). A topic's own "
      "setting comes "
      "before that of `[topic_defaults]`, and that before the default.\n\n| key | default | values | meaning "
      "|\n|---|---|---|---|\n";
  for (const TopicSettingSpec& spec : kTopicSettings) {
    text += "| " + code(spec.name) + " | " + (*spec.default_value == '\0' ? std::string("") : code(spec.default_value)) +
            " | " + (spec.read_only ? "fixed" : cell(describe_values(spec))) + " | " + cell(spec.doc) + " |\n";
  }
  return text + "\n`streambus.storage` is for clients; in the file the key is `storage`.\n";
}

}  // namespace

std::string config_reference(PluginRegistry& registry) {
  std::string text(kIntroduction);
  text += "## [broker]\n\n" + option_table(kBrokerOptions) + row(kPluginDirs, "list", kPluginDirsDoc);
  text += "\n## [log]\n\n" + option_table(kLogOptions) + row(kComponents, "table", kComponentsDoc);
  text += "\n## [listener.NAME]\n\nWhere clients connect. Without any, `[listener.main]` with these defaults.\n\n" +
          option_table(kListenerOptions) + "\n";
  text += kPlugins;
  for (const KindSection& kind : kKindSections) text += plugin_part(registry, kind);
  text +=
      "## [topic_defaults] and [[topic]]\n\nA `[[topic]]` with a `name` is created at the start when it is not there; what it "
      "does "
      "not say comes from `[topic_defaults]`.\n\n" +
      option_table(kTopicOptions) + row("name", "string", "Only in [[topic]]: the name of the topic.") + "\n";
  return text + setting_part();
}

}  // namespace streambus
