#include "streambus/host/option_values.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "streambus/base/assert.hpp"
#include "streambus/host/units.hpp"

namespace streambus {
namespace {

std::unexpected<Error> refuse(const OptionSpec& spec, std::string_view found) {
  return fail(ErrorCode::invalid_argument, "expected " + describe_values(spec) + ", found " + std::string(found));
}

std::string format_number(OptionType type, std::int64_t value) {
  switch (type) {
    case OptionType::size:
      return format_size(value);
    case OptionType::duration:
      return format_duration(value);
    default:
      return std::to_string(value);
  }
}

bool has_bounds(const OptionSpec& spec) noexcept { return spec.min != 0 || spec.max != 0; }

template <class T>
bool parse_whole(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

Result<OptionValues::Value> parse_text(const OptionSpec& spec, std::string_view text) {
  switch (spec.type) {
    case OptionType::boolean:
      if (text == "true") return true;
      if (text == "false") return false;
      break;
    case OptionType::integer:
      if (std::int64_t value = 0; parse_whole(text, value)) return value;
      break;
    case OptionType::real:
      if (double value = 0; parse_whole(text, value)) return value;
      break;
    case OptionType::text:
    case OptionType::choice:
      return std::string(text);
    case OptionType::size:
    case OptionType::duration: {
      auto value = spec.type == OptionType::size ? parse_size_bytes(text) : parse_duration_ns(text);
      if (!value) return std::unexpected(std::move(value).error());
      return *value;
    }
  }
  return refuse(spec, "\"" + std::string(text) + "\"");
}

}  // namespace

std::vector<std::string_view> choices_of(const OptionSpec& spec) {
  std::vector<std::string_view> words;
  std::string_view rest = spec.choices == nullptr ? std::string_view{} : spec.choices;
  while (!rest.empty()) {
    const std::size_t bar = rest.find('|');
    words.push_back(rest.substr(0, bar));
    rest = bar == std::string_view::npos ? std::string_view{} : rest.substr(bar + 1);
  }
  return words;
}

std::string describe_values(const OptionSpec& spec) {
  std::string text;
  switch (spec.type) {
    case OptionType::boolean:
      return "true or false";
    case OptionType::text:
      return spec.secret ? "a reference to a secret, \"env:NAME\" or \"file:PATH\"" : "a string";
    case OptionType::choice:
      return join_words(choices_of(spec));
    case OptionType::integer:
      text = "a whole number";
      break;
    case OptionType::real:
      text = "a number";
      break;
    case OptionType::size:
      text = "a size in bytes such as \"64KiB\"";
      break;
    case OptionType::duration:
      text = "a duration such as \"250ms\"";
      break;
  }
  if (has_bounds(spec)) text += " from " + format_number(spec.type, spec.min) + " to " + format_number(spec.type, spec.max);
  return text;
}

Result<OptionValues::Value> check_option(const OptionSpec& spec, OptionValues::Value value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    if (spec.type == OptionType::real) {
      value = static_cast<double>(*number);
    } else if (has_bounds(spec) && (*number < spec.min || *number > spec.max)) {
      return refuse(spec, format_number(spec.type, *number));
    }
  }
  if (const auto* number = std::get_if<double>(&value)) {
    const bool outside =
        has_bounds(spec) && (*number < static_cast<double>(spec.min) || *number > static_cast<double>(spec.max));
    if (!std::isfinite(*number) || outside) return refuse(spec, std::to_string(*number));
  }
  if (const auto* word = std::get_if<std::string>(&value); word != nullptr && spec.type == OptionType::choice) {
    const auto words = choices_of(spec);
    if (std::ranges::find(words, *word) == words.end()) {
      return fail(ErrorCode::invalid_argument,
                  "expected " + describe_values(spec) + ", found \"" + *word + "\"" + did_you_mean(*word, words));
    }
  }
  return value;
}

Result<OptionValues::Value> parse_option(const OptionSpec& spec, std::string_view text) {
  auto value = parse_text(spec, text);
  if (!value) return value;
  return check_option(spec, std::move(*value));
}

std::string format_option(const OptionSpec& spec, const OptionValues::Value& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* text = std::get_if<std::string>(&value)) return spec.secret ? "(secret)" : *text;
  if (const auto* real = std::get_if<double>(&value)) {
    char digits[32];
    const auto [end, error] = std::to_chars(std::begin(digits), std::end(digits), *real);
    return error == std::errc{} ? std::string(digits, end) : "nan";
  }
  return format_number(spec.type, std::get<std::int64_t>(value));
}

OptionValues::OptionValues(std::span<const OptionSpec> table) : table_(table) {
  for (const OptionSpec& spec : table) {
    if (spec.default_value == nullptr) continue;
    auto value = parse_option(spec, spec.default_value);
    STREAMBUS_ASSERT(value.has_value());  // the registry refuses plugins whose defaults do not fit their own table
    values_[spec.key] = {std::move(*value), false};
  }
}

void OptionValues::set(std::string_view key, Value value) {
  const auto known = std::ranges::find(table_, key, [](const OptionSpec& spec) { return std::string_view(spec.key); });
  STREAMBUS_ASSERT(known != table_.end());
  values_[std::string(key)] = {std::move(value), true};
}

const OptionValues::Value* OptionValues::find(std::string_view key) const noexcept {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second.value;
}

namespace {

/// Asking for a key that the table does not have, or by another type, is a programmer error of the plugin.
template <class T>
const T& value_as(const OptionValues& values, std::string_view key) noexcept {
  const OptionValues::Value* value = values.find(key);
  STREAMBUS_ASSERT(value != nullptr && "the option is in the plugin's table, and was set if it is required");
  const T* typed = std::get_if<T>(value);
  STREAMBUS_ASSERT(typed != nullptr && "the option is asked for by the type that the plugin's table gives it");
  return *typed;
}

}  // namespace

bool OptionValues::boolean(std::string_view key) const noexcept { return value_as<bool>(*this, key); }
std::int64_t OptionValues::integer(std::string_view key) const noexcept { return value_as<std::int64_t>(*this, key); }
double OptionValues::real(std::string_view key) const noexcept { return value_as<double>(*this, key); }
std::string_view OptionValues::text(std::string_view key) const noexcept { return value_as<std::string>(*this, key); }
std::uint64_t OptionValues::size(std::string_view key) const noexcept {
  return static_cast<std::uint64_t>(value_as<std::int64_t>(*this, key));
}
std::int64_t OptionValues::duration_ns(std::string_view key) const noexcept { return value_as<std::int64_t>(*this, key); }

bool OptionValues::is_set(std::string_view key) const noexcept {
  const auto found = values_.find(key);
  return found != values_.end() && found->second.set_by_user;
}

}  // namespace streambus
