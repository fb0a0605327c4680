#pragma once

#include <cstdint>

#include "streambus/plugin/files.hpp"

namespace streambus {

/// Maps a range of an open file: File::map of the real file system. `fd` is open for reading and writing and may be closed
/// afterwards. The first call installs the process-wide SIGBUS handler.
[[nodiscard]] Status map_file(int fd, std::uint64_t position, std::uint64_t bytes, Mapping** out) noexcept;

/// At most so many mappings may exist at a time; more are refused with no_space. The default leaves a quarter of
/// vm.max_map_count to everybody else in the process. 0: back to the default. For tests.
void set_mappings_max(std::uint64_t mappings) noexcept;

}  // namespace streambus
