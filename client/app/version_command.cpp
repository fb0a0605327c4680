#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "command.hpp"
#include "streambus/plugin/abi.hpp"
#include "streambus/plugin/api_hash.hpp"

namespace streambus::command {
namespace {

int print_version(const Invocation& invocation) {
  if (invocation.json) {
    const nlohmann::ordered_json json = {
        {"version", kVersion}, {"plugin_api", fmt::format("{}.{}", kAbiMajor, kAbiMinor)}, {"headers", kApiHash}};
    fmt::print("{}\n", json.dump());
  } else {
    fmt::print("streambus {} (plugin API {}.{}, headers {})\n", kVersion, kAbiMajor, kAbiMinor, kApiHash);
  }
  return kDone;
}

}  // namespace

void define_version(CLI::App& program, Invocation& invocation) {
  CLI::App& command = *program.add_subcommand("version", "Show the version of this program and of the plugin API");
  add_json(command, invocation, "Print a JSON object");
  finish(command, invocation, "Examples:\n  streambus version\n  streambus version --json",
         [&invocation] { return print_version(invocation); });
}

}  // namespace streambus::command
