#pragma once

#include <cstdint>

#include "streambus/plugin/options.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::storage_mmap {

/// The options of an instance, parsed once.
struct MmapSettings {
  Durability durability = Durability::fsync_batch;
  std::int64_t interval_ns = 0;       ///< of fsync-interval
  std::uint64_t prepare_bytes = 0;    ///< at most so much of a segment is prepared at a time
  std::uint64_t zero_fill_bytes = 0;  ///< zeros are written ahead while group commits are smaller than that; 0: never
  std::uint64_t window_bytes = 0;     ///< of a segment that is read, mapped at a time
  std::size_t windows_max = 0;        ///< kept mapped for reading
  bool verify_on_open = false;
  bool verify_on_read = false;

  [[nodiscard]] bool syncs() const noexcept {
    return durability == Durability::fsync_batch || durability == Durability::fsync_interval;
  }
};

extern const OptionSpec kOptions[8];

/// Options are validated against kOptions already.
[[nodiscard]] MmapSettings parse_settings(const Options& options) noexcept;

}  // namespace streambus::storage_mmap
