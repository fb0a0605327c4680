#include "scan.hpp"

#include <algorithm>

#include "paths.hpp"
#include "streambus/base/crc32c.hpp"
#include "text.hpp"

namespace streambus::storage_wal {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
constexpr std::size_t kCrcStart = 21;

bool all_zero(Bytes bytes) noexcept {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

/// The size of the batch whose header is `header`, from the header alone: a torn or random length is not read.
Status frame_header(Bytes header, std::uint64_t left, std::size_t* bytes) noexcept {
  if (header.size() < kBatchHeaderBytes) return frame_batch(header, bytes);
  const BatchHeader view(header.data());
  if (view.magic() != 2 || view.length_field() < 0) return frame_batch(header, bytes);
  if (view.total_bytes() > left) {
    return status_of(ErrorCode::corrupt, "batch of %zu bytes, the file has %llu", view.total_bytes(),
                     static_cast<unsigned long long>(left));
  }
  *bytes = view.total_bytes();
  return {};
}

/// Structure and checksum of the batch at the start of `batch`.
Status check(Bytes batch) noexcept {
  const BatchHeader header(batch.data());
  if (header.last_offset_delta() < 0)
    return status_of(ErrorCode::corrupt, "last offset delta: found %d", header.last_offset_delta());
  if (header.base_offset().value > INT64_MAX - 1 - header.last_offset_delta()) {
    return status_of(ErrorCode::corrupt, "base offset: found %lld, which no log reaches",
                     static_cast<long long>(header.base_offset().value));
  }
  const std::uint32_t crc = crc32c(batch.subspan(kCrcStart));
  if (crc != header.crc()) return status_of(ErrorCode::corrupt, "batch checksum: expected %08x, found %08x", header.crc(), crc);
  return {};
}

}  // namespace

FileWindow::FileWindow(File& file, std::uint64_t end)
    : file_(file), end_(end), buffer_(static_cast<std::size_t>(std::min<std::uint64_t>(kChunkBytes, end))) {}

Status FileWindow::view(std::uint64_t position, std::size_t bytes, Bytes* out) {
  bytes = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, end_ - position));
  if (position < from_ || position + bytes > from_ + filled_) {
    if (buffer_.size() < bytes) buffer_.resize(bytes);
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), end_ - position));
    from_ = position;
    STREAMBUS_TRY_STATUS(file_.read_at(position, MutableBytes(buffer_).first(wanted), &filled_));
  }
  *out = Bytes(buffer_).subspan(static_cast<std::size_t>(position - from_),
                                std::min(bytes, filled_ - static_cast<std::size_t>(position - from_)));
  return {};
}

void add_frame(const std::byte* batch, Frames* frames) noexcept {
  const BatchHeader header(batch);
  frames->frame_crc = crc32c_extend(frames->frame_crc, {batch, kFrameBytes});
  frames->end = header.next_offset();
  frames->max_timestamp = std::max(frames->max_timestamp, header.max_timestamp());
  ++frames->batch_count;
}

Status check_order(const BatchHeader& header, Offset expected) noexcept {
  if (header.base_offset() >= expected) return {};
  return status_of(ErrorCode::corrupt, "base offset: expected at least %lld, found %lld",
                   static_cast<long long>(expected.value), static_cast<long long>(header.base_offset().value));
}

Status look_at_batch(FileWindow& window, std::uint64_t position, BatchPlace* place, Bytes* batch, Status* problem) {
  *place = BatchPlace::file_end;
  if (position >= window.end()) return {};
  STREAMBUS_TRY_STATUS(window.view(position, kBatchHeaderBytes, batch));
  *place = BatchPlace::zeros;
  if (all_zero(*batch)) return {};
  std::size_t bytes = 0;
  *place = BatchPlace::invalid;
  *problem = frame_header(*batch, window.end() - position, &bytes);
  if (!problem->ok()) return {};
  STREAMBUS_TRY_STATUS(window.view(position, bytes, batch));
  *problem = frame_batch(*batch, &bytes);
  if (problem->ok()) *problem = check(batch->first(bytes));
  if (!problem->ok()) return {};
  *batch = batch->first(bytes);
  *place = BatchPlace::batch;
  return {};
}

Status walk_batches(Bytes batches, Offset first, Offset next, Frames* frames) noexcept {
  Offset expected = first;
  bool at_first = true;
  while (!batches.empty()) {
    std::size_t bytes = 0;
    if (!frame_batch(batches, &bytes).ok())
      return {ErrorCode::invalid_argument, "append: expected whole record batches of magic 2"};
    const BatchHeader header(batches.data());
    if (at_first ? header.base_offset() != first : header.base_offset() < expected) {
      return status_of(ErrorCode::invalid_argument, "append: base offset expected %lld, found %lld",
                       static_cast<long long>(expected.value), static_cast<long long>(header.base_offset().value));
    }
    if (header.last_offset_delta() < 0) return {ErrorCode::invalid_argument, "append: negative last offset delta"};
    add_frame(batches.data(), frames);
    expected = header.next_offset();
    at_first = false;
    batches = batches.subspan(bytes);
  }
  if (at_first || expected != next) {
    return status_of(ErrorCode::invalid_argument, "append: the batches end at offset %lld, the caller says %lld",
                     static_cast<long long>(expected.value), static_cast<long long>(next.value));
  }
  return {};
}

Status scan_segment(File& file, Offset base, std::uint64_t bytes_max, std::uint64_t mark_position, ScanResult* out) {
  out->frames = {.end = base};
  out->index = SegmentIndex(base);
  out->mark_reached = mark_position == 0;
  STREAMBUS_TRY_STATUS(file.size(&out->file_bytes));
  const std::uint64_t end = std::min(bytes_max, out->file_bytes);
  FileWindow window(file, end);
  for (;;) {
    Bytes batch;
    BatchPlace place = BatchPlace::file_end;
    STREAMBUS_TRY_STATUS(look_at_batch(window, out->bytes, &place, &batch, &out->problem));
    if (place == BatchPlace::batch) {
      out->problem = check_order(BatchHeader(batch.data()), out->frames.end);
      if (!out->problem.ok()) place = BatchPlace::invalid;
    }
    if (place != BatchPlace::batch) {
      out->reason = place == BatchPlace::zeros     ? ScanEnd::zeros
                    : place == BatchPlace::invalid ? ScanEnd::invalid
                                                   : ScanEnd::file_end;
      return {};
    }
    if (out->index.wants(out->bytes))
      out->index.add(BatchHeader(batch.data()).base_offset(), out->bytes, out->frames.max_timestamp);
    add_frame(batch.data(), &out->frames);
    out->bytes += batch.size();
    if (out->bytes == mark_position) {
      out->mark_reached = true;
      out->frame_crc_at_mark = out->frames.frame_crc;
    }
  }
}

Status HeaderCursor::load() noexcept {
  if (position_ < buffered_from_ || position_ + kBatchHeaderBytes > buffered_from_ + buffered_) {
    buffered_from_ = position_;
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(sizeof buffer_, end_ - position_));
    STREAMBUS_TRY_STATUS(file_.read_at(position_, {buffer_, wanted}, &buffered_));
  }
  const std::uint64_t left = end_ - position_;
  if (buffered_ - static_cast<std::size_t>(position_ - buffered_from_) < kBatchHeaderBytes || header().magic() != 2 ||
      header().length_field() < static_cast<std::int32_t>(kBatchHeaderBytes - kBatchLengthPrefixBytes) ||
      header().total_bytes() > left) {
    return status_of(ErrorCode::corrupt, "no batch at position %llu", static_cast<unsigned long long>(position_));
  }
  return {};
}

}  // namespace streambus::storage_wal
