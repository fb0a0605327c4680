#pragma once

#include <cstdint>

#include "streambus/plugin/options.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::storage_wal {

/// The options of an instance, parsed once.
struct WalSettings {
  Durability durability = Durability::fsync_batch;
  std::int64_t interval_ns = 0;       ///< of fsync-interval
  std::size_t open_files_max = 256;   ///< sealed segments kept open for reading
  std::uint64_t writeback_bytes = 0;  ///< start writing back after so many appended bytes; 0: the kernel's own pace
  std::uint64_t zero_ahead_bytes = 0;
  bool verify_on_open = false;
  bool verify_on_read = false;

  [[nodiscard]] bool syncs() const noexcept {
    return durability == Durability::fsync_batch || durability == Durability::fsync_interval;
  }
};

extern const OptionSpec kOptions[7];

/// Options are validated against kOptions already.
[[nodiscard]] WalSettings parse_settings(const Options& options) noexcept;

}  // namespace streambus::storage_wal
