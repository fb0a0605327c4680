#pragma once

namespace streambus {

/// Reports a programmer error on standard error and aborts. Never returns, never allocates.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace streambus

/// An always-on check of an invariant: a violation is a bug in the caller or in us, not bad input.
#define STREAMBUS_ASSERT(condition)                                  \
  do {                                                               \
    if (!(condition)) [[unlikely]]                                   \
      ::streambus::assertion_failed(#condition, __FILE__, __LINE__); \
  } while (false)
