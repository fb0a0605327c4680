#include "streambus/config/topic_settings.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "streambus/host/units.hpp"

namespace streambus {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;

std::vector<std::string_view> split_choices(std::string_view choices) {
  std::vector<std::string_view> words;
  while (!choices.empty()) {
    const std::size_t bar = choices.find('|');
    words.push_back(choices.substr(0, bar));
    choices = bar == std::string_view::npos ? std::string_view{} : choices.substr(bar + 1);
  }
  return words;
}

std::optional<std::int64_t> plain_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> parse_number(SettingUnit unit, std::string_view text) {
  if (const auto number = plain_number(text)) return number;
  if (unit == SettingUnit::milliseconds) {
    const auto ns = parse_duration_ns(text);
    if (ns && *ns % kNsPerMs == 0) return *ns / kNsPerMs;
  } else if (unit == SettingUnit::bytes) {
    const auto bytes = parse_size_bytes(text);
    if (bytes) return *bytes;
  }
  return std::nullopt;
}

std::optional<double> plain_real(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string format_real(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string format_bound(SettingUnit unit, std::int64_t value) {
  if (value < 0 || unit == SettingUnit::none || value == kInt64Max || value == kInt32Max) return std::to_string(value);
  if (unit == SettingUnit::bytes) return format_size(value);
  return std::to_string(value);
}

bool is_word(std::string_view value) {
  return !value.empty() && std::ranges::all_of(value, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
}

std::unexpected<Error> refuse(const TopicSettingSpec& spec, std::string_view value) {
  return fail(ErrorCode::invalid_argument,
              std::string(spec.name) + ": expected " + describe_values(spec) + ", found \"" + std::string(value) + "\"");
}

/// One or more of the choices, separated by commas, each once; normalized to the order of the table.
Result<std::string> check_list(const TopicSettingSpec& spec, std::string_view value) {
  const std::vector<std::string_view> choices = split_choices(spec.choices);
  std::vector<std::string_view> found = split_setting_list(value);
  std::string normalized;
  for (const std::string_view choice : choices) {
    const auto count = std::erase(found, choice);
    if (count > 1) return refuse(spec, value);
    if (count == 1) normalized += (normalized.empty() ? "" : ",") + std::string(choice);
  }
  if (!found.empty() || normalized.empty()) return refuse(spec, value);
  return normalized;
}

Result<std::string> check_word(const TopicSettingSpec& spec, std::string_view value) {
  if (spec.name == setting::kCompressionType && value == "uncompressed") return "none";
  if (spec.choices != nullptr) {
    const auto words = split_choices(spec.choices);
    if (std::ranges::find(words, value) == words.end()) return refuse(spec, value);
  } else if (!is_word(value) && !(value.empty() && *spec.default_value == '\0')) {
    return refuse(spec, value);
  }
  return std::string(value);
}

Result<std::string> check_value(const TopicSettingSpec& spec, std::string_view value) {
  switch (spec.type) {
    case SettingType::int32:
    case SettingType::int64: {
      const auto number = parse_number(spec.unit, value);
      if (!number || *number < spec.min || *number > spec.max) return refuse(spec, value);
      return std::to_string(*number);
    }
    case SettingType::boolean:
      if (value != "true" && value != "false") return refuse(spec, value);
      return std::string(value);
    case SettingType::real: {
      const auto number = plain_real(value);
      const bool fits = number && *number >= static_cast<double>(spec.min) && *number <= static_cast<double>(spec.max);
      return fits ? Result<std::string>(format_real(*number)) : refuse(spec, value);
    }
    case SettingType::list:
      return check_list(spec, value);
    case SettingType::text:
      return check_word(spec, value);
  }
  return refuse(spec, value);
}

}  // namespace

const TopicSettingSpec* find_topic_setting(std::string_view name) noexcept {
  for (const TopicSettingSpec& spec : kTopicSettings) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

std::vector<std::string_view> split_setting_list(std::string_view value) {
  std::vector<std::string_view> words;
  for (;;) {
    const std::size_t comma = value.find(',');
    std::string_view word = value.substr(0, comma);
    while (!word.empty() && word.front() == ' ') word.remove_prefix(1);
    while (!word.empty() && word.back() == ' ') word.remove_suffix(1);
    words.push_back(word);
    if (comma == std::string_view::npos) return words;
    value = value.substr(comma + 1);
  }
}

std::string describe_values(const TopicSettingSpec& spec) {
  switch (spec.type) {
    case SettingType::int32:
    case SettingType::int64: {
      std::string text = spec.unit == SettingUnit::milliseconds ? "milliseconds (or a duration such as \"7d\")"
                         : spec.unit == SettingUnit::bytes      ? "bytes (or a size such as \"64MiB\")"
                                                                : "a whole number";
      if (spec.min == spec.max) return text + ": " + std::to_string(spec.min);
      return text + " from " + format_bound(spec.unit, spec.min) + " to " + format_bound(spec.unit, spec.max);
    }
    case SettingType::boolean:
      return "true or false";
    case SettingType::real:
      return "a number from " + std::to_string(spec.min) + " to " + std::to_string(spec.max);
    case SettingType::list:
      return "one or more of " + join_words(split_choices(spec.choices)) + ", separated by commas";
    case SettingType::text:
      break;
  }
  if (spec.choices != nullptr) return join_words(split_choices(spec.choices));
  if (spec.name == setting::kCompressionType) return "producer, none or the type of a codec";
  return "a name of letters, digits, '-', '_' and '.'";
}

Result<std::string> check_topic_setting(std::string_view name, std::string_view value) {
  const TopicSettingSpec* spec = find_topic_setting(name);
  if (spec == nullptr) {
    std::vector<std::string_view> names;
    for (const TopicSettingSpec& known : kTopicSettings) names.emplace_back(known.name);
    return fail(ErrorCode::not_found, "unknown topic setting '" + std::string(name) + "'" + did_you_mean(name, names));
  }
  auto checked = check_value(*spec, value);
  if (checked && spec->read_only && *checked != spec->default_value) {
    return fail(ErrorCode::invalid_argument, std::string(name) + " is fixed at " + spec->default_value + ", found \"" +
                                                 std::string(value) + "\"; leave it out");
  }
  return checked;
}

}  // namespace streambus
