#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "streambus/config/config.hpp"

namespace streambus::test {

/// What the tests below load; `text` is the file "test.toml". Plugins: the probes.
inline ConfigOutcome load(std::string text, std::vector<std::string> overrides = {}) {
  return load_config({std::move(text),
                      "test.toml",
                      std::move(overrides),
                      {std::filesystem::path(STREAMBUS_TEST_BUILD_DIR) / "tests" / "probes"}});
}

/// A whole, good configuration to add to.
inline const std::string kGood = R"([listener.main]
transport = "probe"
protocol = "probe"
[storage.probe]
[codec.probe]
)";

inline std::vector<std::string> errors(const ConfigOutcome& outcome) {
  std::vector<std::string> texts;
  for (const Diagnostic& diagnostic : outcome.diagnostics) {
    if (diagnostic.is_error) texts.push_back(diagnostic.text);
  }
  return texts;
}

inline std::vector<std::string> warnings(const ConfigOutcome& outcome) {
  std::vector<std::string> texts;
  for (const Diagnostic& diagnostic : outcome.diagnostics) {
    if (!diagnostic.is_error) texts.push_back(diagnostic.text);
  }
  return texts;
}

/// The only error of a configuration.
inline std::string error_of(const std::string& text, std::vector<std::string> overrides = {}) {
  const ConfigOutcome outcome = load(text, std::move(overrides));
  EXPECT_FALSE(outcome.config.has_value());
  const auto all = errors(outcome);
  EXPECT_EQ(all.size(), 1U) << testing::PrintToString(all);
  return all.empty() ? "" : all.front();
}

inline const ResolvedValue* resolved(const ConfigOutcome& outcome, std::string_view key) {
  const auto found = std::ranges::find(outcome.resolved, key, &ResolvedValue::key);
  return found == outcome.resolved.end() ? nullptr : &*found;
}

}  // namespace streambus::test
