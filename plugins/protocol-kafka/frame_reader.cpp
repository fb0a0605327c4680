#include "frame_reader.hpp"

#include <algorithm>
#include <cstring>

#include "streambus/base/assert.hpp"

namespace streambus::protocol_kafka {
namespace {

constexpr std::size_t kLengthBytes = sizeof(std::int32_t);
/// Below this much room at its end a buffer is refilled from the front.
constexpr std::size_t kRoomMin = 512;
constexpr unsigned kSmallRoundsMax = 16;
constexpr std::int16_t kProduceKey = 0;

std::size_t size_class(std::size_t bytes) noexcept {
  if (bytes <= FrameReader::kSmallBytes) return FrameReader::kSmallBytes;
  return bytes <= FrameReader::kMediumBytes ? FrameReader::kMediumBytes : FrameReader::kLargeBytes;
}

/// Four bytes that begin other protocols. All read as lengths above the largest that can be configured.
const char* foreign_protocol(std::int32_t length) noexcept {
  struct Mark {
    std::uint32_t first_bytes;
    std::uint32_t mask;
    const char* text;
  };
  static constexpr Mark kMarks[] = {
      {0x16030000, 0xffff0000,
       "a TLS handshake, but TLS is not enabled on this listener: set the client's security.protocol to PLAINTEXT"},
      {0x47455420, 0xffffffff, "an HTTP request, but this listener speaks the Kafka protocol"},          // "GET "
      {0x504f5354, 0xffffffff, "an HTTP request, but this listener speaks the Kafka protocol"},          // "POST"
      {0x50555420, 0xffffffff, "an HTTP request, but this listener speaks the Kafka protocol"},          // "PUT "
      {0x48454144, 0xffffffff, "an HTTP request, but this listener speaks the Kafka protocol"},          // "HEAD"
      {0x4f505449, 0xffffffff, "an HTTP request, but this listener speaks the Kafka protocol"},          // "OPTI"
      {0x434f4e4e, 0xffffffff, "an HTTP request or NATS, but this listener speaks the Kafka protocol"},  // "CONN"
      {0x50524920, 0xffffffff, "HTTP/2, but this listener speaks the Kafka protocol"},                   // "PRI "
      {0x53534800, 0xffffff00, "SSH, but this listener speaks the Kafka protocol"},
  };
  for (const Mark& mark : kMarks) {
    if ((static_cast<std::uint32_t>(length) & mark.mask) == mark.first_bytes) return mark.text;
  }
  return nullptr;
}

}  // namespace

std::int32_t FrameReader::length() const noexcept { return load_be<std::int32_t>(buffer_->data() + begin_); }

const char* FrameReader::complaint() const noexcept {
  if (!length_known()) return nullptr;
  const std::int32_t bytes = length();
  if (bytes < 0) return "a negative frame length";
  if (static_cast<std::uint64_t>(bytes) > frame_bytes_max_) {
    const char* const foreign = foreign_protocol(bytes);
    return foreign != nullptr ? foreign : "a frame above frame_bytes_max";
  }
  if (static_cast<std::size_t>(bytes) > kPlainFrameBytesMax && waiting() >= kLengthBytes + sizeof(std::int16_t) &&
      load_be<std::int16_t>(buffer_->data() + begin_ + kLengthBytes) != kProduceKey) {
    return "a frame above 4 MiB that is not a produce request";
  }
  return nullptr;
}

bool FrameReader::move_to(std::size_t capacity) noexcept {
  Buffer* fresh = nullptr;
  if (!source_->get(capacity, &fresh).ok()) return false;
  const std::size_t count = waiting();
  if (count != 0) std::memcpy(fresh->data(), buffer_->data() + begin_, count);
  buffer_ = BufferRef::adopt(fresh);
  begin_ = 0;
  end_ = count;
  return true;
}

MutableBytes FrameReader::space() noexcept {
  if (!buffer_ || (waiting() == 0 && !buffer_->unique())) {
    if (!move_to(usual_bytes_)) return {};
  }
  const std::size_t count = waiting();
  if (count == 0) begin_ = end_ = 0;

  std::size_t needed = count + 1;
  bool fits = false;
  if (!length_known()) {
    fits = end_ + kRoomMin <= buffer_->capacity();
  } else {
    needed = std::max(kLengthBytes + static_cast<std::size_t>(length()), needed);
    const std::size_t trusted = std::max(usual_bytes_, kMediumBytes);
    if (needed <= trusted) {
      fits = begin_ + needed <= buffer_->capacity();
    } else {
      // What the peer only announced is not allocated: the bytes must come first, and fill what there is.
      fits = end_ < buffer_->capacity();
      needed = std::min(needed, std::max(trusted, 4 * count));
    }
  }
  if (!fits) {
    if (needed <= buffer_->capacity() && buffer_->unique()) {
      std::memmove(buffer_->data(), buffer_->data() + begin_, count);
      begin_ = 0;
      end_ = count;
    } else if (!move_to(std::max(needed, usual_bytes_))) {
      return {};
    }
  }
  offered_ = buffer_->capacity() - end_;
  return buffer_->span().subspan(end_);
}

void FrameReader::received(std::size_t bytes) noexcept {
  STREAMBUS_ASSERT(bytes <= offered_);
  end_ += bytes;
  // A receive that filled a small buffer: more is waiting in the socket.
  round_bytes_ =
      std::max(round_bytes_, bytes == offered_ && bytes >= kSmallBytes / 2 ? std::min(2 * bytes, kMediumBytes) : bytes);
  if (size_class(round_bytes_) == kMediumBytes && usual_bytes_ == kSmallBytes) usual_bytes_ = kMediumBytes;
  offered_ = 0;
}

bool FrameReader::has_frame() const noexcept {
  if (!buffer_) return false;
  if (complaint() != nullptr) return true;
  return length_known() && waiting() - kLengthBytes >= static_cast<std::size_t>(length());
}

FrameReader::Outcome FrameReader::next(MutableBytes* frame) noexcept {
  if (!buffer_) return Outcome::need_more;
  if (const char* const text = complaint(); text != nullptr) {
    problem_ = text;
    bad_length_ = length();
    return Outcome::bad;
  }
  if (!length_known()) return Outcome::need_more;
  const auto bytes = static_cast<std::size_t>(length());
  if (waiting() - kLengthBytes < bytes) return Outcome::need_more;
  *frame = {buffer_->data() + begin_ + kLengthBytes, bytes};
  begin_ += kLengthBytes + bytes;
  learn(kLengthBytes + bytes);
  return Outcome::frame;
}

void FrameReader::learn(std::size_t frame_bytes) noexcept {
  round_bytes_ = std::max(round_bytes_, frame_bytes);
  usual_bytes_ = std::max(usual_bytes_, size_class(frame_bytes));
}

void FrameReader::rest() noexcept {
  if (!buffer_ || waiting() != 0) return;
  buffer_.reset();
  begin_ = end_ = 0;
  small_rounds_ = size_class(round_bytes_) < usual_bytes_ ? small_rounds_ + 1 : 0;
  round_bytes_ = 0;
  if (small_rounds_ >= kSmallRoundsMax) {
    usual_bytes_ = usual_bytes_ == kLargeBytes ? kMediumBytes : kSmallBytes;
    small_rounds_ = 0;
  }
}

void FrameReader::clear() noexcept {
  buffer_.reset();
  begin_ = end_ = 0;
}

}  // namespace streambus::protocol_kafka
