#include "frame_walk.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

// The layout is that of lz4_Frame_format.md, "General Structure of LZ4 Frame format"; integers are little-endian.

namespace streambus::codec_lz4 {
namespace {

constexpr std::uint32_t kMagic = 0x184d2204;
constexpr std::uint32_t kSkippableMagic = 0x184d2a50;  // and the 15 after it
constexpr std::uint32_t kSkippableMask = 0xfffffff0;
constexpr std::uint32_t kStoredBlock = 0x80000000;  // in a block's length: its data is not compressed
constexpr std::size_t kExpansionMax = 255;          // a byte of a block stands for at most 255 bytes of output

/// Reads little-endian integers; the first read past the end makes it bad for good.
class FrameReader {
 public:
  explicit FrameReader(Bytes in) noexcept : left_(in) {}

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] bool at_end() const noexcept { return left_.empty(); }
  void skip(std::size_t bytes) noexcept {
    ok_ = ok_ && bytes <= left_.size();
    left_ = ok_ ? left_.subspan(bytes) : Bytes{};
  }
  template <class T>
  [[nodiscard]] T read() noexcept {
    T value = 0;
    if (left_.size() >= sizeof value) std::memcpy(&value, left_.data(), sizeof value);
    if constexpr (sizeof(T) > 1 && std::endian::native == std::endian::big) value = std::byteswap(value);
    skip(sizeof value);
    return value;
  }

 private:
  Bytes left_;
  bool ok_ = true;
};

/// The rest of a frame behind its magic. Adds to `total`.
void walk_frame(FrameReader& in, std::uint64_t& total) noexcept {
  const auto flags = in.read<std::uint8_t>();
  const auto block_descriptor = in.read<std::uint8_t>();
  const bool has_block_checksums = (flags & 0x10) != 0;
  const bool has_content_size = (flags & 0x08) != 0;
  const bool has_content_checksum = (flags & 0x04) != 0;
  const bool has_dictionary = (flags & 0x01) != 0;
  const unsigned block_size_id = (block_descriptor >> 4) & 0x7;
  if (block_size_id < 4) {
    in.skip(SIZE_MAX);
    return;
  }
  const std::uint64_t block_bytes_max = std::uint64_t{1} << (8 + 2 * block_size_id);
  const std::uint64_t declared = has_content_size ? in.read<std::uint64_t>() : 0;
  in.skip((has_dictionary ? 4 : 0) + 1);  // dictionary id, header checksum

  std::uint64_t bound = 0;
  while (in.ok()) {
    const auto length = in.read<std::uint32_t>();
    if (length == 0) break;
    const std::uint64_t stored = length & ~kStoredBlock;
    bound += (length & kStoredBlock) != 0 ? stored : std::min(block_bytes_max, stored * kExpansionMax);
    in.skip(stored + (has_block_checksums ? 4 : 0));
  }
  if (has_content_checksum) in.skip(4);
  // A declared size that the blocks cannot reach is a lie; the decoder will say so, and no memory is spent on it.
  total += has_content_size ? std::min(declared, bound) : bound;
}

}  // namespace

std::size_t decompressed_bound(Bytes bytes) noexcept {
  FrameReader in(bytes);
  std::uint64_t total = 0;
  while (in.ok() && !in.at_end()) {
    const auto magic = in.read<std::uint32_t>();
    if (magic == kMagic) {
      walk_frame(in, total);
    } else if ((magic & kSkippableMask) == kSkippableMagic) {
      in.skip(in.read<std::uint32_t>());
    } else {
      return 0;
    }
  }
  return in.ok() ? total : 0;
}

}  // namespace streambus::codec_lz4
