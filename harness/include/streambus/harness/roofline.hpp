#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "streambus/base/error.hpp"

namespace streambus::harness {

/// One limit of the machine, measured now: a figure of the broker is quoted as a share of the limit that binds it.
struct Limit {
  std::string name;  ///< "loopback_stream"
  std::string unit;  ///< "MB/s" or "ns"
  double value = 0;
};

/// Bytes per second of `total_bytes` sent through one loopback TCP connection in writes of `chunk_bytes`.
[[nodiscard]] Result<double> loopback_stream_bytes_per_s(std::size_t total_bytes, std::size_t chunk_bytes);

/// Median round trip, in nanoseconds, of `bytes` bytes between two blocking sockets on loopback.
[[nodiscard]] Result<double> loopback_ping_pong_ns(std::size_t bytes, int rounds);

/// Bytes per second of a bare write() loop into a new file in `directory`, no sync.
[[nodiscard]] Result<double> file_write_bytes_per_s(const std::filesystem::path& directory, std::size_t total_bytes,
                                                    std::size_t chunk_bytes);

/// Median nanoseconds of a 4 KiB overwrite and fdatasync in a preallocated, written file in `directory`.
[[nodiscard]] Result<double> fdatasync_ns(const std::filesystem::path& directory, int rounds);

/// Bytes per second of memcpy between two warm buffers of `bytes`.
[[nodiscard]] double memcpy_bytes_per_s(std::size_t bytes, int rounds);

/// All limits in one go, about two seconds; files go to `directory`.
[[nodiscard]] Result<std::vector<Limit>> measure_limits(const std::filesystem::path& directory);

}  // namespace streambus::harness
