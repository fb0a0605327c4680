#pragma once

#include <cstddef>
#include <cstdint>

#include "streambus/base/ids.hpp"

namespace streambus {

/// A run of bytes that somebody else keeps alive (see Pin): memory, or a range of an open file.
/// The writer of the slice decides which; whoever sends it picks writev or sendfile from the kind.
/// A file range can also be read as bytes with pread, for transports that must see them (TLS).
struct Slice {
  const std::byte* data = nullptr;  ///< first byte, for memory
  std::uint64_t file_position = 0;  ///< first byte in the file, for a file range
  std::uint64_t bytes = 0;
  int fd = -1;  ///< the open file, or -1 for memory

  [[nodiscard]] static Slice memory(Bytes bytes) noexcept { return {.data = bytes.data(), .bytes = bytes.size()}; }
  [[nodiscard]] static Slice file(int fd, std::uint64_t position, std::uint64_t bytes) noexcept {
    return {.file_position = position, .bytes = bytes, .fd = fd};
  }
  [[nodiscard]] bool is_file() const noexcept { return fd >= 0; }
  [[nodiscard]] Bytes as_memory() const noexcept { return {data, static_cast<std::size_t>(bytes)}; }
};

}  // namespace streambus
