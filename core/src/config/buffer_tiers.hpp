#pragma once

#include <string_view>
#include <vector>

#include "streambus/base/buffer_pool.hpp"

namespace streambus {

/// "4KiB:1024, 64KiB:256": sizes in ascending order, each with how many unused buffers are kept.
/// Errors: invalid_argument, with what was expected and found.
[[nodiscard]] Result<std::vector<BufferTier>> parse_buffer_tiers(std::string_view text);

}  // namespace streambus
