#include "text.hpp"

#include <cstdarg>
#include <cstdio>

namespace streambus::storage_wal {

Status status_of(ErrorCode code, const char* pattern, ...) noexcept {
  char text[sizeof(Status::text)];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return {code, text};
}

std::string text_of(const char* pattern, ...) {
  char text[501];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return text;
}

void log_line(Host& host, LogLevel level, const char* pattern, ...) noexcept {
  char text[320];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  host.log(level, text);
}

}  // namespace streambus::storage_wal
