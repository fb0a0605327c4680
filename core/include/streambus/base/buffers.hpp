#pragma once
// What one does with buffers of any BufferSource.

#include <concepts>
#include <cstddef>
#include <functional>
#include <utility>

#include "streambus/base/buffer.hpp"

namespace streambus {

/// Borrows a buffer of at least `bytes` bytes; dropping the last reference gives it back. Errors: as BufferSource::get.
[[nodiscard]] inline Result<BufferRef> get_buffer(BufferSource& source, std::size_t bytes) {
  Buffer* buffer = nullptr;
  if (const Status status = source.get(bytes, &buffer); !status.ok()) [[unlikely]]
    return std::unexpected<Error>(Error(status));
  return BufferRef::adopt(buffer);
}

/// Calls fn(MutableBytes) with a borrowed buffer, all of its capacity, and gives it back when fn returns or throws
/// (unless fn's callee took a reference). Errors: as BufferSource::get; fn is then not called.
template <std::invocable<MutableBytes> Function>
[[nodiscard]] Status with_buffer(BufferSource& source, std::size_t bytes, Function&& fn) {
  Buffer* buffer = nullptr;
  STREAMBUS_TRY_STATUS(source.get(bytes, &buffer));
  const BufferRef owner = BufferRef::adopt(buffer);
  std::invoke(std::forward<Function>(fn), owner->span());
  return {};
}

/// The view that zero_copy_slice gives, of a range that is known to lie inside the buffer.
[[nodiscard]] SharedSlice share_range(const BufferRef& buffer, std::size_t offset, std::size_t length) noexcept;

/// A shared read-only view of [offset, offset + length) of a buffer: the same bytes at the same address, kept alive by the
/// slice. Nobody may write to these bytes while a slice of them lives. Allocates nothing, except in debug and address-sanitizer
/// builds, where the slice remembers the checksum of its bytes and the last holder stops the program when they changed. Errors:
/// out_of_range when the range is not inside the buffer; invalid_argument without a buffer.
[[nodiscard]] Result<SharedSlice> zero_copy_slice(const BufferRef& buffer, std::size_t offset, std::size_t length);

}  // namespace streambus
