#pragma once

#include <algorithm>
#include <cstdint>
#include <random>

#include "event_loop.hpp"

namespace streambus::client {

/// How long to wait after failures in a row: doubles from the first delay up to the bound, with a jitter of 20 % either way,
/// so that many clients do not come back at the same moment. One thread at a time.
class Backoff {
 public:
  Backoff(std::int64_t first_ms, std::int64_t max_ms, std::uint64_t seed)
      : first_ms_(first_ms), max_ms_(max_ms), random_(seed) {}

  /// Nanoseconds to wait when `failures` attempts failed before the one that did now.
  [[nodiscard]] std::int64_t after_ns(std::uint32_t failures) {
    const std::int64_t delay_ms = std::min(first_ms_ << std::min(failures, 20U), max_ms_);
    return static_cast<std::int64_t>(static_cast<double>(delay_ms * kMillisecond) * jitter_(random_));
  }

 private:
  const std::int64_t first_ms_;
  const std::int64_t max_ms_;
  std::mt19937_64 random_;
  std::uniform_real_distribution<double> jitter_{0.8, 1.2};
};

}  // namespace streambus::client
