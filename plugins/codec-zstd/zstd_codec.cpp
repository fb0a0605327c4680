#include "zstd_codec.hpp"

#include <zstd.h>
#include <zstd_errors.h>

#include <limits>
#include <memory>

namespace streambus::codec_zstd {
namespace {

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
};

/// The working memory of this thread, for all instances of the codec. Null when there is no memory for it.
ZSTD_CCtx* compression_context() noexcept {
  thread_local std::unique_ptr<ZSTD_CCtx, FreeContext> context;
  if (!context) context.reset(ZSTD_createCCtx());
  return context.get();
}

ZSTD_DCtx* decompression_context() noexcept {
  thread_local std::unique_ptr<ZSTD_DCtx, FreeContext> context;
  if (!context) context.reset(ZSTD_createDCtx());
  return context.get();
}

}  // namespace

ZstdCodec::ZstdCodec(Host& /*host*/, const Options& options) : level_(static_cast<int>(options.integer("level"))) {}

std::size_t ZstdCodec::compress_bound(std::size_t bytes) const noexcept { return ZSTD_compressBound(bytes); }

CodecResult ZstdCodec::compress(Bytes in, MutableBytes out) const noexcept {
  if (in.empty()) return {CodecOutcome::declined, 0};
  ZSTD_CCtx* const context = compression_context();
  if (context == nullptr) return {CodecOutcome::failed, 0};
  const std::size_t written = ZSTD_compressCCtx(context, out.data(), out.size(), in.data(), in.size(), level_);
  if (ZSTD_isError(written) != 0) {
    if (ZSTD_getErrorCode(written) != ZSTD_error_dstSize_tooSmall) return {CodecOutcome::failed, 0};
    return {out.size() >= in.size() ? CodecOutcome::declined : CodecOutcome::needs_space, 0};
  }
  if (written >= in.size()) return {CodecOutcome::declined, 0};
  return {CodecOutcome::done, written};
}

std::size_t ZstdCodec::decompressed_size(Bytes in) const noexcept {
  std::size_t total = 0;
  while (!in.empty()) {
    const unsigned long long declared = ZSTD_getFrameContentSize(in.data(), in.size());
    const std::size_t frame_bytes = ZSTD_findFrameCompressedSize(in.data(), in.size());
    if (declared == ZSTD_CONTENTSIZE_UNKNOWN || declared == ZSTD_CONTENTSIZE_ERROR || ZSTD_isError(frame_bytes) != 0) return 0;
    if (declared > std::numeric_limits<std::size_t>::max() - total) return 0;
    total += declared;
    in = in.subspan(frame_bytes);
  }
  return total;
}

CodecResult ZstdCodec::decompress(Bytes in, MutableBytes out) const noexcept {
  if (in.empty()) return {CodecOutcome::corrupt, 0};
  ZSTD_DCtx* const context = decompression_context();
  if (context == nullptr) return {CodecOutcome::failed, 0};
  const std::size_t written = ZSTD_decompressDCtx(context, out.data(), out.size(), in.data(), in.size());
  if (ZSTD_isError(written) == 0) return {CodecOutcome::done, written};
  switch (ZSTD_getErrorCode(written)) {
    case ZSTD_error_dstSize_tooSmall:
      return {CodecOutcome::needs_space, 0};
    case ZSTD_error_memory_allocation:
      return {CodecOutcome::failed, 0};
    default:
      return {CodecOutcome::corrupt, 0};
  }
}

}  // namespace streambus::codec_zstd
