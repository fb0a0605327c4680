#pragma once
// The leader epochs of a partition (KIP-101, KIP-320): which epoch began at which offset.

#include <vector>

#include "streambus/base/ids.hpp"

namespace streambus::broker {

struct EpochStart {
  LeaderEpoch epoch = 0;
  Offset start;
  friend bool operator==(const EpochStart&, const EpochStart&) noexcept = default;
};

/// Epochs in ascending order, never empty. Not thread-safe.
class LeaderEpochs {
 public:
  static constexpr std::size_t kHistoryMax = 1000;

  LeaderEpochs() : starts_{{0, {0}}} {}
  explicit LeaderEpochs(std::vector<EpochStart> starts) : starts_(std::move(starts)) {
    if (starts_.empty()) starts_.push_back({0, {0}});
  }

  [[nodiscard]] LeaderEpoch current() const noexcept { return starts_.back().epoch; }
  [[nodiscard]] const std::vector<EpochStart>& starts() const noexcept { return starts_; }

  /// Begins a new epoch at `end`, the end of what is left of the log: epochs that began at or beyond it hold nothing now.
  /// Those that end at or below `log_start` are forgotten.
  void raise(Offset log_start, Offset end);

  struct EpochEnd {
    LeaderEpoch epoch = -1;
    Offset end = kNoOffset;
  };
  /// The largest epoch not above `wanted` and where it ends (`log_end` for the current one); {-1, -1} above the current one.
  /// Below the first known epoch: `wanted` itself, ending where the first known one begins.
  [[nodiscard]] EpochEnd end_of(LeaderEpoch wanted, Offset log_end) const noexcept;

 private:
  std::vector<EpochStart> starts_;
};

}  // namespace streambus::broker
