#include "lz4_codec.hpp"

#include <lz4frame.h>

#include <memory>
#include <string_view>

#include "frame_walk.hpp"

namespace streambus::codec_lz4 {
namespace {

constexpr std::string_view kOutOfMemory = "ERROR_allocation_failed";  // the library's public face has names only, no codes
constexpr std::size_t kSmallBlockBytes = std::size_t{64} << 10;

struct FreeContext {
  void operator()(LZ4F_cctx* context) const noexcept { LZ4F_freeCompressionContext(context); }
  void operator()(LZ4F_dctx* context) const noexcept { LZ4F_freeDecompressionContext(context); }
};

/// The working memory of this thread, for all instances of the codec. Null when there is no memory for it.
LZ4F_cctx* compression_context() noexcept {
  thread_local std::unique_ptr<LZ4F_cctx, FreeContext> context;
  if (!context) {
    LZ4F_cctx* made = nullptr;
    if (LZ4F_isError(LZ4F_createCompressionContext(&made, LZ4F_VERSION)) == 0) context.reset(made);
  }
  return context.get();
}

LZ4F_dctx* decompression_context() noexcept {
  thread_local std::unique_ptr<LZ4F_dctx, FreeContext> context;
  if (!context) {
    LZ4F_dctx* made = nullptr;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&made, LZ4F_VERSION)) == 0) context.reset(made);
  }
  return context.get();
}

/// Independent blocks: Kafka's Java client reads no others. Auto-flush: the library then keeps no copy of the input.
LZ4F_preferences_t preferences(int level, std::size_t content_bytes) noexcept {
  LZ4F_preferences_t result{};
  result.frameInfo.blockSizeID = content_bytes <= kSmallBlockBytes ? LZ4F_max64KB : LZ4F_max256KB;
  result.frameInfo.blockMode = LZ4F_blockIndependent;
  result.frameInfo.contentSize = content_bytes;
  result.compressionLevel = level;
  result.autoFlush = 1;
  return result;
}

}  // namespace

Lz4Codec::Lz4Codec(Host& /*host*/, const Options& options) : level_(static_cast<int>(options.integer("level"))) {}

std::size_t Lz4Codec::compress_bound(std::size_t bytes) const noexcept {
  const LZ4F_preferences_t settings = preferences(level_, bytes);
  return LZ4F_HEADER_SIZE_MAX + LZ4F_compressBound(bytes, &settings);
}

CodecResult Lz4Codec::compress(Bytes in, MutableBytes out) const noexcept {
  if (in.empty()) return {CodecOutcome::declined, 0};
  if (out.size() < compress_bound(in.size())) return {CodecOutcome::needs_space, 0};
  LZ4F_cctx* const context = compression_context();
  if (context == nullptr) return {CodecOutcome::failed, 0};

  const LZ4F_preferences_t settings = preferences(level_, in.size());
  const LZ4F_compressOptions_t options{.stableSrc = 1, .reserved = {}};
  std::size_t written = 0;
  const auto step = [&](std::size_t produced) {
    if (LZ4F_isError(produced) != 0) return false;
    written += produced;
    return true;
  };
  if (!step(LZ4F_compressBegin(context, out.data(), out.size(), &settings)) ||
      !step(LZ4F_compressUpdate(context, out.data() + written, out.size() - written, in.data(), in.size(), &options)) ||
      !step(LZ4F_compressEnd(context, out.data() + written, out.size() - written, &options))) {
    return {CodecOutcome::failed, 0};
  }
  if (written >= in.size()) return {CodecOutcome::declined, 0};
  return {CodecOutcome::done, written};
}

std::size_t Lz4Codec::decompressed_size(Bytes in) const noexcept { return decompressed_bound(in); }

CodecResult Lz4Codec::decompress(Bytes in, MutableBytes out) const noexcept {
  if (in.empty()) return {CodecOutcome::corrupt, 0};
  LZ4F_dctx* const context = decompression_context();
  if (context == nullptr) return {CodecOutcome::failed, 0};
  LZ4F_resetDecompressionContext(context);

  std::size_t written = 0;
  bool frame_ended = false;
  while (!in.empty() || !frame_ended) {
    std::size_t produced = out.size() - written;
    std::size_t consumed = in.size();
    const std::size_t hint = LZ4F_decompress(context, out.data() + written, &produced, in.data(), &consumed, nullptr);
    if (LZ4F_isError(hint) != 0) {
      return {LZ4F_getErrorName(hint) == kOutOfMemory ? CodecOutcome::failed : CodecOutcome::corrupt, 0};
    }
    frame_ended = hint == 0;
    written += produced;
    in = in.subspan(consumed);
    if (!frame_ended && produced == 0 && consumed == 0) {
      return {written == out.size() ? CodecOutcome::needs_space : CodecOutcome::corrupt, 0};
    }
  }
  return {CodecOutcome::done, written};
}

}  // namespace streambus::codec_lz4
