#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace streambus::transport_common {

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

/// A binary heap of times, one entry per item, that knows where each item stands: re-keying costs O(log n) and no
/// allocation. Not thread-safe: one per thread.
class DeadlineQueue {
 public:
  /// What an entry of the queue derives from. Must be removed before it is destroyed.
  class Item {
   public:
    /// When the queue looks at the item next; kNever: it is not queued.
    [[nodiscard]] std::int64_t scheduled_at() const noexcept { return at_; }

   protected:
    ~Item() = default;

   private:
    friend class DeadlineQueue;
    static constexpr std::size_t kNoSlot = std::numeric_limits<std::size_t>::max();
    std::size_t slot_ = kNoSlot;
    std::int64_t at_ = kNever;
  };

  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
  [[nodiscard]] std::int64_t earliest() const noexcept { return heap_.empty() ? kNever : heap_.front()->at_; }
  [[nodiscard]] Item& top() const noexcept { return *heap_.front(); }

  /// Queues the item for `at`, or moves it there; kNever removes it.
  void schedule(Item& item, std::int64_t at) {
    if (at == kNever) return remove(item);
    item.at_ = at;
    if (item.slot_ == Item::kNoSlot) {
      item.slot_ = heap_.size();
      heap_.push_back(&item);
    }
    sift_down(sift_up(item.slot_));
  }

  void remove(Item& item) noexcept {
    if (item.slot_ == Item::kNoSlot) return;
    const std::size_t slot = std::exchange(item.slot_, Item::kNoSlot);
    item.at_ = kNever;
    Item* last = heap_.back();
    heap_.pop_back();
    if (last == &item) return;
    place(last, slot);
    sift_down(sift_up(slot));
  }

 private:
  void place(Item* item, std::size_t slot) noexcept {
    heap_[slot] = item;
    item->slot_ = slot;
  }

  std::size_t sift_up(std::size_t slot) noexcept {
    Item* item = heap_[slot];
    while (slot > 0 && item->at_ < heap_[(slot - 1) / 2]->at_) {
      place(heap_[(slot - 1) / 2], slot);
      slot = (slot - 1) / 2;
    }
    place(item, slot);
    return slot;
  }

  void sift_down(std::size_t slot) noexcept {
    Item* item = heap_[slot];
    for (;;) {
      std::size_t child = 2 * slot + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && heap_[child + 1]->at_ < heap_[child]->at_) ++child;
      if (item->at_ <= heap_[child]->at_) break;
      place(heap_[child], slot);
      slot = child;
    }
    place(item, slot);
  }

  std::vector<Item*> heap_;
};

}  // namespace streambus::transport_common
