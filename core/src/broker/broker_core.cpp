// Finding topics and handing calls to their partitions. Administration is in broker_admin.cpp, starting in broker_start.cpp.

#include "broker_core.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>

namespace streambus::broker {
namespace {

void refuse_unknown(std::string_view topic, PartitionId partition, ProduceWaiter& waiter) noexcept {
  char text[sizeof waiter.error_text];
  const std::string_view shown = topic.substr(0, 60);
  std::snprintf(text, sizeof text, "there is no partition %d of a topic '%.*s'", partition, static_cast<int>(shown.size()),
                shown.data());
  set_error(waiter, ErrorCode::not_found, text);
}

void show(const Topic& topic, std::vector<PartitionView>& partitions, TopicVisitor& visitor) {
  partitions.clear();
  for (const Ref<Partition>& partition : topic.partitions) partitions.push_back(partition->view());
  visitor.topic(
      {.name = topic.name, .topic_id = topic.stored.id, .partition_count = static_cast<PartitionId>(partitions.size())},
      partitions);
}

}  // namespace

BrokerCore::BrokerCore(Host& host, DomainTable& domains, const CodecSet& codecs,
                       std::map<std::string, StorageEngine*, std::less<>> engines, BrokerSettings settings)
    : host_(host),
      codecs_(codecs),
      engines_(std::move(engines)),
      settings_(std::move(settings)),
      environment_{host, domains, codecs},
      store_(host.files()),
      compaction_metrics_(host) {}

BrokerCore::~BrokerCore() { stop(); }

Ref<Topic> BrokerCore::find(std::string_view topic) const noexcept {
  const std::shared_lock lock(topics_mutex_);
  const auto found = topics_.find(topic);
  return found == topics_.end() ? Ref<Topic>() : found->second;
}

Ref<Partition> BrokerCore::find(std::string_view topic, PartitionId partition) const noexcept {
  const std::shared_lock lock(topics_mutex_);
  const auto found = topics_.find(topic);
  if (found == topics_.end() || partition < 0) return {};
  const auto& partitions = found->second->partitions;
  return static_cast<std::size_t>(partition) < partitions.size() ? partitions[static_cast<std::size_t>(partition)]
                                                                 : Ref<Partition>();
}

std::vector<Ref<Partition>> BrokerCore::all_partitions() const {
  std::vector<Ref<Partition>> all;
  const std::shared_lock lock(topics_mutex_);
  for (const auto& [name, topic] : by_name_) all.insert(all.end(), topic->partitions.begin(), topic->partitions.end());
  return all;
}

BrokerIdentity BrokerCore::identity() const noexcept { return {settings_.node_id, cluster_id_}; }

void BrokerCore::visit_topics(TopicVisitor& visitor) noexcept {
  std::vector<PartitionView> partitions;
  const std::shared_lock lock(topics_mutex_);
  for (const auto& [name, topic] : by_name_) show(*topic, partitions, visitor);
}

Status BrokerCore::visit_topic(std::string_view name, TopicVisitor& visitor) noexcept {
  std::vector<PartitionView> partitions;
  {
    const std::shared_lock lock(topics_mutex_);
    if (const auto found = topics_.find(name); found != topics_.end()) {
      show(*found->second, partitions, visitor);
      return {};
    }
  }
  if (const auto legal = check_topic_name(name); !legal) return to_status(legal);
  return {ErrorCode::not_found, "there is no such topic"};
}

ProduceOutcome BrokerCore::produce(const ProduceCall& call, ProduceWaiter& waiter) noexcept {
  if (const Ref<Partition> partition = find(call.topic, call.partition)) return partition->produce(call.batches, waiter);
  refuse_unknown(call.topic, call.partition, waiter);
  return ProduceOutcome::done;
}

void BrokerCore::fetch(FetchCall& call) noexcept {
  if (const Ref<Partition> partition = find(call.topic, call.partition)) {
    partition->fetch(call);
  } else {
    call.error = ErrorCode::not_found;
  }
}

bool BrokerCore::watch(std::string_view topic, PartitionId partition, FetchWatch& watch) noexcept {
  const Ref<Partition> found = find(topic, partition);
  return found && found->watch(watch);
}

void BrokerCore::find_offset(OffsetCall& call) noexcept {
  if (const Ref<Partition> partition = find(call.topic, call.partition)) {
    partition->find_offset(call);
  } else {
    call.error = ErrorCode::not_found;
  }
}

Status BrokerCore::epoch_end(std::string_view topic, PartitionId partition, LeaderEpoch current, LeaderEpoch wanted,
                             LeaderEpoch* epoch, Offset* end) noexcept {
  const Ref<Partition> found = find(topic, partition);
  if (!found) return {ErrorCode::not_found, "there is no such partition"};
  return found->epoch_end(current, wanted, epoch, end);
}

Status BrokerCore::delete_records(std::string_view topic, PartitionId partition, Offset before, Offset* log_start) noexcept {
  const Ref<Partition> found = find(topic, partition);
  if (!found) return {ErrorCode::not_found, "there is no such partition"};
  return found->delete_records(before, log_start);
}

void BrokerCore::visit_usage(UsageVisitor& visitor) noexcept {
  const std::shared_lock lock(topics_mutex_);
  for (const auto& [name, topic] : by_name_) {
    for (const Ref<Partition>& partition : topic->partitions) {
      visitor.usage({.topic = topic->name,
                     .partition = partition->id(),
                     .storage = topic->stored.storage,
                     .bytes = partition->stored_bytes(),
                     .error = partition->view().error});
    }
  }
}

Status BrokerCore::partition_status(std::string_view topic, PartitionId partition) noexcept {
  const Ref<Partition> found = find(topic, partition);
  if (!found) return {ErrorCode::not_found, "there is no such partition"};
  return found->offline_reason();
}

void BrokerCore::start_maintenance() {
  maintenance_ = std::thread([this] { run_periodically(settings_.maintenance_interval_ms, &BrokerCore::maintain); });
  compaction_ = std::thread([this] {
    // Behind whatever has somebody waiting for it.
    (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 10);
    run_periodically(settings_.compaction.check_interval_ms, &BrokerCore::compact);
  });
  migration_ = std::thread([this] { run_migrations(); });
}

void BrokerCore::run_periodically(std::int64_t interval_ms, void (BrokerCore::*work)() noexcept) {
  const auto interval = std::chrono::milliseconds(interval_ms);
  std::unique_lock lock(maintenance_mutex_);
  while (!maintenance_wake_.wait_for(lock, interval, [this] { return stopping_.load(); })) {
    lock.unlock();
    (this->*work)();
    lock.lock();
  }
}

void BrokerCore::maintain() noexcept {
  const TimestampMs wall_ms = host_.wall_ms();
  const std::int64_t monotonic_ns = host_.monotonic_ns();
  for (const Ref<Partition>& partition : all_partitions()) partition->maintain(wall_ms, monotonic_ns);
  if (settings_.housekeeping) settings_.housekeeping();
}

void BrokerCore::stop() noexcept {
  {
    const std::lock_guard lock(maintenance_mutex_);
    stopping_ = true;
  }
  maintenance_wake_.notify_all();
  if (maintenance_.joinable()) maintenance_.join();
  if (migration_.joinable()) migration_.join();
  if (compaction_.joinable()) {
    for (const Ref<Partition>& partition : all_partitions()) partition->stop_compaction();
    compaction_.join();
  }
  const std::lock_guard admin(admin_mutex_);
  if (std::exchange(stopped_, true)) return;
  const std::vector<Ref<Partition>> partitions = all_partitions();
  for_each_parallel(partitions.size(), [&](std::size_t i) {
    if (const Status status = partitions[i]->close(); !status.ok()) {
      log(LogLevel::error, "partition " + partitions[i]->topic() + "/" + std::to_string(partitions[i]->id()) +
                               " did not close cleanly: " + status.text);
    }
  });
}

}  // namespace streambus::broker
