#include "io_thread.hpp"

#include <pthread.h>

#include <algorithm>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/post.hpp>
#include <string>
#include <utility>

namespace streambus::transport_tcp {

IoThread::IoThread(Host& host) : EventThread(host), work_(context_.get_executor()), timer_(context_.get_executor()) {}

IoThread::~IoThread() { join(); }

void IoThread::start(std::uint32_t number) {
  thread_ = std::thread([this] { context_.run(); });
  ::pthread_setname_np(thread_.native_handle(), ("sb-tcp-" + std::to_string(number)).c_str());
}

void IoThread::join() noexcept {
  if (!thread_.joinable()) return;
  work_.reset();
  context_.stop();
  thread_.join();
  end();
}

void IoThread::wake() noexcept {
  // One wake-up is under way at most: the next one is asked for after run_posted() took the queue.
  asio::post(context_, asio::bind_allocator(OperationAllocator<std::byte>(wake_memory_), [this] { on_wake(); }));
}

void IoThread::on_wake() noexcept {
  run_posted();
  settle_all();
}

void IoThread::settle_all() noexcept {
  // What is left after these rounds waits until the sockets were looked at.
  constexpr int kRoundsMax = 4;
  for (int round = 0; round < kRoundsMax && has_dirty(); ++round) settle_round();
  if (!has_dirty() || std::exchange(more_asked_, true)) return;
  asio::post(context_, asio::bind_allocator(OperationAllocator<std::byte>(more_memory_), [this] { on_more(); }));
}

void IoThread::on_more() noexcept {
  more_asked_ = false;
  settle_all();
}

void IoThread::arm_timer(std::int64_t at_ns) noexcept {
  // By difference: the host's clock need not have the epoch of steady_clock.
  timer_.expires_after(std::chrono::nanoseconds(std::max<std::int64_t>(at_ns - host().monotonic_ns(), 0)));
  timer_.async_wait(Completion<IoThread, &IoThread::on_timer>{this, &timer_memory_});
}

void IoThread::on_timer(const boost::system::error_code& error) noexcept {
  if (error) return;  // replaced by an earlier time
  run_due();
  settle_all();
}

}  // namespace streambus::transport_tcp
