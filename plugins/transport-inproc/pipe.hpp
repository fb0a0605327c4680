#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>

#include "transport-common/slice_queue.hpp"

namespace streambus::transport_inproc {

/// How one direction of a connection ended.
enum class PipeEnd : std::uint8_t {
  open,
  finished,  ///< all that was written can still be read
  broken,    ///< one side closed before everything was read
};

/// One direction of a connection: slices on their way from the writing end to the reading end. One writer, one reader,
/// each on its own thread.
class Pipe {
 public:
  /// Queues slices and says how much is not read then; 0 when there was nothing to queue or the pipe is not open. By the
  /// writer.
  [[nodiscard]] std::uint64_t write(std::span<const Slice> slices, Pin* keep) {
    const std::lock_guard lock(mutex_);
    if (end_ != PipeEnd::open) return 0;
    const std::uint64_t before = slices_.bytes();
    slices_.push(slices, keep);
    const std::uint64_t added = slices_.bytes() - before;
    return added == 0 ? 0 : bytes_.fetch_add(added, std::memory_order_relaxed) + added;
  }

  /// Written and not read yet. Any thread.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }

  /// Any thread.
  [[nodiscard]] bool is_broken() const noexcept { return broken_.load(std::memory_order_acquire); }

  /// Moves all that is queued to the reader, for whom it still counts as not read. Says how the pipe stands after that.
  [[nodiscard]] PipeEnd take(transport_common::SliceQueue& out) {
    const std::lock_guard lock(mutex_);
    if (!slices_.empty()) out.take(slices_);
    return end_;
  }
  /// The reader copied so many bytes; returns how many were not read before.
  std::uint64_t read(std::uint64_t bytes) noexcept { return bytes_.fetch_sub(bytes, std::memory_order_relaxed); }

  /// Ends the pipe; the first end stays. `broken` drops what was not taken.
  void end(PipeEnd how) noexcept {
    transport_common::SliceQueue dropped;  // pins are released after the lock
    const std::lock_guard lock(mutex_);
    if (end_ == PipeEnd::open) {
      end_ = how;
      broken_.store(how == PipeEnd::broken, std::memory_order_release);
    }
    if (how != PipeEnd::broken || slices_.empty()) return;
    bytes_.fetch_sub(slices_.bytes(), std::memory_order_relaxed);
    dropped.take(slices_);
  }

 private:
  std::mutex mutex_;
  transport_common::SliceQueue slices_;  // guarded by mutex_
  PipeEnd end_ = PipeEnd::open;          // guarded by mutex_
  std::atomic<bool> broken_{false};      // end_ == broken, readable without the lock
  std::atomic<std::uint64_t> bytes_{0};
};

}  // namespace streambus::transport_inproc
