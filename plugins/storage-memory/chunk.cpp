#include "chunk.hpp"

#include <sys/mman.h>

#include <new>

namespace streambus::storage_memory {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Large chunks are mapped on their own, on huge pages where the system has them: the first touch of 4 KiB pages costs
/// more than the copy.
std::byte* allocate(std::size_t bytes) {
  if (bytes < kHugePage) return static_cast<std::byte*>(::operator new(bytes, std::align_val_t{64}));
  const std::size_t mapped = bytes + kHugePage;
  void* const memory = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  const std::size_t past = reinterpret_cast<std::uintptr_t>(memory) % kHugePage;
  const std::size_t before = past == 0 ? 0 : kHugePage - past;
  std::byte* const aligned = static_cast<std::byte*>(memory) + before;
  if (before > 0) ::munmap(memory, before);
  ::munmap(aligned + bytes, kHugePage - before);  // never empty: less than a huge page lies before
  (void)::madvise(aligned, bytes, MADV_HUGEPAGE);
  return aligned;
}

void unmap(std::byte* memory, std::size_t bytes) noexcept {
  if (bytes < kHugePage) {
    ::operator delete(memory, std::align_val_t{64});
  } else {
    ::munmap(memory, bytes);
  }
}

}  // namespace

Chunk::Chunk(Ref<Pin> pool, std::byte* data, std::size_t capacity) : pool_(std::move(pool)), data_(data), capacity_(capacity) {
  index.reserve(capacity / kIndexInterval + 1);
}

Chunk::~Chunk() { unmap(data_, capacity_); }

void Chunk::dispose() noexcept {
  // The pool's reference must outlive the call, which may delete the chunk.
  const Ref<Pin> pool = std::move(pool_);
  static_cast<ChunkPool*>(pool.get())->give_back(this);
}

std::size_t ChunkPool::tier_of(std::size_t bytes) noexcept {
  std::size_t tier = 0;
  while (tier < kTiers && bytes > kTierBytes[tier]) ++tier;
  return tier;
}

std::size_t ChunkPool::chunk_bytes(std::size_t bytes) noexcept {
  const std::size_t tier = tier_of(bytes);
  return tier < kTiers ? kTierBytes[tier] : (bytes + kHugePage - 1) / kHugePage * kHugePage;
}

Ref<Chunk> ChunkPool::acquire(std::size_t bytes) {
  const std::size_t tier = tier_of(bytes);
  const std::size_t size = chunk_bytes(bytes);
  std::vector<Chunk*> surplus;
  Chunk* chunk = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (lent_ + size > capacity_) return {};
    if (tier < kTiers && !free_[tier].empty()) {
      chunk = free_[tier].back();
      free_[tier].pop_back();
    } else {
      // Memory kept in other sizes counts as well.
      for (std::vector<Chunk*>& free : free_) {
        while (allocated_ + size > capacity_ && !free.empty()) {
          allocated_ -= free.back()->capacity();
          surplus.push_back(free.back());
          free.pop_back();
        }
      }
      allocated_ += size;
    }
    lent_ += size;
  }
  for (Chunk* const other : surplus) destroy(other);
  if (chunk != nullptr) {
    chunk->pool_ = Ref<Pin>::share(this);
    return Ref<Chunk>::adopt(chunk);
  }
  std::byte* memory = nullptr;
  try {
    memory = allocate(size);
    return Ref<Chunk>::adopt(new Chunk(Ref<Pin>::share(this), memory, size));
  } catch (const std::bad_alloc&) {
    if (memory != nullptr) unmap(memory, size);
    const std::lock_guard lock(mutex_);
    lent_ -= size;
    allocated_ -= size;
    throw;
  }
}

void ChunkPool::give_back(Chunk* chunk) noexcept {
  const std::size_t tier = tier_of(chunk->capacity());
  chunk->used = 0;
  chunk->max_timestamp = kNoTimestamp;
  chunk->batch_count = 0;
  chunk->index.clear();
  chunk->reset_reference();
  {
    const std::lock_guard lock(mutex_);
    lent_ -= chunk->capacity();
    if (tier < kTiers) {
      try {
        free_[tier].push_back(chunk);
        return;
      } catch (const std::bad_alloc&) {
        // not kept
      }
    }
    allocated_ -= chunk->capacity();
  }
  destroy(chunk);
}

ChunkPool::~ChunkPool() {
  for (const std::vector<Chunk*>& free : free_) {
    for (Chunk* const chunk : free) destroy(chunk);
  }
}

std::uint64_t ChunkPool::lent_bytes() noexcept {
  const std::lock_guard lock(mutex_);
  return lent_;
}

}  // namespace streambus::storage_memory
