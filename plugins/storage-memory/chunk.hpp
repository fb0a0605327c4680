#pragma once
// Memory for batches: chunks of three sizes, recycled while warm, bounded as a whole.

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "streambus/base/ids.hpp"
#include "streambus/base/pin.hpp"

namespace streambus::storage_memory {

class ChunkPool;

/// A run of batches of one partition, and the pin that reads hand out. Goes back to the pool with its last reference.
class Chunk final : public Pin {
 public:
  /// A batch boundary every kIndexInterval bytes.
  struct IndexEntry {
    Offset base;
    std::uint32_t position;
  };
  static constexpr std::size_t kIndexInterval = 32768;

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  // Guarded by the mutex of the log that owns the chunk. Bytes below `used` never change.
  std::size_t used = 0;
  Offset base;
  Offset end;
  TimestampMs max_timestamp = kNoTimestamp;
  std::uint64_t sequence = 0;  ///< order of first use in the whole instance
  std::uint32_t batch_count = 0;
  std::vector<IndexEntry> index;  ///< reserved for all it can hold

 private:
  friend class ChunkPool;
  Chunk(Ref<Pin> pool, std::byte* data, std::size_t capacity);
  ~Chunk() override;
  void dispose() noexcept override;

  Ref<Pin> pool_;  ///< held while lent
  std::byte* const data_;
  const std::size_t capacity_;
};

/// Lends chunks up to a bound. Thread-safe. Outlives the engine as long as slices are in use.
class ChunkPool final : public Pin {
 public:
  static constexpr std::size_t kTiers = 3;
  static constexpr std::size_t kTierBytes[kTiers] = {4096, 65536, std::size_t{2} << 20};

  [[nodiscard]] static Ref<ChunkPool> make(std::uint64_t capacity) { return Ref<ChunkPool>::adopt(new ChunkPool(capacity)); }

  /// A chunk of at least `bytes`, or null where the bound is reached. Throws std::bad_alloc where the system has none.
  [[nodiscard]] Ref<Chunk> acquire(std::size_t bytes);
  /// Bytes of chunks that are lent, by logs or by readers.
  [[nodiscard]] std::uint64_t lent_bytes() noexcept;
  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
  /// What acquire(bytes) would take from the bound.
  [[nodiscard]] static std::size_t chunk_bytes(std::size_t bytes) noexcept;

 private:
  friend class Chunk;
  explicit ChunkPool(std::uint64_t capacity) noexcept : capacity_(capacity) {}
  ~ChunkPool() override;
  void dispose() noexcept override { delete this; }
  void give_back(Chunk* chunk) noexcept;
  static void destroy(Chunk* chunk) noexcept { delete chunk; }
  [[nodiscard]] static std::size_t tier_of(std::size_t bytes) noexcept;

  const std::uint64_t capacity_;
  std::mutex mutex_;
  std::uint64_t lent_ = 0;
  std::uint64_t allocated_ = 0;  ///< lent and kept for reuse
  std::vector<Chunk*> free_[kTiers];
};

}  // namespace streambus::storage_memory
