// streambus topic migrate: moves a topic to another storage and watches it happen.

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "command.hpp"
#include "streambus/client/admin.hpp"

namespace streambus::command {
namespace {

using Json = nlohmann::ordered_json;

struct MigrateArguments {
  std::string topic;
  std::string storage;
  bool no_wait = false;
};

/// Where the topic is kept, and how far its move is, as the broker says.
struct Whereabouts {
  std::string storage;
  std::string migration;
};

Result<Whereabouts> look_up(client::Admin& admin, const std::string& topic) {
  STREAMBUS_TRY_ASSIGN(const auto settings, admin.describe_settings(topic));
  Whereabouts found;
  for (const client::TopicSetting& setting : settings) {
    if (setting.name == "streambus.storage") found.storage = setting.value.value_or("");
    if (setting.name == "streambus.migration") found.migration = setting.value.value_or("");
  }
  return found;
}

int report(const Invocation& invocation, const MigrateArguments& arguments, const char* state, const std::string& text) {
  if (invocation.json) {
    fmt::print("{}\n", Json({{"topic", arguments.topic}, {"storage", arguments.storage}, {"state", state}}).dump());
  } else {
    fmt::print("topic '{}' {}\n", arguments.topic, text);
  }
  return kDone;
}

/// Returns the exit code when the move has come to an end.
int watch(const Invocation& invocation, const MigrateArguments& arguments, client::Admin& admin) {
  constexpr auto kInterval = std::chrono::milliseconds(200);
  constexpr int kUnansweredMax = 150;  // the broker may be started again meanwhile
  const StopSignals signals;
  Progress progress(!invocation.json);
  for (int unanswered = 0; !signals.stopped(); std::this_thread::sleep_for(kInterval)) {
    const Result<Whereabouts> now = look_up(admin, arguments.topic);
    if (!now) {
      const bool may_pass = now.error().code != ErrorCode::not_found && ++unanswered < kUnansweredMax;
      if (may_pass) continue;
      progress.clear();
      return report_error(invocation, fmt::format("watching the move of topic '{}'", arguments.topic), now.error());
    }
    unanswered = 0;
    progress.show(fmt::format("topic '{}' {}", arguments.topic, now->migration));
    if (now->migration.empty()) {
      progress.clear();
      if (now->storage == arguments.storage) {
        return report(invocation, arguments, "moved", fmt::format("is kept by storage '{}' now", arguments.storage));
      }
      fmt::print(stderr, "error: the move of topic '{}' was ended: storage '{}' keeps it\n", arguments.topic, now->storage);
      return kFailed;
    }
    if (now->migration.find(": failed: ") != std::string::npos) {
      progress.clear();
      fmt::print(stderr,
                 "error: topic '{}' stays in storage '{}': {}\n  the same command tries again and goes on where it stopped\n",
                 arguments.topic, now->storage, now->migration);
      return kFailed;
    }
  }
  progress.clear();
  fmt::print(stderr, "the move of topic '{}' goes on in the broker; `streambus topic describe` shows how far it is\n",
             arguments.topic);
  return kInterrupted;
}

int migrate_topic(const Invocation& invocation, const MigrateArguments& arguments) {
  const auto context = connect_later(invocation);
  if (!context) return kUsage;
  client::Admin admin(context);
  client::SettingChanges change;
  change.set["streambus.storage"] = arguments.storage;
  if (const Result<> begun = admin.alter_topic(arguments.topic, change); !begun) {
    return report_error(invocation, fmt::format("moving topic '{}'", arguments.topic), begun.error());
  }
  if (arguments.no_wait) {
    return report(invocation, arguments, "moving", fmt::format("moves to storage '{}'", arguments.storage));
  }
  return watch(invocation, arguments, admin);
}

}  // namespace

void define_topic_migrate(CLI::App& family, Invocation& invocation) {
  const auto arguments = std::make_shared<MigrateArguments>();
  CLI::App& migrate = *family.add_subcommand(
      "migrate",
      "Move a topic to another storage while it is used: offsets, times and bytes stay; naming the storage that has it "
      "ends a move");
  migrate.add_option("name", arguments->topic, "Name of the topic")->required()->type_name("NAME");
  migrate.add_option("--to", arguments->storage, "Name of the storage section that is to keep it")
      ->required()
      ->type_name("STORAGE");
  migrate.add_flag("--no-wait", arguments->no_wait, "Return when the move has begun");
  add_bootstrap(migrate, invocation);
  add_json(migrate, invocation, "Print a JSON object");
  finish(migrate, invocation,
         "Examples:\n  streambus topic migrate orders --to mapped\n  streambus topic migrate orders --to wal --no-wait --json",
         [&invocation, arguments] { return migrate_topic(invocation, *arguments); });
}

}  // namespace streambus::command
