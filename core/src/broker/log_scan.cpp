#include "log_scan.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

namespace streambus::broker {
namespace {

constexpr std::uint64_t kScanBytes = std::uint64_t{8} << 20;
constexpr std::size_t kChunkBytes = std::size_t{64} << 10;

/// Reads exactly `out.size()` bytes of a file slice.
Status read_file(const Slice& slice, std::uint64_t position, MutableBytes out) noexcept {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(slice.fd, out.data() + done, out.size() - done, static_cast<off_t>(slice.file_position + position + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_status("pread of a segment", errno);
    if (got == 0) return {ErrorCode::corrupt, "a segment is shorter than the range the storage handed out"};
    done += static_cast<std::size_t>(got);
  }
  return {};
}

/// A window on a slice: bytes at a position, without a copy for memory, in chunks for files.
class SliceWindow {
 public:
  explicit SliceWindow(std::byte* chunk) noexcept : chunk_(chunk) {}

  void open(const Slice& slice) noexcept {
    slice_ = slice;
    begin_ = end_ = 0;
  }

  /// *bytes stays null where the slice ends before position + count; count <= kChunkBytes.
  Status at(std::uint64_t position, std::size_t count, const std::byte** bytes) noexcept {
    *bytes = nullptr;
    if (position + count > slice_.bytes) return {};
    if (!slice_.is_file()) {
      *bytes = slice_.data + position;
      return {};
    }
    if (position < begin_ || position + count > end_) {
      const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(kChunkBytes, slice_.bytes - position));
      STREAMBUS_TRY_STATUS(read_file(slice_, position, {chunk_, wanted}));
      begin_ = position;
      end_ = position + wanted;
    }
    *bytes = chunk_ + (position - begin_);
    return {};
  }

 private:
  std::byte* chunk_;
  Slice slice_;
  std::uint64_t begin_ = 0;  // what the chunk holds
  std::uint64_t end_ = 0;
};

Status broken(Offset near) noexcept {
  char text[96];
  std::snprintf(text, sizeof text, "the log holds bytes that are no record batch behind offset %lld",
                static_cast<long long>(near.value));
  return {ErrorCode::corrupt, text};
}

/// Visits one slice. *go_on is false when the visitor has seen enough.
Status scan_slice(SliceWindow& window, const Slice& slice, Offset& expected, HeaderVisitor& visitor, bool* go_on) {
  window.open(slice);
  for (std::uint64_t position = 0; position < slice.bytes && *go_on;) {
    const std::byte* bytes = nullptr;
    STREAMBUS_TRY_STATUS(window.at(position, kBatchHeaderBytes, &bytes));
    if (bytes == nullptr) return broken(expected);
    const BatchHeader batch(bytes);
    if (batch.magic() != 2 || batch.length_field() < static_cast<std::int32_t>(kBatchHeaderBytes - kBatchLengthPrefixBytes) ||
        batch.last_offset() < expected) {
      return broken(expected);
    }
    expected = batch.next_offset();
    position += batch.total_bytes();
    *go_on = visitor.header(batch);
  }
  return {};
}

}  // namespace

Status scan_headers(PartitionLog& log, Offset from, Offset limit, HeaderVisitor& visitor) {
  const auto chunk = std::make_unique<std::byte[]>(kChunkBytes);
  SliceWindow window(chunk.get());
  bool go_on = true;
  while (from < limit && go_on) {
    ReadResult result;
    STREAMBUS_TRY_STATUS(log.read({.from = from, .limit = limit, .bytes_max = kScanBytes, .at_least_one = true}, &result));
    const PinRef pin = PinRef::adopt(result.pin);
    if (result.slice_count == 0 || result.next <= from) break;
    Offset expected = from;
    for (std::uint32_t i = 0; i < result.slice_count && go_on; ++i) {
      STREAMBUS_TRY_STATUS(scan_slice(window, result.slices[i], expected, visitor, &go_on));
    }
    from = result.next;
  }
  return {};
}

Status BatchCursor::next(Bytes* batch) {
  *batch = {};
  while (left_.empty()) {
    if (slice_ == result_.slice_count) {
      if (from_ >= limit_) return {};
      STREAMBUS_TRY_STATUS(read_more());
      if (result_.slice_count == 0) return {};
    }
    const Slice& slice = result_.slices[slice_++];
    if (slice.is_file()) {
      buffer_.resize(static_cast<std::size_t>(slice.bytes));
      STREAMBUS_TRY_STATUS(read_file(slice, 0, buffer_));
      left_ = buffer_;
    } else {
      left_ = slice.as_memory();
    }
  }
  std::size_t bytes = 0;
  if (!frame_batch(left_, &bytes).ok()) return broken(from_);
  *batch = left_.first(bytes);
  left_ = left_.subspan(bytes);
  return {};
}

Status BatchCursor::read_more() {
  constexpr std::uint64_t kReadBytes = std::uint64_t{1} << 20;
  pin_.reset();
  slice_ = 0;
  result_ = ReadResult();
  STREAMBUS_TRY_STATUS(log_.read({.from = from_, .limit = limit_, .bytes_max = kReadBytes, .at_least_one = true}, &result_));
  pin_ = PinRef::adopt(result_.pin);
  from_ = result_.next;
  return {};
}

Status read_batch(PartitionLog& log, Offset at, Offset limit, MessageBuffer& out) noexcept {
  out.reset();
  ReadResult result;
  STREAMBUS_TRY_STATUS(log.read({.from = at, .limit = limit, .bytes_max = 1, .at_least_one = true}, &result));
  const PinRef pin = PinRef::adopt(result.pin);
  if (result.slice_count == 0) return {ErrorCode::out_of_range, "no batch lies at this offset"};
  const Slice& slice = result.slices[0];
  if (slice.is_file()) {
    std::byte* const to = out.extend(static_cast<std::size_t>(slice.bytes));
    if (to == nullptr) return {ErrorCode::busy, "no buffer for reading a batch"};
    return read_file(slice, 0, {to, static_cast<std::size_t>(slice.bytes)});
  }
  out.bytes(slice.as_memory());
  return out.ok() ? Status() : Status(ErrorCode::busy, "no buffer for reading a batch");
}

}  // namespace streambus::broker
