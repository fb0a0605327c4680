#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "streambus/plugin/host.hpp"

namespace streambus::transport_acme {

/// Something that waits for a descriptor: a connection or a listener. Used on the loop's thread alone.
class Waiter {
 public:
  Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /// The descriptor is ready for some of these EPOLL* events.
  virtual void ready(std::uint32_t events) noexcept = 0;
  /// The time of Loop::set_deadline() came.
  virtual void due() noexcept {}
  /// Called before the loop waits again, after Loop::touch().
  virtual void settle() noexcept {}
  /// The transport stops: close at once.
  virtual void shut_down() noexcept = 0;

 protected:
  virtual ~Waiter() = default;

 private:
  friend class Loop;
  std::uint32_t interest_ = 0;
  std::int64_t deadline_ = INT64_MAX;
  bool dirty_ = false;
};

/// One thread with an event loop. Sessions are called from here only, one call after the other: what they ask of their
/// connection marks it with touch(), and is done when the call has returned.
class Loop {
 public:
  explicit Loop(Host& host) : host_(host) {}
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  [[nodiscard]] Status start();
  /// Shuts all waiters down, runs what is posted until nobody holds a connection any more (half a second at most), ends the
  /// thread.
  void stop() noexcept;

  /// Runs fn(context) on the thread. Any thread. After stop() on the caller, one at a time.
  void post(void (*fn)(void*) noexcept, void* context) noexcept;

  // On the thread.
  void add(Waiter& waiter);
  void remove(Waiter& waiter, int fd) noexcept;
  [[nodiscard]] const std::set<Waiter*>& waiters() const noexcept { return waiters_; }
  /// Waits for EPOLL* events from now on; 0: for none.
  void watch(Waiter& waiter, int fd, std::uint32_t events) noexcept;
  void set_deadline(Waiter& waiter, std::int64_t monotonic_ns);
  void touch(Waiter& waiter);

  [[nodiscard]] Host& host() const noexcept { return host_; }
  /// Connection objects that somebody still references.
  std::atomic<std::uint32_t> live{0};

 private:
  struct Call {
    void (*fn)(void*) noexcept;
    void* context;
  };

  void run() noexcept;
  void wait() noexcept;
  void run_posted() noexcept;
  void run_due() noexcept;
  [[nodiscard]] int patience_ms() noexcept;

  Host& host_;
  int epoll_ = -1;
  int wake_ = -1;  ///< an eventfd
  std::thread thread_;
  std::atomic<bool> stopping_{false};

  std::mutex mutex_;
  std::vector<Call> posted_;         ///< guarded by mutex_
  bool ended_ = true;                ///< guarded by mutex_
  std::recursive_mutex late_mutex_;  ///< makes calls after the end one at a time

  // Used by the thread alone.
  std::set<Waiter*> waiters_;
  std::set<std::pair<std::int64_t, Waiter*>> deadlines_;
  std::vector<Waiter*> dirty_;
};

}  // namespace streambus::transport_acme
