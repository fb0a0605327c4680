#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace streambus {

/// A few threads that run posted work, first come, first served. Thread-safe. The queue is a ring that grows and is kept:
/// posting allocates nothing in steady state.
class Executor {
 public:
  /// `name` (at most 12 characters) shows in the threads' names. The first thread starts at once, the others with the work.
  Executor(std::string name, unsigned threads);
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  /// Runs what is queued, then joins.
  ~Executor();

  void post(void (*fn)(void*) noexcept, void* context);
  /// Returns when all work posted before the call is done. Not from a worker thread of this executor.
  void wait_idle();

 private:
  struct Work {
    void (*fn)(void*) noexcept;
    void* context;
  };
  static constexpr std::uint64_t kIdle = UINT64_MAX;

  void run(unsigned index);
  void grow();
  void start_thread() noexcept;
  [[nodiscard]] std::uint64_t oldest_unfinished() const;

  // Constant after construction.
  const std::string name_;
  const unsigned thread_count_;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::condition_variable work_;
  std::condition_variable done_;
  std::vector<Work> ring_;
  std::uint64_t head_ = 0;              ///< ticket of the next work to run
  std::uint64_t tail_ = 0;              ///< ticket of the next work posted
  std::vector<std::uint64_t> running_;  ///< ticket that each thread works on, or kIdle
  unsigned sleeping_ = 0;
  unsigned waiters_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace streambus
