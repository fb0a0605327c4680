#pragma once

#include <filesystem>
#include <string>

#include "streambus/base/error.hpp"

namespace streambus::config {

/// The whole content of a regular file of at most `bytes_max` bytes. Never waits on a FIFO or device.
[[nodiscard]] Result<std::string> read_small_file(const std::filesystem::path& path, std::size_t bytes_max);

}  // namespace streambus::config
