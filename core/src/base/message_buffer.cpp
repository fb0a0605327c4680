#include "streambus/base/message_buffer.hpp"

#include <algorithm>
#include <limits>

#include "streambus/base/buffers.hpp"

namespace streambus {

SharedSlice MessageBuffer::slice(std::size_t position, std::size_t length) const noexcept {
  if (position > size_ || length > size_ - position || length == 0) return {};
  return share_range(buffer_, position, length);
}

BufferRef MessageBuffer::take() noexcept {
  size_ = 0;
  return std::exchange(buffer_, BufferRef());
}

void MessageBuffer::reset() noexcept {
  size_ = 0;
  ok_ = true;
  if (buffer_ && !buffer_->unique()) buffer_.reset();
}

bool MessageBuffer::grow(std::size_t count) noexcept {
  if (!ok_) return false;
  ok_ = false;
  constexpr std::size_t kBytesMax = std::numeric_limits<std::size_t>::max() / 2;  // so that doubling cannot wrap around
  if (count > kBytesMax - size_) return false;
  Buffer* larger = nullptr;
  if (!source_->get(std::max(size_ + count, 2 * capacity()), &larger).ok()) return false;
  if (size_ != 0) std::memcpy(larger->data(), buffer_->data(), size_);
  buffer_ = BufferRef::adopt(larger);
  ok_ = true;
  return true;
}

}  // namespace streambus
