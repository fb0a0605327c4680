#include "streambus/base/buffers.hpp"

#include <cstdio>
#include <new>

#include "streambus/base/assert.hpp"
#include "streambus/base/crc32c.hpp"
#include "streambus/base/misuse.hpp"

namespace streambus {
namespace {

/// Stands between the holders of a slice and its buffer, and sees whether the bytes changed while they were shared.
class CheckedRange final : public Pin {
 public:
  CheckedRange(BufferRef buffer, Bytes bytes) noexcept : buffer_(std::move(buffer)), bytes_(bytes), crc_(crc32c(bytes)) {}

 private:
  void dispose() noexcept override {
    STREAMBUS_ASSERT(crc32c(bytes_) == crc_ && "bytes of a buffer were written after they were shared");
    delete this;
  }

  BufferRef buffer_;
  Bytes bytes_;
  std::uint32_t crc_;
};

}  // namespace

SharedSlice share_range(const BufferRef& buffer, std::size_t offset, std::size_t length) noexcept {
  const Bytes bytes(buffer->data() + offset, length);
  if constexpr (kMisuseChecks) {
    if (Pin* const checked = new (std::nothrow) CheckedRange(buffer, bytes)) return {PinRef::adopt(checked), bytes};
  }
  return {PinRef(buffer), bytes};
}

Result<SharedSlice> zero_copy_slice(const BufferRef& buffer, std::size_t offset, std::size_t length) {
  if (!buffer) return fail(ErrorCode::invalid_argument, "slice of a buffer: there is no buffer");
  if (offset > buffer->capacity() || length > buffer->capacity() - offset) {
    return fail(ErrorCode::out_of_range, "slice of a buffer: expected a range inside its " +
                                             std::to_string(buffer->capacity()) + " bytes, found " + std::to_string(length) +
                                             " bytes from " + std::to_string(offset));
  }
  return share_range(buffer, offset, length);
}

}  // namespace streambus
