#include "leader_epochs.hpp"

#include <algorithm>

namespace streambus::broker {

void LeaderEpochs::raise(Offset log_start, Offset end) {
  const LeaderEpoch next = current() + 1;
  while (!starts_.empty() && starts_.back().start >= end) starts_.pop_back();
  while (starts_.size() > 1 && (starts_[1].start <= log_start || starts_.size() >= kHistoryMax)) starts_.erase(starts_.begin());
  starts_.push_back({next, end});
}

LeaderEpochs::EpochEnd LeaderEpochs::end_of(LeaderEpoch wanted, Offset log_end) const noexcept {
  if (wanted == current()) return {wanted, log_end};
  const auto above = std::upper_bound(starts_.begin(), starts_.end(), wanted,
                                      [](LeaderEpoch epoch, const EpochStart& entry) { return epoch < entry.epoch; });
  if (above == starts_.end() || wanted < 0) return {};
  if (above == starts_.begin()) return {wanted, above->start};
  return {std::prev(above)->epoch, above->start};
}

}  // namespace streambus::broker
