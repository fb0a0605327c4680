#include "signals.hpp"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <string_view>

namespace streambus {
namespace {

constexpr int kExitInterrupted = 130;

sigset_t stop_signals() noexcept {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

[[noreturn]] void end_now(std::string_view words) noexcept {
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, words.data(), words.size());
  ::_exit(kExitInterrupted);
}

}  // namespace

Signals::Signals() {
  std::signal(SIGPIPE, SIG_IGN);  // a peer that is gone is an error of a write, not the end of the process
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { watch(); });
}

Signals::~Signals() {
  done_.store(true);
  // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread): blocked everywhere, it only wakes the thread, which takes it
  pthread_kill(thread_.native_handle(), SIGTERM);
  thread_.join();
}

void Signals::watch() noexcept {
  pthread_setname_np(pthread_self(), "sb-signals");
  const sigset_t set = stop_signals();
  for (;;) {
    int number = 0;
    if (sigwait(&set, &number) != 0) continue;
    if (done_.load()) return;
    if (!ready_.load()) end_now("streambusd: stopped while starting\n");
    if (stop_.load()) end_now("streambusd: second signal: stopped without waiting\n");
    stop_.store(true);
    stop_.notify_all();
  }
}

}  // namespace streambus
