#include "event_loop.hpp"

#include <chrono>

namespace streambus::client {
namespace {

class SteadyClock final : public Clock {
 public:
  std::int64_t now_ns() noexcept override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
};

}  // namespace

Clock& steady_clock() noexcept {
  static SteadyClock clock;
  return clock;
}

void Timer::at(std::int64_t time_ns) {
  if (time_ns == time_ns_) return;
  cancel();
  if (time_ns == kNever) return;
  time_ns_ = time_ns;
  loop_->timers_.emplace(time_ns, this);
}

void Timer::cancel() noexcept {
  if (time_ns_ == kNever) return;
  loop_->timers_.erase({time_ns_, this});
  time_ns_ = kNever;
}

void EventLoop::start() {
  thread_ = std::thread([this] { thread_main(); });
}

void EventLoop::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  std::vector<Task> dropped;  // destroyed without the lock: tasks own objects
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  dropped.swap(posted_);
}

void EventLoop::post(Task task) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    posted_.push_back(std::move(task));
    wake = std::exchange(sleeping_, false);
  }
  if (wake) wake_.notify_one();
}

bool EventLoop::run(Task task) {
  struct Outcome {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    bool ran = false;
    void finish(bool has_run) {
      const std::lock_guard lock(mutex);
      done = true;
      ran = ran || has_run;
      changed.notify_all();
    }
  };
  // The guard reports a task that is dropped unrun, so that nobody waits for ever.
  struct Guard {
    std::shared_ptr<Outcome> outcome;
    explicit Guard(std::shared_ptr<Outcome> shared) : outcome(std::move(shared)) {}
    Guard(Guard&&) noexcept = default;
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (outcome) outcome->finish(false);
    }
  };
  const auto outcome = std::make_shared<Outcome>();
  post([task = std::move(task), guard = Guard(outcome)]() mutable {
    task();
    guard.outcome->finish(true);
  });
  std::unique_lock lock(outcome->mutex);
  outcome->changed.wait(lock, [&] { return outcome->done; });
  return outcome->ran;
}

bool EventLoop::run_posted() {
  {
    const std::lock_guard lock(mutex_);
    if (posted_.empty()) return false;
    running_.swap(posted_);
  }
  for (Task& task : running_) {
    task();
    task = nullptr;  // frees what the task holds before the next one runs
  }
  running_.clear();
  return true;
}

bool EventLoop::run_timers() {
  bool ran = false;
  while (!timers_.empty() && timers_.begin()->first <= now_ns()) {
    Timer* const timer = timers_.begin()->second;
    timer->cancel();
    timer->fire_();
    ran = true;
  }
  return ran;
}

void EventLoop::run_due() {
  while (run_posted() || run_timers()) {
  }
}

void EventLoop::thread_main() {
  for (;;) {
    run_due();
    std::unique_lock lock(mutex_);
    if (!posted_.empty()) continue;
    if (stopping_) return;
    sleeping_ = true;
    if (timers_.empty()) {
      wake_.wait(lock, [this] { return !posted_.empty() || stopping_; });
    } else {
      const std::chrono::steady_clock::time_point until{std::chrono::nanoseconds(timers_.begin()->first)};
      wake_.wait_until(lock, until, [this] { return !posted_.empty() || stopping_; });
    }
    sleeping_ = false;
  }
}

}  // namespace streambus::client
