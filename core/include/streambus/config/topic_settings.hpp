#pragma once
// The settings that a topic has, by Kafka's own names: one table for the configuration file, CreateTopics,
// DescribeConfigs and the reference documentation.

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "streambus/base/error.hpp"
#include "streambus/plugin/broker.hpp"

namespace streambus {

/// What a number counts; decides which suffixes the configuration file takes ("7d", "64MiB").
enum class SettingUnit : std::uint8_t { none, milliseconds, bytes };

/// One setting of a topic.
struct TopicSettingSpec {
  const char* name;  ///< "retention.ms"
  SettingType type;
  const char* default_value;  ///< normalized: what DescribeConfigs shows
  const char* doc;
  SettingUnit unit = SettingUnit::none;
  std::int64_t min = 0;  ///< bounds of numbers, both included; min == max == 0: none
  std::int64_t max = 0;
  const char* choices = nullptr;  ///< allowed words separated by '|'; a list takes any of them, each once
  bool read_only = false;         ///< shown to clients; only its default can be set
};

namespace setting {
inline constexpr std::string_view kStorage = "streambus.storage";
inline constexpr std::string_view kMigration = "streambus.migration";
inline constexpr std::string_view kCompressionType = "compression.type";
inline constexpr std::string_view kTimestampType = "message.timestamp.type";
inline constexpr std::string_view kCleanupPolicy = "cleanup.policy";
inline constexpr std::string_view kRetentionMs = "retention.ms";
inline constexpr std::string_view kRetentionBytes = "retention.bytes";
inline constexpr std::string_view kSegmentBytes = "segment.bytes";
inline constexpr std::string_view kSegmentMs = "segment.ms";
inline constexpr std::string_view kMaxMessageBytes = "max.message.bytes";
inline constexpr std::string_view kDirtyRatioMin = "min.cleanable.dirty.ratio";
inline constexpr std::string_view kCompactionLagMsMin = "min.compaction.lag.ms";
inline constexpr std::string_view kCompactionLagMsMax = "max.compaction.lag.ms";
inline constexpr std::string_view kDeleteRetentionMs = "delete.retention.ms";
}  // namespace setting

inline constexpr std::int64_t kInt64Max = std::numeric_limits<std::int64_t>::max();
inline constexpr std::int64_t kInt32Max = std::numeric_limits<std::int32_t>::max();

/// In name order.
inline constexpr TopicSettingSpec kTopicSettings[] = {
    {.name = "cleanup.policy",
     .type = SettingType::list,
     .default_value = "delete",
     .doc =
         "What happens to old data, one or both, separated by a comma: \"delete\" removes whole segments by retention.ms and "
         "retention.bytes; \"compact\" keeps the latest record of each key. A compacted topic takes no records without a key, "
         "and those it has from before are removed. Only where the storage can do it.",
     .choices = "compact|delete"},
    {.name = "compression.type",
     .type = SettingType::text,
     .default_value = "producer",
     .doc = "\"producer\" stores batches as they arrive; \"none\" or the type of a loaded codec (\"lz4\", \"zstd\") makes the "
            "broker "
            "re-encode batches that arrive in another one."},
    {.name = "delete.retention.ms",
     .type = SettingType::int64,
     .default_value = "86400000",
     .doc = "How long a compacted topic keeps a record without a value, which says that its key is deleted, after the key's "
            "earlier records are gone: so long may a consumer take for reading it.",
     .unit = SettingUnit::milliseconds,
     .min = 0,
     .max = kInt64Max},
    {.name = "max.compaction.lag.ms",
     .type = SettingType::int64,
     .default_value = "9223372036854775807",
     .doc = "Age of a record at which its partition is compacted although little of it is new; segments are ended in time.",
     .unit = SettingUnit::milliseconds,
     .min = 1,
     .max = kInt64Max},
    {.name = "max.message.bytes",
     .type = SettingType::int32,
     .default_value = "1048588",
     .doc = "Largest batch accepted, as sent by the producer.",
     .unit = SettingUnit::bytes,
     .min = 128,
     .max = kInt32Max},
    {.name = "message.timestamp.type",
     .type = SettingType::text,
     .default_value = "CreateTime",
     .doc = "Whose clock the time of a record comes from: the producer's (CreateTime) or the broker's (LogAppendTime).",
     .choices = "CreateTime|LogAppendTime"},
    {.name = "min.cleanable.dirty.ratio",
     .type = SettingType::real,
     .default_value = "0.5",
     .doc = "Share of a partition's bytes that must not have been compacted yet before it is compacted again. Estimated from "
            "offsets where records differ in size.",
     .min = 0,
     .max = 1},
    {.name = "min.compaction.lag.ms",
     .type = SettingType::int64,
     .default_value = "0",
     .doc = "Records younger than this are not compacted.",
     .unit = SettingUnit::milliseconds,
     .min = 0,
     .max = kInt64Max},
    {.name = "min.insync.replicas",
     .type = SettingType::int32,
     .default_value = "1",
     .doc =
         "Replicas that must have a record before it is acknowledged. There is one replica: durability comes from the storage.",
     .min = 1,
     .max = 1,
     .read_only = true},
    {.name = "retention.bytes",
     .type = SettingType::int64,
     .default_value = "-1",
     .doc = "Size of a partition above which its oldest segments are deleted; -1: unlimited.",
     .unit = SettingUnit::bytes,
     .min = -1,
     .max = kInt64Max},
    {.name = "retention.ms",
     .type = SettingType::int64,
     .default_value = "604800000",
     .doc = "Age above which records are deleted, by whole segments; -1: unlimited.",
     .unit = SettingUnit::milliseconds,
     .min = -1,
     .max = kInt64Max},
    {.name = "segment.bytes",
     .type = SettingType::int32,
     .default_value = "1073741824",
     .doc = "Size at which a new segment is begun. Retention deletes whole segments.",
     .unit = SettingUnit::bytes,
     .min = 4096,
     .max = kInt32Max},
    {.name = "segment.ms",
     .type = SettingType::int64,
     .default_value = "604800000",
     .doc = "Age at which a new segment is begun although the current one is not full.",
     .unit = SettingUnit::milliseconds,
     .min = 1,
     .max = kInt64Max},
    {.name = "streambus.migration",
     .type = SettingType::text,
     .default_value = "",
     .doc = "How far the topic's move to another storage is; empty: it does not move.",
     .read_only = true},
    {.name = "streambus.storage",
     .type = SettingType::text,
     .default_value = "",
     .doc =
         "Name of the storage section that keeps the topic; empty: topic_defaults.storage. Changed, it moves the topic there "
         "while it is in use, and shows the old one until that is done."},
    {.name = "unclean.leader.election.enable",
     .type = SettingType::boolean,
     .default_value = "false",
     .doc = "Whether a replica that is behind may lead. There is one replica.",
     .read_only = true},
};

/// Null when there is no such setting. `name` is matched exactly.
[[nodiscard]] const TopicSettingSpec* find_topic_setting(std::string_view name) noexcept;

/// Checks a value and returns it normalized: "7d" for retention.ms becomes "604800000", "uncompressed" becomes "none".
/// Numbers take a plain number, a duration ("250ms", "7d") where they count milliseconds, a size ("64MiB") where they
/// count bytes. Whether a codec or storage of the given name exists is the caller's to check.
/// Errors: not_found (unknown name; the message suggests one), invalid_argument (the message has expected, found, remedy).
[[nodiscard]] Result<std::string> check_topic_setting(std::string_view name, std::string_view value);

/// The words of a list ("compact, delete"), without the spaces around them; views into `value`.
[[nodiscard]] std::vector<std::string_view> split_setting_list(std::string_view value);

/// "a whole number of bytes from 4KiB to 2147483647": what the setting takes, for messages and documentation.
[[nodiscard]] std::string describe_values(const TopicSettingSpec& spec);

}  // namespace streambus
