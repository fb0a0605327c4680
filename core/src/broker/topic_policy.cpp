#include "topic_policy.hpp"

#include <algorithm>
#include <charconv>

#include "topic.hpp"

namespace streambus::broker {
namespace {

/// An id no batch has: what a topic is left with whose codec is not loaded.
constexpr std::uint8_t kMissingCodec = 0xfe;

std::string loaded_types(const CodecSet& codecs) {
  std::string text = "'producer', 'none'";
  for (std::uint8_t id = 1; id <= CodecSet::kIdMax; ++id) {
    if (const Codec* const codec = codecs.by_id(id)) text += ", '" + std::string(codec->type()) + "'";
  }
  return text;
}

}  // namespace

TopicPolicy::Value TopicPolicy::value(const TopicSettingSpec& spec) const noexcept {
  const std::string_view name = spec.name;
  if (const auto found = topic_.find(name); found != topic_.end()) return {found->second, SettingSource::topic};
  if (const auto found = defaults_.find(name); found != defaults_.end()) return {found->second, SettingSource::broker_file};
  return {spec.default_value, SettingSource::builtin_default};
}

std::string_view TopicPolicy::text(std::string_view name) const noexcept {
  const TopicSettingSpec* const spec = find_topic_setting(name);
  return spec == nullptr ? std::string_view() : value(*spec).text;
}

std::int64_t TopicPolicy::number(std::string_view name) const noexcept {
  const std::string_view digits = text(name);
  std::int64_t value = -1;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

PartitionSettings TopicPolicy::partition_settings() const noexcept {
  const CompactionRules compaction = compaction_rules();
  // A segment that is appended to is not compacted: it must end before its first record is too old for that.
  const std::int64_t segment_ms = number(setting::kSegmentMs);
  return {.retention_ms = compaction.deletes ? number(setting::kRetentionMs) : -1,
          .retention_bytes = compaction.deletes ? number(setting::kRetentionBytes) : -1,
          .segment_bytes = compaction.segment_bytes,
          .segment_ms = compaction.enabled ? std::min(segment_ms, compaction.lag_ms_max) : segment_ms};
}

CompactionRules TopicPolicy::compaction_rules() const noexcept {
  const std::string_view policy = text(setting::kCleanupPolicy);
  const std::string_view ratio = text(setting::kDirtyRatioMin);
  CompactionRules rules{.enabled = policy.find("compact") != std::string_view::npos,
                        .deletes = policy.find("delete") != std::string_view::npos,
                        .lag_ms_min = number(setting::kCompactionLagMsMin),
                        .lag_ms_max = number(setting::kCompactionLagMsMax),
                        .tombstone_ms = number(setting::kDeleteRetentionMs),
                        .segment_bytes = number(setting::kSegmentBytes)};
  std::from_chars(ratio.data(), ratio.data() + ratio.size(), rules.dirty_ratio_min);
  return rules;
}

AdmissionRules TopicPolicy::admission_rules(const CodecSet& codecs) const noexcept {
  AdmissionRules rules;
  rules.batch_bytes_max = static_cast<std::int32_t>(number(setting::kMaxMessageBytes));
  rules.keys_required = compaction_rules().enabled;
  rules.log_append_time = text(setting::kTimestampType) == "LogAppendTime";
  const std::string_view type = text(setting::kCompressionType);
  if (type == "none") {
    rules.compression = 0;
  } else if (type != "producer") {
    const Codec* const codec = codecs.by_type(type);
    rules.compression = codec != nullptr ? codec->id() : kMissingCodec;
  }
  return rules;
}

Result<std::string> check_setting(std::string_view name, std::string_view value, const CodecSet& codecs) {
  auto checked = check_topic_setting(name, value);
  if (!checked) return fail(ErrorCode::invalid_argument, std::move(checked.error().message));
  if (name == setting::kCompressionType && *checked != "producer" && *checked != "none" &&
      codecs.by_type(*checked) == nullptr) {
    return fail(ErrorCode::invalid_argument, "compression.type: expected one of " + loaded_types(codecs) + ", found '" +
                                                 *checked + "': no codec of that type is in the configuration");
  }
  return checked;
}

Result<> check_topic_name(std::string_view name) {
  const auto legal = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  const auto refuse = [](std::string found) {
    return fail(ErrorCode::invalid_argument,
                "topic name: expected 1 to 249 of letters, digits, '.', '_' and '-', found " + std::move(found));
  };
  if (name.empty()) return refuse("nothing");
  if (name.size() > kTopicNameMax) return refuse(std::to_string(name.size()) + " characters");
  if (name == "." || name == "..") return refuse("'" + std::string(name) + "', which is a path");
  for (const char c : name) {
    if (legal(c)) continue;
    const char quoted[] = {'\'', c, '\'', '\0'};
    return refuse(c >= ' ' && c <= '~' ? quoted : "a character that is none of them");
  }
  return {};
}

}  // namespace streambus::broker
