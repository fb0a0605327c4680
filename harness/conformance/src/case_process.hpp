#pragma once
// A process for one case: it has a directory of its own, its output is caught, and what it finds lies in shared memory.

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "streambus/conformance/check.hpp"

namespace streambus::conformance {

/// What a case's process says of itself, readable when it is gone, however it went.
struct CaseBoard {
  enum class Verdict : int { none, passed, failed, skipped, refused };
  Verdict verdict = Verdict::none;
  char message[4096] = "";
  char where[256] = "";
  Traits traits;  ///< of the stage that finds them out
};

class CaseProcess {
 public:
  /// Starts a process that runs `work`. Without `fork` runs it here, where a failure aborts.
  CaseProcess(const std::function<void(CaseBoard&)>& work, bool fork);
  CaseProcess(const CaseProcess&) = delete;
  CaseProcess& operator=(const CaseProcess&) = delete;
  /// Kills what still runs and removes the directory.
  ~CaseProcess();

  /// A descriptor that becomes readable when the process ends; -1 when it ran here.
  [[nodiscard]] int descriptor() const noexcept { return pidfd_; }
  [[nodiscard]] double seconds() const noexcept;
  /// Of these, the time that counts towards a hang: without the time in which it waited for a processor of a busy machine.
  [[nodiscard]] double seconds_served() const;
  /// Waits for the end, or ends it where `hung`. Fills outcome, message, where, output and seconds.
  void finish(bool hung, CaseResult* result);
  [[nodiscard]] const CaseBoard& board() const noexcept { return *board_; }

 private:
  [[noreturn]] void run(const std::function<void(CaseBoard&)>& work);
  [[nodiscard]] std::string output() const;

  CaseBoard* board_;
  std::filesystem::path directory_;
  int output_fd_ = -1;
  pid_t process_ = -1;
  int pidfd_ = -1;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace streambus::conformance
