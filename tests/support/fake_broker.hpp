#pragma once
// A Broker for tests of protocols: topics in memory, produce that stays pending on demand, watches, and errors on demand.

#include <atomic>
#include <cstdio>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "streambus/base/record_batch.hpp"
#include "streambus/plugin/broker.hpp"

namespace streambus::test {

class FakeBroker final : public Broker {
 public:
  /// A stored batch; the memory never moves while a reader holds a pin.
  class StoredBatch final : public Pin {
   public:
    StoredBatch(Bytes from, Offset base, std::atomic<int>& pins) : bytes(from.begin(), from.end()), first(base), pins_(pins) {
      next = base + BatchHeader(bytes.data()).record_count();
    }
    std::vector<std::byte> bytes;
    Offset first;
    Offset next;

   private:
    void dispose() noexcept override {
      --pins_;
      delete this;
    }
    std::atomic<int>& pins_;
  };

  /// One reader's reference to several batches, as an engine hands it out.
  class ReadPin final : public Pin {
   public:
    ReadPin(std::vector<StoredBatch*> batches, std::atomic<int>& held) : batches_(std::move(batches)), held_(held) {
      ++held_;
      for (StoredBatch* const batch : batches_) batch->add_ref();
    }

   private:
    void dispose() noexcept override {
      for (StoredBatch* const batch : batches_) batch->release();
      --held_;
      delete this;
    }
    std::vector<StoredBatch*> batches_;
    std::atomic<int>& held_;
  };

  struct Partition {
    std::vector<StoredBatch*> batches;
    std::size_t visible = 0;  ///< batches
    LeaderEpoch epoch = 3;
    std::set<FetchWatch*> watches;

    [[nodiscard]] Offset end() const { return batches.empty() ? Offset{0} : batches.back()->next; }
    [[nodiscard]] Offset high_watermark() const { return visible == 0 ? Offset{0} : batches[visible - 1]->next; }
  };

  FakeBroker() = default;
  ~FakeBroker() {
    for (auto& [name, partitions] : topics_) {
      for (Partition& partition : partitions) {
        for (StoredBatch* const batch : partition.batches) batch->release();
      }
    }
  }

  // For the test.
  void add_topic(const std::string& name, std::size_t partitions) {
    const std::lock_guard lock(mutex_);
    topics_[name] = std::vector<Partition>(partitions);
  }
  /// Appends as a producer would, visible at once.
  Offset append(const std::string& topic, PartitionId partition, Bytes batch) {
    const std::lock_guard lock(mutex_);
    Partition& log = topics_.at(topic).at(static_cast<std::size_t>(partition));
    const Offset base = store(log, batch);
    show(log);
    return base;
  }
  /// Ends every pending produce: its batch becomes visible.
  std::size_t complete_all(ErrorCode error = ErrorCode::ok) {
    std::vector<ProduceWaiter*> waiters;
    {
      const std::lock_guard lock(mutex_);
      waiters.swap(pending_);
      for (auto& [name, partitions] : topics_) {
        for (Partition& partition : partitions) show(partition);
      }
    }
    for (ProduceWaiter* const waiter : waiters) {
      waiter->error = error;
      waiter->completed();
    }
    return waiters.size();
  }
  [[nodiscard]] std::size_t pending_count() {
    const std::lock_guard lock(mutex_);
    return pending_.size();
  }
  [[nodiscard]] std::size_t watch_count() {
    const std::lock_guard lock(mutex_);
    std::size_t count = 0;
    for (auto& [name, partitions] : topics_) {
      for (Partition& partition : partitions) count += partition.watches.size();
    }
    return count;
  }

  bool produce_pending = false;             ///< produce() stays pending until complete_all()
  ErrorCode produce_error = ErrorCode::ok;  ///< what produce() answers at once
  std::string produce_error_text;
  TimestampMs log_append_time = kNoTimestamp;
  bool auto_create = true;
  std::function<void()> before_watch;  ///< called once, just before a watch is registered
  std::atomic<int> pins_held{0};       ///< of reads
  std::atomic<int> batches_stored{0};
  std::vector<const std::byte*> produced_at;  ///< addresses of the batches handed in
  std::vector<std::string> fetch_order;       ///< "topic/partition" of each fetch call
  std::atomic<int> produce_calls{0};
  std::atomic<int> fetch_calls{0};
  std::vector<std::pair<std::string, std::string>> created_settings;

  // Broker
  [[nodiscard]] BrokerIdentity identity() const noexcept override { return {7, "fake-cluster-id-000000"}; }

  void visit_topics(TopicVisitor& visitor) noexcept override {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, partitions] : topics_) visit(name, partitions, visitor);
  }
  Status visit_topic(std::string_view name, TopicVisitor& visitor) noexcept override {
    const std::lock_guard lock(mutex_);
    const auto found = topics_.find(name);
    if (found == topics_.end()) return {ErrorCode::not_found, "no such topic"};
    visit(found->first, found->second, visitor);
    return {};
  }
  [[nodiscard]] bool auto_create_topics() const noexcept override { return auto_create; }

  Status create_topic(const TopicSpec& spec) noexcept override {
    const std::lock_guard lock(mutex_);
    if (topics_.contains(spec.name)) return {ErrorCode::already_exists, "topic exists"};
    for (const Setting& setting : spec.settings) {
      if (setting.name == "bad.setting") return {ErrorCode::invalid_argument, "unknown setting 'bad.setting'"};
      created_settings.emplace_back(setting.name, setting.value);
    }
    if (!spec.validate_only) {
      topics_[std::string(spec.name)] =
          std::vector<Partition>(spec.partition_count == -1 ? 2 : static_cast<std::size_t>(spec.partition_count));
    }
    return {};
  }
  Status delete_topic(std::string_view name) noexcept override {
    const std::lock_guard lock(mutex_);
    const auto found = topics_.find(name);
    if (found == topics_.end()) return {ErrorCode::not_found, "no such topic"};
    for (Partition& partition : found->second) {
      for (StoredBatch* const batch : partition.batches) batch->release();
    }
    topics_.erase(found);
    return {};
  }
  Status visit_settings(std::string_view topic, SettingVisitor& visitor) noexcept override {
    const std::lock_guard lock(mutex_);
    if (!topics_.contains(topic)) return {ErrorCode::not_found, "no such topic"};
    visitor.setting(
        {"retention.ms", "604800000", "How long records are kept", SettingType::int64, SettingSource::builtin_default, false});
    visitor.setting({"compression.type", "lz4", "Codec", SettingType::text, SettingSource::topic, false});
    visitor.setting({"streambus.storage", "wal", "Where", SettingType::text, SettingSource::broker_file, true});
    return {};
  }

  ProduceOutcome produce(const ProduceCall& call, ProduceWaiter& waiter) noexcept override {
    ++produce_calls;
    const std::lock_guard lock(mutex_);
    produced_at.push_back(call.batches.data());
    Partition* const log = find(call.topic, call.partition);
    if (log == nullptr || produce_error != ErrorCode::ok) {
      waiter.error = log == nullptr ? ErrorCode::not_found : produce_error;
      std::snprintf(waiter.error_text, sizeof waiter.error_text, "%s", produce_error_text.c_str());
      return ProduceOutcome::done;
    }
    std::size_t bytes = 0;
    if (const Status status = check_batch(call.batches, &bytes); !status.ok()) {
      waiter.error = status.code;
      std::snprintf(waiter.error_text, sizeof waiter.error_text, "%.*s", static_cast<int>(sizeof waiter.error_text - 1),
                    status.text);
      return ProduceOutcome::done;
    }
    stamp_batch(call.batches.data(), log->end(), log->epoch);
    waiter.base_offset = store(*log, call.batches);
    waiter.log_append_time = log_append_time;
    waiter.log_start = {0};
    if (!produce_pending) {
      show(*log);
      return ProduceOutcome::done;
    }
    pending_.push_back(&waiter);
    return ProduceOutcome::pending;
  }

  void fetch(FetchCall& call) noexcept override {
    ++fetch_calls;
    const std::lock_guard lock(mutex_);
    fetch_order.push_back(std::string(call.topic) + "/" + std::to_string(call.partition));
    Partition* const log = find(call.topic, call.partition);
    if (log == nullptr) {
      call.error = ErrorCode::not_found;
      return;
    }
    if (call.current_epoch != -1 && call.current_epoch != log->epoch) {
      call.error = call.current_epoch < log->epoch ? ErrorCode::fenced_epoch : ErrorCode::unknown_epoch;
      return;
    }
    call.high_watermark = call.last_stable = log->high_watermark();
    call.log_start = {0};
    if (call.from < Offset{0} || call.from > log->high_watermark()) {
      call.error = ErrorCode::out_of_range;
      return;
    }
    call.data.next = call.from;
    std::vector<StoredBatch*> read;
    for (std::size_t i = 0; i < log->visible && call.data.slice_count < ReadResult::kSlicesMax; ++i) {
      StoredBatch* const batch = log->batches[i];
      if (batch->next <= call.from) continue;
      const bool exempt = call.at_least_one && call.data.slice_count == 0;
      if (call.data.bytes + batch->bytes.size() > call.bytes_max && !exempt) break;
      call.data.slices[call.data.slice_count++] = Slice::memory(batch->bytes);
      call.data.bytes += batch->bytes.size();
      call.data.next = batch->next;
      read.push_back(batch);
    }
    if (!read.empty()) call.data.pin = new ReadPin(std::move(read), pins_held);
  }

  bool watch(std::string_view topic, PartitionId partition, FetchWatch& watch) noexcept override {
    if (before_watch) std::exchange(before_watch, nullptr)();
    const std::lock_guard lock(mutex_);
    Partition* const log = find(topic, partition);
    if (log == nullptr || log->high_watermark() > watch.beyond) return false;
    log->watches.insert(&watch);
    return true;
  }
  void unwatch(FetchWatch& watch) noexcept override {
    const std::lock_guard lock(mutex_);
    for (auto& [name, partitions] : topics_) {
      for (Partition& partition : partitions) partition.watches.erase(&watch);
    }
  }

  void find_offset(OffsetCall& call) noexcept override {
    const std::lock_guard lock(mutex_);
    Partition* const log = find(call.topic, call.partition);
    if (log == nullptr) {
      call.error = ErrorCode::not_found;
      return;
    }
    call.leader_epoch = log->epoch;
    call.offset = call.timestamp == OffsetCall::kEarliest ? Offset{0} : log->high_watermark();
    if (call.timestamp >= 0) {
      call.offset = {call.timestamp / 1000};
      call.found_timestamp = call.timestamp;
    }
  }

  Status epoch_end(std::string_view topic, PartitionId partition, LeaderEpoch current, LeaderEpoch wanted, LeaderEpoch* epoch,
                   Offset* end) noexcept override {
    const std::lock_guard lock(mutex_);
    Partition* const log = find(topic, partition);
    if (log == nullptr) return {ErrorCode::not_found, "no such partition"};
    if (current != -1 && current < log->epoch) return {ErrorCode::fenced_epoch, "old epoch"};
    *epoch = wanted;
    *end = log->end();
    return {};
  }
  Status new_producer_id(std::int64_t* id) noexcept override {
    *id = next_producer_id_++;
    return {};
  }
  Status alter_topic(const TopicEdit& edit) noexcept override {
    const std::lock_guard lock(mutex_);
    if (!topics_.contains(edit.topic)) return {ErrorCode::not_found, "no such topic"};
    for (const SettingEdit& one : edit.edits) {
      if (one.setting.name == "bad.setting") return {ErrorCode::invalid_argument, "unknown setting 'bad.setting'"};
    }
    std::string text = edit.replace_all ? "replace" : "edit";
    if (edit.validate_only) text += " (validate)";
    constexpr const char* kSigns[] = {"=", "!", "+", "-"};
    for (const SettingEdit& one : edit.edits) {
      text += " " + std::string(one.setting.name) + kSigns[static_cast<int>(one.change)] + std::string(one.setting.value);
    }
    alterations.push_back(std::string(edit.topic) + ": " + text);
    return {};
  }
  Status delete_records(std::string_view topic, PartitionId partition, Offset before, Offset* log_start) noexcept override {
    const std::lock_guard lock(mutex_);
    if (find(topic, partition) == nullptr) return {ErrorCode::not_found, "no such partition"};
    if (before > Offset{100}) return {ErrorCode::out_of_range, "beyond the end"};
    if (before == Offset{99}) return {ErrorCode::permission_denied, "compacted"};
    *log_start = before == kNoOffset ? Offset{100} : before;
    return {};
  }
  void visit_usage(UsageVisitor& visitor) noexcept override {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, partitions] : topics_) {
      for (std::size_t i = 0; i < partitions.size(); ++i) {
        visitor.usage({name, static_cast<PartitionId>(i), i % 2 == 0 ? "even" : "odd", 1000 + i, ErrorCode::ok});
      }
    }
  }
  std::vector<std::string> alterations;  ///< "topic: edit name=value name! name+word name-word"

 private:
  Partition* find(std::string_view topic, PartitionId partition) {
    const auto found = topics_.find(topic);
    const auto index = static_cast<std::size_t>(partition);
    return found == topics_.end() || index >= found->second.size() ? nullptr : &found->second[index];
  }
  Offset store(Partition& log, Bytes batch) {
    const Offset base = log.end();
    log.batches.push_back(new StoredBatch(batch, base, batches_stored));
    ++batches_stored;
    return base;
  }
  static void show(Partition& log) {
    if (log.visible == log.batches.size()) return;
    log.visible = log.batches.size();
    for (FetchWatch* const watch : std::exchange(log.watches, {})) watch->data_available();
  }
  static void visit(std::string_view name, const std::vector<Partition>& partitions, TopicVisitor& visitor) {
    std::vector<PartitionView> views;
    for (std::size_t i = 0; i < partitions.size(); ++i) {
      views.push_back({ErrorCode::ok, static_cast<PartitionId>(i), partitions[i].epoch});
    }
    visitor.topic({name, "00000000000000000000000000000001", static_cast<PartitionId>(partitions.size())}, views);
  }

  std::mutex mutex_;
  std::map<std::string, std::vector<Partition>, std::less<>> topics_;
  std::vector<ProduceWaiter*> pending_;
  std::atomic<std::int64_t> next_producer_id_{1000};
};

}  // namespace streambus::test
