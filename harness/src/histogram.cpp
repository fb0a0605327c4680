#include "streambus/harness/histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace streambus::harness {

Histogram::Histogram() : slots_(static_cast<std::size_t>(kSubBuckets + kHalf * (63 - kSubBucketBits))) {}

std::size_t Histogram::slot_of(std::int64_t value) noexcept {
  const auto bits = std::bit_width(static_cast<std::uint64_t>(value));
  if (bits <= kSubBucketBits) return static_cast<std::size_t>(value);
  const int shift = static_cast<int>(bits) - kSubBucketBits;  // >= 1; value >> shift lies in [kHalf, kSubBuckets)
  return static_cast<std::size_t>(kSubBuckets + kHalf * (shift - 1) + ((value >> shift) - kHalf));
}

std::int64_t Histogram::highest_in(std::size_t slot) noexcept {
  const auto index = static_cast<std::int64_t>(slot);
  if (index < kSubBuckets) return index;
  const std::int64_t shift = (index - kSubBuckets) / kHalf + 1;
  const std::int64_t step = (index - kSubBuckets) % kHalf + kHalf;
  return ((step + 1) << shift) - 1;
}

void Histogram::record(std::int64_t value) noexcept {
  if (value < 0) {
    ++negatives_;
    return;
  }
  ++slots_[slot_of(value)];
  ++count_;
  sum_ += static_cast<double>(value);
  min_ = std::min(min_, value);
  max_ = std::max(max_, value);
}

void Histogram::merge(const Histogram& other) {
  for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i] += other.slots_[i];
  count_ += other.count_;
  negatives_ += other.negatives_;
  sum_ += other.sum_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

void Histogram::reset() noexcept {
  std::ranges::fill(slots_, 0);
  count_ = negatives_ = 0;
  min_ = INT64_MAX;
  max_ = 0;
  sum_ = 0;
}

double Histogram::mean() const noexcept { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

std::int64_t Histogram::value_at(double quantile) const noexcept {
  if (count_ == 0) return 0;
  const double wanted = std::ceil(std::clamp(quantile, 0.0, 1.0) * static_cast<double>(count_));
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t seen = 0;
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    seen += slots_[slot];
    if (seen >= rank) return std::min(highest_in(slot), max_);
  }
  return max_;
}

std::optional<std::int64_t> Histogram::supported_value_at(double quantile) const noexcept {
  if (quantile < 1 && static_cast<double>(count_) < 10.0 / (1.0 - quantile)) return std::nullopt;
  return value_at(quantile);
}

}  // namespace streambus::harness
