// Borrowing, touching and giving back a buffer, from the pool and from malloc.
//
// BufferPool_vs_Malloc/Pool/BYTES/threads:N        one buffer at a time, a byte of every cache line is written
// BufferPool_vs_Malloc/Malloc/BYTES/threads:N
// BufferPool_vs_Malloc/WorkingSet/Pool/BYTES       a queue of 32 buffers in flight, as between a socket and a log: the oldest
// is BufferPool_vs_Malloc/WorkingSet/Malloc/BYTES     read and given back, a new one is written BufferPool/Untouched/threads:N
// get and release alone

#include <benchmark/benchmark.h>

#include <array>
#include <cstdlib>
#include <memory>

#include "allocations.hpp"
#include "streambus/base/buffer_pool.hpp"

namespace streambus::bench {
namespace {

constexpr std::size_t kCacheLineBytes = 64;
constexpr std::size_t kInFlight = 32;

struct FreeMemory {
  void operator()(std::byte* memory) const noexcept { std::free(memory); }
};

/// Both sources lend something that has data() and gives itself back.
struct MallocSource {
  class Lent {
   public:
    explicit Lent(std::byte* memory) noexcept : memory_(memory) {}
    [[nodiscard]] std::byte* data() const noexcept { return memory_.get(); }

   private:
    std::unique_ptr<std::byte, FreeMemory> memory_;
  };
  static Lent get(std::size_t bytes) noexcept { return Lent(static_cast<std::byte*>(std::malloc(bytes))); }
};

BufferPool& shared_pool() {
  static BufferPool pool = [] {
    BufferPoolSettings settings;
    settings.plain_malloc = false;
    return BufferPool(settings);
  }();
  return pool;
}

struct PoolSource {
  class Lent {
   public:
    explicit Lent(Buffer* buffer) noexcept : buffer_(BufferRef::adopt(buffer)) {}
    [[nodiscard]] std::byte* data() const noexcept { return buffer_->data(); }

   private:
    BufferRef buffer_;
  };
  static Lent get(std::size_t bytes) noexcept {
    Buffer* buffer = nullptr;
    if (!shared_pool().get(bytes, &buffer).ok()) std::abort();
    return Lent(buffer);
  }
};

void write_all(std::byte* memory, std::size_t bytes, std::byte value) noexcept {
  for (std::size_t i = 0; i < bytes; i += kCacheLineBytes) memory[i] = value;
  benchmark::DoNotOptimize(memory);
  benchmark::ClobberMemory();
}

unsigned read_all(const std::byte* memory, std::size_t bytes) noexcept {
  unsigned sum = 0;
  for (std::size_t i = 0; i < bytes; i += kCacheLineBytes) sum += std::to_integer<unsigned>(memory[i]);
  return sum;
}

template <class Source>
void one_at_a_time(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  auto value = static_cast<std::byte>(state.thread_index());
  for (auto _ : state) {
    const auto lent = Source::get(bytes);
    write_all(lent.data(), bytes, value);
    value = static_cast<std::byte>(std::to_integer<int>(value) + 1);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

template <class Source>
void working_set(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  std::array<std::unique_ptr<typename Source::Lent>, kInFlight> queue;
  for (auto& slot : queue) {
    slot = std::make_unique<typename Source::Lent>(Source::get(bytes));
    write_all(slot->data(), bytes, std::byte{1});
  }
  std::size_t oldest = 0;
  for (auto _ : state) {
    auto& slot = queue[oldest];
    oldest = (oldest + 1) % kInFlight;
    benchmark::DoNotOptimize(read_all(slot->data(), bytes));
    *slot = Source::get(bytes);
    write_all(slot->data(), bytes, std::byte{2});
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void untouched(benchmark::State& state) {
  const CountAllocations count(state);
  for (auto _ : state) benchmark::DoNotOptimize(PoolSource::get(4096).data());
}

void tiers(benchmark::internal::Benchmark* benchmark) { benchmark->Arg(4 << 10)->Arg(64 << 10)->Arg(1 << 20)->UseRealTime(); }

BENCHMARK(one_at_a_time<PoolSource>)->Name("BufferPool_vs_Malloc/Pool")->Apply(tiers)->Threads(1)->Threads(16);
BENCHMARK(one_at_a_time<MallocSource>)->Name("BufferPool_vs_Malloc/Malloc")->Apply(tiers)->Threads(1)->Threads(16);
BENCHMARK(working_set<PoolSource>)->Name("BufferPool_vs_Malloc/WorkingSet/Pool")->Apply(tiers);
BENCHMARK(working_set<MallocSource>)->Name("BufferPool_vs_Malloc/WorkingSet/Malloc")->Apply(tiers);
BENCHMARK(untouched)->Name("BufferPool/Untouched")->Threads(1)->Threads(16)->UseRealTime();

}  // namespace
}  // namespace streambus::bench
