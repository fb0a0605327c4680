#pragma once
// Formatted messages, cut where they are too long.

#include <cstdarg>
#include <cstdio>

#include "streambus/base/error.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus::storage_common {

[[gnu::format(printf, 2, 3)]] [[nodiscard]] inline Status status_of(ErrorCode code, const char* pattern, ...) noexcept {
  char text[sizeof(Status::text)];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return {code, text};
}

[[gnu::format(printf, 3, 4)]] inline void log_line(Host& host, LogLevel level, const char* pattern, ...) noexcept {
  char text[320];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  host.log(level, text);
}

}  // namespace streambus::storage_common
