#pragma once
// RecordBatches and codecs: decompressing what a batch holds, and storing it in another codec.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "streambus/base/message_buffer.hpp"
#include "streambus/base/record_batch.hpp"
#include "streambus/plugin/codec.hpp"

namespace streambus {

/// The codecs that are loaded, by id and by the word for `compression.type`. Owns none of them: they must outlive the set.
/// Filled at start-up by one thread, then only read, by any.
class CodecSet {
 public:
  static constexpr std::uint8_t kIdMax = 7;  ///< three bits of the batch's attributes

  /// Errors: invalid_argument for id 0 (no compression) or above kIdMax, already_exists for an id or a word that is taken.
  [[nodiscard]] Result<> add(const Codec& codec);

  /// Null when there is none.
  [[nodiscard]] const Codec* by_id(std::uint8_t id) const noexcept { return id <= kIdMax ? codecs_[id] : nullptr; }
  [[nodiscard]] const Codec* by_type(std::string_view type) const noexcept;

 private:
  std::array<const Codec*, kIdMax + 1> codecs_{};
};

/// The word for a compression id: "none", "gzip", "snappy", "lz4", "zstd"; "codec 5" to "codec 7".
[[nodiscard]] std::string_view compression_name(std::uint8_t id) noexcept;

/// Makes the records of a batch readable: *body views the batch itself when it is not compressed, else `scratch`, which is
/// reset. `batch` is one whole batch that frame_batch() accepted. Errors: unsupported_compression (no such codec), corrupt,
/// too_large (above body_bytes_max), busy or no_space (memory).
[[nodiscard]] Status decompress_batch(const CodecSet& codecs, Bytes batch, std::size_t body_bytes_max, MessageBuffer& scratch,
                                      Bytes* body) noexcept;

/// Appends the batch to `out` with its records stored in `target` (null: uncompressed). Everything else in the header stays,
/// but attributes, length and checksum. Where the target declines, the records are stored uncompressed.
/// A batch that is in the target already is copied. `scratch` is reset and used for the records; it must not be `out`.
/// Errors: as decompress_batch, and too_large when the result passes the format's 2 GiB; `out` is then as it was, unless memory
/// ran out.
[[nodiscard]] Status recompress_batch(const CodecSet& codecs, Bytes batch, const Codec* target, std::size_t body_bytes_max,
                                      MessageBuffer& scratch, MessageBuffer& out) noexcept;

}  // namespace streambus
