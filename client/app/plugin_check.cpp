// streambus plugin check: the conformance kit on one plugin.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>

#include "plugin_files.hpp"
#include "streambus/conformance/check.hpp"
#include "streambus/plugin/sdk.hpp"

namespace streambus::command {
namespace {

using conformance::CaseResult;
using conformance::CheckRequest;
using conformance::CheckResult;
using conformance::Level;

struct CheckArguments {
  std::string plugin;
  std::string level = "basic";
  std::vector<std::string> only;
  std::vector<std::string> config;
  std::uint64_t seed = 1;
  unsigned jobs = 2;
  long timeout_seconds = 0;
  std::string junit;
  std::string certificate;
  bool no_fork = false;
};

constexpr std::uint8_t kOwnSanitizers = sdk::stamp_here(PluginKind::storage, "", "").sanitizers;

/// Sanitizers make everything slower: what is a hang without them may be an honest case with them.
long default_timeout(Level level) { return (level == Level::stress ? 3600 : 120) * (kOwnSanitizers != 0 ? 5 : 1); }

/// How to get the program that can check a plugin of other sanitizers than this one's.
std::string sanitizer_hint(const PluginFile& file) {
  if (file.stamp.name[0] == '\0' || file.stamp.sanitizers == kOwnSanitizers) return {};
  std::string flags;
  if ((file.stamp.sanitizers & AbiStamp::kAddressSanitizer) != 0) flags = "address,undefined";
  if ((file.stamp.sanitizers & AbiStamp::kThreadSanitizer) != 0) flags = "thread";
  if ((file.stamp.sanitizers & AbiStamp::kMemorySanitizer) != 0) flags = "memory";
  if (flags.empty())
    return "\nthis `streambus` is a sanitizer's build and the plugin is not: use the plain one, or build the plugin with the "
           "same -fsanitize";
  const char* const preset = flags == "thread" ? "tsan" : flags == "memory" ? nullptr : "asan";
  return fmt::format(
      "\na plugin with a sanitizer is checked by a `streambus` with the same one: in a checkout of StreamBus, {}, "
      "then run that `streambus plugin check`; or build the plugin without -fsanitize",
      preset != nullptr
          ? fmt::format("scripts/build.sh {0} streambus makes build/{0}/bin/streambus", preset)
          : fmt::format(
                "cmake -B build/{0} -DSTREAMBUS_SANITIZE={0} -DCMAKE_CXX_COMPILER=clang++-19 and cmake --build build/{0}",
                flags));
}

std::optional<std::string> write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (out) return std::nullopt;
  return fmt::format("cannot write {}: {}", path, std::generic_category().message(errno));
}

int usage(const std::string& message) {
  fmt::print(stderr, "error: {}\n", message);
  return kUsage;
}

/// The request of a command line; the message where it is wrong.
Result<CheckRequest> request_of(const Invocation& invocation, const CheckArguments& arguments) {
  CheckRequest request;
  PluginRegistry registry({});
  STREAMBUS_TRY_ASSIGN(request.file, find_plugin_file(invocation, arguments.plugin, &registry));
  if (!request.file.refusal.empty()) return fail(ErrorCode::incompatible, request.file.refusal + sanitizer_hint(request.file));
  if (!request.file.path.empty()) request.file.path = std::filesystem::absolute(request.file.path);
  request.directories = registry.directories();
  for (const Level level : {Level::basic, Level::durable, Level::stress}) {
    if (arguments.level == name_of(level)) request.level = level;
  }
  request.only = arguments.only;
  request.seed = arguments.seed;
  request.jobs = arguments.jobs;
  request.timeout =
      std::chrono::seconds(arguments.timeout_seconds > 0 ? arguments.timeout_seconds : default_timeout(request.level));
  request.fork = !arguments.no_fork;
  request.replay_head = fmt::format("{} plugin check {}", program_invocation_name, arguments.plugin);
  for (const std::string& directory : invocation.plugin_dirs) request.replay_head += " --plugin-dir " + directory;
  for (const std::string& pair : arguments.config) {
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0)
      return fail(ErrorCode::invalid_argument, "--config: expected KEY=VALUE such as level=5, found '" + pair + "'");
    request.options.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
  }
  return request;
}

int check_plugin(const Invocation& invocation, const CheckArguments& arguments) {
  const Result<CheckRequest> request = request_of(invocation, arguments);
  if (!request) return usage(request.error().message);
  const auto progress = [&](const CaseResult& result) {
    if (invocation.json) return;
    fmt::print("{}", text_of(result));
    std::fflush(stdout);
  };
  const CheckResult result = run_check(*request, progress);
  if (!result.refusal.empty()) return usage(result.refusal);
  const std::string certificate = certificate_of(*request, result, kVersion);
  fmt::print("{}", invocation.json ? certificate : summary_of(*request, result));
  for (const auto& [path, text] :
       {std::pair(arguments.certificate, certificate), std::pair(arguments.junit, junit_of(*request, result))}) {
    if (path.empty()) continue;
    if (const auto failure = write_file(path, text)) return usage(*failure);
  }
  return result.passed() ? kDone : kFailed;
}

}  // namespace

void define_plugin_check(CLI::App& family, Invocation& invocation) {
  const auto arguments = std::make_shared<CheckArguments>();
  CLI::App& check =
      *family.add_subcommand("check", "Test a plugin against the contract of its kind, each case in a process of its own");
  check.add_option("plugin", arguments->plugin, "Name of the plugin, or path of its file")->required()->type_name("NAME|FILE");
  check
      .add_option("--level", arguments->level,
                  "How much: basic (seconds), durable (under a minute), stress (as long as it takes)")
      ->check(CLI::IsMember({"basic", "durable", "stress"}))
      ->default_str("basic");
  check.add_option("--only", arguments->only, "Run this case only, of whatever level, or all whose ids begin so; repeatable")
      ->type_name("ID")
      ->allow_extra_args(false);
  check
      .add_option("--seed", arguments->seed,
                  "What all random choices follow from; the same seed gives the same run (default: 1)")
      ->type_name("N");
  check
      .add_option(
          "--config", arguments->config,
          "Set an option of the plugin, as in [KIND.NAME] of the configuration file; {dir} stands for a directory of the "
          "case's own; repeatable")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  check.add_option("--jobs", arguments->jobs, "Cases at the same time (default: 2)")->type_name("N")->check(CLI::Range(1, 256));
  check
      .add_option("--timeout", arguments->timeout_seconds,
                  "Time after which a case counts as hanging, without waits for a processor (default: 120, at level stress "
                  "3600; with a sanitizer five times that)")
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 1'000'000));
  check.add_flag("--no-fork", arguments->no_fork,
                 "Run the cases in this process, for a debugger; a failure aborts. Use with --only");
  check.add_option("--junit", arguments->junit, "Write the results as JUnit XML too")->type_name("FILE");
  check.add_option("--certificate", arguments->certificate, "Write the certificate (JSON) too")->type_name("FILE");
  add_plugin_dir(check, invocation);
  add_json(check, invocation, "Print the certificate instead of text");
  finish(check, invocation,
         "Examples:\n  streambus plugin check storage-wal --level durable\n  streambus plugin check ./build/acme.so --config "
         "level=5 "
         "--junit results.xml\n  streambus plugin check ./build/acme.so --only storage.crash.killed --seed 7\n"
         "  gdb --args streambus plugin check ./build/acme.so --only storage.order.gaps --no-fork\n\n"
         "Exit codes: 0 every case passed or does not apply; 1 a case failed; 2 usage, or the plugin was refused.",
         [&invocation, arguments] { return check_plugin(invocation, *arguments); });
}

}  // namespace streambus::command
