#pragma once

#include <filesystem>
#include <string>

#include "streambus/base/error.hpp"
#include "streambus/plugin/abi.hpp"

namespace streambus {

/// Reads the stamp of a plugin from the file's bytes; no code of it runs. `fd` is an open regular file of `file_bytes`.
/// Bounded: reads headers and notes only, nothing outside the file, at most 1 MiB of notes.
/// Errors, worded to follow the file's name: corrupt (truncated), incompatible (not an ELF shared object, another
/// architecture), not_found (an ELF file without a StreamBus note).
[[nodiscard]] Result<AbiStamp> read_abi_stamp(int fd, std::uint64_t file_bytes);

/// The stamp of this program.
[[nodiscard]] const AbiStamp& host_stamp() noexcept;

}  // namespace streambus
