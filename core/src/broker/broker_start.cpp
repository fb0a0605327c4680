// Bringing the stored topics, the storage engines and the configuration together.

#include <algorithm>
#include <set>

#include "broker_core.hpp"
#include "meta_file.hpp"

namespace streambus::broker {
namespace {

/// Names "<topic id>-<partition>" of the stored partitions: of all, or of those that a storage section keeps or is to keep.
std::set<std::string, std::less<>> stored_names(const StoredState& state, const std::string* section = nullptr) {
  std::set<std::string, std::less<>> names;
  for (const auto& [name, topic] : state.topics) {
    if (section != nullptr && topic.storage != *section && topic.migrating_to != *section) continue;
    for (std::size_t id = 0; id < topic.partitions.size(); ++id) names.insert(topic.id + "-" + std::to_string(id));
  }
  return names;
}

/// Collects what an engine holds and no stored topic names.
struct OrphanFinder final : PartitionVisitor {
  explicit OrphanFinder(const std::set<std::string, std::less<>>& names) noexcept : known(names) {}
  void partition(std::string_view topic_id, PartitionId id) noexcept override {
    if (!known.contains(std::string(topic_id) + "-" + std::to_string(id))) orphans.emplace_back(topic_id, id);
  }
  const std::set<std::string, std::less<>>& known;
  std::vector<std::pair<std::string, PartitionId>> orphans;
};

std::vector<Setting> as_settings(const SettingMap& map) {
  std::vector<Setting> settings;
  for (const auto& [name, value] : map) settings.push_back({name, value});
  return settings;
}

}  // namespace

Result<> BrokerCore::start(const std::vector<TopicSection>& topics) {
  const std::lock_guard admin(admin_mutex_);
  STREAMBUS_TRY(to_result(host_.files().create_directory(ProducerSnapshots::kDirectory)));
  STREAMBUS_TRY(store_.load());
  cluster_id_ = store_.state().cluster_id;
  STREAMBUS_TRY(load_topics());
  STREAMBUS_TRY(store_raised_epochs());
  remove_orphans();
  for (const TopicSection& section : topics) {
    configured_[section.name] = section.settings;
    STREAMBUS_TRY(configure_topic(section));
  }
  return {};
}

Result<> BrokerCore::load_topics() {
  std::vector<std::pair<Ref<Partition>, const std::vector<EpochStart>*>> opening;
  for (const auto& [name, stored] : store_.state().topics) {
    auto topic = Ref<Topic>::adopt(new Topic);
    topic->name = name;
    topic->stored = stored;
    for (std::size_t id = 0; id < stored.partitions.size(); ++id) {
      topic->partitions.push_back(make_partition(name, stored, id));
      opening.emplace_back(topic->partitions.back(), &stored.partitions[id]);
    }
    const auto type = stored.settings.find(setting::kCompressionType);
    if (type != stored.settings.end() && !check_setting(type->first, type->second, codecs_)) {
      log(LogLevel::warning, "topic '" + name + "' has compression.type '" + type->second +
                                 "', whose codec is not in the configuration: batches in other codecs will be refused");
    }
    if (const auto can = check_can_compact(name, stored.settings, stored.storage); !can) {
      log(LogLevel::warning, can.error().message + "; it is not compacted");
    }
    if (!stored.migrating_to.empty()) {
      topic->migration = "to " + stored.migrating_to + ": waiting";
      queue_migration(name);
    }
    publish(std::move(topic));
  }
  read_compaction_progress();
  for_each_parallel(opening.size(), [&](std::size_t i) {
    const auto& [partition, epochs] = opening[i];
    if (const Status status = partition->open(LeaderEpochs(*epochs), true); !status.ok()) {
      log(LogLevel::error, "partition " + partition->topic() + "/" + std::to_string(partition->id()) +
                               " is offline: it could not be opened: " + status.text);
    }
  });
  return {};
}

/// Must be on disk before a client sees the new epochs: given twice, they would tell nothing.
Result<> BrokerCore::store_raised_epochs() {
  StoredState next = store_.state();
  bool changed = false;
  for (auto& [name, stored] : next.topics) {
    const Ref<Topic> topic = find(name);
    for (std::size_t id = 0; topic && id < stored.partitions.size(); ++id) {
      std::vector<EpochStart> epochs = topic->partitions[id]->epoch_starts();
      if (epochs == stored.partitions[id]) continue;
      stored.partitions[id] = std::move(epochs);
      changed = true;
    }
  }
  return changed ? store_.commit(std::move(next)) : Result<>();
}

void BrokerCore::remove_orphans() noexcept {
  for (const auto& [section, storage] : engines_) {
    const auto kept = stored_names(store_.state(), &section);
    OrphanFinder finder(kept);
    if (const Status status = storage->list(finder); !status.ok()) {
      log(LogLevel::warning, "storage '" + section + "' does not list its partitions: " + status.text);
      continue;
    }
    if (finder.orphans.empty()) continue;
    if (store_.created()) {
      // A lost list of topics must not cost the data too.
      log(LogLevel::error,
          "storage '" + section + "' holds " + std::to_string(finder.orphans.size()) +
              " partitions, but there was no list of topics: they are kept and not served; restore meta/topics or "
              "remove the storage's directory");
      continue;
    }
    for (const auto& [topic_id, id] : finder.orphans) {
      const Status status = storage->remove({"", topic_id, id});
      log(status.ok() ? LogLevel::info : LogLevel::warning,
          "storage '" + section + "': left-over partition " + topic_id + "-" + std::to_string(id) +
              (status.ok() ? " removed" : std::string(" not removed: ") + status.text));
    }
  }
  const auto names = stored_names(store_.state());
  const auto snapshots = list_files(host_.files(), std::string(ProducerSnapshots::kDirectory));
  if (!snapshots || store_.created()) return;
  for (const std::string& file : *snapshots) {
    if (names.contains(file.substr(0, file.rfind('.')))) continue;
    (void)host_.files().remove(std::string(ProducerSnapshots::kDirectory) + "/" + file);
  }
}

Result<> BrokerCore::configure_topic(const TopicSection& section) {
  if (find(section.name)) return update_topic(section);
  const std::vector<Setting> settings = as_settings(section.settings);
  const std::string& storage = section.storage.empty() ? settings_.topic_defaults.storage : section.storage;
  STREAMBUS_TRY_ASSIGN(StoredTopic planned, plan_topic(section.name, section.partitions, settings, storage));
  return create(section.name, std::move(planned));
}

/// A topic of the configuration that exists: takes over its settings and more partitions; what cannot change is warned of.
Result<> BrokerCore::update_topic(const TopicSection& section) {
  const Ref<Topic> topic = find(section.name);
  if (!section.storage.empty() && section.storage != topic->stored.storage) {
    log(LogLevel::warning, "topic '" + section.name + "' is kept by storage '" + topic->stored.storage +
                               "' and stays there; the configuration asks for '" + section.storage +
                               "': `streambus topic migrate` moves it");
  }
  const auto wanted = static_cast<std::size_t>(std::max(section.partitions, 1));
  if (wanted < topic->partitions.size()) {
    log(LogLevel::warning, "topic '" + section.name + "' has " + std::to_string(topic->partitions.size()) +
                               " partitions and keeps them; the configuration asks for " + std::to_string(wanted));
  } else if (wanted > topic->partitions.size()) {
    STREAMBUS_TRY(grow(*topic, wanted));
  }
  SettingMap changed = topic->stored.settings;
  for (const auto& [name, value] : section.settings) {
    STREAMBUS_TRY_ASSIGN(changed[name], check_setting(name, value, codecs_));
  }
  if (changed == topic->stored.settings) return {};
  STREAMBUS_TRY(check_can_compact(section.name, changed, topic->stored.storage));
  STREAMBUS_TRY(change_settings(*topic, std::move(changed)));
  log(LogLevel::info, "topic '" + section.name + "' takes changed settings from the configuration");
  return {};
}

Result<> BrokerCore::grow(Topic& topic, std::size_t partition_count) {
  if (partition_count > static_cast<std::size_t>(kTopicPartitionsMax)) {
    return fail(ErrorCode::invalid_argument, "partitions of topic '" + topic.name + "': expected at most " +
                                                 std::to_string(kTopicPartitionsMax) + ", found " +
                                                 std::to_string(partition_count));
  }
  const std::size_t before = topic.partitions.size();
  STREAMBUS_TRY(check_room(partition_count - before));
  StoredTopic grown = topic.stored;
  grown.partitions.resize(partition_count, LeaderEpochs().starts());
  std::vector<Ref<Partition>> partitions = topic.partitions;
  Result<> outcome;
  for (std::size_t id = before; id < partition_count && outcome; ++id) {
    partitions.push_back(make_partition(topic.name, grown, id));
    outcome = to_result(partitions.back()->open({}, false));
  }
  if (outcome) {
    StoredState next = store_.state();
    next.topics[topic.name] = grown;
    outcome = store_.commit(std::move(next));
  }
  if (!outcome) {
    for (std::size_t id = before; id < partitions.size(); ++id) (void)partitions[id]->remove();
    return outcome;
  }
  const std::lock_guard lock(topics_mutex_);
  topic.stored = std::move(grown);
  topic.partitions = std::move(partitions);
  return {};
}

}  // namespace streambus::broker
