#pragma once

#include "streambus/plugin/sdk.hpp"

namespace streambus::codec_zstd {

/// Zstandard frames (RFC 8878), as Kafka's clients read and write them in RecordBatch v2: no checksum (the batch has its
/// own), and the content size declared, so that readers allocate once.
class ZstdCodec final : public Codec {
 public:
  ZstdCodec(Host& host, const Options& options);

  [[nodiscard]] std::uint8_t id() const noexcept override { return 4; }
  [[nodiscard]] std::string_view type() const noexcept override { return "zstd"; }

  [[nodiscard]] std::size_t compress_bound(std::size_t bytes) const noexcept override;
  CodecResult compress(Bytes in, MutableBytes out) const noexcept override;

  /// Exact when all frames declare their size, else 0.
  [[nodiscard]] std::size_t decompressed_size(Bytes in) const noexcept override;
  CodecResult decompress(Bytes in, MutableBytes out) const noexcept override;

 private:
  int level_;
};

}  // namespace streambus::codec_zstd
