#pragma once

#include <cstddef>

#include "streambus/base/ids.hpp"

namespace streambus::codec_lz4 {

/// An upper bound of what the concatenated LZ4 frames of `in` decompress to, from their headers and the lengths of their
/// blocks; exact where every frame declares its size. 0 when the structure does not hold or nothing is in it.
/// Does not look into the blocks: time is proportional to their number.
[[nodiscard]] std::size_t decompressed_bound(Bytes in) noexcept;

}  // namespace streambus::codec_lz4
