#pragma once
// Durations and sizes as people write them, and the nearest word to a misspelt one.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "streambus/base/error.hpp"

namespace streambus {

/// "250ms", "5s", "1h", "7d" in nanoseconds: a whole number and one of ns, us, ms, s, m, h, d. A bare number is refused,
/// with the remedy in the message. "0" alone is taken.
[[nodiscard]] Result<std::int64_t> parse_duration_ns(std::string_view text);

/// "65536", "64KiB", "1GB" in bytes: a whole number and nothing, B, or a decimal (kB, MB, GB, TB) or binary (KiB, MiB, GiB,
/// TiB) unit. Case of letters does not matter.
[[nodiscard]] Result<std::int64_t> parse_size_bytes(std::string_view text);

/// The shortest exact way to write it: 90000000000 -> "90s", 65536 -> "64KiB".
[[nodiscard]] std::string format_duration(std::int64_t ns);
[[nodiscard]] std::string format_size(std::int64_t bytes);

/// "; did you mean 'durability'?" when a candidate is near enough to be a misspelling, else "".
[[nodiscard]] std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

/// "a, b or c"
[[nodiscard]] std::string join_words(std::span<const std::string_view> words, std::string_view last = "or");

}  // namespace streambus
