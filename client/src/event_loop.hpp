#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace streambus::client {

/// Monotonic time in nanoseconds; replaced by tests. Thread-safe.
class Clock {
 public:
  Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  virtual ~Clock() = default;
  [[nodiscard]] virtual std::int64_t now_ns() noexcept = 0;
};

/// The clock of the machine.
[[nodiscard]] Clock& steady_clock() noexcept;

inline constexpr std::int64_t kMillisecond = 1'000'000;
inline constexpr std::int64_t kNever = INT64_MAX;

class Timer;

/// The one thread on which all state machines of a client run: pool, metadata, senders, fetchers. None of them needs a lock,
/// and a test can drive them by hand with a clock of its own (run_due() instead of start()). Shared with those who may still
/// post from threads of others after stop(): sessions of a transport that goes on.
class EventLoop {
 public:
  using Task = std::move_only_function<void()>;

  explicit EventLoop(Clock& clock) noexcept : clock_(&clock) {}
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop() { stop(); }

  /// Starts the thread.
  void start();
  /// Runs what was posted until now, then ends the thread. Tasks posted later are dropped. Not from the loop's thread.
  void stop() noexcept;
  /// Runs the task on the loop's thread, in order of posting; never inline. Any thread.
  void post(Task task);
  /// Posts and waits until the task has run; false when the loop is stopped. Not from the loop's thread.
  bool run(Task task);

  /// True on the loop's thread. False on all threads where none was started.
  [[nodiscard]] bool in_loop() const noexcept { return thread_.get_id() == std::this_thread::get_id(); }

  [[nodiscard]] std::int64_t now_ns() noexcept { return clock_->now_ns(); }

  /// Runs all posted tasks and all timers that are due; what they post too. For the thread, and for tests without one.
  void run_due();

 private:
  friend class Timer;

  void thread_main();
  [[nodiscard]] bool run_posted();
  [[nodiscard]] bool run_timers();

  Clock* clock_;
  std::set<std::pair<std::int64_t, Timer*>> timers_;  ///< loop thread only
  std::vector<Task> running_;                         ///< loop thread only; kept for its memory
  std::thread thread_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Task> posted_;  ///< guarded by mutex_
  bool sleeping_ = false;     ///< guarded by mutex_
  bool stopping_ = false;     ///< guarded by mutex_: the thread ends when it has nothing to do
  bool stopped_ = false;      ///< guarded by mutex_: nothing runs any more
};

/// Calls a function once at a time. Used on the loop's thread only; destroyed before its loop.
class Timer {
 public:
  Timer(EventLoop& loop, std::function<void()> fire) : loop_(&loop), fire_(std::move(fire)) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { cancel(); }

  /// Replaces an earlier time. kNever cancels.
  void at(std::int64_t time_ns);
  void cancel() noexcept;
  [[nodiscard]] std::int64_t time_ns() const noexcept { return time_ns_; }

 private:
  friend class EventLoop;

  EventLoop* loop_;
  std::function<void()> fire_;
  std::int64_t time_ns_ = kNever;
};

}  // namespace streambus::client
