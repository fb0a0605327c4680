// [topic_defaults] and [[topic]]: where topics are kept and how they behave.

#include <algorithm>
#include <set>

#include "loader.hpp"
#include "streambus/host/units.hpp"

namespace streambus::config {
namespace {

constexpr std::size_t kTopicNameMax = 249;

bool is_topic_name(std::string_view name) {
  return !name.empty() && name.size() <= kTopicNameMax && name != "." && name != ".." && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
}

/// The keys of a topic section that are settings of the table; storage is a key of its own.
std::vector<std::string_view> setting_names() {
  std::vector<std::string_view> names;
  for (const TopicSettingSpec& spec : kTopicSettings) {
    if (spec.name != setting::kStorage) names.emplace_back(spec.name);
  }
  return names;
}

std::string setting_to_toml(const TopicSettingSpec& spec, std::string_view value) {
  return spec.type == SettingType::text || spec.type == SettingType::list ? quote(value) : std::string(value);
}

}  // namespace

void Loader::read_topic_defaults() {
  const SectionScope defaults = scope("topic_defaults");
  auto known = setting_names();
  known.push_back(setting::kStorage);  // gets its own complaint
  reader_.check_keys(defaults, kTopicOptions, known);
  TopicSection& topic = config_.topic_defaults;
  const auto storages = declared_names(PluginKind::storage);
  if (storages.empty()) {
    diagnostics_.error(defaults.place,
                       "expected at least one [storage.NAME] section, found none; add one, for example [storage.wal] "
                       "with plugin = \"storage-wal\"");
  } else if (storages.size() == 1) {
    topic.storage = storages.front();  // the only one need not be named
  }
  read_topic(defaults, topic);
  if (topic.storage.empty() && storages.size() > 1) {
    diagnostics_.error(defaults.place,
                       "[topic_defaults] needs the key 'storage' where there is more than one storage: expected " +
                           join_words(storages) + ", found nothing; name the one for topics that name none");
  }
  read_settings(defaults, topic, true);
}

void Loader::read_topics() {
  const Member* const member = document_.find("topic");
  const Array* const topics = member == nullptr ? nullptr : member->node().as<Array>();
  if (topics == nullptr) return;
  std::set<std::string, std::less<>> names;
  auto known = setting_names();
  known.push_back(setting::kStorage);
  known.push_back("name");
  for (const Node& node : topics->elements) {
    const Table* const table = node.as<Table>();
    if (table == nullptr) {
      diagnostics_.error(node.place, "topic: " + wrong_kind("sections [[topic]]", node));
      continue;
    }
    SectionScope scope{"[[topic]]", "topic." + std::to_string(names.size()), table, node.place};
    const std::string* const name = reader_.text(scope, "name");
    if (table->find("name") == nullptr) {
      diagnostics_.error(node.place, "[[topic]] needs the key 'name', found nothing; add it");
    } else if (name != nullptr && !is_topic_name(*name)) {
      diagnostics_.error(table->find("name")->node().place,
                         "name in [[topic]]: expected 1 to 249 letters, digits, '.', '_' and '-', found " + quote(*name));
    } else if (name != nullptr && !names.insert(*name).second) {
      diagnostics_.error(table->find("name")->node().place,
                         "name in [[topic]]: expected each topic once, found " + quote(*name) + " again; keep one of them");
    }
    reader_.check_keys(scope, kTopicOptions, known);
    if (name == nullptr) continue;
    scope.key = "topic." + *name;
    reader_.resolve(scope, "name", quote(*name), diagnostics_.origin(table->find("name")->place));
    TopicSection topic;
    topic.name = *name;
    topic.storage = config_.topic_defaults.storage;
    topic.partitions = config_.topic_defaults.partitions;
    read_topic(scope, topic);
    read_settings(scope, topic, false);
    config_.topics.push_back(std::move(topic));
  }
}

void Loader::read_topic(const SectionScope& scope, TopicSection& topic) {
  const auto member = [&](std::string_view key) { return scope.table == nullptr ? nullptr : scope.table->find(key); };
  const std::string inherited_from = scope.header == "[[topic]]" ? "[topic_defaults]" : "default";
  const Member* const storage = member("storage");
  if (const std::string* const name = reader_.text(scope, "storage")) {
    topic.storage = *name;
    use_storage(*name, storage->node().place, scope);
  } else if (Declared* const inherited = find_declared(PluginKind::storage, topic.storage)) {
    inherited->is_used = true;
  }
  if (!topic.storage.empty()) {
    reader_.resolve(scope, "storage", quote(topic.storage),
                    storage == nullptr ? inherited_from : diagnostics_.origin(storage->place));
  }
  const OptionSpec& spec = kTopicOptions[1];
  if (const Member* const partitions = member("partitions")) {
    const auto* const number = partitions->node().as<std::int64_t>();
    const auto value = number == nullptr
                           ? fail(ErrorCode::invalid_argument, wrong_kind(describe_values(spec), partitions->node()))
                           : check_option(spec, *number);
    if (value) {
      topic.partitions = static_cast<std::int32_t>(*number);
    } else {
      diagnostics_.error(partitions->node().place, "partitions in " + scope.header + ": " + value.error().message);
    }
    reader_.resolve(scope, "partitions", std::to_string(topic.partitions), diagnostics_.origin(partitions->place));
  } else {
    reader_.resolve(scope, "partitions", std::to_string(topic.partitions), inherited_from);
  }
}

void Loader::use_storage(const std::string& name, Place place, const SectionScope& scope) {
  if (Declared* const declared = find_declared(PluginKind::storage, name)) {
    declared->is_used = true;
    return;
  }
  const auto names = declared_names(PluginKind::storage);
  if (names.empty()) return;  // complained about already
  diagnostics_.error(place, "storage in " + scope.header + ": expected the name of a [storage.NAME] section (" +
                                join_words(names) + "), found " + quote(name) + did_you_mean(name, names));
}

void Loader::read_settings(const SectionScope& scope, TopicSection& topic, bool with_defaults) {
  for (const TopicSettingSpec& spec : kTopicSettings) {
    const Member* const member = scope.table == nullptr ? nullptr : scope.table->find(spec.name);
    if (member != nullptr) {
      read_setting(scope, *member, topic);
    } else if (with_defaults && !spec.read_only && spec.name != setting::kStorage) {
      reader_.resolve(scope, spec.name, setting_to_toml(spec, spec.default_value), "default");
    }
    if (spec.name != setting::kCompressionType || (member == nullptr && !with_defaults)) continue;
    const auto found = topic.settings.find(spec.name);
    compression_.push_back({found == topic.settings.end() ? spec.default_value : found->second,
                            member == nullptr ? scope.place : member->node().place, scope.header});
  }
}

void Loader::read_setting(const SectionScope& scope, const Member& member, TopicSection& topic) {
  const TopicSettingSpec& spec = *find_topic_setting(member.key);
  const Node& node = member.node();
  const auto refuse = [&](const std::string& text) { diagnostics_.error(node.place, text + " in " + scope.header); };
  if (member.key == setting::kStorage) {
    diagnostics_.error(node.place, "streambus.storage in " + scope.header +
                                       ": expected the key 'storage' here (streambus.storage is for "
                                       "clients that create topics), found it; write storage = ...");
    return;
  }
  std::string text;
  if (const auto* const string = node.as<std::string>()) {
    text = *string;
  } else if (node.as<std::int64_t>() != nullptr || node.as<bool>() != nullptr || node.as<double>() != nullptr) {
    text = to_toml(node);
  } else {
    refuse(member.key + ": " + wrong_kind(describe_values(spec), node));
    return;
  }
  auto checked = check_topic_setting(member.key, text);
  if (!checked) {
    diagnostics_.error(node.place, scope.header + ": " + checked.error().message);
    return;
  }
  reader_.resolve(scope, member.key, setting_to_toml(spec, *checked), diagnostics_.origin(member.place));
  topic.settings[member.key] = std::move(*checked);
}

void Loader::check_compression_types() {
  // A codec section serves the type that its name or its plugin's name says: [codec.lz4], plugin = "codec-lz4".
  const auto serves = [](const Declared& codec, std::string_view type) {
    return codec.name == type || codec.plugin == "codec-" + std::string(type);
  };
  for (const CompressionUse& use : compression_) {
    if (use.type == "none") continue;
    bool is_served = use.type == "producer";
    for (Declared& codec : declared_) {
      if (codec.kind != PluginKind::codec || !(use.type == "producer" || serves(codec, use.type))) continue;
      codec.is_used = is_served = true;
    }
    if (is_served) continue;
    std::vector<std::string_view> words = declared_names(PluginKind::codec);
    words.insert(words.begin(), {"producer", "none"});
    diagnostics_.error(use.place, "compression.type in " + use.header + ": expected " + join_words(words) + ", found " +
                                      quote(use.type) + "; add a section [codec." + use.type + "] with plugin = \"codec-" +
                                      use.type + "\", or choose one of these");
  }
}

}  // namespace streambus::config
