#include "streambus/base/record_batch.hpp"

#include <cstdio>
#include <limits>

#include "streambus/base/crc32c.hpp"

namespace streambus {
namespace {

constexpr std::size_t kCrcPosition = 17;
constexpr std::size_t kCrcStart = 21;

template <class... Args>
Status bad(ErrorCode code, const char* format, Args... args) noexcept {
  char text[sizeof(Status::text)];
  std::snprintf(text, sizeof text, format, args...);
  return {code, text};
}

}  // namespace

void stamp_batch(std::byte* batch, Offset base_offset, LeaderEpoch epoch) noexcept {
  store_be(batch, base_offset.value);
  store_be(batch + 12, epoch);
}

void stamp_batch_crc(MutableBytes batch) noexcept { store_be(batch.data() + kCrcPosition, crc32c(batch.subspan(kCrcStart))); }

Status frame_batch(Bytes bytes, std::size_t* total_bytes) noexcept {
  // Older formats share the first 17 bytes' layout as far as the magic: tell them apart before judging the length.
  if (bytes.size() > 16) {
    const BatchHeader header(bytes.data());
    if (header.magic() != 2) {
      return bad(ErrorCode::unsupported_format, "record batch magic: expected 2, found %d", header.magic());
    }
  }
  if (bytes.size() < kBatchHeaderBytes) {
    return bad(ErrorCode::corrupt, "record batch header: expected %zu bytes, found %zu", kBatchHeaderBytes, bytes.size());
  }
  const BatchHeader header(bytes.data());
  if (header.length_field() < static_cast<std::int32_t>(kBatchHeaderBytes - kBatchLengthPrefixBytes)) {
    return bad(ErrorCode::corrupt, "record batch length: expected at least %zu, found %d",
               kBatchHeaderBytes - kBatchLengthPrefixBytes, header.length_field());
  }
  if (header.total_bytes() > bytes.size()) {
    return bad(ErrorCode::corrupt, "record batch: expected %zu bytes, found %zu", header.total_bytes(), bytes.size());
  }
  *total_bytes = header.total_bytes();
  return {};
}

namespace {

Status check_sum(Bytes bytes, std::size_t* total_bytes) noexcept {
  STREAMBUS_TRY_STATUS(frame_batch(bytes, total_bytes));
  const BatchHeader header(bytes.data());
  const std::uint32_t crc = crc32c(bytes.subspan(kCrcStart, *total_bytes - kCrcStart));
  if (crc != header.crc())
    return bad(ErrorCode::corrupt, "record batch checksum: expected %08x, found %08x", header.crc(), crc);
  return {};
}

}  // namespace

Status check_stored_batch(Bytes bytes, std::size_t* total_bytes) noexcept {
  STREAMBUS_TRY_STATUS(check_sum(bytes, total_bytes));
  const BatchHeader header(bytes.data());
  if (header.last_offset_delta() >= 0 && header.record_count() >= 0 &&
      header.record_count() - 1 <= header.last_offset_delta()) {
    return {};
  }
  return bad(ErrorCode::invalid_record, "record count: expected 0 to %d within the offsets, found %d",
             header.last_offset_delta() + 1, header.record_count());
}

Status check_batch(Bytes bytes, std::size_t* total_bytes) noexcept {
  STREAMBUS_TRY_STATUS(check_sum(bytes, total_bytes));
  const BatchHeader header(bytes.data());
  if (header.record_count() <= 0) {
    return bad(ErrorCode::invalid_record, "record count: expected at least 1, found %d", header.record_count());
  }
  if (header.last_offset_delta() != header.record_count() - 1) {
    return bad(ErrorCode::invalid_record, "last offset delta: expected %d for %d records, found %d", header.record_count() - 1,
               header.record_count(), header.last_offset_delta());
  }
  return {};
}

namespace {

/// A varint that must fit 32 bits; else the reader becomes bad.
std::int32_t small_varint(ByteReader& reader) noexcept {
  const std::int64_t value = reader.signed_varint();
  if (value >= std::numeric_limits<std::int32_t>::min() && value <= std::numeric_limits<std::int32_t>::max()) {
    return static_cast<std::int32_t>(value);
  }
  reader.mark_bad();
  return 0;
}

/// Bytes behind their length; -1 stands for null.
Bytes nullable_bytes(ByteReader& reader, bool& present) noexcept {
  const std::int32_t size = small_varint(reader);
  present = size >= 0;
  if (present) return reader.bytes(static_cast<std::size_t>(size));
  if (size != -1) reader.mark_bad();
  return {};
}

constexpr std::size_t kRecordHeaderBytesMin = 2;  // the two lengths

}  // namespace

bool RecordReader::next(RecordView& record) noexcept {
  if (left_ <= 0 || !ok_) {
    if (reader_.remaining() != 0) ok_ = false;
    return false;
  }
  --left_;
  const std::int32_t length = small_varint(reader_);
  if (length < 0) reader_.mark_bad();
  ByteReader body(reader_.bytes(length < 0 ? 0 : static_cast<std::size_t>(length)));
  body.skip(1);  // record attributes: unused by the format
  record.timestamp_delta_ms = body.signed_varint();
  record.offset_delta = small_varint(body);
  record.key = nullable_bytes(body, record.has_key);
  record.value = nullable_bytes(body, record.has_value);
  record.header_count = small_varint(body);
  record.headers = body.bytes(body.remaining());
  ok_ = reader_.ok() && body.ok() && record.header_count >= 0 &&
        static_cast<std::size_t>(record.header_count) <= record.headers.size() / kRecordHeaderBytesMin;
  return ok_;
}

bool RecordHeaderReader::next(RecordHeaderView& header) noexcept {
  if (left_ <= 0 || !ok_) {
    if (reader_.remaining() != 0) ok_ = false;
    return false;
  }
  --left_;
  bool has_key = false;
  header.key = as_text(nullable_bytes(reader_, has_key));
  header.value = nullable_bytes(reader_, header.has_value);
  ok_ = reader_.ok() && has_key;
  return ok_;
}

}  // namespace streambus
