#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "transport-common/event_thread.hpp"

namespace streambus::transport_inproc {

/// An EventThread that waits on a condition variable.
class InprocThread final : public transport_common::EventThread {
 public:
  explicit InprocThread(Host& host) : EventThread(host) {}
  ~InprocThread() { join(); }

  void start(std::uint32_t number);
  /// Ends the loop and joins the thread. All connections are closed.
  void join() noexcept;

 private:
  void wake() noexcept override;
  void arm_timer(std::int64_t at_ns) noexcept override { timer_ns_ = at_ns; }
  void run() noexcept;
  /// False: stop was asked for.
  [[nodiscard]] bool wait() noexcept;

  std::thread thread_;
  std::int64_t timer_ns_ = transport_common::kNever;  // used by the thread alone

  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;     // guarded by mutex_
  bool stopping_ = false;  // guarded by mutex_
};

}  // namespace streambus::transport_inproc
