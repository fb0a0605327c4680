#pragma once
// Frames: a length (int32), a header, a message. The length is read by whoever collects the bytes; the rest is here.

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "streambus/wire/messages.hpp"

namespace streambus::wire {

inline constexpr std::size_t kFrameLengthBytes = 4;

/// What precedes every request. `api_key` is as it came: it may be unknown.
struct RequestHeader {
  std::int16_t api_key = 0;
  std::int16_t api_version = 0;
  std::int32_t correlation_id = 0;
  std::optional<std::string_view> client_id{};
};

/// What precedes every response.
struct ResponseHeader {
  std::int32_t correlation_id = 0;
};

/// Reads the header of a request, behind the frame's length. A version beyond the known ones counts as flexible, which is
/// what newer clients send; an unknown key counts as not flexible. False where it is malformed.
[[nodiscard]] bool decode(ByteReader& in, RequestHeader& out) noexcept;

/// Reads the header of the response to a request of this key and version.
[[nodiscard]] bool decode(ByteReader& in, ApiKey key, std::int16_t version, ResponseHeader& out) noexcept;

/// Begins the frame of a request or response whose message has the given size: length and header.
void begin_request(const RequestHeader& header, const EncodedSize& message, Encoder& out) noexcept;
void begin_response(const ResponseHeader& header, ApiKey key, std::int16_t version, const EncodedSize& message,
                    Encoder& out) noexcept;

/// Writes a whole request frame. `out` is bad where the version has no layout, a text is too long or memory ran out.
template <class M>
void encode_request(const M& message, std::int16_t version, std::int32_t correlation_id,
                    std::optional<std::string_view> client_id, Encoder& out) noexcept {
  const EncodedSize size = encoded_size(message, version);
  begin_request({static_cast<std::int16_t>(M::kKey), version, correlation_id, client_id}, size, out);
  encode(message, version, size, out);
}

/// Writes a whole response frame; errors as encode_request.
template <class M>
void encode_response(const M& message, std::int16_t version, std::int32_t correlation_id, Encoder& out) noexcept {
  const EncodedSize size = encoded_size(message, version);
  begin_response({correlation_id}, M::kKey, version, size, out);
  encode(message, version, size, out);
}

}  // namespace streambus::wire
