#include "brotli_codec.hpp"

#include <brotli/decode.h>
#include <brotli/encode.h>

#include <memory>

namespace streambus::codec_brotli {
namespace {

const std::uint8_t* pointer(Bytes bytes) noexcept { return reinterpret_cast<const std::uint8_t*>(bytes.data()); }
std::uint8_t* pointer(MutableBytes bytes) noexcept { return reinterpret_cast<std::uint8_t*>(bytes.data()); }

/// Decompresses the stream at the start of `in`; takes it off, and its content's room off `out`.
CodecOutcome decompress_stream(Bytes* in, MutableBytes* out) noexcept {
  const std::unique_ptr<BrotliDecoderState, decltype(&BrotliDecoderDestroyInstance)> decoder(
      BrotliDecoderCreateInstance(nullptr, nullptr, nullptr), &BrotliDecoderDestroyInstance);
  if (decoder == nullptr) return CodecOutcome::failed;
  std::size_t in_left = in->size();
  std::size_t out_left = out->size();
  const std::uint8_t* next_in = pointer(*in);
  std::uint8_t* next_out = pointer(*out);
  switch (BrotliDecoderDecompressStream(decoder.get(), &in_left, &next_in, &out_left, &next_out, nullptr)) {
    case BROTLI_DECODER_RESULT_SUCCESS:
      *in = in->last(in_left);
      *out = out->last(out_left);
      return CodecOutcome::done;
    case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT:
      return CodecOutcome::needs_space;
    case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT:
    case BROTLI_DECODER_RESULT_ERROR:
      break;
  }
  const BrotliDecoderErrorCode error = BrotliDecoderGetErrorCode(decoder.get());
  const bool out_of_memory =
      error <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES && error >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES;
  return out_of_memory ? CodecOutcome::failed : CodecOutcome::corrupt;
}

}  // namespace

BrotliCodec::BrotliCodec(Host& /*host*/, const Options& options)
    : id_(static_cast<std::uint8_t>(options.integer("id"))), quality_(static_cast<int>(options.integer("quality"))) {}

std::size_t BrotliCodec::compress_bound(std::size_t bytes) const noexcept { return BrotliEncoderMaxCompressedSize(bytes); }

CodecResult BrotliCodec::compress(Bytes in, MutableBytes out) const noexcept {
  if (in.empty()) return {.outcome = CodecOutcome::declined};
  std::size_t bytes = out.size();
  const bool fits = BrotliEncoderCompress(quality_, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_GENERIC, in.size(), pointer(in), &bytes,
                                          pointer(out)) == BROTLI_TRUE;
  if (!fits) return {.outcome = out.size() >= compress_bound(in.size()) ? CodecOutcome::failed : CodecOutcome::needs_space};
  if (bytes >= in.size()) return {.outcome = CodecOutcome::declined};
  return {.outcome = CodecOutcome::done, .bytes = bytes};
}

CodecResult BrotliCodec::decompress(Bytes in, MutableBytes out) const noexcept {
  MutableBytes room = out;
  if (in.empty()) return {.outcome = CodecOutcome::corrupt};
  while (!in.empty()) {
    if (const CodecOutcome outcome = decompress_stream(&in, &room); outcome != CodecOutcome::done) return {.outcome = outcome};
  }
  return {.outcome = CodecOutcome::done, .bytes = out.size() - room.size()};
}

}  // namespace streambus::codec_brotli
