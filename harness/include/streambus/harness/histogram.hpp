#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace streambus::harness {

/// A log-linear histogram of non-negative integers (nanoseconds, mostly) with HdrHistogram's bucket layout at three
/// significant digits: a recorded value is reported within 0.1 %. Merge histograms; never average percentiles.
/// Not thread-safe: one per thread, merged afterwards.
class Histogram {
 public:
  Histogram();

  /// Counts one value; a negative one is counted apart (a clock that went back) and is not part of the distribution.
  void record(std::int64_t value) noexcept;
  void merge(const Histogram& other);
  void reset() noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t negatives() const noexcept { return negatives_; }
  [[nodiscard]] std::int64_t min() const noexcept { return count_ == 0 ? 0 : min_; }
  [[nodiscard]] std::int64_t max() const noexcept { return max_; }
  [[nodiscard]] double mean() const noexcept;

  /// The smallest reported value that at least `quantile` (0..1) of the samples do not exceed; 0 without samples.
  [[nodiscard]] std::int64_t value_at(double quantile) const noexcept;

  /// The same, but only where the samples carry it: at least 10 / (1 - quantile) of them.
  [[nodiscard]] std::optional<std::int64_t> supported_value_at(double quantile) const noexcept;

 private:
  // 2048 linear sub-buckets, each further power of two halves the resolution: 1024 more slots per power.
  static constexpr int kSubBucketBits = 11;
  static constexpr std::int64_t kSubBuckets = std::int64_t{1} << kSubBucketBits;
  static constexpr std::int64_t kHalf = kSubBuckets / 2;

  [[nodiscard]] static std::size_t slot_of(std::int64_t value) noexcept;
  /// The largest value that shares the slot.
  [[nodiscard]] static std::int64_t highest_in(std::size_t slot) noexcept;

  std::vector<std::uint64_t> slots_;
  std::uint64_t count_ = 0;
  std::uint64_t negatives_ = 0;
  std::int64_t min_ = INT64_MAX;
  std::int64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace streambus::harness
