#pragma once
// A Host for tests of protocol and transport plugins: a clock that stands still until moved, captured log lines, counted
// metrics, background work that runs when the test says so.

#include <atomic>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "streambus/base/buffer_pool.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus::test {

class FakeMetric final : public Metric {
 public:
  void add(std::int64_t amount) noexcept override { value.fetch_add(amount); }
  void set(std::int64_t amount) noexcept override { value.store(amount); }
  std::atomic<std::int64_t> value{0};
};

/// Lends from a real pool, and fails on demand.
class FakeBuffers final : public BufferSource {
 public:
  explicit FakeBuffers(const BufferPoolSettings& settings) : pool(settings) {}
  Status get(std::size_t bytes, Buffer** out) noexcept override {
    ++gets;
    if (exhausted.load()) return {ErrorCode::busy, "exhausted by the test"};
    return pool.get(bytes, out);
  }
  /// Bytes lent now.
  [[nodiscard]] std::uint64_t lent_bytes() const {
    const BufferPoolStatistics statistics = pool.statistics();
    std::uint64_t bytes = 0;
    for (const BufferTierStatistics& tier : statistics.tiers) bytes += tier.in_use * tier.bytes;
    return bytes + statistics.oversize.in_use;  // counted, not weighed
  }
  BufferPool pool;
  std::atomic<bool> exhausted{false};
  std::atomic<std::size_t> gets{0};
};

class FakeHost final : public Host {
 public:
  explicit FakeHost(const BufferPoolSettings& settings = {}) : buffers_(settings) {}

  [[nodiscard]] std::string_view instance_name() const noexcept override { return "test"; }
  [[nodiscard]] bool log_enabled(LogLevel level) const noexcept override { return level >= LogLevel::info; }
  void log(LogLevel, std::string_view text) noexcept override {
    const std::lock_guard lock(mutex_);
    log_lines_.emplace_back(text);
  }
  [[nodiscard]] Metric& metric(MetricKind, std::string_view name, std::string_view) noexcept override {
    const std::lock_guard lock(mutex_);
    return metrics_[std::string(name)];
  }
  [[nodiscard]] std::int64_t monotonic_ns() noexcept override { return now_ns.load(); }
  [[nodiscard]] TimestampMs wall_ms() noexcept override { return 1'700'000'000'000; }
  [[nodiscard]] BufferSource& buffers() noexcept override { return buffers_; }
  void post(WorkClass, void (*fn)(void*) noexcept, void* context) noexcept override {
    const std::lock_guard lock(mutex_);
    work_.push_back({fn, context});
  }
  [[nodiscard]] FileSystem& files() noexcept override { std::abort(); }
  [[nodiscard]] DurabilitySink& durability() noexcept override { std::abort(); }

  // For the test.
  [[nodiscard]] FakeBuffers& fake_buffers() noexcept { return buffers_; }
  [[nodiscard]] std::vector<std::string> log_lines() {
    const std::lock_guard lock(mutex_);
    return log_lines_;
  }
  [[nodiscard]] std::int64_t metric_value(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return metrics_[name].value.load();
  }
  /// Runs what was posted on the calling thread. Returns how much.
  std::size_t run_work() {
    std::size_t count = 0;
    while (true) {
      Work work{};
      {
        const std::lock_guard lock(mutex_);
        if (work_.empty()) return count;
        work = work_.front();
        work_.pop_front();
      }
      work.fn(work.context);
      ++count;
    }
  }
  std::atomic<std::int64_t> now_ns{1'000'000'000};

 private:
  struct Work {
    void (*fn)(void*) noexcept;
    void* context;
  };
  FakeBuffers buffers_;
  std::mutex mutex_;
  std::vector<std::string> log_lines_;
  std::map<std::string, FakeMetric> metrics_;
  std::deque<Work> work_;
};

}  // namespace streambus::test
