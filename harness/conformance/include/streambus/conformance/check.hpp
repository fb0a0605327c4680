#pragma once
// Checks one plugin: stages note, load, create, then the cases, each in a process of its own that alone has loaded the plugin.

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "streambus/conformance/case.hpp"

namespace streambus::conformance {

/// What to check and how.
struct CheckRequest {
  PluginFile file;                                 ///< of PluginRegistry::scan(); without a path: linked into this program
  std::vector<std::filesystem::path> directories;  ///< where a name is looked up
  Level level = Level::basic;
  std::vector<std::string> only;  ///< ids, or beginnings of ids ("storage.crash"); empty: all of the level
  std::uint64_t seed = 1;
  OptionTexts options;  ///< "{dir}" in a value becomes the case's own directory
  unsigned jobs = 2;    ///< cases at the same time
  std::chrono::seconds timeout{120};
  bool fork = true;         ///< false: run the cases in this process, for a debugger
  std::string replay_head;  ///< the command up to where the options of a replay go: "streambus plugin check acme.so"
};

enum class Outcome : std::uint8_t { passed, failed, skipped };
[[nodiscard]] std::string_view name_of(Outcome outcome) noexcept;

struct CaseResult {
  std::string id;
  std::string contract;
  Outcome outcome = Outcome::failed;
  double seconds = 0;
  std::string message;  ///< of a failure: expected and found; of a skipped case: what it needs
  std::string where;    ///< how far the case had come
  std::string output;   ///< the end of what the process printed: a sanitizer's report
  std::string replay;   ///< the command that runs this case again
};

struct CheckResult {
  std::string refusal;  ///< why the plugin was not checked: no case ran
  Traits traits;
  std::vector<CaseResult> cases;
  double seconds = 0;
  bool durability_verified = false;
  std::string durability_reason;  ///< why it is not verified

  [[nodiscard]] std::size_t count(Outcome outcome) const noexcept;
  [[nodiscard]] bool passed() const noexcept { return refusal.empty() && count(Outcome::failed) == 0; }
};

/// Runs the check; `progress` is called with each case as it is done, in the order of the list. Blocks. The calling process
/// must have one thread only (it forks). Temporary files go below $TMPDIR and are removed.
[[nodiscard]] CheckResult run_check(const CheckRequest& request, const std::function<void(const CaseResult&)>& progress = {});

// ---- reports

/// A case in one line, a failure in a few.
[[nodiscard]] std::string text_of(const CaseResult& result);
/// The verdict in a line or two.
[[nodiscard]] std::string summary_of(const CheckRequest& request, const CheckResult& result);
/// The certificate as JSON: what was checked, how, and every case. `program_version` is of the program that checked.
[[nodiscard]] std::string certificate_of(const CheckRequest& request, const CheckResult& result,
                                         std::string_view program_version);
/// The cases as JUnit XML, for CI systems.
[[nodiscard]] std::string junit_of(const CheckRequest& request, const CheckResult& result);

}  // namespace streambus::conformance
