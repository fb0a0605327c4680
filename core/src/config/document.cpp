#include "document.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>

namespace streambus::config {
namespace {

Place place_of(const toml::source_region& region, std::uint32_t source) noexcept {
  return {source, static_cast<std::uint32_t>(region.begin.line), static_cast<std::uint32_t>(region.begin.column)};
}

Table convert_table(const toml::table& table, std::uint32_t source);

Node convert(const toml::node& node, std::uint32_t source) {
  Node result{place_of(node.source(), source), {}};
  if (const auto* table = node.as_table()) {
    result.value = convert_table(*table, source);
  } else if (const auto* array = node.as_array()) {
    Array elements;
    for (const toml::node& element : *array) elements.elements.push_back(convert(element, source));
    result.value = std::move(elements);
  } else if (const auto* flag = node.as_boolean()) {
    result.value = flag->get();
  } else if (const auto* integer = node.as_integer()) {
    result.value = integer->get();
  } else if (const auto* real = node.as_floating_point()) {
    result.value = real->get();
  } else if (const auto* string = node.as_string()) {
    result.value = string->get();
  } else {
    std::ostringstream moment_text;
    if (const auto* date = node.as_date()) moment_text << *date;
    if (const auto* time = node.as_time()) moment_text << *time;
    if (const auto* moment = node.as_date_time()) moment_text << *moment;
    result.value = OtherValue{moment_text.str()};
  }
  return result;
}

Table convert_table(const toml::table& table, std::uint32_t source) {
  Table result;
  for (const auto& [key, node] : table) {
    Member member{std::string(key.str()), place_of(key.source(), source), {}};
    member.value.push_back(convert(node, source));
    result.members.push_back(std::move(member));
  }
  // toml++ keeps keys by name; people look for their complaints from top to bottom.
  std::ranges::sort(result.members, {}, &Member::place);
  return result;
}

bool is_bare(std::string_view key) noexcept {
  return !key.empty() && std::ranges::all_of(key, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

/// Splits a dotted key; parts may be quoted: topic_defaults."retention.ms".
std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts(1);
  char quote = '\0';
  for (const char c : path) {
    if (quote != '\0') {
      if (c == quote) {
        quote = '\0';
      } else {
        parts.back() += c;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '.') {
      parts.emplace_back();
    } else if (c != ' ') {
      parts.back() += c;
    }
  }
  return parts;
}

/// Parses the text as a single TOML value; nullopt when it is none.
std::optional<Node> parse_value(std::string_view text, std::uint32_t source) {
  if (text.find_first_of("\r\n") != std::string_view::npos) return std::nullopt;
  try {
    const toml::table table = toml::parse("value = " + std::string(text));
    const toml::node* const node = table.get("value");
    if (node == nullptr || table.size() != 1) return std::nullopt;
    Node result = convert(*node, source);
    return result;
  } catch (const toml::parse_error&) {
    return std::nullopt;
  }
}

void move_to(Node& node, Place place) {
  node.place = place;
  if (auto* array = node.as<Array>()) {
    for (Node& element : array->elements) move_to(element, place);
  } else if (auto* table = node.as<Table>()) {
    for (Member& member : table->members) {
      member.place = place;
      move_to(member.node(), place);
    }
  }
}

}  // namespace

const Member* Table::find(std::string_view key) const noexcept {
  const auto found = std::ranges::find(members, key, &Member::key);
  return found == members.end() ? nullptr : &*found;
}

Member* Table::find(std::string_view key) noexcept { return const_cast<Member*>(std::as_const(*this).find(key)); }

std::string_view kind_of(const Node& node) noexcept {
  static constexpr std::array<std::string_view, 7> kNames = {"a table",  "a list",   "a boolean",       "a whole number",
                                                             "a number", "a string", "a date or a time"};
  return kNames[node.value.index()];
}

std::string quote(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      constexpr char kHex[] = "0123456789abcdef";
      result += "\\u00";
      result += kHex[byte >> 4];
      result += kHex[byte & 15];
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string key_to_toml(std::string_view key) { return is_bare(key) ? std::string(key) : quote(key); }

std::string to_toml(const Node& node) {
  if (node.as<Table>() != nullptr) return "{...}";
  if (const auto* array = node.as<Array>()) {
    std::string text = "[";
    for (const Node& element : array->elements) text += (text.size() > 1 ? ", " : "") + to_toml(element);
    return text + "]";
  }
  if (const auto* flag = node.as<bool>()) return *flag ? "true" : "false";
  if (const auto* integer = node.as<std::int64_t>()) return std::to_string(*integer);
  if (const auto* text = node.as<std::string>()) return quote(*text);
  if (const auto* other = node.as<OtherValue>()) return other->text;
  char digits[32];
  const auto [end, error] = std::to_chars(std::begin(digits), std::end(digits), *node.as<double>());
  std::string text(digits, end);
  if (text.find_first_of(".enai") == std::string::npos) text += ".0";  // stays a real number when read again
  return text;
}

std::expected<Table, SyntaxError> parse_document(std::string_view text) {
  try {
    return convert_table(toml::parse(text), 0);
  } catch (const toml::parse_error& error) {
    return std::unexpected(SyntaxError{place_of(error.source(), 0), std::string(error.description())});
  }
}

Result<Override> parse_override(std::string_view text, std::uint32_t source) {
  const std::size_t equals = text.find('=');
  Override result;
  if (equals != std::string_view::npos) result.path = split_path(text.substr(0, equals));
  if (result.path.empty() || std::ranges::any_of(result.path, [](const std::string& part) { return part.empty(); })) {
    return fail(ErrorCode::invalid_argument,
                "expected SECTION.KEY=VALUE such as storage.wal.durability=pagecache, found " + quote(text));
  }
  const std::string_view value = text.substr(equals + 1);
  if (auto node = parse_value(value, source)) {
    result.value = std::move(*node);
  } else if (!value.empty() && std::string_view("\"'[{").find(value.front()) != std::string_view::npos) {
    return fail(ErrorCode::invalid_argument, "expected a TOML value or a bare word, found " + std::string(value) +
                                                 ", which begins like one and is none; check quotes and brackets");
  } else {
    result.value.value = std::string(value);
  }
  move_to(result.value, {source, 0, 0});
  return result;
}

}  // namespace streambus::config
