#include "inproc_thread.hpp"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace streambus::transport_inproc {

void InprocThread::start(std::uint32_t number) {
  thread_ = std::thread([this] { run(); });
  ::pthread_setname_np(thread_.native_handle(), ("sb-inproc-" + std::to_string(number)).c_str());
}

void InprocThread::join() noexcept {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
  end();
}

void InprocThread::wake() noexcept {
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  changed_.notify_one();
}

void InprocThread::run() noexcept {
  // One round per kind of work: connections that keep each other busy do not hold up calls and deadlines.
  while (wait()) {
    run_posted();
    if (timer_ns_ != transport_common::kNever && timer_ns_ <= host().monotonic_ns()) {
      timer_ns_ = transport_common::kNever;
      run_due();
    }
    settle_round();
  }
}

bool InprocThread::wait() noexcept {
  constexpr std::int64_t kStepNs = 60'000'000'000;  // a far deadline must not overflow the clock of the wait
  std::unique_lock lock(mutex_);
  while (!woken_ && !stopping_ && !has_dirty()) {
    if (timer_ns_ == transport_common::kNever) {
      changed_.wait(lock);
      continue;
    }
    const std::int64_t left = timer_ns_ - host().monotonic_ns();
    if (left <= 0) break;
    changed_.wait_for(lock, std::chrono::nanoseconds(std::min(left, kStepNs)));
  }
  woken_ = false;
  return !stopping_;
}

}  // namespace streambus::transport_inproc
