#pragma once
// What a protocol can ask of the broker. Offsets are assigned here, durability and visibility are decided here.

#include <cstdint>
#include <span>
#include <string_view>

#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"
#include "streambus/base/pin.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus {

/// A topic as seen at one moment. The views are valid during the call that hands it out.
struct TopicView {
  std::string_view name;
  std::string_view topic_id;  ///< 32 hexadecimal digits
  PartitionId partition_count = 0;
};

struct PartitionView {
  ErrorCode error = ErrorCode::ok;  ///< offline
  PartitionId partition = 0;
  LeaderEpoch leader_epoch = 0;
};

class TopicVisitor {
 public:
  TopicVisitor() = default;
  TopicVisitor(const TopicVisitor&) = delete;
  TopicVisitor& operator=(const TopicVisitor&) = delete;
  virtual void topic(const TopicView& topic, std::span<const PartitionView> partitions) noexcept = 0;

 protected:
  ~TopicVisitor() = default;
};

/// One setting of a topic, by Kafka's own names ("retention.ms") or ours with a prefix ("streambus.storage").
struct Setting {
  std::string_view name;
  std::string_view value;
};

enum class SettingType : std::uint8_t { boolean, text, int32, int64, list, real };
enum class SettingSource : std::uint8_t { topic, broker_file, builtin_default };

struct SettingView {
  std::string_view name;
  std::string_view value;
  std::string_view doc;
  SettingType type = SettingType::text;
  SettingSource source = SettingSource::builtin_default;
  bool read_only = false;
};

class SettingVisitor {
 public:
  SettingVisitor() = default;
  SettingVisitor(const SettingVisitor&) = delete;
  SettingVisitor& operator=(const SettingVisitor&) = delete;
  virtual void setting(const SettingView& setting) noexcept = 0;

 protected:
  ~SettingVisitor() = default;
};

/// What to do with one setting of a topic.
enum class SettingChange : std::uint8_t {
  set,
  reset,     ///< back to the default
  append,    ///< adds words to a list
  subtract,  ///< takes words out of a list
};

struct SettingEdit {
  SettingChange change = SettingChange::set;
  Setting setting;  ///< without a value for `reset`
};

/// A change of a topic's settings.
struct TopicEdit {
  std::string_view topic;
  std::span<const SettingEdit> edits;
  bool replace_all = false;  ///< settings that no edit names go back to their defaults
  bool validate_only = false;
};

/// What a partition takes up. The views are valid during the call that hands it out.
struct PartitionUsage {
  std::string_view topic;
  PartitionId partition = 0;
  std::string_view storage;         ///< the name of its section
  std::uint64_t bytes = 0;          ///< of record batches
  ErrorCode error = ErrorCode::ok;  ///< offline
};

class UsageVisitor {
 public:
  UsageVisitor() = default;
  UsageVisitor(const UsageVisitor&) = delete;
  UsageVisitor& operator=(const UsageVisitor&) = delete;
  virtual void usage(const PartitionUsage& usage) noexcept = 0;

 protected:
  ~UsageVisitor() = default;
};

struct TopicSpec {
  std::string_view name;
  PartitionId partition_count = -1;  ///< -1: the configured default
  std::span<const Setting> settings;
  bool validate_only = false;
};

/// A produce in progress. The caller owns it and keeps it alive until completed() was called.
class ProduceWaiter {
 public:
  ProduceWaiter() = default;
  ProduceWaiter(const ProduceWaiter&) = delete;
  ProduceWaiter& operator=(const ProduceWaiter&) = delete;

  /// The outcome, set before completed() is called.
  ErrorCode error = ErrorCode::ok;
  Offset base_offset = kNoOffset;
  TimestampMs log_append_time = kNoTimestamp;  ///< where the topic uses LogAppendTime
  Offset log_start = kNoOffset;
  char error_text[120] = "";

  /// Called exactly once when produce() returned `pending`: from any thread, never under a lock, must not block.
  virtual void completed() noexcept = 0;

  /// For the broker while the waiter is pending: its place in a list.
  ProduceWaiter* next = nullptr;
  std::uint64_t position = 0;
  Offset end = kNoOffset;  ///< the offset after the appended batches
  void* context = nullptr;

 protected:
  ~ProduceWaiter() = default;
};

enum class ProduceOutcome : std::uint8_t {
  done,     ///< the outcome is in the waiter; completed() will not be called
  pending,  ///< appended, not durable yet; completed() will be called
};

struct ProduceCall {
  std::string_view topic;
  PartitionId partition = 0;
  MutableBytes batches;  ///< whole RecordBatches; base offset and epoch are stamped in place; read before the call returns
};

/// One partition of a fetch: question and answer.
struct FetchCall {
  std::string_view topic;
  PartitionId partition = 0;
  Offset from;
  std::uint64_t bytes_max = 0;
  bool at_least_one = false;       ///< the first batch may exceed bytes_max
  LeaderEpoch current_epoch = -1;  ///< what the client believes; -1: does not say

  ErrorCode error = ErrorCode::ok;
  Offset high_watermark = kNoOffset;
  Offset last_stable = kNoOffset;
  Offset log_start = kNoOffset;
  ReadResult data;  ///< data.pin, where set, is one reference for the caller
};

/// Waits for a partition to have visible data from an offset on. The caller owns it; it is registered at most once.
/// Where watch() returned true, unwatch() follows before the watch is destroyed, also after data_available() was called.
class FetchWatch {
 public:
  FetchWatch() = default;
  FetchWatch(const FetchWatch&) = delete;
  FetchWatch& operator=(const FetchWatch&) = delete;

  /// Data may be there: called at most once per registration, from any thread, under a short lock of the broker: it may
  /// post to a connection and nothing else, and must not call the broker.
  virtual void data_available() noexcept = 0;

  /// For the broker while the watch is registered.
  FetchWatch* next = nullptr;
  FetchWatch* previous = nullptr;
  Pin* partition = nullptr;
  Offset beyond;

 protected:
  ~FetchWatch() = default;
};

struct OffsetCall {
  std::string_view topic;
  PartitionId partition = 0;
  TimestampMs timestamp = 0;  ///< or one of the constants below
  LeaderEpoch current_epoch = -1;

  static constexpr TimestampMs kLatest = -1;
  static constexpr TimestampMs kEarliest = -2;
  static constexpr TimestampMs kMaxTimestamp = -3;

  ErrorCode error = ErrorCode::ok;
  Offset offset = kNoOffset;
  TimestampMs found_timestamp = kNoTimestamp;
  LeaderEpoch leader_epoch = -1;
};

struct BrokerIdentity {
  std::int32_t node_id = 0;
  std::string_view cluster_id;  ///< 22 characters, base64url; constant
};

/// The broker. Thread-safe. "May block": may wait for the disk for long; call it on a worker (Host::post, background).
class Broker {
 public:
  Broker() = default;
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  [[nodiscard]] virtual BrokerIdentity identity() const noexcept = 0;

  /// Visits all topics in name order, under a shared lock: the visitor copies what it needs and calls nothing here.
  virtual void visit_topics(TopicVisitor& visitor) noexcept = 0;
  /// Visits one topic. Errors: not_found, invalid_argument (not a legal name).
  virtual Status visit_topic(std::string_view name, TopicVisitor& visitor) noexcept = 0;
  /// True where an unknown topic may be created by naming it (broker.auto_create_topics).
  [[nodiscard]] virtual bool auto_create_topics() const noexcept = 0;

  /// May block. Errors: already_exists, invalid_argument (name, partitions, a setting: says which), unsupported, io_error.
  virtual Status create_topic(const TopicSpec& spec) noexcept = 0;
  /// May block. Unlinked at once; readers of slices finish. Errors: not_found, io_error.
  virtual Status delete_topic(std::string_view name) noexcept = 0;
  /// Every setting that a topic has, defaults included. Errors: not_found.
  virtual Status visit_settings(std::string_view topic, SettingVisitor& visitor) noexcept = 0;

  /// Checks (structure, checksum, sequence), assigns offsets, appends. Does not wait for durability; may block shortly
  /// where a batch must be re-encoded. Concurrent calls on one partition are serialized.
  virtual ProduceOutcome produce(const ProduceCall& call, ProduceWaiter& waiter) noexcept = 0;

  /// Reads what is visible. Fills the answer part of the call.
  virtual void fetch(FetchCall& call) noexcept = 0;

  /// Registers the watch; false when there is visible data at or beyond `watch.beyond` already, or no such partition:
  /// then it is not registered.
  virtual bool watch(std::string_view topic, PartitionId partition, FetchWatch& watch) noexcept = 0;
  /// After it returns data_available() is not running and will not be called. Harmless when not registered.
  virtual void unwatch(FetchWatch& watch) noexcept = 0;

  /// May block for timestamps other than the constants.
  virtual void find_offset(OffsetCall& call) noexcept = 0;

  /// The end offset of an epoch (KIP-320). May block shortly. Errors: not_found, fenced_epoch, unknown_epoch.
  virtual Status epoch_end(std::string_view topic, PartitionId partition, LeaderEpoch current, LeaderEpoch wanted,
                           LeaderEpoch* epoch, Offset* end) noexcept = 0;

  /// A producer id never given before. May block.
  virtual Status new_producer_id(std::int64_t* id) noexcept = 0;

  /// Changes settings, durably and for the next request on. All or nothing. May block.
  /// Errors: not_found, invalid_argument (unknown setting, wrong value, fixed setting, the same one twice: says which),
  /// unsupported (the storage cannot do it), io_error.
  virtual Status alter_topic(const TopicEdit& edit) noexcept = 0;
  /// Removes the records below `before`, or all that is visible where it is kNoOffset; *log_start is the new start. A start
  /// behind `before` stays. May block. Errors: not_found, out_of_range (beyond what is visible), permission_denied (the
  /// topic's cleanup.policy does not delete), offline, io_error.
  virtual Status delete_records(std::string_view topic, PartitionId partition, Offset before, Offset* log_start) noexcept = 0;
  /// Visits all partitions, in order of topics. The visitor copies what it needs and calls nothing here.
  virtual void visit_usage(UsageVisitor& visitor) noexcept = 0;

 protected:
  ~Broker() = default;
};

}  // namespace streambus
