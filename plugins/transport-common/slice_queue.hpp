#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "streambus/base/pin.hpp"
#include "streambus/base/slice.hpp"

namespace streambus::transport_common {

/// Slices that wait to be sent, in order, with the pins that keep them alive. Consumed from the front by bytes.
/// Allocates only to grow; keeps a small capacity when it runs empty and gives a large one back.
/// Not thread-safe.
class SliceQueue {
 public:
  SliceQueue() = default;
  SliceQueue(const SliceQueue&) = delete;
  SliceQueue& operator=(const SliceQueue&) = delete;
  ~SliceQueue() { clear(); }

  [[nodiscard]] bool empty() const noexcept { return head_ == entries_.size(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size() - head_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] const Slice& at(std::size_t index) const noexcept { return entries_[head_ + index].slice; }
  [[nodiscard]] const Slice& front() const noexcept { return at(0); }

  /// Appends the slices that are not empty. One reference on `keep` (may be null) until the last of them is consumed.
  void push(std::span<const Slice> slices, Pin* keep) {
    const std::size_t before = entries_.size();
    for (const Slice& slice : slices) {
      if (slice.bytes == 0) continue;
      entries_.push_back({slice, nullptr});
      bytes_ += slice.bytes;
    }
    if (keep == nullptr || entries_.size() == before) return;
    keep->add_ref();
    entries_.back().keep = keep;
  }

  /// Takes `count` bytes (at most bytes()) off the front and releases the pins of what is finished.
  void consume(std::uint64_t count) noexcept {
    bytes_ -= count;
    while (count > 0) {
      Slice& slice = entries_[head_].slice;
      if (count < slice.bytes) {
        slice.bytes -= count;
        if (slice.is_file()) {
          slice.file_position += count;
        } else {
          slice.data += count;
        }
        break;
      }
      count -= slice.bytes;
      Pin* keep = entries_[head_].keep;
      ++head_;
      if (keep != nullptr) keep->release();
    }
    tidy();
  }

  /// Moves everything of `other` to the end of this queue.
  void take(SliceQueue& other) {
    if (empty()) {
      clear();
      entries_.swap(other.entries_);
      std::swap(head_, other.head_);
      std::swap(bytes_, other.bytes_);
      return;
    }
    entries_.insert(entries_.end(), other.entries_.begin() + static_cast<std::ptrdiff_t>(other.head_), other.entries_.end());
    bytes_ += other.bytes_;
    other.entries_.clear();
    other.head_ = 0;
    other.bytes_ = 0;
  }

  /// Drops everything that is queued.
  void clear() noexcept {
    for (; head_ < entries_.size(); ++head_) {
      if (entries_[head_].keep != nullptr) entries_[head_].keep->release();
    }
    bytes_ = 0;
    tidy();
  }

 private:
  struct Entry {
    Slice slice;
    Pin* keep;
  };
  static constexpr std::size_t kEntriesKept = 64;

  /// Keeps the consumed front from growing without bound, and idle connections small.
  void tidy() noexcept {
    if (empty()) {
      entries_.clear();
      head_ = 0;
      if (entries_.capacity() > kEntriesKept) std::vector<Entry>().swap(entries_);
    } else if (head_ > kEntriesKept && head_ > entries_.size() / 2) {
      entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(head_));
      head_ = 0;
    }
  }

  std::vector<Entry> entries_;
  std::size_t head_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace streambus::transport_common
