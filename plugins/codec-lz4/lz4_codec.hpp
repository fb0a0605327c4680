#pragma once

#include "streambus/plugin/sdk.hpp"

namespace streambus::codec_lz4 {

/// The LZ4 frame format (lz4_Frame_format.md 1.6.3) as Kafka's clients read and write it in RecordBatch v2:
/// independent blocks, no checksums (the batch has its own), and the content size declared, so that readers allocate once.
class Lz4Codec final : public Codec {
 public:
  Lz4Codec(Host& host, const Options& options);

  [[nodiscard]] std::uint8_t id() const noexcept override { return 3; }
  [[nodiscard]] std::string_view type() const noexcept override { return "lz4"; }

  [[nodiscard]] std::size_t compress_bound(std::size_t bytes) const noexcept override;
  /// Needs compress_bound() bytes of room, else answers needs_space.
  CodecResult compress(Bytes in, MutableBytes out) const noexcept override;

  /// Exact where all frames declare their size; else an upper bound from the sizes of their blocks.
  [[nodiscard]] std::size_t decompressed_size(Bytes in) const noexcept override;
  CodecResult decompress(Bytes in, MutableBytes out) const noexcept override;

 private:
  int level_;
};

}  // namespace streambus::codec_lz4
