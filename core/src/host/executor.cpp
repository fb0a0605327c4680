#include "executor.hpp"

#include <pthread.h>

#include <algorithm>
#include <system_error>
#include <utility>

namespace streambus {

Executor::Executor(std::string name, unsigned threads)
    : name_(std::move(name)), thread_count_(std::max(1U, threads)), ring_(64), running_(thread_count_, kIdle) {
  threads_.reserve(thread_count_);
  threads_.emplace_back([this] { run(0); });
}

Executor::~Executor() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Executor::post(void (*fn)(void*) noexcept, void* context) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (tail_ - head_ == ring_.size()) grow();
    ring_[tail_++ & (ring_.size() - 1)] = {fn, context};
    wake = sleeping_ > 0;
    if (tail_ - head_ > sleeping_ && threads_.size() < thread_count_) start_thread();
  }
  if (wake) work_.notify_one();
}

void Executor::start_thread() noexcept {
  const auto index = static_cast<unsigned>(threads_.size());
  try {
    threads_.emplace_back([this, index] { run(index); });
  } catch (const std::system_error&) {
    // No more threads to be had: the ones that run do the work.
  }
}

void Executor::grow() {
  std::vector<Work> larger(ring_.size() * 2);
  for (std::uint64_t ticket = head_; ticket != tail_; ++ticket) {
    larger[ticket & (larger.size() - 1)] = ring_[ticket & (ring_.size() - 1)];
  }
  ring_ = std::move(larger);
}

void Executor::run(unsigned index) {
  const std::string name = name_ + "-" + std::to_string(index);
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
  std::unique_lock lock(mutex_);
  for (;;) {
    while (head_ == tail_ && !stopping_) {
      ++sleeping_;
      work_.wait(lock);
      --sleeping_;
    }
    if (head_ == tail_) return;
    running_[index] = head_;
    const Work work = ring_[head_++ & (ring_.size() - 1)];
    lock.unlock();
    work.fn(work.context);
    lock.lock();
    running_[index] = kIdle;
    if (waiters_ > 0) done_.notify_all();
  }
}

std::uint64_t Executor::oldest_unfinished() const { return std::min(head_, *std::ranges::min_element(running_)); }

void Executor::wait_idle() {
  std::unique_lock lock(mutex_);
  const std::uint64_t target = tail_;
  ++waiters_;
  done_.wait(lock, [&] { return oldest_unfinished() >= target; });
  --waiters_;
}

}  // namespace streambus
