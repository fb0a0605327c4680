#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "streambus/base/pin.hpp"

namespace streambus::storage_common {

/// Syncs the logs that were appended to, once per interval: calls Log::post_flush(). One thread, and only with durability
/// fsync-interval.
template <class Log>
class IntervalFlusher {
 public:
  IntervalFlusher() = default;
  IntervalFlusher(const IntervalFlusher&) = delete;
  IntervalFlusher& operator=(const IntervalFlusher&) = delete;
  ~IntervalFlusher() { stop(); }

  void start(std::int64_t interval_ns) {
    thread_ = std::thread([this, interval_ns] { run(interval_ns); });
  }

  void stop() noexcept {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
    dirty_.clear();
  }

  /// Has the log flushed at the end of the running interval; called once until then. False: not now (no memory, stopping).
  [[nodiscard]] bool add(Ref<Log> log) noexcept {
    try {
      const std::lock_guard lock(mutex_);
      if (stopping_) return false;
      dirty_.push_back(std::move(log));
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

 private:
  void run(std::int64_t interval_ns) noexcept {
    std::vector<Ref<Log>> due;
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::nanoseconds(interval_ns), [this] { return stopping_; })) {
      due.swap(dirty_);
      lock.unlock();
      for (const Ref<Log>& log : due) log->post_flush();
      due.clear();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::vector<Ref<Log>> dirty_;
  std::thread thread_;
};

}  // namespace streambus::storage_common
