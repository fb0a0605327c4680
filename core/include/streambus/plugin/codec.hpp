#pragma once

#include <cstdint>
#include <string_view>

#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"

namespace streambus {

enum class CodecOutcome : std::uint8_t {
  done,
  declined,     ///< compress: the result would not be smaller than the input; store it uncompressed
  needs_space,  ///< the output is too small: call again with more (the caller has a cap)
  corrupt,      ///< decompress: the input is not a valid frame of this codec
  failed,       ///< out of memory or an internal error of the library
};

struct CodecResult {
  CodecOutcome outcome = CodecOutcome::failed;
  std::size_t bytes = 0;  ///< produced, when done
};

/// A compression codec. Const and thread-safe: one object serves all threads (working memory is the codec's, per thread).
/// The caller allocates; no output beyond the given span is written, whatever the input. Input is never modified.
class Codec {
 public:
  Codec() = default;
  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;
  virtual ~Codec() = default;

  /// The id in RecordBatch attributes (0-4 are Kafka's, 5-7 free). Constant.
  [[nodiscard]] virtual std::uint8_t id() const noexcept = 0;
  /// The word for `compression.type` ("lz4"). Constant.
  [[nodiscard]] virtual std::string_view type() const noexcept = 0;

  /// The most bytes that compress() of `bytes` bytes can produce.
  [[nodiscard]] virtual std::size_t compress_bound(std::size_t bytes) const noexcept = 0;
  virtual CodecResult compress(Bytes in, MutableBytes out) const noexcept = 0;

  /// The exact or an upper bound of the decompressed size when the frames declare it, else 0: grow by trying.
  [[nodiscard]] virtual std::size_t decompressed_size(Bytes in) const noexcept = 0;
  /// Decompresses all concatenated frames of `in`.
  virtual CodecResult decompress(Bytes in, MutableBytes out) const noexcept = 0;
};

}  // namespace streambus
