#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "streambus/base/error.hpp"
#include "streambus/plugin/options.hpp"

namespace streambus {

/// The values of one plugin instance: the host's implementation of Options. Sizes and durations are stored as integers.
class OptionValues final : public Options {
 public:
  using Value = std::variant<bool, std::int64_t, double, std::string>;

  /// Starts with the defaults of the table; required options are absent until set.
  explicit OptionValues(std::span<const OptionSpec> table);
  OptionValues(OptionValues&& other) noexcept : table_(other.table_), values_(std::move(other.values_)) {}
  OptionValues& operator=(OptionValues&& other) noexcept {
    table_ = other.table_;
    values_ = std::move(other.values_);
    return *this;
  }
  ~OptionValues() = default;

  /// Overwrites one value, already checked against its spec.
  void set(std::string_view key, Value value);

  [[nodiscard]] std::span<const OptionSpec> table() const noexcept { return table_; }
  [[nodiscard]] const Value* find(std::string_view key) const noexcept;

  [[nodiscard]] bool boolean(std::string_view key) const noexcept override;
  [[nodiscard]] std::int64_t integer(std::string_view key) const noexcept override;
  [[nodiscard]] double real(std::string_view key) const noexcept override;
  [[nodiscard]] std::string_view text(std::string_view key) const noexcept override;
  [[nodiscard]] std::uint64_t size(std::string_view key) const noexcept override;
  [[nodiscard]] std::int64_t duration_ns(std::string_view key) const noexcept override;
  [[nodiscard]] bool is_set(std::string_view key) const noexcept override;

 private:
  struct Entry {
    Value value;
    bool set_by_user = false;
  };
  std::span<const OptionSpec> table_;
  std::map<std::string, Entry, std::less<>> values_;
};

/// Reads a value written as in the configuration file without quotes ("64KiB"); checks type, bounds and choices.
/// Errors: invalid_argument, the message says what was expected and found.
[[nodiscard]] Result<OptionValues::Value> parse_option(const OptionSpec& spec, std::string_view text);

/// Checks the bounds and choices of a value that has the right type already (a whole number becomes a real where wanted).
[[nodiscard]] Result<OptionValues::Value> check_option(const OptionSpec& spec, OptionValues::Value value);

/// The value as in the configuration file, without quotes; "(secret)" for a secret.
[[nodiscard]] std::string format_option(const OptionSpec& spec, const OptionValues::Value& value);

/// "a size in bytes such as "64KiB" from 4KiB to 1GiB": what an option takes, for messages and documentation.
[[nodiscard]] std::string describe_values(const OptionSpec& spec);

/// The words of a choice option.
[[nodiscard]] std::vector<std::string_view> choices_of(const OptionSpec& spec);

}  // namespace streambus
