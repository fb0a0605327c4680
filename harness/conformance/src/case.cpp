#include "streambus/conformance/case.hpp"

#include <algorithm>
#include <cstring>

#include "case_lists.hpp"

namespace streambus::conformance {

std::string_view name_of(Level level) noexcept {
  constexpr std::string_view kNames[] = {"basic", "durable", "stress"};
  return kNames[static_cast<std::size_t>(level)];
}

void CaseContext::at(std::string_view where) noexcept {
  const std::size_t bytes = std::min(where.size(), detail_.size() - 1);
  std::memcpy(detail_.data(), where.data(), bytes);
  detail_[bytes] = '\0';
}

bool CaseContext::has_option(std::string_view key) const noexcept {
  return std::ranges::any_of(plugin.options(), [&](const OptionSpec& spec) { return key == spec.key; });
}

OptionTexts CaseContext::options_with(std::string_view key, std::string_view value) const {
  OptionTexts texts = options;
  std::erase_if(texts, [&](const auto& option) { return option.first == key; });
  texts.emplace_back(key, value);
  return texts;
}

std::vector<Case> cases_of(PluginKind kind) {
  std::vector<Case> all;
  const auto add = [&](std::span<const Case> list) { all.insert(all.end(), list.begin(), list.end()); };
  switch (kind) {
    case PluginKind::storage:
      for (const auto list : {&storage_order_cases, &storage_time_cases, &storage_retention_cases, &storage_life_cases,
                              &storage_durability_cases, &storage_concurrency_cases, &storage_lint_cases,
                              &storage_replace_cases, &storage_error_cases, &storage_crash_cases, &storage_corruption_cases})
        add(list());
      break;
    case PluginKind::codec:
      add(codec_cases());
      break;
    case PluginKind::transport:
      add(transport_cases());
      break;
    case PluginKind::protocol:
      add(protocol_cases());
      break;
  }
  return all;
}

Result<OptionValues> checked_options(const LoadedPlugin& plugin, const OptionTexts& texts) {
  OptionValues values(plugin.options());
  const std::string name(plugin.name());
  for (const auto& [key, text] : texts) {
    const auto spec = std::ranges::find_if(plugin.options(), [&](const OptionSpec& one) { return key == one.key; });
    if (spec == plugin.options().end()) {
      std::string known;
      for (const OptionSpec& one : plugin.options()) known += (known.empty() ? "" : ", ") + std::string(one.key);
      return fail(ErrorCode::invalid_argument, "option '" + key + "': expected one of the options of " + name + " (" +
                                                   (known.empty() ? "it has none" : known) + "); leave it out of --config");
    }
    auto value = parse_option(*spec, text);
    if (!value) return fail(value.error().code, "option '" + key + "': " + value.error().message);
    values.set(key, std::move(*value));
  }
  for (const OptionSpec& spec : plugin.options()) {
    if (values.find(spec.key) == nullptr)
      return fail(ErrorCode::invalid_argument,
                  "option '" + std::string(spec.key) + "' is required: give it with --config " + spec.key + "=VALUE");
  }
  return values;
}

}  // namespace streambus::conformance
