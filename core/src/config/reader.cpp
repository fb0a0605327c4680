#include "reader.hpp"

#include <algorithm>
#include <tuple>

#include "secrets.hpp"
#include "streambus/host/units.hpp"

namespace streambus::config {
namespace {

/// The value of an option from a node; the kinds of TOML are matched strictly, with the remedy where it is a matter of quotes.
Result<OptionValues::Value> convert(const OptionSpec& spec, const Node& node) {
  const auto* integer = node.as<std::int64_t>();
  const auto* text = node.as<std::string>();
  const auto refuse = [&] { return fail(ErrorCode::invalid_argument, wrong_kind(describe_values(spec), node)); };
  switch (spec.type) {
    case OptionType::boolean:
      if (const auto* flag = node.as<bool>()) return *flag;
      return refuse();
    case OptionType::integer:
      if (integer == nullptr) return refuse();
      return check_option(spec, *integer);
    case OptionType::real:
      if (integer != nullptr) return check_option(spec, *integer);
      if (const auto* real = node.as<double>()) return check_option(spec, *real);
      return refuse();
    case OptionType::text:
    case OptionType::choice:
      if (text == nullptr) return refuse();
      return check_option(spec, *text);
    case OptionType::size:
      if (integer != nullptr) return check_option(spec, *integer);
      if (text == nullptr) return refuse();
      return parse_option(spec, *text);
    case OptionType::duration:
      if (integer != nullptr) return parse_option(spec, std::to_string(*integer));  // refused, with the remedy
      if (text == nullptr) return refuse();
      return parse_option(spec, *text);
  }
  return refuse();
}

/// The value as TOML: numbers and booleans bare, everything else quoted.
std::string value_to_toml(const OptionSpec& spec, const OptionValues::Value& value) {
  const bool is_bare = spec.type == OptionType::boolean || spec.type == OptionType::integer || spec.type == OptionType::real;
  return is_bare ? format_option(spec, value) : quote(format_option(spec, value));
}

}  // namespace

bool Diagnostics::has_errors() const noexcept { return std::ranges::any_of(complaints_, &Complaint::is_error); }

std::string Diagnostics::origin(Place place) const {
  return place.source == 0 ? source_.name + ":" + std::to_string(place.line) : "--set";
}

std::vector<Diagnostic> Diagnostics::take() {
  std::ranges::sort(complaints_, {}, [](const Complaint& complaint) { return std::pair(complaint.place, complaint.order); });
  std::vector<Diagnostic> result;
  for (const Complaint& complaint : complaints_) {
    std::string prefix = source_.name + ": ";
    if (complaint.place.source != 0) {
      prefix = "--set " + source_.overrides[complaint.place.source - 1] + ": ";
    } else if (complaint.place.line != 0) {
      prefix = source_.name + ":" + std::to_string(complaint.place.line) + ":" + std::to_string(complaint.place.column) + ": ";
    }
    Diagnostic diagnostic{complaint.is_error, prefix + complaint.text};
    const bool is_repeated =
        std::ranges::any_of(result, [&](const Diagnostic& known) { return known.text == diagnostic.text; });
    if (!is_repeated) result.push_back(std::move(diagnostic));
  }
  return result;
}

std::string wrong_kind(std::string_view expected, const Node& node) {
  std::string text = "expected " + std::string(expected) + ", found " + std::string(kind_of(node));
  const auto* string = node.as<std::string>();
  if (node.as<Table>() == nullptr && node.as<Array>() == nullptr) text += " " + to_toml(node);
  if (string != nullptr && !string->empty()) {
    const bool looks_bare =
        *string == "true" || *string == "false" || string->find_first_not_of("0123456789.+-") == std::string::npos;
    if (looks_bare) text += "; leave the quotes out";
  } else if (node.as<std::int64_t>() != nullptr || node.as<bool>() != nullptr || node.as<double>() != nullptr) {
    if (expected.find("whole number") == std::string_view::npos && expected.find("true or false") == std::string_view::npos) {
      text += "; write it in quotes";
    }
  }
  return text;
}

Table flattened(const Table& table) {
  Table result;
  for (const Member& member : table.members) {
    const Table* const inner = member.node().as<Table>();
    if (inner == nullptr) {
      result.members.push_back(member);
      continue;
    }
    for (Member& nested : flattened(*inner).members) {
      nested.key = member.key + "." + nested.key;
      result.members.push_back(std::move(nested));
    }
  }
  return result;
}

void SectionReader::check_keys(const SectionScope& scope, std::span<const OptionSpec> specs,
                               std::span<const std::string_view> others) {
  if (scope.table == nullptr) return;
  std::vector<std::string_view> known(others.begin(), others.end());
  for (const OptionSpec& spec : specs) known.emplace_back(spec.key);
  for (auto member = scope.table->members.begin(); member != scope.table->members.end(); ++member) {
    if (std::ranges::find(known, member->key) == known.end()) {
      std::string text = "unknown key '" + member->key + "' in " + scope.header;
      const std::string suggestion = did_you_mean(member->key, known);
      if (!suggestion.empty()) {
        text += suggestion;
      } else {
        text += known.empty() ? "; it has no keys" : "; it has: " + join_words(known, "and");
      }
      diagnostics_.error(member->place, text);
    } else if (std::find_if(scope.table->members.begin(), member,
                            [&](const Member& other) { return other.key == member->key; }) != member) {
      diagnostics_.error(member->place, "key '" + member->key + "' in " + scope.header + " is given twice; keep one");
    }
  }
}

void SectionReader::read_options(const SectionScope& scope, std::span<const OptionSpec> specs, OptionValues& values) {
  for (const OptionSpec& spec : specs) {
    const Member* const member = scope.table == nullptr ? nullptr : scope.table->find(spec.key);
    if (member == nullptr) {
      if (spec.default_value == nullptr) {
        diagnostics_.error(scope.place, scope.header + " needs the key '" + spec.key + "': expected " + describe_values(spec) +
                                            ", found nothing; add it");
      } else {
        const std::string value = spec.secret ? quote(spec.default_value) : value_to_toml(spec, *values.find(spec.key));
        resolve(scope, spec.key, value, "default");
      }
      continue;
    }
    auto value = convert(spec, member->node());
    if (value && spec.secret) value = resolve_secret(std::get<std::string>(*value));
    if (!value) {
      diagnostics_.error(member->node().place, std::string(spec.key) + " in " + scope.header + ": " + value.error().message);
      continue;
    }
    resolve(scope, spec.key, spec.secret ? to_toml(member->node()) : value_to_toml(spec, *value),
            diagnostics_.origin(member->place));
    values.set(spec.key, std::move(*value));
  }
}

void SectionReader::resolve(const SectionScope& scope, std::string_view leaf, std::string value, std::string origin) {
  std::string header;
  const std::string key = scope.key + "." + std::string(leaf);
  if (resolved_.empty() || !resolved_.back().key.starts_with(scope.key + ".")) header = scope.header;
  resolved_.push_back({key, std::move(value), std::move(origin), std::move(header), key_to_toml(leaf)});
}

const std::string* SectionReader::text(const SectionScope& scope, std::string_view key) {
  const Member* const member = scope.table == nullptr ? nullptr : scope.table->find(key);
  if (member == nullptr) return nullptr;
  const auto* value = member->node().as<std::string>();
  if (value == nullptr) {
    diagnostics_.error(member->node().place,
                       std::string(key) + " in " + scope.header + ": " + wrong_kind("a string", member->node()));
  }
  return value;
}

}  // namespace streambus::config
