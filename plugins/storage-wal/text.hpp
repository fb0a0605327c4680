#pragma once
// Formatted messages, cut where they are too long.

#include <string>

#include "streambus/base/error.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus::storage_wal {

[[gnu::format(printf, 2, 3)]] [[nodiscard]] Status status_of(ErrorCode code, const char* pattern, ...) noexcept;
/// At most 500 characters. May throw bad_alloc.
[[gnu::format(printf, 1, 2)]] [[nodiscard]] std::string text_of(const char* pattern, ...);
[[gnu::format(printf, 3, 4)]] void log_line(Host& host, LogLevel level, const char* pattern, ...) noexcept;

}  // namespace streambus::storage_wal
