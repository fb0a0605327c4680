#include "key_offsets.hpp"

#include <algorithm>
#include <new>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace streambus::broker {
namespace {

constexpr std::size_t kKeysMin = 64;

}  // namespace

KeyHash hash_key(Bytes key) noexcept {
  const XXH128_hash_t hash = XXH3_128bits(key.data(), key.size());
  return {hash.low64, hash.high64};
}

bool KeyOffsets::allocate(std::size_t keys) noexcept {
  release();
  for (keys = std::max(keys, kKeysMin);; keys /= 2) {
    const std::size_t slots = keys + keys / 3 + 1;
    slots_.reset(new (std::nothrow) Slot[slots]);
    if (slots_ == nullptr && keys > kKeysMin) continue;
    slot_count_ = slots;
    size_max_ = keys;
    return slots_ != nullptr;
  }
}

void KeyOffsets::release() noexcept {
  slots_.reset();
  slot_count_ = size_ = size_max_ = 0;
}

KeyOffsets::Slot& KeyOffsets::slot_of(const KeyHash& key) const noexcept {
  std::size_t at = key.low % slot_count_;
  while (slots_[at].offset != kNoOffset && slots_[at].key != key) at = at + 1 == slot_count_ ? 0 : at + 1;
  return slots_[at];
}

bool KeyOffsets::put(const KeyHash& key, Offset offset) noexcept {
  Slot& slot = slot_of(key);
  if (slot.offset == kNoOffset) {
    if (size_ == size_max_) return false;
    ++size_;
    slot.key = key;
  }
  slot.offset = offset;
  return true;
}

Offset KeyOffsets::find(const KeyHash& key) const noexcept { return slots_ == nullptr ? kNoOffset : slot_of(key).offset; }

}  // namespace streambus::broker
