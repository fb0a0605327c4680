#include "streambus/conformance/check.hpp"

#include <poll.h>

#include <algorithm>
#include <deque>
#include <memory>

#include "case_process.hpp"
#include "probe.hpp"

namespace streambus::conformance {
namespace {

constexpr Case kLoad{
    "plugin.load",
    "The file loads, its note and its descriptor say the same, and nothing it runs at that time ends the process.",
    Level::basic, kNothing, nullptr};
constexpr Case kCreate{
    "plugin.create",
    "create() makes an object from the options, which starts and does a little work; what does not suit it is a clear refusal.",
    Level::basic, kNothing, nullptr};

std::string shell_word(const std::string& text) {
  const bool plain = !text.empty() && std::ranges::all_of(text, [](char one) {
    return std::isalnum(static_cast<unsigned char>(one)) != 0 || std::string_view("_-./=:,+@%").contains(one);
  });
  if (plain) return text;
  std::string quoted = "'";
  for (const char one : text) one == '\'' ? quoted += "'\\''" : quoted += one;
  return quoted + "'";
}

/// Runs the stages of one request.
class Checker {
 public:
  Checker(const CheckRequest& request, const std::function<void(const CaseResult&)>& progress)
      : request_(request), progress_(progress) {}

  CheckResult run() {
    const auto begin = std::chrono::steady_clock::now();
    const auto kind = static_cast<PluginKind>(request_.file.stamp.kind);
    std::vector<Case> wanted;
    for (const Case& one : cases_of(kind)) {
      if (is_wanted(one)) wanted.push_back(one);
    }
    if (wanted.empty()) {
      result_.refusal =
          "--only: expected the id of a case for " + std::string(name_of(kind)) + " plugins, found none that fits; there are:";
      for (const Case& one : cases_of(kind)) result_.refusal += "\n  " + std::string(one.id);
      return result_;
    }
    if (stage(kLoad, [this](CaseBoard& board) { (void)load(board); }) &&
        stage(kCreate, [this](CaseBoard& board) { create(board); }))
      run_cases(wanted);
    result_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    judge_durability(kind);
    return result_;
  }

 private:
  struct Running {
    Case one;
    std::unique_ptr<CaseProcess> process;  ///< null: skipped
    bool done = false;
    CaseResult result;
  };

  [[nodiscard]] bool is_wanted(const Case& one) const {
    if (request_.only.empty()) return one.level <= request_.level;
    return std::ranges::any_of(request_.only,
                               [&](const std::string& only) { return std::string_view(one.id).starts_with(only); });
  }

  [[nodiscard]] const LoadedPlugin& load(CaseBoard& board) {
    static PluginRegistry registry(request_.directories);
    const std::string name = request_.file.path.empty() ? std::string(request_.file.stamp.name) : request_.file.path.string();
    const auto plugin = registry.load(static_cast<PluginKind>(request_.file.stamp.kind), name);
    if (!plugin) {
      board.verdict = CaseBoard::Verdict::refused;
      plugin.error().message.copy(board.message, sizeof board.message - 1);
      std::fflush(nullptr);
      std::_Exit(0);
    }
    return **plugin;
  }

  /// "{dir}" becomes the directory of the process.
  [[nodiscard]] OptionTexts options_here() const {
    OptionTexts options = request_.options;
    const std::string here = std::filesystem::current_path().string();
    for (auto& [key, value] : options) {
      for (std::size_t at = value.find("{dir}"); at != std::string::npos; at = value.find("{dir}")) value.replace(at, 5, here);
    }
    return options;
  }

  void create(CaseBoard& board) {
    const auto traits = probe_plugin(load(board), options_here());
    if (traits) {
      board.traits = *traits;
      return;
    }
    board.verdict = CaseBoard::Verdict::refused;
    traits.error().message.copy(board.message, sizeof board.message - 1);
  }

  /// Runs one of the first stages. False where the check ends with it.
  template <class Work>
  bool stage(const Case& one, Work work) {
    CaseProcess process(work, request_.fork);
    const bool hung = !ends_in_time(process);
    CaseResult result = described(one);
    if (process.board().verdict == CaseBoard::Verdict::refused) {
      result_.refusal = process.board().message;
      return false;
    }
    process.finish(hung, &result);
    result_.traits = process.board().traits;
    const bool passed = result.outcome == Outcome::passed;
    publish(std::move(result));
    return passed;
  }

  [[nodiscard]] bool hangs(const CaseProcess& process) const {
    return process.seconds() >= seconds_max() && process.seconds_served() >= seconds_max();
  }
  [[nodiscard]] double seconds_max() const { return static_cast<double>(request_.timeout.count()); }

  /// Waits for the end; false where it hangs.
  [[nodiscard]] bool ends_in_time(const CaseProcess& process) const {
    if (process.descriptor() < 0) return true;
    pollfd poll{process.descriptor(), POLLIN, 0};
    while (::poll(&poll, 1, 200) == 0) {
      if (hangs(process)) return false;
    }
    return true;
  }

  [[nodiscard]] std::unique_ptr<CaseProcess> started(const Case& one) {
    const Case copy = one;
    return std::make_unique<CaseProcess>(
        [this, copy](CaseBoard& board) {
          CaseContext context(load(board), options_here(), request_.seed, request_.level, result_.traits, board.where);
          copy.run(context);
        },
        request_.fork);
  }

  void run_cases(const std::vector<Case>& wanted) {
    std::deque<Running> running;
    std::size_t next = 0;
    while (next < wanted.size() || !running.empty()) {
      const auto active = std::ranges::count_if(running, [](const Running& one) { return !one.done; });
      if (next < wanted.size() && active < std::max(1U, request_.jobs)) {
        Running& one = running.emplace_back(Running{wanted[next++], nullptr, false, {}});
        one.result = described(one.one);
        if (const std::uint32_t missing = one.one.needs & ~result_.traits.gives(); missing != 0) {
          one.result.outcome = Outcome::skipped;
          one.result.message = needs_text(missing);
          one.done = true;
        } else {
          one.process = started(one.one);
          if (!request_.fork) end(one, false);
        }
      } else {
        wait_for_one(running);
      }
      while (!running.empty() && running.front().done) {
        publish(std::move(running.front().result));
        running.pop_front();
      }
    }
  }

  void end(Running& one, bool hung) {
    one.process->finish(hung, &one.result);
    one.process.reset();
    one.done = true;
  }

  void wait_for_one(std::deque<Running>& running) {
    std::vector<pollfd> polls;
    std::vector<Running*> owners;
    for (Running& one : running) {
      if (one.done) continue;
      polls.push_back({one.process->descriptor(), POLLIN, 0});
      owners.push_back(&one);
    }
    (void)::poll(polls.data(), polls.size(), 200);
    for (std::size_t i = 0; i < polls.size(); ++i) {
      const bool ended = (polls[i].revents & POLLIN) != 0;
      if (ended || hangs(*owners[i]->process)) end(*owners[i], !ended);
    }
  }

  [[nodiscard]] CaseResult described(const Case& one) const {
    CaseResult result;
    result.id = one.id;
    result.contract = one.contract;
    result.replay =
        fmt::format("{} --level {} --only {} --seed {}", request_.replay_head, name_of(request_.level), one.id, request_.seed);
    for (const auto& [key, value] : request_.options) result.replay += " --config " + shell_word(key + "=" + value);
    return result;
  }
  static std::string needs_text(std::uint32_t missing) {
    if ((missing & kKeeps) != 0) return "the engine keeps nothing (class memory)";
    if ((missing & kFileLayer) != 0) return "the engine does its I/O past Host::files()";
    if ((missing & kSyncs) != 0) return "the class is not fsync-batch";
    return "can_replace() is false";
  }
  void publish(CaseResult result) {
    result_.cases.push_back(std::move(result));
    if (progress_) progress_(result_.cases.back());
  }

  void judge_durability(PluginKind kind) {
    if (kind != PluginKind::storage) return;
    std::string& why = result_.durability_reason;
    if (!result_.passed())
      why = "a case failed";
    else if (!result_.traits.keeps)
      why = "an engine of the class memory promises none";
    else if (!result_.traits.file_layer)
      why = "the engine does its I/O past Host::files(): power cuts and failing disks could not be tried";
    else if (request_.level == Level::basic)
      why = "level basic tries a sample only; use --level durable";
    else if (!request_.only.empty())
      why = "--only left cases out";
    result_.durability_verified = why.empty();
  }

  const CheckRequest& request_;
  const std::function<void(const CaseResult&)>& progress_;
  CheckResult result_;
};

}  // namespace

std::string_view name_of(Outcome outcome) noexcept {
  constexpr std::string_view kNames[] = {"passed", "failed", "skipped"};
  return kNames[static_cast<std::size_t>(outcome)];
}

std::size_t CheckResult::count(Outcome outcome) const noexcept {
  return static_cast<std::size_t>(std::ranges::count(cases, outcome, &CaseResult::outcome));
}

CheckResult run_check(const CheckRequest& request, const std::function<void(const CaseResult&)>& progress) {
  if (!request.file.refusal.empty()) {
    CheckResult result;
    result.refusal = request.file.refusal;
    return result;
  }
  return Checker(request, progress).run();
}

}  // namespace streambus::conformance
