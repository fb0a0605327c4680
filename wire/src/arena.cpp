#include "streambus/wire/arena.hpp"

#include <algorithm>
#include <cstdint>
#include <new>

namespace streambus::wire {

void* Arena::allocate(std::size_t bytes, std::size_t alignment) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(position_);
  const std::size_t padding = (alignment - address % alignment) % alignment;
  const auto room = static_cast<std::size_t>(end_ - position_);
  if (padding > room || bytes > room - padding) [[unlikely]]
    return allocate_slowly(bytes);
  std::byte* const memory = position_ + padding;
  position_ = memory + bytes;
  return memory;
}

void* Arena::allocate_slowly(std::size_t bytes) noexcept {
  if (bytes > limits_.bytes_max) return nullptr;
  // A kept block first; those that are too small for this one stay unused until the next reset.
  Block** link = current_ == nullptr ? &first_ : &current_->next;
  while (*link != nullptr && static_cast<std::size_t>((*link)->end() - (*link)->begin()) < bytes) link = &(*link)->next;
  if (*link == nullptr) {
    // Blocks double, but together stay within what reset() keeps as long as the content does: no allocation in steady state.
    const std::size_t doubled = current_ == nullptr ? limits_.block_bytes : current_->bytes * 2;
    const std::size_t room = limits_.keep_bytes > held_bytes_ ? limits_.keep_bytes - held_bytes_ : limits_.block_bytes;
    const std::size_t wanted = std::max(std::min(doubled, room), bytes + kHeaderBytes);
    if (held_bytes_ > limits_.bytes_max || wanted > limits_.bytes_max + kHeaderBytes - held_bytes_) return nullptr;
    void* const memory = ::operator new(wanted, std::nothrow);
    if (memory == nullptr) return nullptr;
    *link = ::new (memory) Block{nullptr, wanted};
    held_bytes_ += wanted;
  }
  enter(*link);
  std::byte* const memory = position_;  // a block starts aligned for everything
  position_ += bytes;
  return memory;
}

void Arena::enter(Block* block) noexcept {
  current_ = block;
  position_ = block == nullptr ? nullptr : block->begin();
  end_ = block == nullptr ? nullptr : block->end();
}

void Arena::free_from(Block** link) noexcept {
  Block* block = *link;
  *link = nullptr;
  while (block != nullptr) {
    Block* const next = block->next;
    held_bytes_ -= block->bytes;
    ::operator delete(block);
    block = next;
  }
}

void Arena::reset() noexcept {
  std::size_t kept = 0;
  Block** link = &first_;
  while (*link != nullptr && kept + (*link)->bytes <= limits_.keep_bytes) {
    kept += (*link)->bytes;
    link = &(*link)->next;
  }
  free_from(link);
  enter(first_);
}

void Arena::trim() noexcept {
  free_from(&first_);
  enter(nullptr);
}

}  // namespace streambus::wire
