#pragma once
// Readers and writers of big-endian primitives over memory that somebody else owns. Bounds-checked, never allocating.

#include <bit>
#include <concepts>
#include <cstring>
#include <string_view>

#include "streambus/base/ids.hpp"

namespace streambus {

/// Loads and stores an integer in network byte order at any address.
template <std::integral T>
[[nodiscard]] inline T load_be(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (sizeof(T) > 1 && std::endian::native == std::endian::little) value = std::byteswap(value);
  return value;
}

template <std::integral T>
inline void store_be(std::byte* to, T value) noexcept {
  if constexpr (sizeof(T) > 1 && std::endian::native == std::endian::little) value = std::byteswap(value);
  std::memcpy(to, &value, sizeof value);
}

[[nodiscard]] inline Bytes as_bytes(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}
[[nodiscard]] inline std::string_view as_text(Bytes bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// ZigZag mapping of RecordBatch's varints (as in Protocol Buffers' sint64).
[[nodiscard]] constexpr std::uint64_t zigzag(std::int64_t value) noexcept {
  return (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
}
[[nodiscard]] constexpr std::int64_t unzigzag(std::uint64_t value) noexcept {
  return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
}
[[nodiscard]] constexpr std::size_t varint_bytes(std::uint64_t value) noexcept {
  return value == 0 ? 1 : (static_cast<std::size_t>(std::bit_width(value)) + 6) / 7;
}

/// Reads primitives from a span. The first read past the end makes the reader bad for good:
/// it then yields zeros and empty views, so that a decoder checks ok() once, at its end.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) noexcept : position_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] std::size_t remaining() const noexcept { return static_cast<std::size_t>(end_ - position_); }
  [[nodiscard]] const std::byte* position() const noexcept { return position_; }
  void mark_bad() noexcept {
    ok_ = false;
    position_ = end_;
  }

  template <std::integral T>
  [[nodiscard]] T read() noexcept {
    if (remaining() < sizeof(T)) [[unlikely]] {
      mark_bad();
      return 0;
    }
    const T value = load_be<T>(position_);
    position_ += sizeof(T);
    return value;
  }

  /// A view of the next `count` bytes of the underlying memory.
  [[nodiscard]] Bytes bytes(std::size_t count) noexcept {
    if (remaining() < count) [[unlikely]] {
      mark_bad();
      return {};
    }
    const Bytes view(position_, count);
    position_ += count;
    return view;
  }
  void skip(std::size_t count) noexcept { (void)bytes(count); }

  /// An unsigned LEB128 of at most 10 bytes; longer ones make the reader bad.
  [[nodiscard]] std::uint64_t varint() noexcept {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (position_ == end_) break;
      const auto byte = std::to_integer<std::uint64_t>(*position_++);
      value |= (byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    mark_bad();
    return 0;
  }
  [[nodiscard]] std::int64_t signed_varint() noexcept { return unzigzag(varint()); }

 private:
  const std::byte* position_;
  const std::byte* end_;
  bool ok_ = true;
};

/// Writes primitives into a span of fixed size. A write past the end makes the writer bad for good and is dropped.
class ByteWriter {
 public:
  explicit ByteWriter(MutableBytes bytes) noexcept
      : begin_(bytes.data()), position_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] std::size_t written() const noexcept { return static_cast<std::size_t>(position_ - begin_); }
  [[nodiscard]] std::size_t remaining() const noexcept { return static_cast<std::size_t>(end_ - position_); }

  template <std::integral T>
  void write(T value) noexcept {
    if (!reserve(sizeof(T))) return;
    store_be(position_, value);
    position_ += sizeof(T);
  }
  void bytes(Bytes bytes) noexcept {
    if (!reserve(bytes.size()) || bytes.empty()) return;
    std::memcpy(position_, bytes.data(), bytes.size());
    position_ += bytes.size();
  }
  void varint(std::uint64_t value) noexcept {
    if (!reserve(varint_bytes(value))) return;
    while (value >= 0x80) {
      *position_++ = static_cast<std::byte>(value | 0x80);
      value >>= 7;
    }
    *position_++ = static_cast<std::byte>(value);
  }
  void signed_varint(std::int64_t value) noexcept { varint(zigzag(value)); }

 private:
  [[nodiscard]] bool reserve(std::size_t count) noexcept {
    if (ok_ && remaining() >= count) [[likely]]
      return true;
    ok_ = false;
    return false;
  }

  std::byte* begin_;
  std::byte* position_;
  std::byte* end_;
  bool ok_ = true;
};

}  // namespace streambus
