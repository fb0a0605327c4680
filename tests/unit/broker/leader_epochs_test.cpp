#include "leader_epochs.hpp"

#include <gtest/gtest.h>

namespace streambus::broker {
namespace {

void expect_end(const LeaderEpochs& epochs, LeaderEpoch wanted, LeaderEpoch epoch, std::int64_t end) {
  const LeaderEpochs::EpochEnd found = epochs.end_of(wanted, {100});
  EXPECT_EQ(found.epoch, epoch) << wanted;
  EXPECT_EQ(found.end.value, end) << wanted;
}

TEST(LeaderEpochs, BeginAtZero) {
  const LeaderEpochs epochs;
  EXPECT_EQ(epochs.current(), 0);
  expect_end(epochs, 0, 0, 100);
  expect_end(epochs, 1, -1, -1);
  expect_end(epochs, -1, -1, -1);
}

TEST(LeaderEpochs, AnEpochEndsWhereTheNextBegins) {
  LeaderEpochs epochs;
  epochs.raise({0}, {10});
  epochs.raise({0}, {50});
  EXPECT_EQ(epochs.current(), 2);
  expect_end(epochs, 0, 0, 10);
  expect_end(epochs, 1, 1, 50);
  expect_end(epochs, 2, 2, 100);
  expect_end(epochs, 3, -1, -1);
}

TEST(LeaderEpochs, OnesWhoseRecordsAreLostDisappear) {
  LeaderEpochs epochs;
  epochs.raise({0}, {10});
  epochs.raise({0}, {5});  // the log ends before epoch 1 began
  EXPECT_EQ(epochs.starts(), (std::vector<EpochStart>{{0, {0}}, {2, {5}}}));
  expect_end(epochs, 1, 0, 5);
  epochs.raise({0}, {0});
  EXPECT_EQ(epochs.starts(), (std::vector<EpochStart>{{3, {0}}}));
  expect_end(epochs, 1, 1, 0);
}

TEST(LeaderEpochs, OnesThatRetentionRemovedAreForgotten) {
  LeaderEpochs epochs;
  epochs.raise({0}, {10});
  epochs.raise({0}, {20});
  epochs.raise({20}, {30});
  EXPECT_EQ(epochs.starts(), (std::vector<EpochStart>{{2, {20}}, {3, {30}}}));
  for (int i = 0; i < 3000; ++i) epochs.raise({0}, {31 + i});
  EXPECT_LE(epochs.starts().size(), LeaderEpochs::kHistoryMax);
  EXPECT_EQ(epochs.current(), 3003);
}

}  // namespace
}  // namespace streambus::broker
