// streambus topic create | list | describe | alter | delete-records | delete

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "streambus/client/admin.hpp"

namespace streambus::command {
namespace {

using Json = nlohmann::ordered_json;

struct TopicArguments {
  std::string name;
  std::vector<std::string> names;
  std::int32_t partitions = -1;
  std::string storage;
  std::vector<std::string> settings;
  bool if_not_exists = false;
  bool if_exists = false;
  bool check_only = false;
  bool all_settings = false;
  std::vector<std::string> resets;
  std::vector<std::string> appends;
  std::vector<std::string> subtracts;
  std::int32_t partition = 0;
  std::string before;
};

/// Splits KEY=VALUE options into a map. False where one is none; it is then complained about.
bool read_pairs(const char* option, const std::vector<std::string>& texts, std::map<std::string, std::string>& pairs) {
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      fmt::print(stderr, "error: {} '{}': expected KEY=VALUE, for example retention.ms=86400000\n", option, text);
      return false;
    }
    pairs[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return true;
}

int create_topic(const Invocation& invocation, const TopicArguments& arguments) {
  client::NewTopic topic{
      .name = arguments.name, .partitions = arguments.partitions, .settings = {}, .validate_only = arguments.check_only};
  if (!read_pairs("--config", arguments.settings, topic.settings)) return kUsage;
  if (!arguments.storage.empty()) topic.settings["streambus.storage"] = arguments.storage;
  const auto context = connect_later(invocation);
  if (!context) return kUsage;
  client::Admin admin(context);
  const Result<> created = admin.create_topic(topic);
  const bool existed = !created && created.error().code == ErrorCode::already_exists && arguments.if_not_exists;
  if (!created && !existed) return report_error(invocation, fmt::format("creating topic '{}'", topic.name), created.error());
  if (invocation.json) {
    fmt::print("{}\n", Json({{"topic", topic.name}, {"created", !existed && !arguments.check_only}}).dump());
  } else {
    fmt::print("topic '{}' {}\n", topic.name, arguments.check_only ? "could be created" : (existed ? "exists" : "created"));
  }
  return kDone;
}

int list_topics(const Invocation& invocation) {
  const auto context = connect_later(invocation);
  if (!context) return kUsage;
  client::Admin admin(context);
  const auto cluster = admin.describe_cluster();
  if (!cluster) return report_error(invocation, "listing topics", cluster.error());
  if (invocation.json) {
    Json list = Json::array();
    for (const auto& topic : cluster->topics) list.push_back({{"topic", topic.name}, {"partitions", topic.partitions.size()}});
    fmt::print("{}\n", list.dump(2));
    return kDone;
  }
  std::size_t width = 5;
  for (const auto& topic : cluster->topics) width = std::max(width, topic.name.size());
  fmt::print("{:<{}}  {:>10}\n", "TOPIC", width, "PARTITIONS");
  for (const auto& topic : cluster->topics) fmt::print("{:<{}}  {:>10}\n", topic.name, width, topic.partitions.size());
  return kDone;
}

/// The offsets of a partition, where the broker told them.
struct Extent {
  Result<Offset> start = kNoOffset;
  Result<Offset> end = kNoOffset;
};

Result<std::vector<Extent>> extents_of(client::Admin& admin, const client::TopicDescription& topic) {
  std::vector<client::OffsetQuery> queries;
  for (const auto& partition : topic.partitions) {
    queries.push_back({topic.name, partition.partition, client::StartAt::beginning()});
    queries.push_back({topic.name, partition.partition, client::StartAt::end()});
  }
  STREAMBUS_TRY_ASSIGN(const auto answers, admin.list_offsets(queries));
  std::vector<Extent> extents;
  for (std::size_t i = 0; i < answers.size(); i += 2) extents.push_back({answers[i].offset, answers[i + 1].offset});
  return extents;
}

Json describe_as_json(const client::TopicDescription& topic, const std::vector<Extent>& extents,
                      const std::vector<client::TopicSetting>& settings) {
  Json json = {{"topic", topic.name}, {"partitions", Json::array()}, {"settings", Json::object()}};
  for (std::size_t i = 0; i < topic.partitions.size(); ++i) {
    const auto& partition = topic.partitions[i];
    Json row = {{"partition", partition.partition}, {"leader", partition.leader}, {"leader_epoch", partition.leader_epoch}};
    row["start_offset"] = extents[i].start ? Json(extents[i].start->value) : Json(nullptr);
    row["end_offset"] = extents[i].end ? Json(extents[i].end->value) : Json(nullptr);
    if (partition.error) row["error"] = partition.error->message;
    json["partitions"].push_back(std::move(row));
  }
  for (const auto& setting : settings) {
    json["settings"][setting.name] = {{"value", setting.value ? Json(*setting.value) : Json(nullptr)},
                                      {"source", setting.source},
                                      {"read_only", setting.read_only}};
  }
  return json;
}

void describe_as_text(const client::TopicDescription& topic, const std::vector<Extent>& extents,
                      const std::vector<client::TopicSetting>& settings, bool all_settings) {
  const auto text = [](const Result<Offset>& offset) { return offset ? fmt::to_string(offset->value) : std::string("?"); };
  fmt::print("topic {}, {} partitions\n\n{:>9}  {:>6}  {:>5}  {:>14}  {:>14}  {:>14}\n", topic.name, topic.partitions.size(),
             "PARTITION", "LEADER", "EPOCH", "START", "END", "RECORDS");
  for (std::size_t i = 0; i < topic.partitions.size(); ++i) {
    const auto& partition = topic.partitions[i];
    const bool known = extents[i].start.has_value() && extents[i].end.has_value();
    fmt::print("{:>9}  {:>6}  {:>5}  {:>14}  {:>14}  {:>14}{}\n", partition.partition, partition.leader, partition.leader_epoch,
               text(extents[i].start), text(extents[i].end), known ? fmt::to_string(*extents[i].end - *extents[i].start) : "?",
               partition.error ? "  " + partition.error->message : "");
  }
  fmt::print("\n");
  std::size_t hidden = 0;
  for (const auto& setting : settings) {
    if (!all_settings && setting.source == "default") {
      ++hidden;
      continue;
    }
    fmt::print("{} = {}   ({})\n", setting.name, setting.value.value_or("(not shown)"), setting.source);
  }
  if (hidden > 0) fmt::print("{} settings are at their defaults; --all shows them\n", hidden);
}

int describe_topic(const Invocation& invocation, const TopicArguments& arguments) {
  const auto context = connect_later(invocation);
  if (!context) return kUsage;
  client::Admin admin(context);
  const std::string tried = fmt::format("describing topic '{}'", arguments.name);
  const auto topic = admin.describe_topic(arguments.name);
  if (!topic) return report_error(invocation, tried, topic.error());
  const auto extents = extents_of(admin, *topic);
  if (!extents) return report_error(invocation, tried, extents.error());
  const auto settings = admin.describe_settings(arguments.name);
  if (!settings) return report_error(invocation, tried, settings.error());
  if (invocation.json) {
    fmt::print("{}\n", describe_as_json(*topic, *extents, *settings).dump(2));
  } else {
    describe_as_text(*topic, *extents, *settings, arguments.all_settings);
  }
  return kDone;
}

int alter_topic(const Invocation& invocation, const TopicArguments& arguments) {
  client::SettingChanges changes{
      .set = {}, .reset = arguments.resets, .append = {}, .subtract = {}, .validate_only = arguments.check_only};
  if (!read_pairs("--config", arguments.settings, changes.set) || !read_pairs("--append", arguments.appends, changes.append) ||
      !read_pairs("--subtract", arguments.subtracts, changes.subtract)) {
    return kUsage;
  }
  if (changes.set.empty() && changes.reset.empty() && changes.append.empty() && changes.subtract.empty()) {
    fmt::print(stderr, "error: nothing to change: expected --config, --delete-config, --append or --subtract\n");
    return kUsage;
  }
  const auto context = connect_later(invocation);
  if (!context) return kUsage;
  client::Admin admin(context);
  const Result<> altered = admin.alter_topic(arguments.name, changes);
  if (!altered) return report_error(invocation, fmt::format("changing topic '{}'", arguments.name), altered.error());
  if (invocation.json) {
    fmt::print("{}\n", Json({{"topic", arguments.name}, {"altered", !arguments.check_only}}).dump());
  } else {
    fmt::print("topic '{}' {}\n", arguments.name, arguments.check_only ? "could be changed" : "changed");
  }
  return kDone;
}

int delete_records(const Invocation& invocation, const TopicArguments& arguments) {
  Offset before = kNoOffset;
  if (arguments.before != "end") {
    const char* const end = arguments.before.data() + arguments.before.size();
    const auto parsed = std::from_chars(arguments.before.data(), end, before.value);
    if (parsed.ec != std::errc() || parsed.ptr != end || before.value < 0) {
      fmt::print(stderr, "error: --before '{}': expected an offset of 0 or above, or 'end'\n", arguments.before);
      return kUsage;
    }
  }
  const auto context = connect_later(invocation);
  if (!context) return kUsage;
  client::Admin admin(context);
  const auto start = admin.delete_records(arguments.name, arguments.partition, before);
  if (!start) {
    return report_error(invocation, fmt::format("deleting records of {}[{}]", arguments.name, arguments.partition),
                        start.error());
  }
  if (invocation.json) {
    const Json row = {{"topic", arguments.name}, {"partition", arguments.partition}, {"start_offset", start->value}};
    fmt::print("{}\n", row.dump());
  } else {
    fmt::print("{}[{}] begins at offset {}\n", arguments.name, arguments.partition, start->value);
  }
  return kDone;
}

int delete_topics(const Invocation& invocation, const TopicArguments& arguments) {
  const auto context = connect_later(invocation);
  if (!context) return kUsage;
  client::Admin admin(context);
  int code = kDone;
  Json list = Json::array();
  for (const std::string& name : arguments.names) {
    const Result<> deleted = admin.delete_topic(name);
    const bool missing = !deleted && deleted.error().code == ErrorCode::not_found && arguments.if_exists;
    if (!deleted && !missing)
      code = std::max(code, report_error(invocation, fmt::format("deleting topic '{}'", name), deleted.error()));
    list.push_back({{"topic", name}, {"deleted", deleted.has_value()}});
    if (!invocation.json && (deleted || missing)) fmt::print("topic '{}' {}\n", name, deleted ? "deleted" : "does not exist");
  }
  if (invocation.json) fmt::print("{}\n", list.dump(2));
  return code;
}

}  // namespace

void define_topic(CLI::App& program, Invocation& invocation) {
  CLI::App& family = *program.add_subcommand("topic", "Create, list, describe, change and delete topics");
  family.require_subcommand(1);
  family.footer("Examples:\n  streambus topic list\n  streambus topic create --help");
  const auto arguments = std::make_shared<TopicArguments>();

  CLI::App& create = *family.add_subcommand("create", "Create a topic");
  create.add_option("name", arguments->name, "Name of the topic")->required()->type_name("NAME");
  create.add_option("--partitions", arguments->partitions, "Number of partitions (default: the broker's topic_defaults)")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000));
  create
      .add_option("--storage", arguments->storage,
                  "Which [storage.NAME] of the broker keeps it: short for --config streambus.storage=NAME")
      ->type_name("NAME");
  create.add_option("--config", arguments->settings, "A setting by Kafka's name; repeatable")
      ->type_name("K=V")
      ->allow_extra_args(false);
  create.add_flag("--if-not-exists", arguments->if_not_exists, "Success when the topic is there already");
  create.add_flag("--check-only", arguments->check_only, "Ask the broker whether it would; create nothing");
  add_bootstrap(create, invocation);
  add_json(create, invocation, "Print a JSON object");
  finish(create, invocation,
         "Examples:\n  streambus topic create orders --partitions 4\n"
         "  streambus topic create metrics --storage scratch --config retention.ms=3600000\n"
         "  streambus topic create orders --if-not-exists -b broker.example.org:9092",
         [&invocation, arguments] { return create_topic(invocation, *arguments); });

  CLI::App& list = *family.add_subcommand("list", "List all topics");
  add_bootstrap(list, invocation);
  add_json(list, invocation, "Print a JSON array");
  finish(list, invocation, "Examples:\n  streambus topic list\n  streambus topic list --json | jq -r '.[].topic'",
         [&invocation] { return list_topics(invocation); });

  CLI::App& describe = *family.add_subcommand("describe", "Show partitions, offsets and settings of a topic");
  describe.add_option("name", arguments->name, "Name of the topic")->required()->type_name("NAME");
  describe.add_flag("--all", arguments->all_settings, "Show settings that are at their defaults too");
  add_bootstrap(describe, invocation);
  add_json(describe, invocation, "Print a JSON object, with all settings");
  finish(describe, invocation,
         "Examples:\n  streambus topic describe orders\n  streambus topic describe orders --all\n  streambus topic describe "
         "orders --json",
         [&invocation, arguments] { return describe_topic(invocation, *arguments); });

  CLI::App& alter = *family.add_subcommand("alter", "Change settings of a topic; they are in force at once");
  alter.add_option("name", arguments->name, "Name of the topic")->required()->type_name("NAME");
  const auto add_setting = [](CLI::App& command, const char* option, std::vector<std::string>& to, const char* what) {
    return command.add_option(option, to, what)->type_name("K=V")->allow_extra_args(false);
  };
  add_setting(alter, "--config", arguments->settings, "A setting and its new value; repeatable");
  add_setting(alter, "--delete-config", arguments->resets, "A setting that goes back to its default; repeatable")
      ->type_name("K");
  add_setting(alter, "--append", arguments->appends, "A list and the words to add; repeatable");
  add_setting(alter, "--subtract", arguments->subtracts, "A list and the words to take out; repeatable");
  alter.add_flag("--check-only", arguments->check_only, "Ask the broker whether it would; change nothing");
  add_bootstrap(alter, invocation);
  add_json(alter, invocation, "Print a JSON object");
  finish(alter, invocation,
         "Examples:\n  streambus topic alter orders --config retention.ms=86400000\n"
         "  streambus topic alter orders --append cleanup.policy=compact --config min.cleanable.dirty.ratio=0.2\n"
         "  streambus topic alter orders --delete-config retention.ms --check-only",
         [&invocation, arguments] { return alter_topic(invocation, *arguments); });

  CLI::App& cut = *family.add_subcommand("delete-records", "Delete the oldest records of a partition, for good");
  cut.add_option("name", arguments->name, "Name of the topic")->required()->type_name("NAME");
  cut.add_option("--partition", arguments->partition, "Which partition")->type_name("P")->capture_default_str();
  cut.add_option("--before", arguments->before, "The offset that becomes the first one; 'end': nothing is left")
      ->required()
      ->type_name("OFFSET");
  add_bootstrap(cut, invocation);
  add_json(cut, invocation, "Print a JSON object");
  finish(cut, invocation,
         "Examples:\n  streambus topic delete-records orders --before 1000\n"
         "  streambus topic delete-records orders --partition 3 --before end",
         [&invocation, arguments] { return delete_records(invocation, *arguments); });

  define_topic_migrate(family, invocation);

  CLI::App& remove = *family.add_subcommand("delete", "Delete topics and everything in them");
  remove.add_option("names", arguments->names, "Names of the topics")->required()->type_name("NAME");
  remove.add_flag("--if-exists", arguments->if_exists, "Success when a topic is not there");
  add_bootstrap(remove, invocation);
  add_json(remove, invocation, "Print a JSON array");
  finish(remove, invocation, "Examples:\n  streambus topic delete orders\n  streambus topic delete old-1 old-2 --if-exists",
         [&invocation, arguments] { return delete_topics(invocation, *arguments); });
}

}  // namespace streambus::command
