// The broker as a program: reads a configuration, starts a Runtime, stops it on a signal.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "default_config.hpp"
#include "signals.hpp"
#include "streambus/broker/runtime.hpp"
#include "streambus/plugin/abi.hpp"
#include "streambus/plugin/api_hash.hpp"

namespace streambus {
namespace {

constexpr int kExitDone = 0;
constexpr int kExitFailed = 1;
constexpr int kExitRefused = 2;

struct Arguments {
  std::string config_file;
  std::vector<std::string> overrides;
  std::vector<std::string> plugin_dirs;
  std::string log_level;
  bool check_config = false;
  bool print_config = false;
  bool print_reference = false;
};

constexpr const char* kExamples = R"(Examples:
  streambusd                                       the default broker on 127.0.0.1:9092, data in ./data
  streambusd --config broker.toml --check-config   is the file good? exit code 0 or 2
  streambusd --config broker.toml --print-config   every value and where it comes from
  streambusd --set listener.main.address=127.0.0.1:19092 --set storage.wal.durability=pagecache

SIGTERM or SIGINT stops it after the requests in progress; a second one stops it at once.
Exit codes: 0 clean stop, 1 failed while running, 2 usage, configuration or plugin refused.)";

void define(CLI::App& app, Arguments& arguments) {
  app.add_option("--config", arguments.config_file, "Configuration file (TOML); without it, built-in defaults")
      ->type_name("FILE");
  app.add_option("--set", arguments.overrides, "Override one value: SECTION.KEY=VALUE; repeatable")
      ->type_name("K=V")
      ->allow_extra_args(false);
  app.add_option("--plugin-dir", arguments.plugin_dirs, "Look for plugins here first; repeatable")
      ->type_name("DIR")
      ->allow_extra_args(false);
  app.add_option("--log-level", arguments.log_level, "trace, debug, info, warning or error: short for --set log.level=L")
      ->type_name("L");
  app.add_flag("--check-config", arguments.check_config, "Load and check the configuration and its plugins, start nothing");
  app.add_flag("--print-config", arguments.print_config, "Print the resolved configuration with the origin of each value");
  app.add_flag("--print-reference", arguments.print_reference, "Print docs/configuration.md: every section, key and setting");
  app.set_version_flag("--version", std::string("streambusd ") + kVersion + " (plugin API " + std::to_string(kAbiMajor) + "." +
                                        std::to_string(kAbiMinor) + ", headers " + kApiHash + ")");
  app.footer(kExamples);
}

Result<ConfigSource> read_source(const Arguments& arguments) {
  ConfigSource source{kDefaultConfig, "built-in configuration", {}, {}};
  if (!arguments.config_file.empty()) {
    auto file = read_config_file(arguments.config_file);
    if (!file) {
      return fail(file.error().code,
                  "--config: " + file.error().message + "; give the path of a TOML file, or leave --config out");
    }
    source = std::move(*file);
  }
  source.overrides = arguments.overrides;
  if (!arguments.log_level.empty()) source.overrides.push_back("log.level=" + arguments.log_level);
  for (const std::string& directory : arguments.plugin_dirs)
    source.plugin_dirs.emplace_back(std::filesystem::absolute(directory));
  return source;
}

int print_reference(const Arguments& arguments) {
  std::vector<std::filesystem::path> directories(arguments.plugin_dirs.begin(), arguments.plugin_dirs.end());
  PluginRegistry registry(PluginRegistry::default_directories(std::move(directories)));
  std::fputs(config_reference(registry).c_str(), stdout);
  return kExitDone;
}

/// Writes what there is to say about the configuration; false when there is an error.
bool report(const ConfigOutcome& outcome) {
  for (const Diagnostic& diagnostic : outcome.diagnostics) {
    std::fprintf(stderr, "%s: %s\n", diagnostic.is_error ? "error" : "warning", diagnostic.text.c_str());
  }
  return outcome.config.has_value();
}

/// The path of a program beside this one, as short as it can be typed from here.
std::string sibling(const char* name) {
  std::error_code failure;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", failure).parent_path() / name;
  if (failure || !std::filesystem::exists(program, failure)) return name;
  const auto nearby = std::filesystem::proximate(program, failure);
  return failure || nearby.native().starts_with("..") ? program.string() : nearby.string();
}

void announce(const Runtime& runtime) {
  std::printf("StreamBus %s\n", kVersion);
  for (const std::string& line : runtime.plugin_summary()) std::printf("  %s\n", line.c_str());
  for (const Runtime::BoundListener& listener : runtime.listeners()) std::printf("ready %s\n", listener.address.c_str());
  if (!runtime.listeners().empty()) {
    const std::string& address = runtime.listeners().front().address;
    const std::string command = sibling("streambus");
    std::printf("\nNext:\n  echo hello | kcat -P -b %s -t first\n  kcat -C -b %s -t first -e\n  %s topic list -b %s\n",
                address.c_str(), address.c_str(), command.c_str(), address.c_str());
  }
  std::fflush(stdout);
}

/// What a user must put right before another start is 2, a failure of the machine is 1.
int exit_code_of(ErrorCode code) noexcept {
  const bool is_failure =
      code == ErrorCode::io_error || code == ErrorCode::corrupt || code == ErrorCode::no_space || code == ErrorCode::internal;
  return is_failure ? kExitFailed : kExitRefused;
}

int run(ConfigOutcome outcome) {
  Signals signals;
  auto runtime = Runtime::start(std::move(outcome));
  if (!runtime) {
    std::fprintf(stderr, "error: %s\n", runtime.error().message.c_str());
    return exit_code_of(runtime.error().code);
  }
  signals.set_ready();
  announce(**runtime);
  signals.wait();
  (*runtime)->services().log(LogLevel::info, "broker", "stopping: a signal came");
  (*runtime)->stop();
  return kExitDone;
}

int run(const Arguments& arguments) {
  if (arguments.print_reference) return print_reference(arguments);
  auto source = read_source(arguments);
  if (!source) {
    std::fprintf(stderr, "error: %s\n", source.error().message.c_str());
    return kExitRefused;
  }
  ConfigOutcome outcome = load_config(*source);
  if (!report(outcome)) return kExitRefused;
  if (arguments.print_config) std::fputs(print_config(outcome).c_str(), stdout);
  if (arguments.check_config) std::printf("%s: good, %zu plugins\n", source->name.c_str(), outcome.registry->loaded().size());
  if (arguments.print_config || arguments.check_config) return kExitDone;
  return run(std::move(outcome));
}

}  // namespace
}  // namespace streambus

int main(int argc, char** argv) {
  streambus::Arguments arguments;
  CLI::App app("StreamBus: a message broker assembled from plugins, speaking the Kafka protocol.", "streambusd");
  streambus::define(app, arguments);
  try {
    app.parse(argc, argv);
    return streambus::run(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? streambus::kExitDone : streambus::kExitRefused;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return streambus::kExitFailed;
  }
}
