#include "streambus/wire/frame.hpp"

namespace streambus::wire {
namespace {

constexpr std::size_t kClassicStringMax = std::numeric_limits<std::int16_t>::max();

bool flexible_response_header(ApiKey key, std::int16_t version) noexcept {
  // A client that asks for a version the broker does not know must still be able to read the answer.
  return key != ApiKey::api_versions && is_flexible(static_cast<std::int16_t>(key), version);
}

/// Writes the length of a frame; false where it does not fit.
bool write_length(std::uint64_t length, ByteWriter& writer, Encoder& out) noexcept {
  if (length > std::numeric_limits<std::int32_t>::max()) {
    out.mark_bad();
    return false;
  }
  writer.write(static_cast<std::int32_t>(length));
  return true;
}

}  // namespace

bool decode(ByteReader& in, RequestHeader& out) noexcept {
  out = {};
  out.api_key = in.read<std::int16_t>();
  out.api_version = in.read<std::int16_t>();
  out.correlation_id = in.read<std::int32_t>();
  const auto length = in.read<std::int16_t>();
  if (length < -1) in.mark_bad();
  if (length >= 0) out.client_id = as_text(in.bytes(static_cast<std::size_t>(length)));
  if (is_flexible(out.api_key, out.api_version)) return skip_tags(in);
  return in.ok();
}

bool decode(ByteReader& in, ApiKey key, std::int16_t version, ResponseHeader& out) noexcept {
  out = {};
  out.correlation_id = in.read<std::int32_t>();
  if (flexible_response_header(key, version)) return skip_tags(in);
  return in.ok();
}

void begin_request(const RequestHeader& header, const EncodedSize& message, Encoder& out) noexcept {
  const std::string_view client_id = header.client_id.value_or(std::string_view{});
  if (client_id.size() > kClassicStringMax) return out.mark_bad();
  const bool flexible = is_flexible(header.api_key, header.api_version);
  const std::size_t bytes = 10 + client_id.size() + (flexible ? 1 : 0);
  std::byte* const to = out.reserve({.bytes = kFrameLengthBytes + bytes});
  if (to == nullptr) return;
  ByteWriter writer({to, kFrameLengthBytes + bytes});
  if (!write_length(bytes + message.total_bytes(), writer, out)) return;
  writer.write(header.api_key);
  writer.write(header.api_version);
  writer.write(header.correlation_id);
  writer.write(header.client_id ? static_cast<std::int16_t>(client_id.size()) : std::int16_t{-1});
  writer.bytes(as_bytes(client_id));
  if (flexible) writer.varint(0);
}

void begin_response(const ResponseHeader& header, ApiKey key, std::int16_t version, const EncodedSize& message,
                    Encoder& out) noexcept {
  const bool flexible = flexible_response_header(key, version);
  const std::size_t bytes = sizeof header.correlation_id + (flexible ? 1 : 0);
  std::byte* const to = out.reserve({.bytes = kFrameLengthBytes + bytes});
  if (to == nullptr) return;
  ByteWriter writer({to, kFrameLengthBytes + bytes});
  if (!write_length(bytes + message.total_bytes(), writer, out)) return;
  writer.write(header.correlation_id);
  if (flexible) writer.varint(0);
}

}  // namespace streambus::wire
