#include "streambus/harness/histogram.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace streambus::harness {
namespace {

TEST(Histogram, SmallValuesAreExact) {
  Histogram histogram;
  for (int value = 0; value < 2048; ++value) histogram.record(value);
  EXPECT_EQ(histogram.value_at(0.5), 1023);
  EXPECT_EQ(histogram.value_at(1), 2047);
  EXPECT_EQ(histogram.min(), 0);
  EXPECT_DOUBLE_EQ(histogram.mean(), 1023.5);
}

TEST(Histogram, EveryMagnitudeIsWithinATenthOfAPercent) {
  for (int bit = 11; bit < 62; ++bit) {
    for (const std::int64_t value : {(std::int64_t{1} << bit) - 1, std::int64_t{1} << bit, (std::int64_t{1} << bit) + 12345}) {
      Histogram histogram;
      histogram.record(value);
      histogram.record(INT64_MAX);  // so that the maximum does not hide the slot's own value
      const std::int64_t reported = histogram.value_at(0.5);
      EXPECT_GE(reported, value);
      EXPECT_LE(static_cast<double>(reported - value), 0.001 * static_cast<double>(value)) << value;
    }
  }
}

TEST(Histogram, PercentilesAgreeWithSortedSamples) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> latency(11, 1.2);
  Histogram histogram;
  std::vector<std::int64_t> samples;
  for (int i = 0; i < 50'000; ++i) {
    samples.push_back(static_cast<std::int64_t>(latency(random)));
    histogram.record(samples.back());
  }
  std::ranges::sort(samples);
  for (const double quantile : {0.01, 0.5, 0.9, 0.99, 0.999}) {
    const auto rank = static_cast<std::size_t>(std::ceil(quantile * static_cast<double>(samples.size())));
    const auto exact = static_cast<double>(samples[rank - 1]);
    EXPECT_NEAR(static_cast<double>(histogram.value_at(quantile)), exact, exact * 0.001 + 1) << quantile;
  }
}

TEST(Histogram, MergingIsTheSameAsRecordingAll) {
  Histogram left;
  Histogram right;
  Histogram both;
  for (int i = 0; i < 1000; ++i) {
    (i % 3 == 0 ? left : right).record(i * 977);
    both.record(i * 977);
  }
  left.merge(right);
  EXPECT_EQ(left.count(), both.count());
  for (const double quantile : {0.1, 0.5, 0.99}) EXPECT_EQ(left.value_at(quantile), both.value_at(quantile));
  EXPECT_EQ(left.max(), both.max());
  EXPECT_EQ(left.min(), both.min());
}

TEST(Histogram, NegativeValuesAreCountedApart) {
  Histogram histogram;
  histogram.record(-5);
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.negatives(), 1U);
  EXPECT_EQ(histogram.value_at(0.5), 0);
}

TEST(Histogram, APercentileNeedsEnoughSamples) {
  Histogram histogram;
  for (int i = 0; i < 999; ++i) histogram.record(i);
  EXPECT_TRUE(histogram.supported_value_at(0.9).has_value());
  EXPECT_FALSE(histogram.supported_value_at(0.99).has_value());
  histogram.record(1);
  EXPECT_TRUE(histogram.supported_value_at(0.99).has_value());
}

}  // namespace
}  // namespace streambus::harness
