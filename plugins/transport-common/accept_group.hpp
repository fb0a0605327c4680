#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "streambus/plugin/host.hpp"

namespace streambus::transport_common {

/// The accepted connections of one listener, counted, so that its drain can wait for them. Thread-safe.
class AcceptGroup {
 public:
  /// Counts a connection in, or says no: the listener drains, or `limit` (0: none) is reached.
  [[nodiscard]] bool enter(std::size_t limit) noexcept {
    const std::lock_guard lock(mutex_);
    if (draining_ || (limit != 0 && count_ >= limit)) return false;
    ++count_;
    return true;
  }
  void left() noexcept {
    const std::lock_guard lock(mutex_);
    if (--count_ == 0) empty_.notify_all();
  }

  [[nodiscard]] bool draining() const noexcept {
    const std::lock_guard lock(mutex_);
    return draining_;
  }
  /// No connection enters from now on. False when that was so already.
  bool begin_drain() noexcept {
    const std::lock_guard lock(mutex_);
    return !std::exchange(draining_, true);
  }

  /// Blocks until no connection is left or the deadline of the host's clock passed; true when none is left.
  [[nodiscard]] bool wait_empty(Host& host, std::int64_t deadline_ns) noexcept {
    std::unique_lock lock(mutex_);
    while (count_ > 0) {
      const std::int64_t now = host.monotonic_ns();
      if (now >= deadline_ns) return false;
      // In steps, so that a far deadline cannot overflow the clock of the wait.
      constexpr std::int64_t kStepNs = 1'000'000'000;
      empty_.wait_for(lock, std::chrono::nanoseconds(std::min(kStepNs, deadline_ns - now)));
    }
    return true;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable empty_;
  std::size_t count_ = 0;
  bool draining_ = false;
};

}  // namespace streambus::transport_common
