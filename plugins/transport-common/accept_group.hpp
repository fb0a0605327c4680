#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <utility>

#include "streambus/plugin/host.hpp"

namespace streambus::transport_common {

/// The accepted connections of one listener, counted, so that its drain can wait for them. Thread-safe.
class AcceptGroup {
 public:
  explicit AcceptGroup(Host& host)
      : open_(host.metric(MetricKind::gauge, "transport_connections_count", "Accepted connections that are open")),
        accepted_(host.metric(MetricKind::counter, "transport_accepted_total", "Connections accepted since the start")),
        refused_(host.metric(MetricKind::counter, "transport_refused_total", "Connections closed because of connections_max")) {
  }

  /// Counts a connection in, or says no: the listener drains, or `limit` is reached.
  [[nodiscard]] bool enter(std::size_t limit) noexcept {
    const std::lock_guard lock(mutex_);
    if (draining_) return false;
    if (count_ >= limit) {
      refused_.add(1);
      return false;
    }
    ++count_;
    open_.add(1);
    accepted_.add(1);
    return true;
  }
  void left() noexcept {
    const std::lock_guard lock(mutex_);
    open_.add(-1);
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
  Metric& open_;
  Metric& accepted_;
  Metric& refused_;
  mutable std::mutex mutex_;
  std::condition_variable empty_;
  std::size_t count_ = 0;
  bool draining_ = false;
};

}  // namespace streambus::transport_common
