#pragma once
// Sizes and durations as people write them in configuration files.

#include <cstdint>
#include <string>
#include <string_view>

#include "streambus/base/error.hpp"

namespace streambus {

/// Bytes of "65536", "64KiB", "4MB", "1 GB": a whole number and B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB
/// (powers of 1024), in any case, a space allowed between. Errors: invalid_argument with what was expected and found;
/// out_of_range above 2^63 - 1.
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view text);

/// Nanoseconds of "250ms", "5s", "1h30m", "0": whole numbers, each with ns, us, ms, s, m, h or d, larger units first.
/// Errors: invalid_argument with what was expected and found; out_of_range above 2^63 - 1 ns (292 years).
[[nodiscard]] Result<std::int64_t> parse_duration_ns(std::string_view text);

/// The shortest exact form that parse_size reads back: "64KiB", "1GB", "1234B".
[[nodiscard]] std::string format_size(std::uint64_t bytes);

/// The exact form that parse_duration_ns reads back: "1h30m", "250ms", "0s". `nanoseconds` must not be negative.
[[nodiscard]] std::string format_duration_ns(std::int64_t nanoseconds);

}  // namespace streambus
