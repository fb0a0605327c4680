#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>

namespace streambus::wire {

/// Sizes of an Arena, in bytes.
struct ArenaLimits {
  std::size_t block_bytes = 4096;        ///< the first block; further ones double, up to keep_bytes together
  std::size_t keep_bytes = 256UL << 10;  ///< blocks beyond this are given back by reset()
  std::size_t bytes_max = 256UL << 20;   ///< the most that one message may take; beyond, allocations fail
};

/// Bump allocator for the arrays of one message at a time. Holds no memory until the first allocation.
/// reset() keeps blocks up to ArenaLimits::keep_bytes, so that in steady state nothing is allocated, and returns the rest,
/// so that one huge message does not pin memory for good. Runs no destructors. One thread at a time; does not block.
class Arena {
 public:
  explicit Arena(const ArenaLimits& limits = {}) noexcept : limits_(limits) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { trim(); }

  /// Memory of undefined content, valid until reset(), trim() or destruction. Null: over bytes_max, or out of memory.
  /// `alignment` is a power of two, at most alignof(std::max_align_t).
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment) noexcept;

  /// Value-initialised elements. An empty span where `count` is positive: over bytes_max, or out of memory.
  template <class T>
  [[nodiscard]] std::span<T> array(std::size_t count) noexcept {
    static_assert(std::is_trivially_destructible_v<T> && std::is_nothrow_default_constructible_v<T>);
    if (count == 0 || count > limits_.bytes_max / sizeof(T)) return {};
    void* const memory = allocate(count * sizeof(T), alignof(T));
    if (memory == nullptr) return {};
    T* const first = static_cast<T*>(memory);
    std::uninitialized_value_construct_n(first, count);
    return {first, count};
  }

  /// A copy of `text` that lives as long as the arena's content. Empty where there is no memory.
  [[nodiscard]] std::string_view copy(std::string_view text) noexcept {
    if (text.empty()) return {};
    void* const memory = allocate(text.size(), 1);
    if (memory == nullptr) return {};
    std::memcpy(memory, text.data(), text.size());
    return {static_cast<const char*>(memory), text.size()};
  }

  /// Forgets the content and keeps at most ArenaLimits::keep_bytes of memory.
  void reset() noexcept;

  /// Forgets the content and gives all memory back: for a connection that falls idle.
  void trim() noexcept;

  /// Memory held, in bytes.
  [[nodiscard]] std::size_t held_bytes() const noexcept { return held_bytes_; }

 private:
  struct Block {
    Block* next;
    std::size_t bytes;  ///< with this header

    [[nodiscard]] std::byte* begin() noexcept { return reinterpret_cast<std::byte*>(this) + kHeaderBytes; }
    [[nodiscard]] std::byte* end() noexcept { return reinterpret_cast<std::byte*>(this) + bytes; }
  };
  static constexpr std::size_t kHeaderBytes = 2 * alignof(std::max_align_t);
  static_assert(sizeof(Block) <= kHeaderBytes);

  [[nodiscard]] void* allocate_slowly(std::size_t bytes) noexcept;
  void enter(Block* block) noexcept;
  void free_from(Block** link) noexcept;

  ArenaLimits limits_;
  Block* first_ = nullptr;
  Block* current_ = nullptr;  ///< blocks behind it in the list are unused
  std::byte* position_ = nullptr;
  std::byte* end_ = nullptr;
  std::size_t held_bytes_ = 0;
};

}  // namespace streambus::wire
