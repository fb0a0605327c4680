#include "streambus/host/services.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <mutex>
#include <semaphore>
#include <thread>
#include <vector>

namespace streambus {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

LogSettings settings(LogFormat format, LogLevel level = LogLevel::info) {
  LogSettings result;
  result.format = format;
  result.level = level;
  return result;
}

template <class Fn>
std::string logged(const LogSettings& log, Fn fn) {
  testing::internal::CaptureStderr();
  {
    Services services({.log = log});
    fn(services);
  }
  return testing::internal::GetCapturedStderr();
}

std::int64_t value_of(const Services& services, std::string_view name, std::string_view instance) {
  for (const MetricSample& sample : services.metrics()) {
    if (sample.name == name && sample.instance == instance) return sample.value;
  }
  return -1;
}

TEST(Services, LogsTextOnOneLineWithTimeLevelAndComponent) {
  const std::string text = logged(settings(LogFormat::text), [](Services& services) {
    services.log(LogLevel::warning, "storage.wal", "two\nlines \"quoted\"");
    services.log(LogLevel::debug, "storage.wal", "not shown");
  });
  EXPECT_THAT(text, MatchesRegex("[0-9]+-[0-9]+-[0-9]+T[0-9:.]+Z warning \\[storage.wal\\] two\\\\nlines \"quoted\"\n"));
}

TEST(Services, LogsJsonWhateverTheTextHolds) {
  const std::string text = logged(
      settings(LogFormat::json), [](Services& services) { services.log(LogLevel::error, "broker", "a \"b\" \\ c\x01\n{}%v"); });
  EXPECT_THAT(text,
              MatchesRegex("\\{\"time\":\"[0-9T:.Z-]+\",\"level\":\"error\",\"component\":\"broker\",\"message\":\".*\"\\}\n"));
  EXPECT_THAT(text, HasSubstr(R"("message":"a \"b\" \\ c\u0001\n{}%v"})"));
}

TEST(Services, BuffersShowInTheMetricsAndAreGivenBackWhenNobodyNeedsThem) {
  ServiceSettings settings;
  settings.buffers.tiers = {{4096, 16}};
  settings.buffers.plain_malloc = false;
  Services services(settings);
  {
    const auto first = get_buffer(services.buffers(), 100);
    const auto large = get_buffer(services.buffers(), 5000);
    ASSERT_TRUE(first && large);
    EXPECT_EQ(value_of(services, "buffer_in_use", "4KiB"), 1);
    EXPECT_EQ(value_of(services, "buffer_misses_total", "oversize"), 1);
  }
  EXPECT_TRUE(get_buffer(services.buffers(), 100));
  EXPECT_EQ(value_of(services, "buffer_hits_total", "4KiB"), 1);
  EXPECT_EQ(value_of(services, "buffer_idle", "4KiB"), 1);
  EXPECT_EQ(services.trim_buffers(), 0U) << "it was needed since the start";
  EXPECT_EQ(services.trim_buffers(), 4096U);
  EXPECT_EQ(value_of(services, "buffer_bytes", ""), 0);
}

TEST(Services, LevelsFollowTheLongestPrefixOfTheComponent) {
  LogSettings log = settings(LogFormat::text, LogLevel::warning);
  log.component_levels = {{"storage", LogLevel::debug}, {"storage.wal", LogLevel::error}};
  Services services({.log = log});
  EXPECT_FALSE(services.log_enabled(LogLevel::info, "broker"));
  EXPECT_TRUE(services.log_enabled(LogLevel::debug, "storage.scratch"));
  EXPECT_FALSE(services.log_enabled(LogLevel::warning, "storage.wal"));
  EXPECT_TRUE(services.log_enabled(LogLevel::error, "storage.wal"));
  EXPECT_FALSE(services.log_enabled(LogLevel::info, "storages")) << "a prefix ends at a dot";
}

TEST(Services, MetricsAreOnePerNameAndInstance) {
  Services services({});
  Metric& first = services.metric(MetricKind::counter, "storage_fsync_total", "wal", "Syncs.");
  Metric& other = services.metric(MetricKind::counter, "storage_fsync_total", "scratch", "Syncs.");
  first.add(2);
  other.set(9);
  services.metric(MetricKind::counter, "storage_fsync_total", "wal", "Syncs.").add(3);
  auto samples = services.metrics();
  EXPECT_TRUE(std::ranges::is_sorted(samples, {}, &MetricSample::name));
  std::erase_if(samples, [](const MetricSample& sample) { return sample.name != "storage_fsync_total"; });
  ASSERT_EQ(samples.size(), 2U);
  EXPECT_EQ(samples[0].instance, "scratch");
  EXPECT_EQ(samples[0].value, 9);
  EXPECT_EQ(samples[1].instance, "wal");
  EXPECT_EQ(samples[1].value, 5);
  EXPECT_EQ(samples[1].help, "Syncs.");
}

TEST(Services, HistogramsKeepCountSumAndQuantiles) {
  Services services({});
  Metric& latency = services.metric(MetricKind::histogram, "storage_append_nanoseconds", "wal", "Appends.");
  for (int i = 0; i < 99; ++i) latency.add(1000);
  latency.add(1'000'000);
  latency.add(0);
  latency.add(-5);  // a clock that went back: the least there is
  const auto samples = services.metrics();
  const auto found = std::ranges::find(samples, "storage_append_nanoseconds", &MetricSample::name);
  ASSERT_NE(found, samples.end());
  EXPECT_EQ(found->count(), 102U);
  EXPECT_EQ(found->value, 99 * 1000 + 1'000'000 - 5);
  EXPECT_EQ(found->buckets[0], 2U);
  EXPECT_EQ(found->buckets[10], 99U) << "1000 has ten binary digits";
  EXPECT_EQ(found->quantile(0.5), 1023);
  EXPECT_EQ(found->quantile(1), (1 << 20) - 1);
  EXPECT_EQ(MetricSample{}.quantile(0.5), 0);
}

TEST(Services, PostedWorkRunsInOrderOnItsOwnThreads) {
  struct Job {
    std::vector<int>* order;
    std::thread::id* thread;
    int number;
  };
  Services services({.background_threads = 1});
  std::vector<int> order;
  std::thread::id thread;
  std::vector<Job> jobs;
  for (int i = 0; i < 1000; ++i) jobs.push_back({&order, &thread, i});
  for (Job& job : jobs) {
    services.post(
        WorkClass::background,
        [](void* context) noexcept {
          const Job& mine = *static_cast<Job*>(context);
          mine.order->push_back(mine.number);
          *mine.thread = std::this_thread::get_id();
        },
        &job);
  }
  services.wait_idle();
  ASSERT_EQ(order.size(), 1000U);
  EXPECT_TRUE(std::ranges::is_sorted(order));
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST(Services, ABlockedClassDelaysNoOther) {
  std::binary_semaphore release{0};  // outlive the work that uses them
  std::binary_semaphore ran{0};
  Services services({.flush_threads = 1, .background_threads = 1});
  services.post(
      WorkClass::flush, [](void* context) noexcept { static_cast<std::binary_semaphore*>(context)->acquire(); }, &release);
  services.post(
      WorkClass::background, [](void* context) noexcept { static_cast<std::binary_semaphore*>(context)->release(); }, &ran);
  ran.acquire();
  release.release();
}

TEST(Services, AllThreadsOfAClassWorkAtOnce) {
  Services services({.background_threads = 3});
  std::latch together{3};  // opens only when three run at the same time
  for (int i = 0; i < 3; ++i) {
    services.post(
        WorkClass::background, [](void* context) noexcept { static_cast<std::latch*>(context)->arrive_and_wait(); }, &together);
  }
  services.wait_idle();
  EXPECT_TRUE(together.try_wait());
}

TEST(Services, WaitIdleWaitsForWhatWasPostedByManyThreads) {
  Services services({});
  std::atomic<int> done{0};
  {
    std::vector<std::jthread> posters;
    for (int t = 0; t < 4; ++t) {
      posters.emplace_back([&] {
        for (int i = 0; i < 500; ++i) {
          services.post(
              i % 2 == 0 ? WorkClass::flush : WorkClass::background,
              [](void* context) noexcept { static_cast<std::atomic<int>*>(context)->fetch_add(1); }, &done);
        }
      });
    }
  }
  services.wait_idle();
  EXPECT_EQ(done.load(), 2000);
}

TEST(Services, DestructionRunsWhatIsQueued) {
  std::atomic<int> done{0};
  {
    Services services({.background_threads = 1});
    for (int i = 0; i < 100; ++i) {
      services.post(
          WorkClass::background, [](void* context) noexcept { static_cast<std::atomic<int>*>(context)->fetch_add(1); }, &done);
    }
  }
  EXPECT_EQ(done.load(), 100);
}

TEST(Services, AHostSpeaksForItsInstance) {
  const std::string text = logged(settings(LogFormat::text, LogLevel::debug), [](Services& services) {
    const auto host = services.make_host({.instance_name = "wal", .component = "storage.wal"});
    EXPECT_EQ(host->instance_name(), "wal");
    EXPECT_TRUE(host->log_enabled(LogLevel::debug));
    EXPECT_FALSE(host->log_enabled(LogLevel::trace));
    host->log(LogLevel::info, "hello");
    host->metric(MetricKind::gauge, "storage_bytes", "Bytes.").set(4);
    EXPECT_EQ(value_of(services, "storage_bytes", "wal"), 4);
    const std::int64_t before = host->monotonic_ns();
    EXPECT_GE(host->monotonic_ns(), before);
    EXPECT_GT(host->wall_ms(), 1'700'000'000'000);
    Buffer* buffer = nullptr;
    ASSERT_TRUE(host->buffers().get(100, &buffer).ok());
    EXPECT_GE(buffer->capacity(), 100U);
    buffer->release();
  });
  EXPECT_THAT(text, HasSubstr("[storage.wal] hello"));
}

TEST(ServicesDeathTest, FilesAndDurabilityAreForStorages) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Services services({});
  const auto host = services.make_host({.instance_name = "x", .component = "codec.x"});
  EXPECT_DEATH((void)host->files(), "");
  EXPECT_DEATH((void)host->durability(), "");
}

}  // namespace
}  // namespace streambus
