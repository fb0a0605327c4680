#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>

namespace streambus::bench {

/// Calls of operator new on this thread since it started.
[[nodiscard]] std::uint64_t allocations() noexcept;

/// Adds the counter "allocs" to a benchmark: allocations per iteration, from construction to the end of its loop.
class CountAllocations {
 public:
  explicit CountAllocations(benchmark::State& state) noexcept : state_(state), before_(allocations()) {}
  CountAllocations(const CountAllocations&) = delete;
  CountAllocations& operator=(const CountAllocations&) = delete;
  ~CountAllocations() {
    state_.counters["allocs"] =
        benchmark::Counter(static_cast<double>(allocations() - before_), benchmark::Counter::kAvgIterations);
  }

 private:
  benchmark::State& state_;
  std::uint64_t before_;
};

}  // namespace streambus::bench
