#pragma once
// What the generated messages are made of: views, and the encoder that puts a message together without copying batches.
// The layouts follow Kafka's protocol guide (https://kafka.apache.org/protocol) and, for compact forms and tags, KIP-482.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "streambus/base/bytes.hpp"
#include "streambus/base/message_buffer.hpp"
#include "streambus/base/slice.hpp"
#include "streambus/wire/arena.hpp"

namespace streambus::wire {

/// Batches in a response: runs of memory or of files that somebody else keeps alive. A decoded response has one slice, in
/// its frame. A null on the wire reads as empty; empty ones are written with length 0, never as null.
struct Records {
  std::span<const Slice> slices{};
  std::uint64_t bytes = 0;  ///< sum over the slices
};

/// What a message takes: `bytes` in the buffer, and external slices that are sent from where they are.
struct EncodedSize {
  std::size_t bytes = 0;
  std::uint64_t external_bytes = 0;
  std::size_t external_slices = 0;

  [[nodiscard]] std::uint64_t total_bytes() const noexcept { return bytes + external_bytes; }
};

/// Collects encoded messages: the fields in a MessageBuffer, batches as external slices at their place between them.
/// A short-lived object; the buffer and the arena outlive it, and the arena must not be reset meanwhile.
/// The first failure makes it bad for good: see ok(). One thread at a time.
class Encoder {
 public:
  Encoder(MessageBuffer& buffer, Arena& arena) noexcept : buffer_(&buffer), arena_(&arena) {}
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  /// False when memory ran out, or when a message cannot be written in the version asked for: a text over 32767 bytes in a
  /// classic string, null where the version has no null, a version that has no layout.
  [[nodiscard]] bool ok() const noexcept { return ok_ && buffer_->ok(); }
  void mark_bad() noexcept { ok_ = false; }

  /// Extends the buffer by size.bytes and makes room for the slices. Null after a failure, or for zero bytes.
  [[nodiscard]] std::byte* reserve(const EncodedSize& size) noexcept;

  /// Places a slice before the byte at `position` of the buffer; positions never decrease. Room was reserved.
  void place(std::size_t position, const Slice& slice) noexcept;

  /// Position in the buffer of the next byte.
  [[nodiscard]] std::size_t position() const noexcept { return buffer_->size(); }

  /// Bytes in all, with the external ones.
  [[nodiscard]] std::uint64_t total_bytes() const noexcept { return buffer_->size() + external_bytes_; }

  /// Everything in sending order, from byte 0 of the buffer on. The array lives in the arena, the bytes in the buffer and
  /// in the external slices: valid until the buffer is written again. Empty after a failure.
  [[nodiscard]] std::span<const Slice> slices() noexcept;

 private:
  struct Cut {
    std::size_t position = 0;
    Slice slice;
  };

  MessageBuffer* buffer_;
  Arena* arena_;
  std::span<Cut> cuts_;  ///< capacity; the first cut_count_ are in use
  std::size_t cut_count_ = 0;
  std::uint64_t external_bytes_ = 0;
  bool ok_ = true;
};

/// Skips a section of tagged fields. False where it is malformed.
[[nodiscard]] bool skip_tags(ByteReader& in) noexcept;

}  // namespace streambus::wire
