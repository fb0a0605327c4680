#pragma once
// From a topic's settings by name to what partitions act on.

#include <map>
#include <string>
#include <string_view>

#include "admission.hpp"
#include "compaction.hpp"
#include "streambus/config/topic_settings.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::broker {

using SettingMap = std::map<std::string, std::string, std::less<>>;

/// The values in force for a topic: its own, else those of [topic_defaults], else built in.
class TopicPolicy {
 public:
  TopicPolicy(const SettingMap& topic, const SettingMap& defaults) noexcept : topic_(topic), defaults_(defaults) {}

  struct Value {
    std::string_view text;
    SettingSource source;
  };
  [[nodiscard]] Value value(const TopicSettingSpec& spec) const noexcept;

  [[nodiscard]] PartitionSettings partition_settings() const noexcept;
  [[nodiscard]] CompactionRules compaction_rules() const noexcept;
  /// A codec that is not loaded any more leaves an id that no batch can be stored in: admission says so.
  [[nodiscard]] AdmissionRules admission_rules(const CodecSet& codecs) const noexcept;

 private:
  [[nodiscard]] std::string_view text(std::string_view name) const noexcept;
  [[nodiscard]] std::int64_t number(std::string_view name) const noexcept;

  const SettingMap& topic_;
  const SettingMap& defaults_;
};

/// Checks one setting against the table and what is loaded; returns the normalized value.
/// Errors: invalid_argument (unknown name too; says which and what is expected).
[[nodiscard]] Result<std::string> check_setting(std::string_view name, std::string_view value, const CodecSet& codecs);

}  // namespace streambus::broker
