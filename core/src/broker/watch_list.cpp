#include "watch_list.hpp"

#include <limits>

namespace streambus::broker {

bool WatchList::add(FetchWatch& watch, const std::atomic<std::int64_t>& visible) noexcept {
  const std::lock_guard lock(mutex_);
  if (closed_) return false;
  watch.previous = nullptr;
  watch.next = head_;
  if (head_ != nullptr) head_->previous = &watch;
  head_ = &watch;
  count_.fetch_add(1, std::memory_order_seq_cst);
  if (visible.load(std::memory_order_seq_cst) <= watch.beyond.value) return true;
  unlink(watch);
  return false;
}

void WatchList::remove(FetchWatch& watch) noexcept {
  const std::lock_guard lock(mutex_);
  if (head_ == &watch || watch.previous != nullptr) unlink(watch);
}

void WatchList::close() noexcept {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  wake_waiting(std::numeric_limits<std::int64_t>::max());
}

void WatchList::wake_waiting(std::int64_t visible) noexcept {
  const std::lock_guard lock(mutex_);
  for (FetchWatch* watch = head_; watch != nullptr;) {
    FetchWatch* const next = watch->next;
    if (watch->beyond.value < visible) {
      unlink(*watch);
      watch->data_available();
    }
    watch = next;
  }
}

void WatchList::unlink(FetchWatch& watch) noexcept {
  (watch.previous != nullptr ? watch.previous->next : head_) = watch.next;
  if (watch.next != nullptr) watch.next->previous = watch.previous;
  watch.next = watch.previous = nullptr;
  count_.fetch_sub(1, std::memory_order_seq_cst);
}

}  // namespace streambus::broker
