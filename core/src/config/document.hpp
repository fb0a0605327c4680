#pragma once
// What a configuration says, before anybody asks whether it makes sense: a tree of values that know where they come from.
// The only part that knows toml++ is document.cpp.

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "streambus/base/error.hpp"

namespace streambus::config {

/// Where something was said. Orders by source (the file, then overrides as given), line and column.
struct Place {
  std::uint32_t source = 0;  ///< 0: the file; n: the n-th override
  std::uint32_t line = 0;
  std::uint32_t column = 0;

  auto operator<=>(const Place&) const noexcept = default;
};

struct Node;

struct Member {
  std::string key;
  Place place;              ///< of the key
  std::vector<Node> value;  ///< exactly one; a vector because Node is not complete yet

  [[nodiscard]] const Node& node() const noexcept { return value.front(); }
  [[nodiscard]] Node& node() noexcept { return value.front(); }
};

struct Table {
  std::vector<Member> members;  ///< in order of appearance

  [[nodiscard]] const Member* find(std::string_view key) const noexcept;
  [[nodiscard]] Member* find(std::string_view key) noexcept;
};

struct Array {
  std::vector<Node> elements;
};

/// A date or time: valid TOML that no option takes. Holds its text.
struct OtherValue {
  std::string text;
};

struct Node {
  Place place;
  std::variant<Table, Array, bool, std::int64_t, double, std::string, OtherValue> value;

  template <class T>
  [[nodiscard]] const T* as() const noexcept {
    return std::get_if<T>(&value);
  }
  template <class T>
  [[nodiscard]] T* as() noexcept {
    return std::get_if<T>(&value);
  }
};

/// "a string", "a table": for messages.
[[nodiscard]] std::string_view kind_of(const Node& node) noexcept;

/// The value as TOML on one line, for messages and --print-config. Tables and arrays are shown by kind when long.
[[nodiscard]] std::string to_toml(const Node& node);
[[nodiscard]] std::string quote(std::string_view text);
/// The key, quoted where TOML wants it.
[[nodiscard]] std::string key_to_toml(std::string_view key);

struct SyntaxError {
  Place place;
  std::string text;
};

/// Parses a whole file.
[[nodiscard]] std::expected<Table, SyntaxError> parse_document(std::string_view text);

/// One --set: "storage.wal.durability=pagecache".
struct Override {
  std::vector<std::string> path;
  Node value;
};

/// The value is TOML; what is no TOML value and does not begin like a quoted one, a list or a table is a string.
[[nodiscard]] Result<Override> parse_override(std::string_view text, std::uint32_t source);

}  // namespace streambus::config
