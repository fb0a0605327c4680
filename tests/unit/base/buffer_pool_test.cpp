#include "streambus/base/buffer_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "allocation_count.hpp"
#include "streambus/base/misuse.hpp"

namespace streambus {
namespace {

constexpr std::size_t kKib = 1024;

BufferPoolSettings pooled() {
  BufferPoolSettings settings;
  settings.plain_malloc = false;  // whatever the environment of the test says
  return settings;
}

BufferPoolSettings one_tier(std::size_t bytes, std::size_t idle_count, std::size_t bytes_max) {
  BufferPoolSettings settings = pooled();
  settings.tiers = {{bytes, idle_count}};
  settings.bytes_max = bytes_max;
  return settings;
}

BufferRef must_get(BufferPool& pool, std::size_t bytes) {
  auto buffer = pool.get(bytes);
  EXPECT_TRUE(buffer.has_value()) << (buffer ? "" : buffer.error().message);
  return buffer ? *std::move(buffer) : BufferRef{};
}

TEST(BufferPoolTest, TakesTheSmallestTierThatHolds) {
  BufferPool pool(pooled());
  const std::pair<std::size_t, std::size_t> expected[] = {{0, 4 * kKib},
                                                          {1, 4 * kKib},
                                                          {4 * kKib, 4 * kKib},
                                                          {4 * kKib + 1, 64 * kKib},
                                                          {64 * kKib, 64 * kKib},
                                                          {64 * kKib + 1, 1024 * kKib},
                                                          {1024 * kKib, 1024 * kKib}};
  for (const auto& [asked, given] : expected) EXPECT_EQ(must_get(pool, asked)->capacity(), given) << asked;
}

TEST(BufferPoolTest, ServesLargerRequestsExactlyAndCountsThem) {
  BufferPool pool(pooled());
  const std::size_t asked = 3'000'001;
  {
    const BufferRef buffer = must_get(pool, asked);
    EXPECT_EQ(buffer->capacity(), asked);
    std::memset(buffer->data(), 1, asked);
    EXPECT_EQ(pool.statistics().oversize.in_use, 1U);
    EXPECT_EQ(pool.statistics().bytes, asked);
  }
  const BufferPoolStatistics after = pool.statistics();
  EXPECT_EQ(after.oversize.misses, 1U);
  EXPECT_EQ(after.oversize.in_use, 0U);
  EXPECT_EQ(after.bytes, 0U) << "an oversize buffer must not be kept";
  EXPECT_EQ(after.bytes_high_water, asked);
}

TEST(BufferPoolTest, RecyclesTheBufferGivenBackLast) {
  BufferPool pool(pooled());
  BufferRef first = must_get(pool, 100);
  const std::byte* const address = first->data();
  pool.put(std::move(first));
  EXPECT_EQ(must_get(pool, 200)->data(), address);
}

TEST(BufferPoolTest, SteadyStateDoesNotAllocate) {
  BufferPool pool(pooled());
  for (const std::size_t bytes : {100U, 5'000U, 100'000U}) must_get(pool, bytes).reset();
  const std::size_t before = test::allocations();
  for (int i = 0; i < 1'000; ++i) {
    for (const std::size_t bytes : {100U, 5'000U, 100'000U}) {
      Buffer* buffer = nullptr;
      ASSERT_TRUE(pool.get(bytes, &buffer).ok());
      buffer->release();
    }
  }
  EXPECT_EQ(test::allocations(), before);
}

TEST(BufferPoolTest, CountsHitsMissesUseAndHighWaterByTier) {
  BufferPool pool(pooled());
  std::vector<BufferRef> held;
  for (int i = 0; i < 5; ++i) held.push_back(must_get(pool, 100));
  held.resize(2);
  for (int i = 0; i < 2; ++i) held.push_back(must_get(pool, 100));
  const BufferRef other = must_get(pool, 10'000);

  const BufferPoolStatistics statistics = pool.statistics();
  ASSERT_EQ(statistics.tiers.size(), 3U);
  const BufferTierStatistics& small = statistics.tiers[0];
  EXPECT_EQ(small.bytes, 4 * kKib);
  EXPECT_EQ(small.misses, 5U);
  EXPECT_EQ(small.hits, 2U);
  EXPECT_EQ(small.in_use, 4U);
  EXPECT_EQ(small.idle, 1U);
  EXPECT_EQ(small.high_water, 5U);
  EXPECT_EQ(statistics.tiers[1].in_use, 1U);
  EXPECT_EQ(statistics.tiers[2].misses, 0U);
  EXPECT_EQ(statistics.bytes, 5 * 4 * kKib + 64 * kKib);
}

TEST(BufferPoolTest, AnswersBusyAtItsBoundAndServesAgainAfterARelease) {
  BufferPool pool(one_tier(64 * kKib, 16, 256 * kKib));
  std::vector<BufferRef> held;
  for (int i = 0; i < 4; ++i) held.push_back(must_get(pool, 1));
  const auto refused = pool.get(1);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::busy);
  EXPECT_EQ(pool.statistics().refused, 1U);
  held.pop_back();
  EXPECT_TRUE(pool.get(1).has_value());
}

TEST(BufferPoolTest, RefusesForGoodWhatCanNeverFit) {
  BufferPool pool(one_tier(4 * kKib, 16, 64 * kKib));
  const auto refused = pool.get(64 * kKib + 1);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::too_large);
  EXPECT_FALSE(is_retriable(refused.error().code));
  EXPECT_TRUE(pool.get(64 * kKib).has_value());
}

TEST(BufferPoolTest, FreesIdleBuffersOfOtherSizesBeforeItSaysBusy) {
  BufferPoolSettings settings = pooled();
  settings.tiers = {{4 * kKib, 128}, {64 * kKib, 8}};
  settings.bytes_max = 256 * kKib;
  BufferPool pool(settings);
  {
    std::vector<BufferRef> held;
    for (int i = 0; i < 64; ++i) held.push_back(must_get(pool, 1));
  }
  ASSERT_EQ(pool.statistics().bytes, 256 * kKib);
  EXPECT_TRUE(pool.get(64 * kKib).has_value());
  EXPECT_TRUE(pool.get(256 * kKib).has_value()) << "the 64 KiB buffer is idle by now";
  EXPECT_LE(pool.statistics().bytes_high_water, 256 * kKib);
}

TEST(BufferPoolTest, KeepsNoMoreIdleBuffersThanConfigured) {
  BufferPool pool(one_tier(4 * kKib, 10, 4096 * kKib));
  {
    std::vector<BufferRef> held;
    for (int i = 0; i < 100; ++i) held.push_back(must_get(pool, 1));
  }
  const BufferPoolStatistics statistics = pool.statistics();
  EXPECT_LE(statistics.tiers[0].idle, 10U);
  EXPECT_GE(statistics.tiers[0].idle, 5U);
  EXPECT_EQ(statistics.bytes, statistics.tiers[0].idle * 4 * kKib);
}

TEST(BufferPoolTest, TrimFreesEverythingIdle) {
  BufferPool pool(pooled());
  {
    std::vector<BufferRef> held;
    for (int i = 0; i < 200; ++i) held.push_back(must_get(pool, 1));
  }
  const BufferRef still_lent = must_get(pool, 1);
  EXPECT_EQ(pool.trim(), 199 * 4 * kKib);
  EXPECT_EQ(pool.statistics().bytes, 4 * kKib);
  EXPECT_EQ(pool.statistics().tiers[0].idle, 0U);
}

TEST(BufferPoolTest, TrimUnusedKeepsWhatTheLoadNeeds) {
  BufferPool pool(pooled());
  const auto load = [&](int buffers) {
    std::vector<BufferRef> held;
    for (int i = 0; i < buffers; ++i) held.push_back(must_get(pool, 1));
  };
  load(300);
  pool.trim_unused();
  load(100);
  pool.trim_unused();
  const std::uint64_t kept = pool.statistics().tiers[0].idle;
  EXPECT_LT(kept, 300U);
  EXPECT_GE(kept, 100U);
  pool.trim_unused();
  EXPECT_EQ(pool.statistics().tiers[0].idle, 0U) << "nobody needed any since the last call";
}

TEST(BufferPoolTest, BuffersOutliveThePoolAndThePoolOutlivesThreads) {
  BufferRef survivor;
  {
    BufferPool pool(pooled());
    const std::byte* address = nullptr;
    std::thread([&] {
      BufferRef buffer = must_get(pool, 1);
      address = buffer->data();
    }).join();
    survivor = must_get(pool, 1);
    EXPECT_EQ(survivor->data(), address) << "what an ended thread gave back must be found by another, on any processor";
  }
  std::memset(survivor->data(), 7, survivor->capacity());
  EXPECT_EQ(survivor->data()[survivor->capacity() - 1], std::byte{7});
  survivor.reset();  // frees the buffer and what was left of the pool: the leak checker of the asan build watches
}

TEST(BufferPoolTest, PlainMallocKeepsNothing) {
  ASSERT_EQ(setenv("STREAMBUS_BUFFER_POOL", "malloc", 1), 0);
  const BufferPoolSettings settings;
  ASSERT_EQ(unsetenv("STREAMBUS_BUFFER_POOL"), 0);
  EXPECT_TRUE(settings.plain_malloc);
  EXPECT_FALSE(BufferPoolSettings{}.plain_malloc);

  BufferPool pool(settings);
  EXPECT_EQ(must_get(pool, 100)->capacity(), 100U);
  const std::size_t before = test::allocations();
  for (int i = 0; i < 10; ++i) must_get(pool, 100).reset();
  EXPECT_EQ(test::allocations() - before, test::kCountsAllocations ? 10U : 0U);
  EXPECT_EQ(pool.statistics().oversize.misses, 11U);
  EXPECT_EQ(pool.statistics().bytes, 0U);
}

TEST(BufferPoolTest, ABoundBelowATierLeavesTheTierOut) {
  BufferPoolSettings settings = pooled();
  settings.bytes_max = 32 * kKib;
  BufferPool pool(settings);
  EXPECT_EQ(pool.statistics().tiers.size(), 1U);
  EXPECT_EQ(must_get(pool, 20 * kKib)->capacity(), 20 * kKib);
}

TEST(BufferPoolTest, ChecksItsSettings) {
  BufferPoolSettings settings = pooled();
  EXPECT_TRUE(settings.check().has_value());
  settings.tiers = {{64 * kKib, 1}, {4 * kKib, 1}};
  EXPECT_EQ(settings.check().error().message,
            "buffer pool: expected tier sizes above 0 in ascending order, found 4096 after 65536");
  settings.tiers.resize(9);
  EXPECT_EQ(settings.check().error().message, "buffer pool: expected at most 8 tiers, found 9");
}

/// A bounded queue between threads, so that buffers are released elsewhere than they were taken.
class Handover {
 public:
  void push(BufferRef buffer) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return queue_.size() < 32; });
    queue_.push_back(std::move(buffer));
    filled_.notify_one();
  }
  BufferRef pop() {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [&] { return !queue_.empty(); });
    BufferRef buffer = std::move(queue_.front());
    queue_.pop_front();
    room_.notify_one();
    return buffer;
  }

 private:
  std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable filled_;
  std::deque<BufferRef> queue_;
};

/// A buffer says who filled it; two holders of one buffer would see each other's mark.
void mark(Buffer& buffer, std::uint64_t value) {
  std::memcpy(buffer.data(), &value, sizeof value);
  std::memcpy(buffer.data() + buffer.capacity() - sizeof value, &value, sizeof value);
}
bool is_marked(Buffer& buffer) {
  return std::memcmp(buffer.data(), buffer.data() + buffer.capacity() - sizeof(std::uint64_t), sizeof(std::uint64_t)) == 0;
}

TEST(BufferPoolTest, ThreadsShareItWhileTheyHandBuffersOver) {
  BufferPoolSettings settings = pooled();
  settings.tiers = {{4 * kKib, 1024}, {16 * kKib, 1024}, {32 * kKib, 1024}};  // all that can be lent may also be idle
  BufferPool pool(settings);
  constexpr int kPairs = 4;
  constexpr int kRounds = 5'000;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  std::vector<Handover> handovers(kPairs);
  for (int pair = 0; pair < kPairs; ++pair) {
    threads.emplace_back([&, pair] {
      std::mt19937 random(static_cast<unsigned>(pair));
      for (int i = 0; i < kRounds; ++i) {
        BufferRef buffer = must_get(pool, random() % (32 * kKib));
        mark(*buffer, (static_cast<std::uint64_t>(pair) << 32) + static_cast<std::uint64_t>(i));
        handovers[static_cast<std::size_t>(pair)].push(std::move(buffer));
      }
    });
    threads.emplace_back([&, pair] {
      for (int i = 0; i < kRounds; ++i) {
        const BufferRef buffer = handovers[static_cast<std::size_t>(pair)].pop();
        std::uint64_t found = 0;
        std::memcpy(&found, buffer->data(), sizeof found);
        if (!is_marked(*buffer) || found != (static_cast<std::uint64_t>(pair) << 32) + static_cast<std::uint64_t>(i)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  std::uint64_t gets = 0;
  for (const BufferTierStatistics& tier : pool.statistics().tiers) {
    gets += tier.hits + tier.misses;
    EXPECT_EQ(tier.in_use, 0U);
    EXPECT_LE(tier.misses, 33U * kPairs * 2) << "buffers given back elsewhere must be found again";
  }
  EXPECT_EQ(gets, std::uint64_t{kPairs} * kRounds);
}

TEST(BufferPoolTest, NeverPassesItsBoundUnderContention) {
  constexpr std::size_t kBound = 32 * 4 * kKib;
  BufferPoolSettings settings = pooled();
  settings.tiers = {{4 * kKib, 16}, {16 * kKib, 4}};
  settings.bytes_max = kBound;
  BufferPool pool(settings);
  std::atomic<int> served{0};
  std::atomic<int> unexpected{0};
  std::barrier start(16);
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 16; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      std::vector<BufferRef> held;
      start.arrive_and_wait();
      for (int i = 0; i < 2'000; ++i) {
        Buffer* buffer = nullptr;
        const Status status = pool.get(random() % (20 * kKib), &buffer);
        if (status.ok()) {
          ++served;
          mark(*buffer, random());
          held.push_back(BufferRef::adopt(buffer));
        } else if (status.code != ErrorCode::busy) {
          ++unexpected;
        }
        if (!status.ok() || held.size() == 4) {
          for (const BufferRef& one : held) unexpected += is_marked(*one) ? 0 : 1;
          held.clear();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(served, 0);
  EXPECT_EQ(unexpected, 0);
  const BufferPoolStatistics statistics = pool.statistics();
  EXPECT_LE(statistics.bytes_high_water, kBound);
  for (const BufferTierStatistics& tier : statistics.tiers) EXPECT_EQ(tier.in_use, 0U);
  pool.trim();
  EXPECT_EQ(pool.statistics().bytes, 0U);
}

TEST(BufferPoolTest, TrimAndStatisticsRunBesideTheTraffic) {
  BufferPool pool(pooled());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        const BufferRef one = must_get(pool, 1);
        const BufferRef two = must_get(pool, 10'000);
        mark(*one, 1);
      }
    });
  }
  for (int i = 0; i < 500; ++i) {
    pool.trim_unused();
    (void)pool.trim();
    (void)pool.statistics();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool.statistics().tiers[0].in_use, 0U);
}

using BufferPoolDeathTest = testing::Test;

TEST(BufferPoolDeathTest, StopsOnADoubleRelease) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        BufferPool pool(pooled());
        Buffer* buffer = nullptr;
        (void)pool.get(1, &buffer);
        buffer->release();
        buffer->release();
        (void)pool.get(1, &buffer);  // builds without the checks notice here
      },
      "released more often than referenced");
}

TEST(BufferPoolDeathTest, StopsOnAWriteAfterGivingBack) {
  if (!kMisuseChecks) GTEST_SKIP() << "needs a debug or address-sanitizer build";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        BufferPool pool(pooled());
        Buffer* buffer = nullptr;
        (void)pool.get(1, &buffer);
        std::byte* const stale = buffer->data();
        buffer->release();
        stale[100] = std::byte{1};
        (void)pool.get(1, &buffer);
      },
      "use-after-poison|written after it was given back");
}

TEST(BufferPoolDeathTest, RefusesSettingsThatDoNotPassTheCheck) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(BufferPool pool(one_tier(0, 1, kKib)), "settings.check");
}

}  // namespace
}  // namespace streambus
