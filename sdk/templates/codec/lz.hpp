#pragma once

#include "streambus/plugin/codec.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/options.hpp"

namespace streambus::codec_acme {

/// A small Lempel-Ziv codec. A frame, all integers big-endian:
///
///   bytes:u32 (of the content)  coded:u32 (of what follows the header)  crc:u32 (CRC-32C of the content)  codes
///
/// A code below 128 is followed by code + 1 bytes as they are. One from 128 on is followed by a distance:u16 and stands for
/// code - 124 bytes that begin so far back in the content; they may reach into themselves, which repeats them.
/// Keeps no state: any thread may use it at any time.
class LempelZiv final : public Codec {
 public:
  LempelZiv(Host& host, const Options& options);

  [[nodiscard]] std::uint8_t id() const noexcept override { return id_; }
  [[nodiscard]] std::string_view type() const noexcept override { return "acme"; }
  [[nodiscard]] std::size_t compress_bound(std::size_t bytes) const noexcept override;
  CodecResult compress(Bytes in, MutableBytes out) const noexcept override;
  [[nodiscard]] std::size_t decompressed_size(Bytes in) const noexcept override;
  CodecResult decompress(Bytes in, MutableBytes out) const noexcept override;

 private:
  const std::uint8_t id_;
};

}  // namespace streambus::codec_acme
