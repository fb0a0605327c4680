#pragma once

#include <concepts>
#include <cstring>

#include "streambus/base/buffer.hpp"
#include "streambus/base/bytes.hpp"

namespace streambus {

/// A growable, contiguous message under construction, in memory borrowed from a BufferSource.
/// Growing takes a larger buffer and copies once (sizes double); slices handed out before stay valid, on the old buffer.
/// The first allocation that fails makes the buffer bad until reset(): writes are dropped, ok() says so. One thread at a time.
class MessageBuffer {
 public:
  explicit MessageBuffer(BufferSource& source) noexcept : source_(&source) {}
  MessageBuffer(MessageBuffer&& other) noexcept
      : source_(other.source_), buffer_(std::move(other.buffer_)), size_(std::exchange(other.size_, 0)), ok_(other.ok_) {}
  MessageBuffer& operator=(MessageBuffer&& other) noexcept {
    source_ = other.source_;
    buffer_ = std::move(other.buffer_);
    size_ = std::exchange(other.size_, 0);
    ok_ = other.ok_;
    return *this;
  }
  MessageBuffer(const MessageBuffer&) = delete;
  MessageBuffer& operator=(const MessageBuffer&) = delete;
  ~MessageBuffer() = default;

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return buffer_ ? buffer_->capacity() : 0; }
  /// Valid until the next write, reset or destruction.
  [[nodiscard]] Bytes view() const noexcept { return buffer_ ? Bytes(buffer_->data(), size_) : Bytes{}; }
  /// Writable access to what was written, for patching lengths. `position` + the patched size must be <= size().
  [[nodiscard]] std::byte* at(std::size_t position) noexcept { return buffer_->data() + position; }

  template <std::integral T>
  void write(T value) noexcept {
    if (std::byte* to = extend(sizeof value)) store_be(to, value);
  }
  void bytes(Bytes bytes) noexcept {
    if (bytes.empty()) return;
    if (std::byte* to = extend(bytes.size())) std::memcpy(to, bytes.data(), bytes.size());
  }
  void varint(std::uint64_t value) noexcept {
    const std::size_t length = varint_bytes(value);
    if (std::byte* to = extend(length)) ByteWriter({to, length}).varint(value);
  }
  void signed_varint(std::int64_t value) noexcept { varint(zigzag(value)); }

  /// Appends `count` bytes of undefined content and returns where they start; null after a failure.
  [[nodiscard]] std::byte* extend(std::size_t count) noexcept {
    if (count > capacity() - size_ || !ok_) [[unlikely]] {
      if (!grow(count)) return nullptr;
    }
    std::byte* const start = buffer_->data() + size_;
    size_ += count;
    return start;
  }

  /// Drops what was written from `size` on, which must be <= size().
  void truncate(std::size_t size) noexcept { size_ = size; }

  /// A shared read-only view of [position, position + length), without copying. Out of bounds: an empty slice.
  /// Once sliced, the next write after reset() goes to a fresh buffer while the slice lives.
  [[nodiscard]] SharedSlice slice(std::size_t position, std::size_t length) const noexcept;

  /// Takes the buffer out: the caller owns it, the message is empty again.
  [[nodiscard]] BufferRef take() noexcept;

  /// Forgets the content and a failure, keeps the memory for reuse unless slices of it are still held.
  void reset() noexcept;

 private:
  [[nodiscard]] bool grow(std::size_t count) noexcept;

  BufferSource* source_;
  BufferRef buffer_;
  std::size_t size_ = 0;
  bool ok_ = true;
};

}  // namespace streambus
