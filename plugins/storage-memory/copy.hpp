#pragma once
// Copies into memory that is not read soon: past the processor's caches, so that the target is neither fetched first nor
// pushes out what is in use.

#include <cstdint>
#include <cstring>

#include "streambus/base/bytes.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace streambus::storage_memory {

/// Copies `from` to `to`, which must not overlap. Small runs take the usual way: they are likely read back at once.
inline void copy_past_cache(std::byte* to, Bytes from) noexcept {
#if defined(__SSE2__)
  constexpr std::size_t kLargeBytes = std::size_t{128} << 10;
  constexpr std::size_t kLineBytes = 64;
  constexpr std::size_t kWords = kLineBytes / sizeof(__m128i);
  if (from.size() >= kLargeBytes) {
    const std::size_t head = -reinterpret_cast<std::uintptr_t>(to) % kLineBytes;
    std::memcpy(to, from.data(), head);
    std::size_t done = head;
    for (; from.size() - done >= kLineBytes; done += kLineBytes) {
      const auto* const source = reinterpret_cast<const __m128i*>(from.data() + done);
      auto* const target = reinterpret_cast<__m128i*>(to + done);
      for (std::size_t i = 0; i < kWords; ++i) _mm_stream_si128(target + i, _mm_loadu_si128(source + i));
    }
    _mm_sfence();  // streaming stores are not ordered: readers learn of the bytes through a mutex that comes after
    to += done;
    from = from.subspan(done);
  }
#endif
  std::memcpy(to, from.data(), from.size());
}

}  // namespace streambus::storage_memory
