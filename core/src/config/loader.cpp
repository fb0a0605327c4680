#include "loader.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "buffer_tiers.hpp"
#include "streambus/base/assert.hpp"
#include "streambus/host/units.hpp"

namespace streambus::config {
namespace {

constexpr std::array<std::string_view, 9> kTopLevel = {"broker",    "log",      "listener",       "storage", "codec",
                                                       "transport", "protocol", "topic_defaults", "topic"};
constexpr std::size_t kNameMax = 60;

LogLevel log_level(std::string_view word) noexcept {
  static constexpr std::array<std::string_view, 5> kWords = {"trace", "debug", "info", "warning", "error"};
  return static_cast<LogLevel>(std::ranges::find(kWords, word) - kWords.begin());
}

/// Sets a member, replacing an earlier one; the place is that of who said it last.
Node& put(Table& table, const std::string& key, Node value, Place place) {
  if (Member* const member = table.find(key)) {
    member->place = place;
    member->node() = std::move(value);
    return member->node();
  }
  Member& member = table.members.emplace_back(Member{key, place, {}});
  member.value.push_back(std::move(value));
  return member.node();
}

std::string joined(std::span<const std::string> parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ".") + part;
  return text;
}

/// Sections whose keys may have dots: they are kept flat.
void flatten_in(Table& root, std::string_view key) {
  Member* const member = root.find(key);
  if (member == nullptr) return;
  if (auto* table = member->node().as<Table>()) *table = flattened(*table);
  if (auto* array = member->node().as<Array>()) {
    for (Node& element : array->elements) {
      if (auto* table = element.as<Table>()) *table = flattened(*table);
    }
  }
}

}  // namespace

Loader::Loader(const ConfigSource& source, ConfigOutcome& outcome)
    : source_(source), outcome_(outcome), diagnostics_(source), reader_(diagnostics_, outcome.resolved) {}

void Loader::run() {
  if (read_document()) {
    check_top_level();
    read_broker();
    read_log();
    for (const KindSection& kind : kKindSections) read_kind(kind);
    read_listeners();
    read_topic_defaults();
    read_topics();
    check_compression_types();
    warn_of_unused();
    for (const std::string& warning : outcome_.registry->warnings()) diagnostics_.warning({}, warning);
  }
  const bool is_good = !diagnostics_.has_errors();
  outcome_.diagnostics = diagnostics_.take();
  if (is_good) outcome_.config = std::move(config_);
}

bool Loader::read_document() {
  auto parsed = parse_document(source_.text);
  if (!parsed) {
    diagnostics_.error(parsed.error().place, "this is not TOML: " + parsed.error().text);
    return false;
  }
  document_ = std::move(*parsed);
  flatten_in(document_, "topic_defaults");
  flatten_in(document_, "topic");
  if (Member* const log = document_.find("log")) {
    if (auto* table = log->node().as<Table>()) flatten_in(*table, kComponents);
  }
  for (std::size_t i = 0; i < source_.overrides.size(); ++i) {
    const auto number = static_cast<std::uint32_t>(i + 1);
    auto change = parse_override(source_.overrides[i], number);
    if (!change) {
      diagnostics_.error({number, 0, 0}, change.error().message);
    } else {
      apply_override(std::move(*change), number);
    }
  }
  return true;
}

void Loader::apply_override(Override change, std::uint32_t source) {
  const Place place{source, 0, 0};
  std::vector<std::string> path = std::move(change.path);
  if (path.front() == "topic" && path.size() >= 3) {
    if (!set_in_topic(document_, path, std::move(change.value), place)) {
      diagnostics_.error(place, "'topic' is not a list of [[topic]] sections in the file; correct it there");
    }
    return;
  }
  // The keys of these have dots themselves.
  const std::size_t flat_from = path.front() == "topic_defaults"           ? 1
                                : path.front() == "log" && path.size() > 2 ? 2
                                                                           : path.size();
  if (flat_from < path.size()) {
    const std::string last = joined(std::span(path).subspan(flat_from));
    path.resize(flat_from);
    path.push_back(last);
  }
  Table* table = &document_;
  for (std::size_t i = 0; i + 1 < path.size(); ++i) {
    Member* const member = table->find(path[i]);
    Node& node = member != nullptr ? member->node() : put(*table, path[i], Node{place, Table{}}, place);
    table = node.as<Table>();
    if (table == nullptr) {
      diagnostics_.error(place, "'" + joined(std::span(path).first(i + 1)) + "' is " + std::string(kind_of(node)) +
                                    ", expected a section; set it as a whole or correct the file");
      return;
    }
  }
  put(*table, path.back(), std::move(change.value), place);
}

bool Loader::set_in_topic(Table& root, const std::vector<std::string>& path, Node value, Place place) {
  Member* const member = root.find("topic");
  Node& list = member != nullptr ? member->node() : put(root, "topic", Node{place, Array{}}, place);
  auto* const topics = list.as<Array>();
  if (topics == nullptr) return false;
  const auto is_named = [&](const Node& node) {
    const Table* const topic = node.as<Table>();
    const Member* const name = topic == nullptr ? nullptr : topic->find("name");
    const auto* const text = name == nullptr ? nullptr : name->node().as<std::string>();
    return text != nullptr && *text == path[1];
  };
  auto found = std::ranges::find_if(topics->elements, is_named);
  if (found == topics->elements.end()) {
    Table topic;
    put(topic, "name", Node{place, path[1]}, place);
    topics->elements.push_back(Node{place, std::move(topic)});
    found = topics->elements.end() - 1;
  }
  put(*found->as<Table>(), joined(std::span(path).subspan(2)), std::move(value), place);
  return true;
}

void Loader::check_top_level() {
  for (const Member& member : document_.members) {
    if (std::ranges::find(kTopLevel, member.key) == kTopLevel.end()) {
      const std::string suggestion = did_you_mean(member.key, kTopLevel);
      diagnostics_.error(member.place, "unknown section '" + member.key + "'" +
                                           (suggestion.empty() ? "; there are: " + join_words(kTopLevel, "and") : suggestion));
    } else if (member.key == "topic" ? member.node().as<Array>() == nullptr : member.node().as<Table>() == nullptr) {
      const bool is_topic = member.key == "topic";
      diagnostics_.error(member.place, "'" + member.key + "': expected " +
                                           (is_topic ? "sections [[topic]]" : "a section [" + member.key + "]") + ", found " +
                                           std::string(kind_of(member.node())) +
                                           (is_topic ? "; write [[topic]] with a key 'name'" : ""));
    }
  }
}

const Table* Loader::section(std::string_view name) {
  const Member* const member = document_.find(name);
  return member == nullptr ? nullptr : member->node().as<Table>();
}

SectionScope Loader::scope(std::string_view name) {
  const Member* const member = document_.find(name);
  return {"[" + std::string(name) + "]", std::string(name), section(name), member == nullptr ? Place{} : member->place};
}

void Loader::read_broker() {
  const SectionScope broker = scope("broker");
  const std::string_view others[] = {kPluginDirs};
  reader_.check_keys(broker, kBrokerOptions, others);
  OptionValues values(kBrokerOptions);
  reader_.read_options(broker, kBrokerOptions, values);

  std::error_code failure;
  const std::filesystem::path data_dir(values.text("data_dir"));
  if (data_dir.empty()) {
    const Member* const member = broker.table->find("data_dir");
    diagnostics_.error(member->node().place, "data_dir in [broker]: expected the path of a directory, found \"\"; name one");
  }
  config_.data_dir = std::filesystem::absolute(data_dir, failure);
  config_.node_id = static_cast<std::int32_t>(values.integer("node_id"));
  config_.auto_create_topics = values.boolean("auto_create_topics");
  config_.retention_check_interval_ms = values.duration_ns("retention_check_interval") / kMs;
  config_.compaction.check_interval_ms = values.duration_ns("compaction_check_interval") / kMs;
  config_.compaction.memory_bytes = values.size("compaction_memory");
  config_.compaction.bytes_per_second = values.size("compaction_rate");
  config_.shutdown_timeout_ms = values.duration_ns("shutdown_timeout") / kMs;
  config_.services.buffers.bytes_max = values.size("buffer_bytes_max");
  if (auto tiers = parse_buffer_tiers(values.text("buffer_tiers"))) {
    config_.services.buffers.tiers = std::move(*tiers);
  } else {
    diagnostics_.error(broker.table->find("buffer_tiers")->node().place, "buffer_tiers in [broker]: " + tiers.error().message);
  }
  config_.services.flush_threads = static_cast<unsigned>(values.integer("flush_threads"));
  config_.services.background_threads = static_cast<unsigned>(values.integer("background_threads"));

  std::vector<std::filesystem::path> directories = source_.plugin_dirs;
  for (std::filesystem::path& directory : read_plugin_dirs(broker)) directories.push_back(std::move(directory));
  outcome_.registry = std::make_unique<PluginRegistry>(PluginRegistry::default_directories(std::move(directories)));
}

std::vector<std::filesystem::path> Loader::read_plugin_dirs(const SectionScope& broker) {
  std::vector<std::filesystem::path> directories;
  const Member* const member = broker.table == nullptr ? nullptr : broker.table->find(kPluginDirs);
  if (member == nullptr) return directories;
  const auto refuse = [&](const Node& node) {
    diagnostics_.error(node.place,
                       "plugin_dirs in [broker]: " + wrong_kind("a list of absolute paths such as [\"/opt/plugins\"]", node));
  };
  const auto* const list = member->node().as<Array>();
  if (list == nullptr) {
    refuse(member->node());
    return directories;
  }
  for (const Node& element : list->elements) {
    const auto* const path = element.as<std::string>();
    if (path == nullptr || !path->starts_with('/')) {
      refuse(element);
    } else {
      directories.emplace_back(*path);
    }
  }
  reader_.resolve(broker, kPluginDirs, to_toml(member->node()), diagnostics_.origin(member->place));
  return directories;
}

void Loader::read_log() {
  const SectionScope log = scope("log");
  const std::string_view others[] = {kComponents};
  reader_.check_keys(log, kLogOptions, others);
  OptionValues values(kLogOptions);
  reader_.read_options(log, kLogOptions, values);
  config_.services.log.level = log_level(values.text("level"));
  config_.services.log.format = values.text("format") == "json" ? LogFormat::json : LogFormat::text;

  const Member* const member = log.table == nullptr ? nullptr : log.table->find(kComponents);
  if (member == nullptr) return;
  const Table* const components = member->node().as<Table>();
  if (components == nullptr) {
    diagnostics_.error(
        member->node().place,
        "components in [log]: " +
            wrong_kind("a section [log.components] with lines like \"storage.wal\" = \"debug\"", member->node()));
    return;
  }
  const SectionScope inner{"[log.components]", "log.components", components, member->place};
  for (const Member& component : components->members) {
    const auto* const word = component.node().as<std::string>();
    const auto checked = word == nullptr
                             ? fail(ErrorCode::invalid_argument, wrong_kind(describe_values(kLogOptions[0]), component.node()))
                             : parse_option(kLogOptions[0], *word);
    if (!checked) {
      diagnostics_.error(component.node().place, component.key + " in [log.components]: " + checked.error().message);
      continue;
    }
    config_.services.log.component_levels[component.key] = log_level(*word);
    reader_.resolve(inner, component.key, to_toml(component.node()), diagnostics_.origin(component.place));
  }
}

bool Loader::check_name(const Member& member, std::string_view kind) {
  if (member.key.size() <= kNameMax && !member.key.empty() && key_to_toml(member.key) == member.key) return true;
  diagnostics_.error(member.place, "name of a " + std::string(kind) + ": expected at most " + std::to_string(kNameMax) +
                                       " letters, digits, '-' and '_', found " + quote(member.key) + "; rename it");
  return false;
}

void Loader::read_kind(const KindSection& kind) {
  const Table* const table = section(kind.name);
  if (table == nullptr) return;
  for (const Member& member : table->members) {
    if (!check_name(member, kind.name)) continue;
    const std::string key = std::string(kind.name) + "." + member.key;
    const Table* const inner = member.node().as<Table>();
    if (inner == nullptr) {
      diagnostics_.error(member.place, "[" + key + "]: " + wrong_kind("a section", member.node()) + "; write [" + key + "]");
      continue;
    }
    read_plugin_section(kind.kind, {"[" + key + "]", key, inner, member.place}, member.key);
  }
}

void Loader::read_plugin_section(PluginKind kind, const SectionScope& scope, const std::string& name) {
  const std::string* const named = reader_.text(scope, "plugin");
  const Member* const member = scope.table == nullptr ? nullptr : scope.table->find("plugin");
  Declared& declared = declared_.emplace_back(Declared{kind, name, std::string(name_of(kind)) + "-" + name, scope.place});
  if (named != nullptr) declared.plugin = *named;
  reader_.resolve(scope, "plugin", quote(declared.plugin), member == nullptr ? "default" : diagnostics_.origin(member->place));
  if (member != nullptr && named == nullptr) return;

  const auto plugin = outcome_.registry->load(kind, declared.plugin);
  if (!plugin) {
    diagnostics_.error(member == nullptr ? scope.place : member->node().place, scope.header + ": " + plugin.error().message);
    return;
  }
  const std::string_view others[] = {"plugin"};
  reader_.check_keys(scope, (*plugin)->options(), others);
  PluginSection section{name, *plugin, OptionValues((*plugin)->options())};
  reader_.read_options(scope, (*plugin)->options(), section.options);
  sections_of(kind).push_back(std::move(section));
}

std::vector<PluginSection>& Loader::sections_of(PluginKind kind) {
  switch (kind) {
    case PluginKind::storage:
      return config_.storages;
    case PluginKind::codec:
      return config_.codecs;
    case PluginKind::transport:
      return config_.transports;
    case PluginKind::protocol:
      return config_.protocols;
  }
  assertion_failed("a known plugin kind", __FILE__, __LINE__);
}

Loader::Declared* Loader::find_declared(PluginKind kind, std::string_view name) {
  const auto found = std::ranges::find_if(declared_, [&](const Declared& one) { return one.kind == kind && one.name == name; });
  return found == declared_.end() ? nullptr : &*found;
}

std::vector<std::string_view> Loader::declared_names(PluginKind kind) const {
  std::vector<std::string_view> names;
  for (const Declared& one : declared_) {
    if (one.kind == kind) names.emplace_back(one.name);
  }
  return names;
}

void Loader::warn_of_unused() {
  for (const Declared& one : declared_) {
    if (one.is_used) continue;
    const std::string header = "[" + std::string(name_of(one.kind)) + "." + one.name + "]";
    switch (one.kind) {
      case PluginKind::storage:
        diagnostics_.warning(one.place,
                             header +
                                 " is used by no topic and not by [topic_defaults]; remove it, unless clients are to "
                                 "choose it when they create topics (streambus.storage=" +
                                 one.name + ")");
        break;
      case PluginKind::codec:
        diagnostics_.warning(one.place,
                             header + " is used by no compression.type (none says '" + one.name +
                                 "', none says 'producer'); it only decodes batches that clients send in it. Remove it, "
                                 "or set compression.type");
        break;
      case PluginKind::transport:
      case PluginKind::protocol:
        diagnostics_.warning(one.place, header + " is used by no listener; remove it, or name it in a [listener.NAME] section");
        break;
    }
  }
}

}  // namespace streambus::config

namespace streambus {

ConfigOutcome load_config(const ConfigSource& source) {
  ConfigOutcome outcome;
  config::Loader(source, outcome).run();
  if (outcome.registry == nullptr)
    outcome.registry = std::make_unique<PluginRegistry>(PluginRegistry::default_directories(source.plugin_dirs));
  return outcome;
}

}  // namespace streambus
