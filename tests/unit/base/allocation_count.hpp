#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STREAMBUS_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STREAMBUS_TEST_SANITIZED 1
#endif
#endif

namespace streambus::test {

/// False in sanitizer builds: operator new is the sanitizer's there, and the count stays 0.
#ifdef STREAMBUS_TEST_SANITIZED
inline constexpr bool kCountsAllocations = false;
#else
inline constexpr bool kCountsAllocations = true;
#endif

/// How often this thread called operator new, in any of its forms, since it started.
[[nodiscard]] std::size_t allocations() noexcept;

}  // namespace streambus::test
