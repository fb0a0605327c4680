#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace streambus {

/// Types of plugin options. In the configuration file: duration "250ms", "5s", "1h"; size 65536, "64KiB", "1GB".
enum class OptionType : std::uint8_t { boolean, integer, real, text, size, duration, choice };

/// One option of a plugin. A table of these makes the validation, the defaults, `plugin info` and the reference docs.
struct OptionSpec {
  const char* key;  ///< snake_case, unique in the plugin
  OptionType type;
  const char* default_value;  ///< as in the configuration file without quotes; nullptr: the option is required
  const char* doc;            ///< one or two sentences, what it does and when to change it
  /// Bounds, both included, for integer, size (bytes) and duration (nanoseconds); min == max == 0: none.
  std::int64_t min = 0;
  std::int64_t max = 0;
  const char* choices = nullptr;  ///< for choice: the allowed words separated by '|'
  bool secret = false;            ///< never printed; only by reference: "env:NAME" or "file:PATH"
};

/// The validated values of a plugin's options, defaults filled in. Valid during create() only: parse once, keep your own.
/// Asking for a key that the table does not have, or by another type, is a programmer error.
class Options {
 public:
  Options() = default;
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  [[nodiscard]] virtual bool boolean(std::string_view key) const noexcept = 0;
  [[nodiscard]] virtual std::int64_t integer(std::string_view key) const noexcept = 0;
  [[nodiscard]] virtual double real(std::string_view key) const noexcept = 0;
  /// Of text and choice options.
  [[nodiscard]] virtual std::string_view text(std::string_view key) const noexcept = 0;
  /// In bytes.
  [[nodiscard]] virtual std::uint64_t size(std::string_view key) const noexcept = 0;
  [[nodiscard]] virtual std::int64_t duration_ns(std::string_view key) const noexcept = 0;
  /// True when the user set it (file or override), false for the default.
  [[nodiscard]] virtual bool is_set(std::string_view key) const noexcept = 0;

 protected:
  ~Options() = default;
};

}  // namespace streambus
