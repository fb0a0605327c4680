#pragma once

#include <atomic>
#include <thread>

namespace streambus {

/// SIGTERM and SIGINT: the first asks for a stop, the second ends the process at once (exit code 130). While the broker
/// starts one is enough: a start that is cut short leaves nothing that the next start does not repair.
/// Make it before any other thread: threads inherit its signal mask.
class Signals {
 public:
  Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals();

  /// From now on the first signal ends wait() and not the process.
  void set_ready() noexcept { ready_.store(true); }
  /// Returns with the first signal after set_ready().
  void wait() noexcept { stop_.wait(false); }

 private:
  void watch() noexcept;

  std::atomic<bool> ready_{false};
  std::atomic<bool> stop_{false};
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace streambus
