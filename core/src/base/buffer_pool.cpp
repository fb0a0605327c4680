#include "streambus/base/buffer_pool.hpp"

#include <malloc.h>
#include <sanitizer/asan_interface.h>
#include <sched.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <thread>

#include "streambus/base/assert.hpp"
#include "streambus/base/misuse.hpp"

namespace streambus {
namespace {

constexpr std::size_t kCacheLineBytes = 64;
constexpr std::size_t kMagazineBytes = std::size_t{1} << 20;  // per processor and tier, about what a second-level cache holds
constexpr std::size_t kMagazineBuffersMax = 64;
constexpr std::size_t kShardsTried = 4;
constexpr std::size_t kMallocTrimBytes = std::size_t{1} << 20;

constexpr std::byte kGivenBack{0xdb};
constexpr std::size_t kPatternBytes = std::size_t{64} << 10;  // larger buffers are marked at their start only

MutableBytes pattern_of(Buffer& buffer) noexcept { return buffer.span().first(std::min(buffer.capacity(), kPatternBytes)); }

/// Tiers that the bound has room for; their sizes ascend.
std::size_t tiers_within(const BufferPoolSettings& settings) {
  return static_cast<std::size_t>(
      std::ranges::count_if(settings.tiers, [&](const BufferTier& tier) { return tier.bytes <= settings.bytes_max; }));
}

}  // namespace

bool plain_malloc_requested() noexcept {
  const char* const value = std::getenv("STREAMBUS_BUFFER_POOL");
  return value != nullptr && std::string_view(value) == "malloc";
}

Result<> BufferPoolSettings::check() const {
  if (tiers.size() > kTiersMax) {
    return fail(ErrorCode::invalid_argument,
                "buffer pool: expected at most " + std::to_string(kTiersMax) + " tiers, found " + std::to_string(tiers.size()));
  }
  std::size_t previous = 0;
  for (const BufferTier& tier : tiers) {
    if (tier.bytes <= previous) {
      return fail(ErrorCode::invalid_argument, "buffer pool: expected tier sizes above 0 in ascending order, found " +
                                                   std::to_string(tier.bytes) + " after " + std::to_string(previous));
    }
    previous = tier.bytes;
  }
  return {};
}

/// Everything of a pool. Lives until the pool is gone and its last buffer is freed.
class BufferPool::State {
 public:
  explicit State(const BufferPoolSettings& settings);

  Status get(std::size_t bytes, Buffer** out) noexcept;
  [[nodiscard]] BufferPoolStatistics statistics();
  std::size_t trim(bool unused_only) noexcept;
  /// The pool is going: frees what is idle; whatever comes back later is freed at once.
  void close() noexcept;

 private:
  /// Sits in front of the bytes it lends, in one allocation: the odd stride also keeps equal offsets of buffers from
  /// competing for the same cache sets.
  class alignas(kCacheLineBytes) PooledBuffer final : public Buffer {
   public:
    PooledBuffer(State& owner, std::byte* data, std::size_t capacity, std::size_t tier) noexcept
        : Buffer(data, capacity), owner_(&owner), tier_(tier) {}
    ~PooledBuffer() override = default;

    [[nodiscard]] std::size_t tier() const noexcept { return tier_; }
    /// From idle to lent.
    void lend() noexcept {
      STREAMBUS_ASSERT(references() == 0 && "a buffer was released more often than referenced");
      ASAN_UNPOISON_MEMORY_REGION(data(), capacity());
      if constexpr (kMisuseChecks) {
        STREAMBUS_ASSERT(std::ranges::all_of(pattern_of(*this), [](std::byte byte) { return byte == kGivenBack; }) &&
                         "a buffer was written after it was given back");
      }
      reset_reference();
    }

    PooledBuffer* next = nullptr;  ///< in a list of idle buffers

   private:
    void dispose() noexcept override {
      if constexpr (kMisuseChecks) std::ranges::fill(pattern_of(*this), kGivenBack);
      ASAN_POISON_MEMORY_REGION(data(), capacity());
      owner_->give_back(*this);
    }

    State* owner_;
    std::size_t tier_;
  };
  static_assert(sizeof(PooledBuffer) == kCacheLineBytes);

  /// Idle buffers of one tier, last in first out: the one used last is the one whose bytes are in the cache.
  struct IdleList {
    PooledBuffer* head = nullptr;
    std::size_t count = 0;
    std::size_t count_low = 0;  ///< least since the last trim: so many were needed by nobody

    void push(PooledBuffer& buffer) noexcept {
      buffer.next = head;
      head = &buffer;
      ++count;
    }
    [[nodiscard]] PooledBuffer* pop() noexcept {
      PooledBuffer* const buffer = head;
      if (buffer == nullptr) return nullptr;
      head = buffer->next;
      --count;
      count_low = std::min(count_low, count);
      return buffer;
    }
    /// Takes up to `wanted` buffers off, as a list.
    [[nodiscard]] IdleList split(std::size_t wanted) noexcept {
      IdleList taken;
      while (taken.count < wanted) {
        PooledBuffer* const buffer = pop();
        if (buffer == nullptr) break;
        taken.push(*buffer);
      }
      return taken;
    }
    void append(IdleList list) noexcept {
      while (PooledBuffer* const buffer = list.pop()) push(*buffer);
    }
  };

  struct Magazine {
    IdleList idle;
    std::uint64_t hits = 0;
    std::uint64_t given_back = 0;
  };

  /// The idle buffers of one processor. A thread that finds it locked was moved or interrupted another one: it goes on to
  /// the next shard instead of waiting.
  struct alignas(2 * kCacheLineBytes) Shard {
    std::atomic<bool> locked{false};
    bool closed = false;
    std::array<Magazine, BufferPoolSettings::kTiersMax> tiers;

    [[nodiscard]] bool try_lock() noexcept {
      return !locked.load(std::memory_order_relaxed) && !locked.exchange(true, std::memory_order_acquire);
    }
    void lock() noexcept {
      while (!try_lock()) std::this_thread::yield();
    }
    void unlock() noexcept { locked.store(false, std::memory_order_release); }
  };

  /// What all processors share of one tier; guarded by mutex_.
  struct Depot {
    IdleList idle;
    std::uint64_t hits = 0;
    std::uint64_t given_back = 0;
  };

  /// One size; constant but for the counters of buffers made and freed.
  struct Tier {
    std::size_t bytes = 0;
    std::size_t magazine_max = 0;
    std::size_t depot_max = 0;
    std::atomic<std::uint64_t> misses{0};
    std::atomic<std::uint64_t> existing{0};
    std::atomic<std::uint64_t> existing_high{0};
  };

  [[nodiscard]] std::size_t tier_for(std::size_t bytes) const noexcept {
    std::size_t tier = 0;
    while (tier < tier_count_ && tiers_[tier].bytes < bytes) ++tier;
    return tier;
  }
  [[nodiscard]] Shard* lock_near_shard() noexcept;
  [[nodiscard]] PooledBuffer* get_shared(std::size_t tier) noexcept;
  Status make(std::size_t tier, std::size_t bytes, Buffer** out) noexcept;
  [[nodiscard]] bool reserve(std::size_t bytes) noexcept;
  [[nodiscard]] std::size_t reclaim(std::size_t bytes) noexcept;

  void give_back(PooledBuffer& buffer) noexcept;
  void give_back_shared(std::size_t tier, IdleList list, std::uint64_t given_back) noexcept;
  void free_all(IdleList list) noexcept;
  void free_buffer(PooledBuffer& buffer) noexcept;
  void drop_life() noexcept {
    if (lives_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  // Constant after construction.
  std::size_t bytes_max_;
  std::size_t tier_count_;
  std::size_t shard_count_;
  std::array<Tier, BufferPoolSettings::kTiersMax + 1> tiers_;  // the one after the last: oversize
  std::unique_ptr<Shard[]> shards_;

  std::atomic<std::size_t> lives_{1};  // the pool, and one for each buffer that exists
  std::atomic<std::size_t> bytes_{0};
  std::atomic<std::size_t> bytes_high_{0};
  std::atomic<std::uint64_t> refused_{0};

  // Taken before a shard's lock, never after.
  std::mutex mutex_;
  bool closed_ = false;                                      // guarded by mutex_
  std::array<Depot, BufferPoolSettings::kTiersMax> depots_;  // guarded by mutex_
};

namespace {

template <class T>
void raise_to(std::atomic<T>& high, T value) noexcept {
  T seen = high.load(std::memory_order_relaxed);
  while (seen < value && !high.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

}  // namespace

BufferPool::State::State(const BufferPoolSettings& settings)
    : bytes_max_(settings.bytes_max),
      tier_count_(settings.plain_malloc ? 0 : tiers_within(settings)),
      shard_count_(static_cast<std::size_t>(std::max(get_nprocs_conf(), 1))),
      shards_(std::make_unique<Shard[]>(shard_count_)) {
  for (std::size_t i = 0; i < tier_count_; ++i) {
    const auto [bytes, idle_count] = settings.tiers[i];
    Tier& tier = tiers_[i];
    tier.bytes = bytes;
    tier.magazine_max =
        std::min({std::max<std::size_t>(kMagazineBytes / bytes, 2), kMagazineBuffersMax, idle_count / (2 * shard_count_)});
    tier.depot_max = idle_count - tier.magazine_max * shard_count_;
  }
}

BufferPool::State::Shard* BufferPool::State::lock_near_shard() noexcept {
  const int processor = sched_getcpu();  // a few nanoseconds: glibc reads it from the thread's restartable-sequence area
  std::size_t index = processor < 0 ? 0 : static_cast<std::size_t>(processor) % shard_count_;
  for (std::size_t tries = std::min(shard_count_, kShardsTried); tries != 0; --tries) {
    if (shards_[index].try_lock()) return &shards_[index];
    if (++index == shard_count_) index = 0;
  }
  return nullptr;
}

Status BufferPool::State::get(std::size_t bytes, Buffer** out) noexcept {
  const std::size_t tier = tier_for(bytes);
  if (tier == tier_count_) return make(tier, bytes, out);
  PooledBuffer* buffer = nullptr;
  if (Shard* const shard = lock_near_shard()) {
    buffer = shard->tiers[tier].idle.pop();
    if (buffer != nullptr) ++shard->tiers[tier].hits;
    shard->unlock();
  }
  if (buffer == nullptr) [[unlikely]] {
    buffer = get_shared(tier);
    if (buffer == nullptr) return make(tier, tiers_[tier].bytes, out);
  }
  buffer->lend();
  *out = buffer;
  return {};
}

/// From the depot, with some more for this processor's next gets; else from any other processor.
BufferPool::State::PooledBuffer* BufferPool::State::get_shared(std::size_t tier) noexcept {
  IdleList taken;
  {
    const std::lock_guard lock(mutex_);
    Depot& depot = depots_[tier];
    taken = depot.idle.split(tiers_[tier].magazine_max / 2 + 1);
    if (taken.count != 0) ++depot.hits;
  }
  if (PooledBuffer* const buffer = taken.pop()) {
    if (taken.count == 0) return buffer;
    if (Shard* const shard = lock_near_shard()) {
      IdleList& idle = shard->tiers[tier].idle;
      while (!shard->closed && idle.count < tiers_[tier].magazine_max && taken.count != 0) idle.push(*taken.pop());
      shard->unlock();
    }
    if (taken.count != 0) give_back_shared(tier, taken, 0);
    return buffer;
  }
  for (std::size_t i = 0; i < shard_count_; ++i) {
    Shard& shard = shards_[i];
    if (!shard.try_lock()) continue;
    PooledBuffer* const buffer = shard.tiers[tier].idle.pop();
    if (buffer != nullptr) ++shard.tiers[tier].hits;
    shard.unlock();
    if (buffer != nullptr) return buffer;
  }
  return nullptr;
}

Status BufferPool::State::make(std::size_t tier, std::size_t bytes, Buffer** out) noexcept {
  if (bytes > bytes_max_) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return {ErrorCode::too_large, "a buffer larger than the bound of the buffer pool was asked for; raise the bound"};
  }
  if (!reserve(bytes)) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return {ErrorCode::busy, "the buffer pool lends all that its bound allows; try again when buffers came back"};
  }
  void* const memory = ::operator new(sizeof(PooledBuffer) + bytes, std::align_val_t{kCacheLineBytes}, std::nothrow);
  if (memory == nullptr) {
    bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    refused_.fetch_add(1, std::memory_order_relaxed);
    return {ErrorCode::no_space, "out of memory for a buffer"};
  }
  lives_.fetch_add(1, std::memory_order_relaxed);
  Tier& counters = tiers_[tier];
  counters.misses.fetch_add(1, std::memory_order_relaxed);
  raise_to(counters.existing_high, counters.existing.fetch_add(1, std::memory_order_relaxed) + 1);
  *out = new (memory) PooledBuffer(*this, static_cast<std::byte*>(memory) + sizeof(PooledBuffer), bytes, tier);
  return {};
}

bool BufferPool::State::reserve(std::size_t bytes) noexcept {
  do {
    std::size_t held = bytes_.load(std::memory_order_relaxed);
    while (bytes <= bytes_max_ - held) {
      if (bytes_.compare_exchange_weak(held, held + bytes, std::memory_order_relaxed)) {
        raise_to(bytes_high_, held + bytes);
        return true;
      }
    }
  } while (reclaim(bytes) != 0);
  return false;
}

/// Frees idle buffers of any tier, large ones first, until about `bytes` are freed. Returns the bytes freed.
std::size_t BufferPool::State::reclaim(std::size_t bytes) noexcept {
  std::size_t freed = 0;
  const auto free_from = [&](IdleList& idle, std::size_t tier_bytes) {
    const IdleList taken = idle.split((bytes - freed + tier_bytes - 1) / tier_bytes);
    freed += taken.count * tier_bytes;
    return taken;
  };
  for (std::size_t tier = tier_count_; tier-- != 0 && freed < bytes;) {
    IdleList taken;
    {
      const std::lock_guard lock(mutex_);
      taken = free_from(depots_[tier].idle, tiers_[tier].bytes);
    }
    for (std::size_t i = 0; i < shard_count_ && freed < bytes; ++i) {
      const std::lock_guard lock(shards_[i]);
      taken.append(free_from(shards_[i].tiers[tier].idle, tiers_[tier].bytes));
    }
    free_all(taken);
  }
  return freed;
}

void BufferPool::State::give_back(PooledBuffer& buffer) noexcept {
  const std::size_t tier = buffer.tier();
  if (tier == tier_count_) {
    free_buffer(buffer);
    return;
  }
  IdleList surplus;
  std::uint64_t given_back = 0;
  if (Shard* const shard = lock_near_shard(); shard != nullptr && !shard->closed) {
    Magazine& magazine = shard->tiers[tier];
    const std::size_t magazine_max = tiers_[tier].magazine_max;
    if (magazine.idle.count >= magazine_max) surplus = magazine.idle.split(magazine_max / 2);
    if (magazine.idle.count < magazine_max) {
      magazine.idle.push(buffer);
    } else {
      surplus.push(buffer);
    }
    ++magazine.given_back;
    shard->unlock();
    if (surplus.count == 0) [[likely]]
      return;
  } else {
    if (shard != nullptr) shard->unlock();
    surplus.push(buffer);
    given_back = 1;
  }
  give_back_shared(tier, surplus, given_back);
}

/// Into the depot, as far as there is room; the rest is freed.
void BufferPool::State::give_back_shared(std::size_t tier, IdleList list, std::uint64_t given_back) noexcept {
  IdleList kept_out;
  {
    const std::lock_guard lock(mutex_);
    Depot& depot = depots_[tier];
    depot.given_back += given_back;
    const std::size_t room =
        closed_ || depot.idle.count > tiers_[tier].depot_max ? 0 : tiers_[tier].depot_max - depot.idle.count;
    kept_out = list.count > room ? list.split(list.count - room) : IdleList{};
    depot.idle.append(list);
  }
  free_all(kept_out);
}

/// May free the pool's state itself, when the pool is gone and these were the last buffers: touch nothing after it.
void BufferPool::State::free_all(IdleList list) noexcept {
  while (PooledBuffer* const buffer = list.pop()) free_buffer(*buffer);
}

void BufferPool::State::free_buffer(PooledBuffer& buffer) noexcept {
  STREAMBUS_ASSERT(buffer.tier() <= tier_count_ && "the header of a buffer was overwritten");
  const std::size_t bytes = buffer.capacity();
  ASAN_UNPOISON_MEMORY_REGION(buffer.data(), bytes);
  tiers_[buffer.tier()].existing.fetch_sub(1, std::memory_order_relaxed);
  buffer.~PooledBuffer();
  ::operator delete(static_cast<void*>(&buffer), std::align_val_t{kCacheLineBytes});
  bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  drop_life();
}

std::size_t BufferPool::State::trim(bool unused_only) noexcept {
  std::size_t freed = 0;
  const auto take_from = [&](IdleList& idle, std::size_t tier_bytes) {
    const IdleList taken = idle.split(unused_only ? idle.count_low : idle.count);
    idle.count_low = idle.count;
    freed += taken.count * tier_bytes;
    return taken;
  };
  for (std::size_t tier = 0; tier < tier_count_; ++tier) {
    IdleList taken;
    {
      const std::lock_guard lock(mutex_);
      taken = take_from(depots_[tier].idle, tiers_[tier].bytes);
    }
    for (std::size_t i = 0; i < shard_count_; ++i) {
      const std::lock_guard lock(shards_[i]);
      taken.append(take_from(shards_[i].tiers[tier].idle, tiers_[tier].bytes));
    }
    free_all(taken);
  }
  if (freed >= kMallocTrimBytes) malloc_trim(0);  // else the freed memory stays with the process, in the heap's gaps
  return freed;
}

void BufferPool::State::close() noexcept {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  for (std::size_t i = 0; i < shard_count_; ++i) {
    const std::lock_guard lock(shards_[i]);
    shards_[i].closed = true;
  }
  trim(false);
  drop_life();
}

BufferPoolStatistics BufferPool::State::statistics() {
  BufferPoolStatistics result;
  result.tiers.resize(tier_count_);
  const auto fill = [](BufferTierStatistics& to, const Tier& from) {
    to.bytes = from.bytes;
    to.misses = from.misses.load(std::memory_order_relaxed);
    to.high_water = from.existing_high.load(std::memory_order_relaxed);
  };
  for (std::size_t i = 0; i < tier_count_; ++i) {
    BufferTierStatistics& tier = result.tiers[i];
    std::uint64_t given_back = 0;
    const auto add = [&](const auto& part) {
      tier.hits += part.hits;
      tier.idle += part.idle.count;
      given_back += part.given_back;
    };
    {
      const std::lock_guard lock(mutex_);
      add(depots_[i]);
    }
    for (std::size_t shard = 0; shard < shard_count_; ++shard) {
      const std::lock_guard lock(shards_[shard]);
      add(shards_[shard].tiers[i]);
    }
    fill(tier, tiers_[i]);
    tier.in_use = tier.hits + tier.misses - given_back;
  }
  fill(result.oversize, tiers_[tier_count_]);
  result.oversize.bytes = 0;
  result.oversize.in_use = tiers_[tier_count_].existing.load(std::memory_order_relaxed);
  result.refused = refused_.load(std::memory_order_relaxed);
  result.bytes = bytes_.load(std::memory_order_relaxed);
  result.bytes_high_water = bytes_high_.load(std::memory_order_relaxed);
  result.bytes_max = bytes_max_;
  return result;
}

BufferPool::BufferPool(const BufferPoolSettings& settings) : state_(nullptr) {
  STREAMBUS_ASSERT(settings.check());
  state_ = new State(settings);
}
BufferPool::~BufferPool() { state_->close(); }

Status BufferPool::get(std::size_t bytes, Buffer** out) noexcept { return state_->get(bytes, out); }
BufferPoolStatistics BufferPool::statistics() const { return state_->statistics(); }
std::size_t BufferPool::trim() noexcept { return state_->trim(false); }
std::size_t BufferPool::trim_unused() noexcept { return state_->trim(true); }

}  // namespace streambus
