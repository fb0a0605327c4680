#include "watch_list.hpp"

#include <thread>

#include "fixture.hpp"

namespace streambus::broker {
namespace {

using test::TestWatch;

TEST(WatchList, WakesOnlyThoseThatTheEndHasPassed) {
  WatchList list;
  std::atomic<std::int64_t> visible{5};
  TestWatch near, far;
  near.beyond = {5};
  far.beyond = {9};
  ASSERT_TRUE(list.add(near, visible));
  ASSERT_TRUE(list.add(far, visible));
  list.wake(6);
  EXPECT_EQ(near.wakes.load(), 1);
  EXPECT_EQ(far.wakes.load(), 0);
  list.wake(7);
  EXPECT_EQ(near.wakes.load(), 1) << "woken once per registration";
  list.wake(10);
  EXPECT_EQ(far.wakes.load(), 1);
}

TEST(WatchList, IsNotJoinedWhereDataIsThereAlready) {
  WatchList list;
  std::atomic<std::int64_t> visible{6};
  TestWatch watch;
  watch.beyond = {5};
  EXPECT_FALSE(list.add(watch, visible));
  list.wake(100);
  EXPECT_EQ(watch.wakes.load(), 0);
}

TEST(WatchList, RemovalFromAnyPlaceAndTwice) {
  WatchList list;
  std::atomic<std::int64_t> visible{0};
  TestWatch watches[3];
  for (TestWatch& watch : watches) {
    watch.beyond = {0};
    ASSERT_TRUE(list.add(watch, visible));
  }
  list.remove(watches[1]);
  list.remove(watches[1]);
  list.remove(watches[2]);
  list.wake(1);
  EXPECT_EQ(watches[0].wakes.load(), 1);
  EXPECT_EQ(watches[1].wakes.load() + watches[2].wakes.load(), 0);
  list.remove(watches[0]);
}

TEST(WatchList, AClosedListWakesAllAndTakesNone) {
  WatchList list;
  std::atomic<std::int64_t> visible{0};
  TestWatch before, after;
  before.beyond = after.beyond = {1000};
  ASSERT_TRUE(list.add(before, visible));
  list.close();
  EXPECT_EQ(before.wakes.load(), 1);
  EXPECT_FALSE(list.add(after, visible));
}

TEST(WatchList, NoWakeIsLostAgainstAWriter) {
  WatchList list;
  std::atomic<std::int64_t> visible{0};
  constexpr std::int64_t kOffsets = 20'000;
  std::thread writer([&] {
    for (std::int64_t offset = 1; offset <= kOffsets; ++offset) {
      visible.store(offset, std::memory_order_seq_cst);
      list.wake(offset);
    }
  });
  // A reader that follows the end: a lost wake would leave it waiting for ever.
  for (std::int64_t seen = 0; seen < kOffsets;) {
    TestWatch watch;
    watch.beyond = {seen};
    if (list.add(watch, visible)) {
      while (watch.wakes.load() == 0) std::this_thread::yield();
    }
    list.remove(watch);
    seen = visible.load();
  }
  writer.join();
}

TEST(WatchList, AfterRemovalNothingIsCalled) {
  WatchList list;
  std::atomic<std::int64_t> visible{0};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop.load()) list.wake(1'000'000);
  });
  for (int round = 0; round < 5000; ++round) {
    auto watch = std::make_unique<TestWatch>();  // freed at once: the sanitizers see a late call
    watch->beyond = {0};
    (void)list.add(*watch, visible);
    list.remove(*watch);
  }
  stop.store(true);
  writer.join();
}

}  // namespace
}  // namespace streambus::broker
