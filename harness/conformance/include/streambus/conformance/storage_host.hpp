#pragma once
// A Host for tests and benchmarks of storage engines: any FileSystem below, worker threads for posted work (or none: the test
// runs it), a durability sink that records, and a wall clock that the test sets.

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "streambus/plugin/host.hpp"

namespace streambus::conformance {

/// Records what engines report. Thread-safe.
class RecordingSink final : public DurabilitySink {
 public:
  struct Domain {
    std::uint64_t position = 0;
    std::uint64_t reports = 0;
    std::uint64_t went_back = 0;  ///< reports with a lower position than before: a broken engine
    bool open = true;
    Status failure;
  };

  [[nodiscard]] std::uint32_t open_domain() noexcept override {
    const std::lock_guard lock(mutex_);
    domains_[next_];
    return next_++;
  }
  void close_domain(std::uint32_t domain) noexcept override {
    const std::lock_guard lock(mutex_);
    domains_[domain].open = false;
  }
  void durable_advanced(std::uint32_t domain, std::uint64_t position) noexcept override {
    const std::lock_guard lock(mutex_);
    Domain& entry = domains_[domain];
    ++entry.reports;
    if (position < entry.position) ++entry.went_back;
    entry.position = std::max(entry.position, position);
    changed_.notify_all();
  }
  void domain_failed(std::uint32_t domain, const Status& status) noexcept override {
    const std::lock_guard lock(mutex_);
    domains_[domain].failure = status;
    changed_.notify_all();
  }

  [[nodiscard]] Domain of(std::uint32_t domain) {
    const std::lock_guard lock(mutex_);
    return domains_[domain];
  }
  /// Waits until the position is durable (true) or the domain failed (false). A position of 0 is durable already.
  [[nodiscard]] bool wait(std::uint32_t domain, std::uint64_t position) {
    std::unique_lock lock(mutex_);
    Domain& entry = domains_[domain];
    const bool in_time =
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return entry.position >= position || !entry.failure.ok(); });
    return in_time && entry.position >= position;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint32_t, Domain> domains_;
  std::uint32_t next_ = 1;
};

class StorageHost final : public Host {
 public:
  enum class Workers : std::uint8_t {
    threads,  ///< two for each class of work
    test,     ///< posted work waits for run_work()
  };

  explicit StorageHost(FileSystem& files, Workers workers = Workers::threads) : files_(files) {
    if (workers == Workers::test) return;
    for (Queue& queue : queues_) {
      for (std::thread& thread : queue.threads) thread = std::thread([this, &queue] { work(queue); });
    }
  }
  /// Completes what was posted.
  ~StorageHost() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (Queue& queue : queues_) {
      for (std::thread& thread : queue.threads) {
        if (thread.joinable()) thread.join();
      }
    }
    (void)run_work();
  }

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
  [[nodiscard]] std::int64_t monotonic_ns() noexcept override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  [[nodiscard]] TimestampMs wall_ms() noexcept override { return wall.load(); }
  [[nodiscard]] BufferSource& buffers() noexcept override { std::abort(); }  // no engine of ours borrows any
  void post(WorkClass work, void (*fn)(void*) noexcept, void* context) noexcept override {
    {
      const std::lock_guard lock(mutex_);
      queues_[static_cast<std::size_t>(work)].work.push_back({fn, context});
    }
    changed_.notify_all();
  }
  [[nodiscard]] FileSystem& files() noexcept override { return files_; }
  [[nodiscard]] DurabilitySink& durability() noexcept override { return sink; }

  // For the test.
  RecordingSink sink;
  std::atomic<TimestampMs> wall{1'700'000'000'000};

  /// Runs what was posted, on the calling thread. Returns how much.
  std::size_t run_work() {
    for (std::size_t count = 0;; ++count) {
      Work next{};
      {
        const std::lock_guard lock(mutex_);
        Queue* const queue = !queues_[0].work.empty() ? &queues_[0] : !queues_[1].work.empty() ? &queues_[1] : nullptr;
        if (queue == nullptr) return count;
        next = queue->work.front();
        queue->work.pop_front();
      }
      next.fn(next.context);
    }
  }
  /// Waits until nothing is posted or running.
  void wait_idle() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return queues_[0].work.empty() && queues_[1].work.empty() && running_ == 0; });
  }
  [[nodiscard]] std::int64_t metric_value(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return metrics_[name].value.load();
  }
  /// True when a logged line contains the text.
  [[nodiscard]] bool logged(std::string_view text) {
    const std::lock_guard lock(mutex_);
    for (const std::string& line : log_lines_) {
      if (line.find(text) != std::string::npos) return true;
    }
    return false;
  }

 private:
  struct Work {
    void (*fn)(void*) noexcept;
    void* context;
  };
  struct Queue {
    std::deque<Work> work;
    std::thread threads[2];
  };
  class CountedMetric final : public Metric {
   public:
    void add(std::int64_t amount) noexcept override { value.fetch_add(amount, std::memory_order_relaxed); }
    void set(std::int64_t amount) noexcept override { value.store(amount, std::memory_order_relaxed); }
    std::atomic<std::int64_t> value{0};
  };

  void work(Queue& queue) {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stopping_ || !queue.work.empty(); });
      if (queue.work.empty()) return;
      const Work next = queue.work.front();
      queue.work.pop_front();
      ++running_;
      lock.unlock();
      next.fn(next.context);
      lock.lock();
      --running_;
      idle_.notify_all();
    }
  }

  FileSystem& files_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable idle_;
  bool stopping_ = false;
  int running_ = 0;
  Queue queues_[2];
  std::vector<std::string> log_lines_;
  std::map<std::string, CountedMetric> metrics_;
};

}  // namespace streambus::conformance

namespace streambus::test {
using namespace streambus::conformance;  // unit tests name their doubles here
}
