#pragma once
// Which offset a key has last: what one pass of compaction knows. Keys are known by 128 bits of hash: that two of 2^32 keys
// share them is less likely than 1 in 10^19.

#include <cstdint>
#include <memory>

#include "streambus/base/bytes.hpp"
#include "streambus/base/ids.hpp"

namespace streambus::broker {

struct KeyHash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const KeyHash&) const noexcept = default;
};
[[nodiscard]] KeyHash hash_key(Bytes key) noexcept;

/// A table of fixed size, three quarters of which are used. Not thread-safe.
class KeyOffsets {
 public:
  /// What a key takes, the unused quarter included.
  static constexpr std::size_t kBytesPerKey = 32;

  /// Room for `keys` keys, or fewer where memory runs out; false where there is none for any.
  [[nodiscard]] bool allocate(std::size_t keys) noexcept;
  void release() noexcept;

  /// Remembers the offset, over an earlier one of the same key. False: the key is new and the table is full.
  [[nodiscard]] bool put(const KeyHash& key, Offset offset) noexcept;
  /// kNoOffset where the key is not known.
  [[nodiscard]] Offset find(const KeyHash& key) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  struct Slot {
    KeyHash key;
    Offset offset = kNoOffset;  ///< kNoOffset: free
  };
  [[nodiscard]] Slot& slot_of(const KeyHash& key) const noexcept;

  std::unique_ptr<Slot[]> slots_;
  std::size_t slot_count_ = 0;
  std::size_t size_ = 0;
  std::size_t size_max_ = 0;
};

}  // namespace streambus::broker
