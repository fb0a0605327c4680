#pragma once

#include <algorithm>
#include <string_view>

namespace streambus::protocol_kafka {

/// Kafka's rule for topic names: 1 to 249 of letters, digits, '.', '_' and '-'; not "." or "..".
[[nodiscard]] inline bool is_topic_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > 249 || name == "." || name == "..") return false;
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
}

inline constexpr std::string_view kTopicNameRule =
    "a topic name has 1 to 249 of the characters a-z A-Z 0-9 . _ - and is not '.' or '..'";

}  // namespace streambus::protocol_kafka
