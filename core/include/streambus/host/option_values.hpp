#pragma once

#include <map>
#include <span>
#include <string>
#include <variant>

#include "streambus/plugin/options.hpp"

namespace streambus {

/// The values of one plugin instance: the host's implementation of Options. Sizes and durations are stored as integers.
class OptionValues final : public Options {
 public:
  using Value = std::variant<bool, std::int64_t, double, std::string>;

  /// Starts with the defaults of the table; required options are absent until set.
  explicit OptionValues(std::span<const OptionSpec> table);

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

}  // namespace streambus
