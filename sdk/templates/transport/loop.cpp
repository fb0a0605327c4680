#include "loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

namespace streambus::transport_acme {

Loop::~Loop() {
  if (epoll_ >= 0) ::close(epoll_);
  if (wake_ >= 0) ::close(wake_);
}

Status Loop::start() {
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (epoll_ < 0 || wake_ < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) != 0)
    return errno_status("cannot make an event loop", errno);
  ended_ = false;
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    ended_ = true;
    return errno_status("cannot start a thread", error.code().value());
  }
  return {};
}

void Loop::stop() noexcept {
  if (!thread_.joinable()) return;
  post(
      [](void* context) noexcept {
        auto& self = *static_cast<Loop*>(context);
        const std::vector<Waiter*> all(self.waiters_.begin(), self.waiters_.end());
        for (Waiter* waiter : all) waiter->shut_down();
        self.stopping_ = true;
      },
      this);
  thread_.join();
}

void Loop::post(void (*fn)(void*) noexcept, void* context) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!ended_) {
      posted_.push_back({fn, context});
      if (posted_.size() > 1) return;  // woken already
      const std::uint64_t one = 1;
      [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
      return;
    }
  }
  const std::lock_guard late(late_mutex_);
  fn(context);
}

void Loop::add(Waiter& waiter) {
  waiters_.insert(&waiter);
  if (stopping_) waiter.shut_down();
}

void Loop::remove(Waiter& waiter, int fd) noexcept {
  watch(waiter, fd, 0);
  set_deadline(waiter, INT64_MAX);
  std::erase(dirty_, &waiter);
  waiters_.erase(&waiter);
}

void Loop::watch(Waiter& waiter, int fd, std::uint32_t events) noexcept {
  if (fd < 0 || events == waiter.interest_) return;
  // Not watched at all without interest: a hang-up would be reported for ever.
  const int operation = events == 0 ? EPOLL_CTL_DEL : waiter.interest_ == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  epoll_event event{.events = events, .data = {.ptr = &waiter}};
  if (::epoll_ctl(epoll_, operation, fd, &event) == 0) waiter.interest_ = events;
}

void Loop::set_deadline(Waiter& waiter, std::int64_t monotonic_ns) {
  if (monotonic_ns == waiter.deadline_) return;
  if (waiter.deadline_ != INT64_MAX) deadlines_.erase({waiter.deadline_, &waiter});
  waiter.deadline_ = monotonic_ns;
  if (monotonic_ns != INT64_MAX) deadlines_.insert({monotonic_ns, &waiter});
}

void Loop::touch(Waiter& waiter) {
  if (std::exchange(waiter.dirty_, true)) return;
  dirty_.push_back(&waiter);
}

int Loop::patience_ms() noexcept {
  if (!dirty_.empty()) return 0;
  if (stopping_) return 1;
  if (deadlines_.empty()) return -1;
  const std::int64_t left_ns = deadlines_.begin()->first - host_.monotonic_ns();
  return left_ns <= 0 ? 0 : static_cast<int>(std::min<std::int64_t>(left_ns / 1'000'000 + 1, 1'000'000));
}

void Loop::wait() noexcept {
  constexpr int kEventsMax = 64;
  epoll_event events[kEventsMax];
  const int count = ::epoll_wait(epoll_, events, kEventsMax, patience_ms());
  for (int i = 0; i < count; ++i) {
    auto* const waiter = static_cast<Waiter*>(events[i].data.ptr);
    if (waiter == nullptr) {
      std::uint64_t ignored = 0;
      [[maybe_unused]] const ssize_t read = ::read(wake_, &ignored, sizeof ignored);
    } else if (waiters_.contains(waiter)) {  // not gone by what an earlier event did
      waiter->ready(events[i].events);
    }
  }
}

void Loop::run_posted() noexcept {
  std::vector<Call> calls;
  {
    const std::lock_guard lock(mutex_);
    calls.swap(posted_);
  }
  for (const Call& call : calls) call.fn(call.context);
}

void Loop::run_due() noexcept {
  const std::int64_t now = host_.monotonic_ns();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Waiter& waiter = *deadlines_.begin()->second;
    set_deadline(waiter, INT64_MAX);
    waiter.due();
  }
}

void Loop::run() noexcept {
  constexpr std::int64_t kGoodbyeNs = 500'000'000;
  std::int64_t end = INT64_MAX;
  while (waiters_.size() + live > 0 || !stopping_) {
    wait();
    run_posted();
    run_due();
    std::vector<Waiter*> round;
    round.swap(dirty_);
    for (Waiter* waiter : round) waiter->dirty_ = false;
    for (Waiter* waiter : round) {
      if (waiters_.contains(waiter)) waiter->settle();
    }
    if (!stopping_) continue;
    if (end == INT64_MAX) end = host_.monotonic_ns() + kGoodbyeNs;
    if (waiters_.empty() && host_.monotonic_ns() >= end) break;
  }
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  const std::lock_guard late(late_mutex_);
  run_posted();
}

}  // namespace streambus::transport_acme
