#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "document.hpp"
#include "streambus/config/config.hpp"

namespace streambus::config {

/// Collects what is said about a configuration, and in what order it is shown.
class Diagnostics {
 public:
  explicit Diagnostics(const ConfigSource& source) noexcept : source_(source) {}

  void error(Place place, std::string text) { add(true, place, std::move(text)); }
  void warning(Place place, std::string text) { add(false, place, std::move(text)); }
  [[nodiscard]] bool has_errors() const noexcept;
  /// "streambus.toml:12", "--set"
  [[nodiscard]] std::string origin(Place place) const;
  /// All, by position; one complaint is given once.
  [[nodiscard]] std::vector<Diagnostic> take();

 private:
  struct Complaint {
    Place place;
    std::size_t order;  ///< in which it was made, at one place
    bool is_error;
    std::string text;
  };
  void add(bool is_error, Place place, std::string text) {
    complaints_.push_back({place, complaints_.size(), is_error, std::move(text)});
  }

  const ConfigSource& source_;
  std::vector<Complaint> complaints_;
};

/// One section that is being read, and where its resolved values go.
struct SectionScope {
  std::string header;  ///< "[storage.wal]"
  std::string key;     ///< "storage.wal"
  const Table* table;  ///< null: a section that the file does not have
  Place place;
};

/// Checks sections against option tables. Every value, set or default, ends up in `resolved`.
class SectionReader {
 public:
  SectionReader(Diagnostics& diagnostics, std::vector<ResolvedValue>& resolved) noexcept
      : diagnostics_(diagnostics), resolved_(resolved) {}

  /// Complains about keys that are neither options nor in `others`.
  void check_keys(const SectionScope& scope, std::span<const OptionSpec> specs, std::span<const std::string_view> others);

  /// Reads every option; complains about wrong types, bounds, choices, and required options that are missing.
  /// `secrets` are resolved to their values in the result, and shown as references.
  void read_options(const SectionScope& scope, std::span<const OptionSpec> specs, OptionValues& values);

  void resolve(const SectionScope& scope, std::string_view leaf, std::string value, std::string origin);

  /// The text of a string member; complains where it is something else. Null: absent or wrong.
  [[nodiscard]] const std::string* text(const SectionScope& scope, std::string_view key);

  [[nodiscard]] Diagnostics& diagnostics() noexcept { return diagnostics_; }

 private:
  Diagnostics& diagnostics_;
  std::vector<ResolvedValue>& resolved_;
};

/// "expected X, found Y" for a node of the wrong kind.
[[nodiscard]] std::string wrong_kind(std::string_view expected, const Node& node);

/// Turns dotted tables into members with dotted keys: retention.ms = 5 becomes "retention.ms" = 5.
[[nodiscard]] Table flattened(const Table& table);

}  // namespace streambus::config
