// Creating, changing and deleting topics.

#include <algorithm>
#include <new>
#include <set>

#include "broker_core.hpp"

namespace streambus::broker {
namespace {

/// Producer ids are handed out from blocks, so that most calls write no file.
constexpr std::int64_t kProducerIdBlock = 1000;

/// Runs administrative work at the border: an exception becomes a Status.
template <class Work>
Status guarded(const Work& work) noexcept {
  try {
    return to_status(work());
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory"};
  } catch (const std::exception& error) {
    return {ErrorCode::internal, error.what()};
  }
}

/// Where an edit wants the topic; empty: says nothing. Those who replace all settings repeat the present one.
std::string_view wanted_storage(const TopicEdit& edit) noexcept {
  for (const SettingEdit& one : edit.edits) {
    if (one.change == SettingChange::set && one.setting.name == setting::kStorage) return one.setting.value;
  }
  return {};
}

/// A list with words added or taken out.
std::string edited_list(std::string_view now, const SettingEdit& edit) {
  std::vector<std::string_view> words = split_setting_list(now);
  for (const std::string_view word : split_setting_list(edit.setting.value)) {
    std::erase(words, word);
    if (edit.change == SettingChange::append) words.push_back(word);
  }
  std::string text;
  for (const std::string_view word : words) text += (text.empty() ? "" : ",") + std::string(word);
  return text;
}

}  // namespace

StorageEngine* BrokerCore::engine(std::string_view storage) const noexcept {
  const auto found = engines_.find(storage);
  return found == engines_.end() ? nullptr : found->second;
}

Ref<Partition> BrokerCore::make_partition(std::string_view name, const StoredTopic& topic, std::size_t id) const {
  const TopicPolicy policy(topic.settings, settings_.topic_defaults.settings);
  return Ref<Partition>::adopt(new Partition(environment_, {.topic = std::string(name),
                                                            .topic_id = topic.id,
                                                            .id = static_cast<PartitionId>(id),
                                                            .engine = engine(topic.storage),
                                                            .settings = policy.partition_settings(),
                                                            .rules = policy.admission_rules(codecs_),
                                                            .compaction = policy.compaction_rules()}));
}

Result<> BrokerCore::check_running() const {
  return stopped_ ? fail(ErrorCode::cancelled, "the broker is stopping") : Result<>();
}

Result<> BrokerCore::check_room(std::size_t more_partitions) const {
  std::size_t partitions = 0;
  for (const auto& [name, topic] : store_.state().topics) partitions += topic.partitions.size();
  if (partitions + more_partitions <= kBrokerPartitionsMax) return {};
  return fail(ErrorCode::invalid_argument, "the broker holds " + std::to_string(partitions) + " partitions of at most " +
                                               std::to_string(kBrokerPartitionsMax) +
                                               ": delete topics or ask for fewer partitions");
}

Result<> BrokerCore::check_storage(std::string_view topic, std::string_view storage) const {
  if (engine(storage) != nullptr) return {};
  std::string known;
  for (const auto& [section, object] : engines_) known += (known.empty() ? "'" : ", '") + section + "'";
  return fail(ErrorCode::invalid_argument, "storage of topic '" + std::string(topic) + "': expected one of " + known +
                                               ", found '" + std::string(storage) + "'");
}

Result<StoredTopic> BrokerCore::plan_topic(std::string_view name, std::int32_t partitions, std::span<const Setting> settings,
                                           std::string_view storage) const {
  STREAMBUS_TRY(check_topic_name(name));
  if (partitions < 1 || partitions > kTopicPartitionsMax) {
    return fail(ErrorCode::invalid_argument, "partitions of topic '" + std::string(name) + "': expected 1 to " +
                                                 std::to_string(kTopicPartitionsMax) + ", found " + std::to_string(partitions));
  }
  StoredTopic topic;
  topic.storage = storage;
  for (const Setting& setting : settings) {
    STREAMBUS_TRY_ASSIGN(std::string value, check_setting(setting.name, setting.value, codecs_));
    if (setting.name == setting::kStorage && !value.empty()) topic.storage = value;
    if (!topic.settings.emplace(setting.name, std::move(value)).second) {
      return fail(ErrorCode::invalid_argument, "the setting '" + std::string(setting.name) + "' is given twice");
    }
  }
  STREAMBUS_TRY(check_storage(name, topic.storage));
  STREAMBUS_TRY(check_can_compact(name, topic.settings, topic.storage));
  STREAMBUS_TRY(check_room(static_cast<std::size_t>(partitions)));
  STREAMBUS_TRY_ASSIGN(topic.id, make_topic_id());
  topic.partitions.assign(static_cast<std::size_t>(partitions), LeaderEpochs().starts());
  return topic;
}

/// First the partitions, then the list: what a crash leaves between the two is removed at the next start.
Result<> BrokerCore::create(std::string_view name, StoredTopic planned) {
  auto topic = Ref<Topic>::adopt(new Topic);
  topic->name = name;
  for (std::size_t id = 0; id < planned.partitions.size(); ++id) topic->partitions.push_back(make_partition(name, planned, id));
  std::vector<Status> statuses(topic->partitions.size());
  for_each_parallel(statuses.size(), [&](std::size_t id) { statuses[id] = topic->partitions[id]->open({}, false); });

  const auto failed = std::find_if(statuses.begin(), statuses.end(), [](const Status& status) { return !status.ok(); });
  Result<> outcome = failed == statuses.end() ? Result<>() : to_result(*failed);
  if (outcome) {
    StoredState next = store_.state();
    next.topics[std::string(name)] = planned;
    outcome = store_.commit(std::move(next));
  }
  if (!outcome) {
    for (const Ref<Partition>& partition : topic->partitions) (void)partition->remove();
    outcome.error().message = "topic '" + std::string(name) + "' was not created: " + outcome.error().message;
    return outcome;
  }
  topic->stored = std::move(planned);
  log(LogLevel::info, "topic '" + topic->name + "' created: " + std::to_string(topic->partitions.size()) +
                          " partitions on storage '" + topic->stored.storage + "'");
  publish(std::move(topic));
  return {};
}

void BrokerCore::publish(Ref<Topic> topic) {
  const std::lock_guard lock(topics_mutex_);
  by_name_.emplace(topic->name, topic.get());
  topics_.emplace(topic->name, std::move(topic));
}

Status BrokerCore::create_topic(const TopicSpec& spec) noexcept {
  return guarded([&]() -> Result<> {
    const std::lock_guard admin(admin_mutex_);
    STREAMBUS_TRY(check_running());
    if (find(spec.name)) return fail(ErrorCode::already_exists, "topic '" + std::string(spec.name) + "' exists");
    const std::int32_t partitions = spec.partition_count == -1 ? settings_.topic_defaults.partitions : spec.partition_count;
    STREAMBUS_TRY_ASSIGN(StoredTopic planned,
                         plan_topic(spec.name, partitions, spec.settings, settings_.topic_defaults.storage));
    return spec.validate_only ? Result<>() : create(spec.name, std::move(planned));
  });
}

Status BrokerCore::delete_topic(std::string_view name) noexcept {
  return guarded([&]() -> Result<> {
    const std::lock_guard admin(admin_mutex_);
    STREAMBUS_TRY(check_running());
    const Ref<Topic> topic = find(name);
    if (!topic) return fail(ErrorCode::not_found, "there is no topic '" + std::string(name) + "'");
    StoredState next = store_.state();
    next.topics.erase(next.topics.find(name));
    STREAMBUS_TRY(store_.commit(std::move(next)));
    {
      const std::lock_guard lock(topics_mutex_);
      by_name_.erase(topic->name);
      topics_.erase(topics_.find(name));
    }
    // The topic is gone; files that do not go now are orphans, removed at the next start.
    for_each_parallel(topic->partitions.size(), [&](std::size_t id) {
      if (const Status status = topic->partitions[id]->remove(); !status.ok()) {
        log(LogLevel::warning,
            "files of deleted partition " + topic->name + "/" + std::to_string(id) + " remain: " + status.text);
      }
    });
    log(LogLevel::info, "topic '" + topic->name + "' deleted");
    return {};
  });
}

Status BrokerCore::visit_settings(std::string_view topic_name, SettingVisitor& visitor) noexcept {
  const std::shared_lock lock(topics_mutex_);
  const auto found = topics_.find(topic_name);
  if (found == topics_.end()) return {ErrorCode::not_found, "there is no such topic"};
  const StoredTopic& stored = found->second->stored;
  const TopicPolicy policy(stored.settings, settings_.topic_defaults.settings);
  for (const TopicSettingSpec& spec : kTopicSettings) {
    TopicPolicy::Value value = policy.value(spec);
    if (spec.name == setting::kStorage) {
      const bool chosen = stored.settings.contains(setting::kStorage) || stored.storage != settings_.topic_defaults.storage;
      value = {stored.storage, chosen ? SettingSource::topic : SettingSource::broker_file};
    } else if (spec.name == setting::kMigration) {
      const std::string& migration = found->second->migration;
      value = {migration, migration.empty() ? SettingSource::builtin_default : SettingSource::topic};
    }
    visitor.setting({.name = spec.name,
                     .value = value.text,
                     .doc = spec.doc,
                     .type = spec.type,
                     .source = value.source,
                     .read_only = spec.read_only});
  }
  return {};
}

Result<> BrokerCore::check_can_compact(std::string_view topic, const SettingMap& settings, std::string_view storage) const {
  const StorageEngine* const keeper = engine(storage);
  if (keeper == nullptr || keeper->can_replace()) return {};
  if (!TopicPolicy(settings, settings_.topic_defaults.settings).compaction_rules().enabled) return {};
  return fail(ErrorCode::unsupported, "topic '" + std::string(topic) + "': storage '" + std::string(storage) +
                                          "' cannot compact: use cleanup.policy \"delete\" or another storage");
}

/// The settings that a topic has after an edit.
Result<SettingMap> BrokerCore::edited_settings(const Topic& topic, const TopicEdit& edit) const {
  const StoredTopic& stored = topic.stored;
  const TopicPolicy policy(stored.settings, settings_.topic_defaults.settings);
  SettingMap next;
  for (const auto& [name, value] : stored.settings) {
    if (!edit.replace_all || name == setting::kStorage) next[name] = value;
  }
  std::set<std::string_view> named;
  for (const SettingEdit& one : edit.edits) {
    const std::string name(one.setting.name);
    if (!named.insert(one.setting.name).second) {
      return fail(ErrorCode::invalid_argument, name + ": expected each setting once, found it again");
    }
    const TopicSettingSpec* const spec = find_topic_setting(name);
    const bool list = one.change == SettingChange::append || one.change == SettingChange::subtract;
    if (spec == nullptr) {
      STREAMBUS_TRY(check_setting(name, "", codecs_));
    } else if (name == setting::kStorage) {
      if (one.change == SettingChange::set ? !one.setting.value.empty() : !next.contains(name)) continue;  // see alter_topic
      return fail(ErrorCode::invalid_argument,
                  "streambus.storage: expected the name of a storage section to move the topic to");
    } else if (one.change == SettingChange::reset) {
      next.erase(name);
    } else if (list && spec->type != SettingType::list) {
      return fail(ErrorCode::invalid_argument, name + ": expected a new value, found words to add or take out: it is no list");
    } else if (list) {
      const bool set_before = !edit.replace_all && stored.settings.contains(name);
      const std::string_view now = set_before || !edit.replace_all ? policy.value(*spec).text : spec->default_value;
      STREAMBUS_TRY_ASSIGN(next[name], check_setting(name, edited_list(now, one), codecs_));
    } else {
      STREAMBUS_TRY_ASSIGN(next[name], check_setting(name, one.setting.value, codecs_));
    }
  }
  return next;
}

/// Keeps the settings and lets the partitions have them.
Result<> BrokerCore::change_settings(Topic& topic, SettingMap settings) {
  StoredTopic changed = topic.stored;
  changed.settings = std::move(settings);
  StoredState next = store_.state();
  next.topics[topic.name] = changed;
  STREAMBUS_TRY(store_.commit(std::move(next)));
  {
    const std::lock_guard lock(topics_mutex_);
    topic.stored = std::move(changed);
  }
  const TopicPolicy policy(topic.stored.settings, settings_.topic_defaults.settings);
  for (const Ref<Partition>& partition : topic.partitions) {
    const Status status =
        partition->apply(policy.partition_settings(), policy.admission_rules(codecs_), policy.compaction_rules());
    if (!status.ok()) {
      log(LogLevel::warning, "the storage of topic '" + topic.name + "' does not take the changed settings: " + status.text);
    }
  }
  return {};
}

Status BrokerCore::alter_topic(const TopicEdit& edit) noexcept {
  return guarded([&]() -> Result<> {
    const std::lock_guard admin(admin_mutex_);
    STREAMBUS_TRY(check_running());
    const Ref<Topic> topic = find(edit.topic);
    if (!topic) return fail(ErrorCode::not_found, "there is no topic '" + std::string(edit.topic) + "'");
    STREAMBUS_TRY_ASSIGN(SettingMap next, edited_settings(*topic, edit));
    STREAMBUS_TRY(check_can_compact(topic->name, next, topic->stored.storage));
    const std::string_view storage = wanted_storage(edit);
    const bool moves = !storage.empty() && (storage != topic->stored.storage || !edit.replace_all);
    if (moves) STREAMBUS_TRY(check_storage(topic->name, storage));
    if (edit.validate_only) return {};
    if (moves) STREAMBUS_TRY(plan_migration(*topic, storage));
    if (next == topic->stored.settings) return {};
    if (const auto file = configured_.find(topic->name); file != configured_.end()) {
      for (const SettingEdit& one : edit.edits) {
        if (!file->second.contains(one.setting.name)) continue;
        log(LogLevel::warning, "topic '" + topic->name + "': " + std::string(one.setting.name) +
                                   " is changed until the next start, when the configuration file sets it again");
      }
    }
    STREAMBUS_TRY(change_settings(*topic, std::move(next)));
    log(LogLevel::info, "topic '" + topic->name + "': settings changed");
    return {};
  });
}

Status BrokerCore::new_producer_id(std::int64_t* id) noexcept {
  return guarded([&]() -> Result<> {
    const std::lock_guard admin(admin_mutex_);
    STREAMBUS_TRY(check_running());
    if (producer_ids_left_ == 0) {
      StoredState next = store_.state();
      next_producer_id_ = next.next_producer_id;
      next.next_producer_id += kProducerIdBlock;
      STREAMBUS_TRY(store_.commit(std::move(next)));
      producer_ids_left_ = kProducerIdBlock;
    }
    --producer_ids_left_;
    *id = next_producer_id_++;
    return {};
  });
}

Status BrokerCore::reopen_partition(std::string_view topic, PartitionId partition) noexcept {
  return guarded([&]() -> Result<> {
    const std::lock_guard admin(admin_mutex_);
    STREAMBUS_TRY(check_running());
    const Ref<Partition> found = find(topic, partition);
    if (!found) return fail(ErrorCode::not_found, "there is no such partition");
    STREAMBUS_TRY(to_result(found->reopen()));
    return store_raised_epochs();
  });
}

}  // namespace streambus::broker
