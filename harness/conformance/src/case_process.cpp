#include "case_process.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <system_error>

namespace streambus::conformance {
namespace {

constexpr std::size_t kOutputShown = 6000;

CaseBoard* current_board = nullptr;  ///< in the process of a case
std::atomic<bool> ended{false};

/// The first thread to say a verdict ends the process; others wait for that.
[[noreturn]] void end_with(CaseBoard::Verdict verdict, std::string_view text, int code) {
  while (ended.exchange(true)) ::pause();
  const std::size_t bytes = std::min(text.size(), sizeof current_board->message - 1);
  std::memcpy(current_board->message, text.data(), bytes);
  current_board->message[bytes] = '\0';
  current_board->verdict = verdict;
  std::fflush(nullptr);
  std::_Exit(code);
}

void end_failed(std::string_view text) { end_with(CaseBoard::Verdict::failed, text, 1); }
void end_skipped(std::string_view text) { end_with(CaseBoard::Verdict::skipped, text, 0); }

std::filesystem::path temporary_directory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "streambus-check-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::system_error(errno, std::generic_category(), "cannot make " + pattern);
  return pattern;
}

}  // namespace

CaseProcess::CaseProcess(const std::function<void(CaseBoard&)>& work, bool fork)
    : board_(nullptr), directory_(temporary_directory()), output_fd_(::memfd_create("streambus-check", MFD_CLOEXEC)) {
  void* const shared = ::mmap(nullptr, sizeof(CaseBoard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED || output_fd_ < 0) throw std::system_error(errno, std::generic_category(), "cannot start a process");
  board_ = new (shared) CaseBoard;
  if (!fork) {
    const std::filesystem::path before = std::filesystem::current_path();
    std::filesystem::current_path(directory_);
    work(*board_);
    std::filesystem::current_path(before);
    if (board_->verdict == CaseBoard::Verdict::none) board_->verdict = CaseBoard::Verdict::passed;
    return;
  }
  std::fflush(nullptr);
  process_ = ::fork();
  if (process_ < 0) throw std::system_error(errno, std::generic_category(), "cannot start a process");
  if (process_ == 0) run(work);
  pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, process_, 0));  // glibc 2.36 declares it without extern "C"
}

CaseProcess::~CaseProcess() {
  if (process_ > 0) {
    ::kill(-process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  if (pidfd_ >= 0) ::close(pidfd_);
  ::close(output_fd_);
  ::munmap(board_, sizeof *board_);
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void CaseProcess::run(const std::function<void(CaseBoard&)>& work) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::dup2(output_fd_, STDOUT_FILENO);
  ::dup2(output_fd_, STDERR_FILENO);
  if (::chdir(directory_.c_str()) != 0) std::abort();
  current_board = board_;
  set_case_ending({&end_failed, &end_skipped});
  try {
    work(*board_);
  } catch (const std::exception& error) {
    end_failed(std::string("the kit itself failed: ") + error.what());
  }
  if (board_->verdict == CaseBoard::Verdict::none) board_->verdict = CaseBoard::Verdict::passed;
  std::exit(0);  // and not _Exit: leak checks and the plugin's own static objects are part of the case
}

double CaseProcess::seconds() const noexcept {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

double CaseProcess::seconds_served() const {
  double starved = 0;
  std::error_code ignored;
  for (const auto& thread : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", process_), ignored)) {
    std::ifstream file(thread.path() / "schedstat");  // nanoseconds on a processor, waiting for one, and turns
    std::uint64_t ran = 0;
    std::uint64_t waited = 0;
    if (file >> ran >> waited) starved = std::max(starved, static_cast<double>(waited) / 1e9);
  }
  return seconds() - starved;
}

void CaseProcess::finish(bool hung, CaseResult* result) {
  int status = 0;
  if (process_ > 0) {
    if (hung) ::kill(-process_, SIGKILL);
    while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) {
    }
    ::kill(-process_, SIGKILL);  // what the case itself has started
    process_ = -1;
  }
  result->seconds = seconds();
  result->where = board_->where;
  result->message = board_->message;
  const bool in_order = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  switch (board_->verdict) {
    case CaseBoard::Verdict::passed:
      result->outcome = in_order && !hung ? Outcome::passed : Outcome::failed;
      break;
    case CaseBoard::Verdict::skipped:
      result->outcome = Outcome::skipped;
      return;
    default:
      result->outcome = Outcome::failed;
  }
  if (result->outcome == Outcome::passed || (board_->verdict == CaseBoard::Verdict::failed && !hung)) return;
  result->output = output();
  if (hung) {
    result->message = fmt::format("a hang: expected the case to end, found it running after {:.0f} s", result->seconds);
  } else if (WIFSIGNALED(status)) {
    result->message = fmt::format("a crash: expected the case to end, found its process ended by signal {} ({})",
                                  WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  } else {
    result->message = fmt::format("expected the process to end with exit code 0, found {}{}", WEXITSTATUS(status),
                                  result->output.contains("Sanitizer") ? ": a sanitizer's report" : ": somebody called exit()");
  }
}

std::string CaseProcess::output() const {
  struct stat info{};
  if (::fstat(output_fd_, &info) != 0) return {};
  const auto total = static_cast<std::size_t>(info.st_size);
  // A sanitizer's report is understood from its beginning, everything else from its end.
  std::string text(total, '\0');
  const ssize_t got = ::pread(output_fd_, text.data(), total, 0);
  text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  if (const std::size_t report = text.find("Sanitizer"); report != std::string::npos) {
    const std::size_t line = text.rfind('\n', report);
    text.erase(0, line == std::string::npos ? 0 : line + 1);
    if (text.size() > kOutputShown) text.resize(kOutputShown);
  } else if (text.size() > kOutputShown) {
    text.erase(0, text.size() - kOutputShown);
  }
  return text;
}

}  // namespace streambus::conformance
