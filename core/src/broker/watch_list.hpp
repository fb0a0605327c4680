#pragma once
// The long polls that wait for one partition.

#include <atomic>
#include <mutex>

#include "streambus/plugin/broker.hpp"

namespace streambus::broker {

/// Watches of one partition, linked through themselves. Thread-safe. Its mutex is the innermost lock of the broker:
/// data_available() is called under it.
///
/// Nothing is missed: a writer publishes its offset and then looks at the count, a watch is counted and then looks at the
/// offset, all sequentially consistent; one of the two sees the other.
class WatchList {
 public:
  /// Registers; false, and not registered, when `visible` is beyond the watch's offset already or the list is closed.
  [[nodiscard]] bool add(FetchWatch& watch, const std::atomic<std::int64_t>& visible) noexcept;

  /// After it returns data_available() is not running. Harmless when the watch was woken already.
  void remove(FetchWatch& watch) noexcept;

  /// Wakes the watches below `visible`, which was stored with sequential consistency before. One load where there is none.
  void wake(std::int64_t visible) noexcept {
    if (count_.load(std::memory_order_seq_cst) != 0) wake_waiting(visible);
  }

  /// Wakes all, and refuses new ones.
  void close() noexcept;

 private:
  void wake_waiting(std::int64_t visible) noexcept;
  void unlink(FetchWatch& watch) noexcept;

  std::atomic<std::uint32_t> count_{0};
  std::mutex mutex_;
  // Guarded by mutex_. A watch is in the list when it is the head or has a previous one.
  FetchWatch* head_ = nullptr;
  bool closed_ = false;
};

}  // namespace streambus::broker
