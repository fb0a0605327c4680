#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "streambus/client/consumer.hpp"
#include "streambus/client/context.hpp"

namespace streambus::client {

struct BrokerDescription {
  std::int32_t node_id = 0;
  std::string address;
};

struct PartitionDescription {
  PartitionId partition = 0;
  std::int32_t leader = -1;
  LeaderEpoch leader_epoch = -1;
  std::vector<std::int32_t> replicas;
  std::vector<std::int32_t> in_sync;
  std::optional<Error> error;  ///< offline
};

struct TopicDescription {
  std::string name;
  bool internal = false;
  std::vector<PartitionDescription> partitions;
};

struct ClusterDescription {
  std::string cluster_id;
  std::vector<BrokerDescription> brokers;
  std::vector<TopicDescription> topics;  ///< by name
};

struct NewTopic {
  std::string name;
  std::int32_t partitions = -1;  ///< -1: the broker's default
  std::int16_t replicas = -1;
  std::map<std::string, std::string> settings;
  bool validate_only = false;
};

/// Changes of a topic's settings; what is not named stays.
struct SettingChanges {
  std::map<std::string, std::string> set;
  std::vector<std::string> reset;               ///< back to their defaults
  std::map<std::string, std::string> append;    ///< words to add to lists
  std::map<std::string, std::string> subtract;  ///< words to take out of lists
  bool validate_only = false;
};

struct TopicSetting {
  std::string name;
  std::optional<std::string> value;  ///< none: secret or not set
  std::string source;                ///< "topic", "broker file", "default"
  bool read_only = false;
  bool sensitive = false;
  std::string documentation;
};

struct OffsetQuery {
  std::string topic;
  PartitionId partition = 0;
  StartAt at;  ///< beginning, end or time
};

struct OffsetAnswer {
  Result<Offset> offset = kNoOffset;  ///< kNoOffset: no record is that young
  TimestampMs timestamp_ms = kNoTimestamp;
};

/// Administrative calls. Each blocks until its answer or the request time-out, and makes one attempt over the known brokers.
/// Thread-safe. Not from a callback of a producer. Errors: what the broker says, io_error or timeout where none was reached.
class Admin {
 public:
  explicit Admin(std::shared_ptr<ClientContext> context) noexcept : context_(std::move(context)) {}

  /// All brokers and topics.
  [[nodiscard]] Result<ClusterDescription> describe_cluster();
  /// Errors: not_found.
  [[nodiscard]] Result<TopicDescription> describe_topic(std::string_view name);
  [[nodiscard]] Result<std::vector<TopicSetting>> describe_settings(std::string_view topic);
  /// Errors: already_exists, invalid_argument (says which setting).
  Result<> create_topic(const NewTopic& topic);
  Result<> delete_topic(std::string_view name);
  /// Errors: not_found, invalid_argument (says which setting).
  Result<> alter_topic(std::string_view topic, const SettingChanges& changes);
  /// Removes the records below `before` (kNoOffset: all up to the high watermark); returns the first offset that is left.
  /// Errors: not_found, out_of_range, invalid_argument (the topic is only compacted).
  Result<Offset> delete_records(std::string_view topic, PartitionId partition, Offset before);
  /// One answer per query, in order.
  [[nodiscard]] Result<std::vector<OffsetAnswer>> list_offsets(const std::vector<OffsetQuery>& queries);

 private:
  std::shared_ptr<ClientContext> context_;
};

}  // namespace streambus::client
