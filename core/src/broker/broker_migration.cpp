// Which topics move to another storage: one after the other, on a thread of their own. See migration.hpp.

#include <algorithm>
#include <new>

#include "broker_core.hpp"
#include "migration.hpp"

namespace streambus::broker {

void BrokerCore::show_migration(Topic& topic, std::string text) {
  const std::lock_guard lock(topics_mutex_);
  topic.migration = std::move(text);
}

void BrokerCore::queue_migration(const std::string& topic) {
  {
    const std::lock_guard lock(maintenance_mutex_);
    if (std::ranges::find(migrations_, topic) == migrations_.end()) migrations_.push_back(topic);
  }
  maintenance_wake_.notify_all();
}

/// A wish for another storage: begins a migration. The wish for the present one ends a migration that runs.
Result<> BrokerCore::plan_migration(Topic& topic, std::string_view storage) {
  StoredTopic changed = topic.stored;
  if (storage == changed.storage) {
    if (changed.migrating_to.empty()) return {};
    changed.migrating_to.clear();
  } else {
    STREAMBUS_TRY(check_storage(topic.name, storage));
    STREAMBUS_TRY(check_can_compact(topic.name, changed.settings, storage));
    changed.migrating_to = storage;
  }
  if (changed.migrating_to != topic.stored.migrating_to) {
    StoredState next = store_.state();
    next.topics[topic.name] = changed;
    STREAMBUS_TRY(store_.commit(std::move(next)));
    const std::lock_guard lock(topics_mutex_);
    topic.stored = std::move(changed);
    topic.migration = topic.stored.migrating_to.empty() ? "" : "to " + topic.stored.migrating_to + ": waiting";
  }
  if (!topic.stored.migrating_to.empty()) queue_migration(topic.name);
  return {};
}

bool BrokerCore::wants_migration(const Topic& topic, const std::string& storage) const noexcept {
  if (stopping_) return false;
  const std::shared_lock lock(topics_mutex_);
  const auto found = topics_.find(topic.name);
  return found != topics_.end() && found->second.get() == &topic && topic.stored.migrating_to == storage;
}

void BrokerCore::run_migrations() noexcept {
  std::unique_lock lock(maintenance_mutex_);
  while (!stopping_) {
    lock.unlock();
    migrate();
    lock.lock();
    maintenance_wake_.wait(lock, [this] { return stopping_ || !migrations_.empty(); });
  }
}

void BrokerCore::migrate() noexcept {
  std::unique_lock lock(maintenance_mutex_);
  while (!stopping_ && !migrations_.empty()) {
    const std::string name = std::move(migrations_.front());
    migrations_.pop_front();
    lock.unlock();
    try {
      if (const Ref<Topic> topic = find(name)) migrate(*topic);
    } catch (const std::bad_alloc&) {
      log(LogLevel::error, "topic '" + name + "': out of memory while moving to another storage");
    }
    lock.lock();
  }
}

void BrokerCore::migrate(Topic& topic) {
  std::string storage;
  {
    const std::shared_lock lock(topics_mutex_);
    storage = topic.stored.migrating_to;
  }
  if (storage.empty()) return;
  StorageEngine* const target = engine(storage);
  Status status{ErrorCode::not_found, "the storage section is not in the configuration"};
  constexpr int kAttempts = 3;  // retention may take away all that was copied
  for (int attempt = 0; target != nullptr && attempt < kAttempts && wants_migration(topic, storage); ++attempt) {
    status = migrate_once(topic, storage, *target);
    if (status.code != ErrorCode::cancelled) break;
  }
  if (status.ok() || !wants_migration(topic, storage)) return;
  show_migration(topic, "to " + storage + ": failed: " + std::string(status.message()));
  log(LogLevel::error, "topic '" + topic.name + "' stays where it is, moving to storage '" + storage +
                           "' failed and can be asked for again: " + std::string(status.message()));
}

Status BrokerCore::migrate_once(Topic& topic, const std::string& storage, StorageEngine& target) {
  std::uint64_t total_bytes = 0;
  for (const Ref<Partition>& partition : topic.partitions) total_bytes += partition->stored_bytes();
  std::uint64_t copied_bytes = 0;
  const auto show_progress = [&](std::uint64_t more) {
    copied_bytes += more;
    const std::uint64_t percent = total_bytes == 0 ? 99 : std::min<std::uint64_t>(99, copied_bytes * 100 / total_bytes);
    show_migration(topic, "to " + storage + ": " + std::to_string(percent) + "%");
  };
  const TopicPolicy policy(topic.stored.settings, settings_.topic_defaults.settings);
  Migration migration({.target = &target,
                       .partitions = topic.partitions,
                       .settings = policy.partition_settings(),
                       .go_on = [&] { return wants_migration(topic, storage); },
                       .copied = show_progress});
  log(LogLevel::info, "topic '" + topic.name + "' moves to storage '" + storage + "'");
  show_progress(0);
  Status status = migration.copy();
  if (status.ok()) status = take_over(topic, storage, migration);
  // What is not wanted any more is removed; what a stop interrupts is gone on with after the next start.
  if (!status.ok() && !stopping_ && !wants_migration(topic, storage)) migration.discard();
  return status;
}

/// The moment of the move: the list of topics names the new storage, and partitions made of the copies take over.
Status BrokerCore::take_over(Topic& topic, const std::string& storage, Migration& migration) {
  const std::lock_guard admin(admin_mutex_);
  if (!wants_migration(topic, storage)) return {ErrorCode::cancelled, "not wanted any more"};
  if (const Status status = migration.finish(); !status.ok()) return status;

  const std::string before = topic.stored.storage;
  StoredTopic moved = topic.stored;
  moved.storage = storage;
  moved.migrating_to.clear();
  if (moved.settings.contains(setting::kStorage)) moved.settings[std::string(setting::kStorage)] = storage;
  StoredState next = store_.state();
  next.topics[topic.name] = moved;
  std::vector<Ref<Partition>> partitions;
  for (std::size_t id = 0; id < topic.partitions.size(); ++id) partitions.push_back(make_partition(topic.name, moved, id));
  if (const auto committed = store_.commit(std::move(next)); !committed) return committed.error().to_status();

  const std::vector<PartitionLog*> copies = migration.release_copies();
  for (std::size_t id = 0; id < partitions.size(); ++id) {
    Partition& old = *topic.partitions[id];
    partitions[id]->restore_compaction_progress(old.compaction_progress());
    if (const Status status = partitions[id]->adopt(LeaderEpochs(old.epoch_starts()), copies[id]); !status.ok()) {
      log(LogLevel::error, "partition " + topic.name + "/" + std::to_string(id) +
                               " is offline after its move, the next start opens it again: " + std::string(status.message()));
    }
  }
  {
    const std::lock_guard lock(topics_mutex_);
    topic.stored = std::move(moved);
    topic.partitions.swap(partitions);
    topic.migration.clear();
  }
  StorageEngine* const left = engine(before);
  for (const Ref<Partition>& old : partitions) {
    Status status = old->retire();
    if (left != nullptr) status = left->remove(old->key());
    // What remains is an orphan, removed at the next start.
    if (!status.ok()) {
      log(LogLevel::warning, "storage '" + before + "' keeps files of " + topic.name + "/" + std::to_string(old->id()) +
                                 " until the next start: " + std::string(status.message()));
    }
  }
  log(LogLevel::info, "topic '" + topic.name + "' moved from storage '" + before + "' to '" + storage + "'");
  return {};
}

}  // namespace streambus::broker
