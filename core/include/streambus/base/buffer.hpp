#pragma once

#include "streambus/base/error.hpp"
#include "streambus/base/pin.hpp"
#include "streambus/base/slice.hpp"

namespace streambus {

/// A block of memory borrowed from a BufferSource. Reference-counted by Pin; the last reference gives it back.
/// The holder of a unique reference may write; once shared, all holders only read.
class Buffer : public Pin {
 public:
  [[nodiscard]] std::byte* data() noexcept { return data_; }
  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] MutableBytes span() noexcept { return {data_, capacity_}; }

 protected:
  Buffer(std::byte* data, std::size_t capacity) noexcept : data_(data), capacity_(capacity) {}

 private:
  std::byte* data_;
  std::size_t capacity_;
};

using BufferRef = Ref<Buffer>;

/// Lends buffers. Thread-safe. Does not block.
class BufferSource {
 public:
  BufferSource() = default;
  BufferSource(const BufferSource&) = delete;
  BufferSource& operator=(const BufferSource&) = delete;

  /// Lends a buffer of at least `bytes` bytes, contents undefined, with one reference that the caller owns.
  /// Errors: busy when the bound on lent bytes is reached (retry after a release), no_space when memory ran out,
  /// too_large when `bytes` is above the bound itself (no release will help).
  virtual Status get(std::size_t bytes, Buffer** out) noexcept = 0;

 protected:
  virtual ~BufferSource() = default;
};

/// A read-only view of bytes together with the reference that keeps them alive. Copies share, never copy bytes.
struct SharedSlice {
  PinRef pin;
  Bytes bytes;
};

}  // namespace streambus
