#pragma once
// A Host for tests and benchmarks of storage engines: any FileSystem below, worker threads for posted work (or none: the test
// runs it), a durability sink that records, and a wall clock that the test sets.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "streambus/base/buffer_pool.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus::conformance {

/// Records what engines report. Thread-safe.
class RecordingSink final : public DurabilitySink {
 public:
  struct Domain {
    std::uint64_t position = 0;
    std::uint64_t reports = 0;
    std::uint64_t went_back = 0;    ///< reports with a lower position than before: a broken engine
    std::uint64_t repeated = 0;     ///< reports with the same position again: one completion too many
    std::uint64_t after_close = 0;  ///< reports to a domain that was closed
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
    std::unique_lock lock(mutex_);
    Domain& entry = domains_[domain];
    ++entry.reports;
    if (position < entry.position) ++entry.went_back;
    if (position == entry.position) ++entry.repeated;
    if (!entry.open) ++entry.after_close;
    entry.position = std::max(entry.position, position);
    changed_.notify_all();
    if (!on_advanced) return;
    lock.unlock();  // as the core, which answers from here
    on_advanced(domain, position);
  }
  void domain_failed(std::uint32_t domain, const Status& status) noexcept override {
    const std::lock_guard lock(mutex_);
    domains_[domain].failure = status;
    changed_.notify_all();
  }

  /// Called with every report, on the engine's thread. Set before the engine is started.
  std::function<void(std::uint32_t domain, std::uint64_t position)> on_advanced;

  /// Domains that were opened and not closed.
  [[nodiscard]] std::size_t open_domains() {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::ranges::count_if(domains_, [](const auto& entry) { return entry.second.open; }));
  }
  /// All domains that ever were.
  [[nodiscard]] std::map<std::uint32_t, Domain> domains() {
    const std::lock_guard lock(mutex_);
    return domains_;
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

  explicit StorageHost(FileSystem& files, Workers workers = Workers::threads);
  /// Completes what was posted.
  ~StorageHost();

  [[nodiscard]] std::string_view instance_name() const noexcept override { return "test"; }
  [[nodiscard]] bool log_enabled(LogLevel level) const noexcept override { return level >= LogLevel::info; }
  void log(LogLevel level, std::string_view text) noexcept override;
  [[nodiscard]] Metric& metric(MetricKind kind, std::string_view name, std::string_view help) noexcept override;
  [[nodiscard]] std::int64_t monotonic_ns() noexcept override;
  [[nodiscard]] TimestampMs wall_ms() noexcept override { return wall.load(); }
  [[nodiscard]] BufferSource& buffers() noexcept override { return buffers_; }
  void post(WorkClass work, void (*fn)(void*) noexcept, void* context) noexcept override;
  [[nodiscard]] FileSystem& files() noexcept override { return files_; }
  [[nodiscard]] DurabilitySink& durability() noexcept override { return sink; }

  // For the test.
  RecordingSink sink;
  std::atomic<TimestampMs> wall{1'700'000'000'000};

  /// Runs what was posted, on the calling thread. Returns how much.
  std::size_t run_work();
  [[nodiscard]] bool has_threads() const noexcept { return queues_[0].threads[0].joinable(); }
  /// Waits until nothing is posted or running; at once where the test runs the work.
  void wait_idle();
  [[nodiscard]] std::int64_t metric_value(const std::string& name);
  /// True when a logged line contains the text.
  [[nodiscard]] bool logged(std::string_view text);

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

  /// Takes the first posted work of the first queue that has any.
  [[nodiscard]] bool take_work(Work& next);
  void work(Queue& queue);

  FileSystem& files_;
  BufferPool buffers_;
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
