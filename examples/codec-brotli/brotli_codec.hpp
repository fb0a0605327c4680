#pragma once

#include "streambus/plugin/codec.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/options.hpp"

namespace streambus::codec_brotli {

/// Brotli (RFC 7932). A stream neither says how large its content is nor carries a checksum: callers grow their output by
/// trying, and the checksum of the RecordBatch is what finds damage.
class BrotliCodec final : public Codec {
 public:
  BrotliCodec(Host& host, const Options& options);

  [[nodiscard]] std::uint8_t id() const noexcept override { return id_; }
  [[nodiscard]] std::string_view type() const noexcept override { return "brotli"; }
  [[nodiscard]] std::size_t compress_bound(std::size_t bytes) const noexcept override;
  CodecResult compress(Bytes in, MutableBytes out) const noexcept override;
  [[nodiscard]] std::size_t decompressed_size(Bytes /*in*/) const noexcept override { return 0; }
  CodecResult decompress(Bytes in, MutableBytes out) const noexcept override;

 private:
  const std::uint8_t id_;
  const int quality_;
};

}  // namespace streambus::codec_brotli
