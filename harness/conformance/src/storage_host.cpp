#include "streambus/conformance/storage_host.hpp"

namespace streambus::conformance {

StorageHost::StorageHost(FileSystem& files, Workers workers) : files_(files) {
  if (workers == Workers::test) return;
  for (Queue& queue : queues_) {
    for (std::thread& thread : queue.threads) thread = std::thread([this, &queue] { work(queue); });
  }
}

StorageHost::~StorageHost() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (Queue& queue : queues_) {
    for (std::thread& thread : queue.threads) {
      if (thread.joinable()) thread.join();
    }
  }
  (void)run_work();
}

void StorageHost::log(LogLevel, std::string_view text) noexcept {
  const std::lock_guard lock(mutex_);
  log_lines_.emplace_back(text);
}

Metric& StorageHost::metric(MetricKind, std::string_view name, std::string_view) noexcept {
  const std::lock_guard lock(mutex_);
  return metrics_[std::string(name)];
}

std::int64_t StorageHost::monotonic_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void StorageHost::post(WorkClass work, void (*fn)(void*) noexcept, void* context) noexcept {
  {
    const std::lock_guard lock(mutex_);
    queues_[static_cast<std::size_t>(work)].work.push_back({fn, context});
  }
  changed_.notify_all();
}

std::size_t StorageHost::run_work() {
  std::size_t count = 0;
  for (Work next{}; take_work(next); ++count) next.fn(next.context);
  return count;
}

bool StorageHost::take_work(Work& next) {
  const std::lock_guard lock(mutex_);
  for (Queue& queue : queues_) {
    if (queue.work.empty()) continue;
    next = queue.work.front();
    queue.work.pop_front();
    return true;
  }
  return false;
}

void StorageHost::work(Queue& queue) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !queue.work.empty(); });
    if (queue.work.empty()) return;
    const Work next = queue.work.front();
    queue.work.pop_front();
    ++running_;
    lock.unlock();
    next.fn(next.context);
    lock.lock();
    --running_;
    idle_.notify_all();
  }
}

void StorageHost::wait_idle() {
  std::unique_lock lock(mutex_);
  if (!has_threads()) return;
  idle_.wait(lock, [this] { return queues_[0].work.empty() && queues_[1].work.empty() && running_ == 0; });
}

std::int64_t StorageHost::metric_value(const std::string& name) {
  const std::lock_guard lock(mutex_);
  return metrics_[name].value.load();
}

bool StorageHost::logged(std::string_view text) {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(log_lines_, [&](const std::string& line) { return line.find(text) != std::string::npos; });
}

}  // namespace streambus::conformance
