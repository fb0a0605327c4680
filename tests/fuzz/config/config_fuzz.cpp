// Any text as a configuration file, with overrides: lines that begin with "#set ". Whatever comes, there is an answer; what is
// accepted is printed as a configuration that is accepted, too.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "streambus/base/assert.hpp"
#include "streambus/config/config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace streambus;
  ConfigSource source;
  source.name = "fuzz.toml";
  source.plugin_dirs = {std::filesystem::path(STREAMBUS_TEST_BUILD_DIR) / "tests" / "probes"};
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    if (line.starts_with("#set ")) {
      source.overrides.emplace_back(line.substr(5));
    } else {
      source.text.append(line).append("\n");
    }
  }
  const ConfigOutcome outcome = load_config(source);
  bool has_error = false;
  for (const Diagnostic& diagnostic : outcome.diagnostics) has_error |= diagnostic.is_error;
  STREAMBUS_ASSERT(outcome.config.has_value() == !has_error);
  STREAMBUS_ASSERT(outcome.registry != nullptr);
  if (has_error) return 0;
  ConfigSource printed;
  printed.text = print_config(outcome);
  printed.name = "printed.toml";
  printed.plugin_dirs = source.plugin_dirs;
  STREAMBUS_ASSERT(load_config(printed).config.has_value());
  return 0;
}
