#include "rle.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "streambus/base/bytes.hpp"
#include "streambus/base/crc32c.hpp"

namespace streambus::codec_acme {
namespace {

constexpr std::size_t kHeaderBytes = 12;
constexpr std::size_t kLiteralMax = 128;
constexpr std::size_t kRunMin = 3;
constexpr std::size_t kRunMax = 130;

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
  if (!reader.ok() || frame->bytes > std::uint64_t{coded} * kRunMax / 2) return false;
  *in = in->subspan(kHeaderBytes + coded);
  return true;
}

/// How often the first byte is repeated at the start of `in`.
std::size_t run_length(Bytes in) noexcept {
  std::size_t length = 1;
  while (length < in.size() && length < kRunMax && in[length] == in[0]) ++length;
  return length;
}

/// Writes `in` as codes. Bad when the room is too small.
void encode(Bytes in, ByteWriter* writer) noexcept {
  while (!in.empty()) {
    if (const std::size_t run = run_length(in); run >= kRunMin) {
      writer->write(static_cast<std::uint8_t>(run + 125));
      writer->write(std::to_integer<std::uint8_t>(in[0]));
      in = in.subspan(run);
      continue;
    }
    std::size_t literal = 1;
    while (literal < in.size() && literal < kLiteralMax && run_length(in.subspan(literal)) < kRunMin) ++literal;
    writer->write(static_cast<std::uint8_t>(literal - 1));
    writer->bytes(in.first(literal));
    in = in.subspan(literal);
  }
}

/// Fills `out` exactly. False where the codes are not those of so many bytes.
bool decode(Bytes codes, MutableBytes out) noexcept {
  ByteReader reader(codes);
  while (reader.ok() && reader.remaining() > 0) {
    const auto code = reader.read<std::uint8_t>();
    const std::size_t length = code < kLiteralMax ? code + std::size_t{1} : code - std::size_t{125};
    if (length > out.size()) return false;
    if (code < kLiteralMax) {
      const Bytes literal = reader.bytes(length);
      std::copy(literal.begin(), literal.end(), out.begin());
    } else {
      std::memset(out.data(), reader.read<std::uint8_t>(), length);
    }
    out = out.subspan(length);
  }
  return reader.ok() && out.empty();
}

}  // namespace

RunLength::RunLength(Host& /*host*/, const Options& options) : id_(static_cast<std::uint8_t>(options.integer("id"))) {}

std::size_t RunLength::compress_bound(std::size_t bytes) const noexcept {
  return kHeaderBytes + bytes + bytes / kLiteralMax + 1;
}

CodecResult RunLength::compress(Bytes in, MutableBytes out) const noexcept {
  if (in.empty() || in.size() > std::numeric_limits<std::uint32_t>::max()) return {.outcome = CodecOutcome::declined};
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

std::size_t RunLength::decompressed_size(Bytes in) const noexcept {
  std::size_t bytes = 0;
  Frame frame;
  while (!in.empty()) {
    if (!take_frame(&in, &frame)) return 0;
    bytes += frame.bytes;
  }
  return bytes;
}

CodecResult RunLength::decompress(Bytes in, MutableBytes out) const noexcept {
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
