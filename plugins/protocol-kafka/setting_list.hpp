#pragma once

#include <cstdint>
#include <vector>

#include "streambus/plugin/broker.hpp"
#include "streambus/wire/arena.hpp"

namespace streambus::protocol_kafka {

/// Copies of a topic's settings; the texts live in the arena.
class SettingList final : public SettingVisitor {
 public:
  explicit SettingList(wire::Arena& arena) noexcept : arena_(arena) {}

  void setting(const SettingView& setting) noexcept override {
    try {
      SettingView copy = setting;
      copy.name = arena_.copy(setting.name);
      copy.value = arena_.copy(setting.value);
      copy.doc = arena_.copy(setting.doc);
      settings_.push_back(copy);
    } catch (...) {
      complete_ = false;
    }
  }

  [[nodiscard]] const std::vector<SettingView>& all() const noexcept { return settings_; }
  /// False: memory ran out.
  [[nodiscard]] bool complete() const noexcept { return complete_; }

 private:
  wire::Arena& arena_;
  std::vector<SettingView> settings_;
  bool complete_ = true;
};

/// Kafka's numbers for where a setting comes from (DescribeConfigs, KIP-226).
[[nodiscard]] constexpr std::int8_t config_source(SettingSource source) noexcept {
  switch (source) {
    case SettingSource::topic:
      return 1;
    case SettingSource::broker_file:
      return 4;
    case SettingSource::builtin_default:
      return 5;
  }
  return 0;
}

/// Kafka's numbers for the types of settings (KIP-569).
[[nodiscard]] constexpr std::int8_t config_type(SettingType type) noexcept {
  switch (type) {
    case SettingType::boolean:
      return 1;
    case SettingType::text:
      return 2;
    case SettingType::int32:
      return 3;
    case SettingType::int64:
      return 5;
    case SettingType::real:
      return 6;
    case SettingType::list:
      return 7;
  }
  return 0;
}

}  // namespace streambus::protocol_kafka
