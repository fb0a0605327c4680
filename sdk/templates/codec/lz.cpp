#include "lz.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "streambus/base/bytes.hpp"
#include "streambus/base/crc32c.hpp"

namespace streambus::codec_acme {
namespace {

constexpr std::size_t kHeaderBytes = 12;
constexpr std::size_t kLiteralMax = 128;
constexpr std::size_t kMatchMin = 4;
constexpr std::size_t kMatchMax = 131;
constexpr std::size_t kMatchBytes = 3;  // of a code that stands for a match
constexpr std::size_t kDistanceMax = 65535;
constexpr unsigned kHashBits = 12;

struct Frame {
  std::uint32_t bytes = 0;
  std::uint32_t crc = 0;
  Bytes codes;
};

/// Takes one frame off the front. False where there is none: also where it claims more than its codes can give.
bool take_frame(Bytes* in, Frame* frame) noexcept {
  if (in->size() < kHeaderBytes) return false;
  ByteReader reader(*in);
  frame->bytes = reader.read<std::uint32_t>();
  const auto coded = reader.read<std::uint32_t>();
  frame->crc = reader.read<std::uint32_t>();
  frame->codes = reader.bytes(coded);
  if (!reader.ok() || frame->bytes > std::uint64_t{coded} * kMatchMax / kMatchBytes) return false;
  *in = in->subspan(kHeaderBytes + coded);
  return true;
}

std::uint32_t hash_of(const std::byte* four) noexcept {
  std::uint32_t value = 0;
  std::memcpy(&value, four, sizeof value);
  return (value * 2654435761U) >> (32 - kHashBits);
}

std::size_t match_length(Bytes in, std::size_t candidate, std::size_t at) noexcept {
  const std::size_t most = std::min(in.size() - at, kMatchMax);
  std::size_t length = 0;
  while (length < most && in[candidate + length] == in[at + length]) ++length;
  return length;
}

void write_literals(Bytes bytes, ByteWriter* writer) noexcept {
  while (!bytes.empty() && writer->ok()) {
    const std::size_t length = std::min(bytes.size(), kLiteralMax);
    writer->write(static_cast<std::uint8_t>(length - 1));
    writer->bytes(bytes.first(length));
    bytes = bytes.subspan(length);
  }
}

/// Writes `in` as codes. Bad when the room is too small.
void encode(Bytes in, ByteWriter* writer) noexcept {
  std::uint32_t last_seen[1U << kHashBits] = {};  // position + 1 of four bytes with that hash; 0: none
  std::size_t literals_from = 0;
  for (std::size_t at = 0; at + kMatchMin <= in.size() && writer->ok();) {
    std::uint32_t& slot = last_seen[hash_of(in.data() + at)];
    const std::size_t candidate = slot;
    slot = static_cast<std::uint32_t>(at + 1);
    const bool near = candidate > 0 && at - (candidate - 1) <= kDistanceMax;
    const std::size_t length = near ? match_length(in, candidate - 1, at) : 0;
    if (length < kMatchMin) {
      ++at;
      continue;
    }
    write_literals(in.subspan(literals_from, at - literals_from), writer);
    writer->write(static_cast<std::uint8_t>(length + 124));
    writer->write(static_cast<std::uint16_t>(at - (candidate - 1)));
    at += length;
    literals_from = at;
  }
  write_literals(in.subspan(literals_from), writer);
}

/// Fills `out` exactly. False where the codes are not those of so many bytes.
bool decode(Bytes codes, MutableBytes out) noexcept {
  ByteReader reader(codes);
  std::size_t at = 0;
  while (reader.ok() && reader.remaining() > 0) {
    const auto code = reader.read<std::uint8_t>();
    const std::size_t length = code < kLiteralMax ? code + std::size_t{1} : code - std::size_t{124};
    if (length > out.size() - at) return false;
    if (code < kLiteralMax) {
      const Bytes literal = reader.bytes(length);
      std::copy(literal.begin(), literal.end(), out.begin() + static_cast<std::ptrdiff_t>(at));
    } else {
      const auto distance = reader.read<std::uint16_t>();
      if (distance == 0 || distance > at) return false;
      for (std::size_t i = 0; i < length; ++i) out[at + i] = out[at + i - distance];
    }
    at += length;
  }
  return reader.ok() && at == out.size();
}

}  // namespace

LempelZiv::LempelZiv(Host& /*host*/, const Options& options) : id_(static_cast<std::uint8_t>(options.integer("id"))) {}

std::size_t LempelZiv::compress_bound(std::size_t bytes) const noexcept {
  return kHeaderBytes + bytes + bytes / kLiteralMax + 1;
}

CodecResult LempelZiv::compress(Bytes in, MutableBytes out) const noexcept {
  if (in.empty() || in.size() >= std::numeric_limits<std::uint32_t>::max()) return {.outcome = CodecOutcome::declined};
  if (out.size() < kHeaderBytes) return {.outcome = CodecOutcome::needs_space};
  // A result as long as the input is of no use to anybody: there is no need to go on behind it.
  const MutableBytes room = out.first(std::min(out.size(), std::max(in.size(), kHeaderBytes)));
  ByteWriter writer(room);
  writer.write(static_cast<std::uint32_t>(in.size()));
  writer.write(std::uint32_t{0});
  writer.write(crc32c(in));
  encode(in, &writer);
  if (!writer.ok()) return {.outcome = out.size() >= in.size() ? CodecOutcome::declined : CodecOutcome::needs_space};
  if (writer.written() >= in.size()) return {.outcome = CodecOutcome::declined};
  store_be(out.data() + 4, static_cast<std::uint32_t>(writer.written() - kHeaderBytes));
  return {.outcome = CodecOutcome::done, .bytes = writer.written()};
}

std::size_t LempelZiv::decompressed_size(Bytes in) const noexcept {
  std::size_t bytes = 0;
  Frame frame;
  while (!in.empty()) {
    if (!take_frame(&in, &frame)) return 0;
    bytes += frame.bytes;
  }
  return bytes;
}

CodecResult LempelZiv::decompress(Bytes in, MutableBytes out) const noexcept {
  std::size_t bytes = 0;
  Frame frame;
  if (in.empty()) return {.outcome = CodecOutcome::corrupt};
  while (!in.empty()) {
    if (!take_frame(&in, &frame)) return {.outcome = CodecOutcome::corrupt};
    if (frame.bytes > out.size() - bytes) return {.outcome = CodecOutcome::needs_space};
    const MutableBytes content = out.subspan(bytes, frame.bytes);
    if (!decode(frame.codes, content) || crc32c(content) != frame.crc) return {.outcome = CodecOutcome::corrupt};
    bytes += frame.bytes;
  }
  return {.outcome = CodecOutcome::done, .bytes = bytes};
}

}  // namespace streambus::codec_acme
