#include "streambus/host/batch_codec.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>

namespace streambus {
namespace {

constexpr std::uint8_t kCompressionBits = 0x7;
constexpr std::size_t kAttributesPosition = 21;
constexpr std::size_t kFirstGuessBytes = std::size_t{64} << 10;
constexpr std::size_t kGrowth = 4;

template <class... Args>
Status bad(ErrorCode code, const char* format, Args... args) noexcept {
  char text[sizeof(Status::text)];
  std::snprintf(text, sizeof text, format, args...);
  return {code, text};
}

Status no_memory() noexcept {
  return {ErrorCode::busy, "no buffer for the records of a batch; try again when buffers came back"};
}

/// Sets what changes with the codec: attributes, length, checksum.
void restamp(MutableBytes batch, std::uint8_t compression) noexcept {
  const int attributes = BatchHeader(batch.data()).attributes();
  store_be(batch.data() + kAttributesPosition, static_cast<std::int16_t>((attributes & ~kCompressionBits) | compression));
  store_be(batch.data() + 8, static_cast<std::int32_t>(batch.size() - kBatchLengthPrefixBytes));
  stamp_batch_crc(batch);
}

Status append_plain(Bytes header, Bytes body, MessageBuffer& out) noexcept {
  const std::size_t start = out.size();
  out.bytes(header);
  out.bytes(body);
  if (!out.ok()) return no_memory();
  restamp({out.at(start), out.size() - start}, 0);
  return {};
}

}  // namespace

Result<> CodecSet::add(const Codec& codec) {
  const std::string what = "codec '" + std::string(codec.type()) + "' (id " + std::to_string(codec.id()) + ")";
  if (codec.id() == 0 || codec.id() > kIdMax) {
    return fail(ErrorCode::invalid_argument, what + ": expected an id from 1 to " + std::to_string(kIdMax));
  }
  for (const Codec* other : codecs_) {
    if (other != nullptr && (other->id() == codec.id() || other->type() == codec.type())) {
      return fail(ErrorCode::already_exists, what + ": codec '" + std::string(other->type()) + "' (id " +
                                                 std::to_string(other->id()) + ") has that id or name");
    }
  }
  codecs_[codec.id()] = &codec;
  return {};
}

const Codec* CodecSet::by_type(std::string_view type) const noexcept {
  const auto found =
      std::ranges::find_if(codecs_, [type](const Codec* codec) { return codec != nullptr && codec->type() == type; });
  return found == codecs_.end() ? nullptr : *found;
}

std::string_view compression_name(std::uint8_t id) noexcept {
  static constexpr std::array<std::string_view, CodecSet::kIdMax + 1> kNames{"none", "gzip",    "snappy",  "lz4",
                                                                             "zstd", "codec 5", "codec 6", "codec 7"};
  return id < kNames.size() ? kNames[id] : "unknown codec";
}

Status decompress_batch(const CodecSet& codecs, Bytes batch, std::size_t body_bytes_max, MessageBuffer& scratch,
                        Bytes* body) noexcept {
  const BatchHeader header(batch.data());
  const Bytes stored = batch.subspan(kBatchHeaderBytes, header.total_bytes() - kBatchHeaderBytes);
  const std::uint8_t id = header.compression();
  if (id == 0) {
    *body = stored;
    return {};
  }
  const std::string_view name = compression_name(id);
  const Codec* const codec = codecs.by_id(id);
  if (codec == nullptr) {
    return bad(ErrorCode::unsupported_compression,
               "a batch is compressed with %.*s, for which no codec is loaded; load codec-%.*s", static_cast<int>(name.size()),
               name.data(), static_cast<int>(name.size()), name.data());
  }
  const std::size_t declared = codec->decompressed_size(stored);
  std::size_t room = std::min(declared != 0 ? declared : std::max(kFirstGuessBytes, stored.size() * kGrowth), body_bytes_max);
  while (true) {
    scratch.reset();
    std::byte* const to = scratch.extend(room);
    if (to == nullptr) return no_memory();
    const CodecResult result = codec->decompress(stored, {to, room});
    switch (result.outcome) {
      case CodecOutcome::done:
        scratch.truncate(result.bytes);
        *body = scratch.view();
        return {};
      case CodecOutcome::needs_space:
        if (room >= body_bytes_max) {
          return bad(ErrorCode::too_large, "the records of a batch: expected at most %zu bytes after %.*s, found more",
                     body_bytes_max, static_cast<int>(name.size()), name.data());
        }
        room = room > body_bytes_max / kGrowth ? body_bytes_max : room * kGrowth;
        break;
      case CodecOutcome::corrupt:
        return bad(ErrorCode::corrupt, "the records of a batch are not valid %.*s data", static_cast<int>(name.size()),
                   name.data());
      case CodecOutcome::declined:
      case CodecOutcome::failed:
        return bad(ErrorCode::internal, "codec %.*s failed to decompress a batch", static_cast<int>(name.size()), name.data());
    }
  }
}

Status recompress_batch(const CodecSet& codecs, Bytes batch, const Codec* target, std::size_t body_bytes_max,
                        MessageBuffer& scratch, MessageBuffer& out) noexcept {
  const BatchHeader header(batch.data());
  batch = batch.first(header.total_bytes());
  const std::uint8_t target_id = target == nullptr ? std::uint8_t{0} : target->id();
  if (header.compression() == target_id) {
    out.bytes(batch);
    return out.ok() ? Status{} : no_memory();
  }
  Bytes body;
  STREAMBUS_TRY_STATUS(decompress_batch(codecs, batch, body_bytes_max, scratch, &body));
  constexpr std::size_t kBodyMax = std::size_t{std::numeric_limits<std::int32_t>::max()} - kBatchHeaderBytes;
  if (body.size() > kBodyMax) {
    return bad(ErrorCode::too_large, "the records of a batch: expected at most %zu bytes, found %zu", kBodyMax, body.size());
  }
  const Bytes batch_header = batch.first(kBatchHeaderBytes);
  if (target == nullptr) return append_plain(batch_header, body, out);

  const std::size_t start = out.size();
  const std::size_t bound = target->compress_bound(body.size());
  std::byte* const to = out.extend(kBatchHeaderBytes + bound);
  if (to == nullptr) return no_memory();
  std::memcpy(to, batch_header.data(), kBatchHeaderBytes);
  const CodecResult result = target->compress(body, {to + kBatchHeaderBytes, bound});
  if (result.outcome != CodecOutcome::done) {
    out.truncate(start);
    if (result.outcome != CodecOutcome::declined) {
      const std::string_view name = target->type();
      return bad(ErrorCode::internal, "codec %.*s failed to compress a batch", static_cast<int>(name.size()), name.data());
    }
    return append_plain(batch_header, body, out);
  }
  out.truncate(start + kBatchHeaderBytes + result.bytes);
  restamp({out.at(start), out.size() - start}, target_id);
  return {};
}

}  // namespace streambus
