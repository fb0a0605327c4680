#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "streambus/base/buffer.hpp"
#include "streambus/base/buffers.hpp"

namespace streambus {

/// True when the environment has STREAMBUS_BUFFER_POOL=malloc: pools then keep nothing, to measure what they are worth.
[[nodiscard]] bool plain_malloc_requested() noexcept;

/// One size of buffer that a pool recycles.
struct BufferTier {
  std::size_t bytes;       ///< capacity of its buffers
  std::size_t idle_count;  ///< how many unused ones are kept; more are made on demand and freed when given back
};

/// How a BufferPool is made.
struct BufferPoolSettings {
  static constexpr std::size_t kTiersMax = 8;

  /// Ascending sizes, at most kTiersMax. A request takes the smallest tier that holds it.
  /// Tiers above bytes_max are left out.
  std::vector<BufferTier> tiers{{std::size_t{4} << 10, 1024}, {std::size_t{64} << 10, 256}, {std::size_t{1} << 20, 32}};
  /// Bound on the memory of all buffers, lent or idle. At the bound idle ones are freed first, then get() answers busy.
  std::size_t bytes_max = std::size_t{512} << 20;
  /// Allocates every buffer with malloc at its exact size and frees it when given back.
  bool plain_malloc = plain_malloc_requested();

  /// What is wrong with the settings, if anything (invalid_argument).
  [[nodiscard]] Result<> check() const;
};

/// Counters of one tier since the pool was made.
struct BufferTierStatistics {
  std::size_t bytes = 0;         ///< capacity of one buffer; 0: the buffers above the largest tier, of any size
  std::uint64_t hits = 0;        ///< gets served with a recycled buffer
  std::uint64_t misses = 0;      ///< gets that allocated
  std::uint64_t in_use = 0;      ///< buffers lent now
  std::uint64_t high_water = 0;  ///< most buffers that existed at once; without trimming also the most lent at once
  std::uint64_t idle = 0;        ///< buffers kept for reuse now
};

struct BufferPoolStatistics {
  std::vector<BufferTierStatistics> tiers;  ///< as configured
  BufferTierStatistics oversize;            ///< larger than the largest tier: served exactly, never recycled
  std::uint64_t refused = 0;                ///< gets answered with busy or no_space
  std::size_t bytes = 0;                    ///< memory of all buffers now, lent or idle
  std::size_t bytes_high_water = 0;
  std::size_t bytes_max = 0;
};

/// Recycles buffers of a few sizes. Thread-safe throughout; get and release of a pooled size take neither a blocking lock nor
/// malloc in steady state: idle buffers wait in one short stack per processor, the rest in a common one per size. Nothing is
/// allocated up front. Buffers may outlive the pool: the last one given back frees what is left.
///
/// Debug and address-sanitizer builds stop the program on a double release, on a write into a buffer that was given back
/// and on a write into bytes that were shared by slicing.
class BufferPool final : public BufferSource {
 public:
  /// `settings` must pass check().
  explicit BufferPool(const BufferPoolSettings& settings = {});
  ~BufferPool() override;

  Status get(std::size_t bytes, Buffer** out) noexcept override;

  /// The same with an owning reference. Errors: as BufferSource::get.
  [[nodiscard]] Result<BufferRef> get(std::size_t bytes) { return get_buffer(*this, bytes); }

  /// Gives a reference back; the buffer returns to the pool with the last one. The same as dropping the reference.
  void put(BufferRef buffer) noexcept { buffer.reset(); }

  /// A consistent enough picture: exact when no other thread uses the pool. Takes every lock of the pool for a moment.
  [[nodiscard]] BufferPoolStatistics statistics() const;

  /// Frees all idle buffers. Returns the bytes freed.
  std::size_t trim() noexcept;

  /// Frees the idle buffers that nobody needed since the last call. Meant for a timer: memory follows the load down.
  std::size_t trim_unused() noexcept;

 private:
  class State;
  State* state_;
};

}  // namespace streambus
