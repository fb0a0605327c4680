#include "streambus/wire/arena.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace streambus::wire {
namespace {

constexpr ArenaLimits kLimits{.block_bytes = 1024, .keep_bytes = 8192, .bytes_max = 65536};

TEST(Arena, HoldsNothingUntilUsed) {
  Arena arena(kLimits);
  EXPECT_EQ(arena.held_bytes(), 0u);
  EXPECT_TRUE(arena.array<int>(0).empty());
  EXPECT_EQ(arena.held_bytes(), 0u);
}

TEST(Arena, GivesAlignedDisjointZeroedMemory) {
  Arena arena(kLimits);
  std::vector<std::span<std::uint64_t>> arrays;
  for (std::size_t i = 1; i < 60; ++i) {
    (void)arena.copy("x");
    const std::span<std::uint64_t> array = arena.array<std::uint64_t>(i);
    ASSERT_EQ(array.size(), i);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(array.data()) % alignof(std::uint64_t), 0u);
    EXPECT_TRUE(std::ranges::all_of(array, [](std::uint64_t value) { return value == 0; }));
    std::ranges::fill(array, i);
    arrays.push_back(array);
  }
  for (std::size_t i = 1; i < 60; ++i) {
    EXPECT_TRUE(std::ranges::all_of(arrays[i - 1], [i](std::uint64_t value) { return value == i; })) << i;
  }
}

TEST(Arena, SteadyStateReusesTheSameMemory) {
  Arena arena(kLimits);
  const auto round = [&arena] {
    std::vector<const void*> places;
    for (const std::size_t count : {10, 100, 300, 20, 150}) places.push_back(arena.array<std::uint64_t>(count).data());
    return places;
  };
  const std::vector<const void*> first = round();
  const std::size_t held = arena.held_bytes();
  for (int i = 0; i < 5; ++i) {
    arena.reset();
    EXPECT_EQ(round(), first);
    EXPECT_EQ(arena.held_bytes(), held);
  }
}

TEST(Arena, ResetGivesBackWhatOneHugeMessageTook) {
  Arena arena(kLimits);
  (void)arena.copy("small");
  ASSERT_EQ(arena.array<char>(50000).size(), 50000u);
  EXPECT_GE(arena.held_bytes(), 50000u);
  arena.reset();
  EXPECT_LE(arena.held_bytes(), kLimits.keep_bytes);
  EXPECT_GT(arena.held_bytes(), 0u);
  arena.trim();
  EXPECT_EQ(arena.held_bytes(), 0u);
  EXPECT_EQ(arena.copy("works again"), "works again");
}

TEST(Arena, IsBounded) {
  Arena arena(kLimits);
  EXPECT_TRUE(arena.array<std::uint64_t>(SIZE_MAX / 8).empty());
  EXPECT_TRUE(arena.array<char>(kLimits.bytes_max + 1).empty());
  std::size_t taken = 0;
  while (arena.array<char>(5000).size() == 5000) {
    taken += 5000;
    ASSERT_LE(taken, kLimits.bytes_max);
  }
  EXPECT_LE(arena.held_bytes(), kLimits.bytes_max + 1024);
  EXPECT_GE(taken, kLimits.bytes_max / 2);
  arena.reset();
  EXPECT_EQ(arena.array<char>(5000).size(), 5000u) << "usable again";
}

}  // namespace
}  // namespace streambus::wire
