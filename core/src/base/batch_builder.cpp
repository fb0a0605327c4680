#include "streambus/base/batch_builder.hpp"

#include <algorithm>
#include <limits>

namespace streambus {
namespace {

constexpr std::size_t kBatchBytesMax = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kNull = -1;
constexpr std::size_t kNullBytes = 1;

constexpr std::int16_t kLogAppendTime = 0x8;
constexpr std::int16_t kTransactional = 0x10;

std::size_t signed_varint_bytes(std::int64_t value) noexcept { return varint_bytes(zigzag(value)); }

std::size_t bytes_of(Bytes bytes) noexcept {
  return signed_varint_bytes(static_cast<std::int64_t>(bytes.size())) + bytes.size();
}
std::size_t bytes_of(const std::optional<Bytes>& bytes) noexcept { return bytes ? bytes_of(*bytes) : kNullBytes; }

void write_bytes(ByteWriter& out, Bytes bytes) noexcept {
  out.signed_varint(static_cast<std::int64_t>(bytes.size()));
  out.bytes(bytes);
}
void write_bytes(ByteWriter& out, const std::optional<Bytes>& bytes) noexcept {
  if (bytes) {
    write_bytes(out, *bytes);
  } else {
    out.signed_varint(kNull);
  }
}

/// Timestamps are the user's: any difference of two must be defined.
std::int64_t difference(TimestampMs a, TimestampMs b) noexcept {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}

/// Size of a record behind its own length.
std::size_t content_bytes(const Record& record, std::int64_t timestamp_delta_ms, std::int32_t offset_delta) noexcept {
  std::size_t bytes = 1 + signed_varint_bytes(timestamp_delta_ms) + signed_varint_bytes(offset_delta) + bytes_of(record.key) +
                      bytes_of(record.value) + signed_varint_bytes(static_cast<std::int64_t>(record.headers.size()));
  for (const RecordHeader& header : record.headers) bytes += bytes_of(as_bytes(header.key)) + bytes_of(header.value);
  return bytes;
}

}  // namespace

std::size_t BatchBuilder::record_bytes(const Record& record) const noexcept {
  const TimestampMs base = empty() ? record.timestamp_ms : first_timestamp_ms_;
  const std::size_t content = content_bytes(record, difference(record.timestamp_ms, base), count_);
  return signed_varint_bytes(static_cast<std::int64_t>(content)) + content;
}

bool BatchBuilder::append(const Record& record) noexcept {
  const std::int64_t timestamp_delta_ms = empty() ? 0 : difference(record.timestamp_ms, first_timestamp_ms_);
  const std::size_t content = content_bytes(record, timestamp_delta_ms, count_);
  const std::size_t length = signed_varint_bytes(static_cast<std::int64_t>(content)) + content;
  const std::size_t room_for_header = empty() ? kBatchHeaderBytes : 0;
  if (length > kBatchBytesMax - std::max(body_.size(), kBatchHeaderBytes) ||
      count_ == std::numeric_limits<std::int32_t>::max()) {
    return false;
  }
  std::byte* const to = body_.extend(room_for_header + length);
  if (to == nullptr) {
    ok_ = false;
    return false;
  }
  ByteWriter out({to + room_for_header, length});
  out.signed_varint(static_cast<std::int64_t>(content));
  out.write<std::int8_t>(0);  // record attributes: unused by the format
  out.signed_varint(timestamp_delta_ms);
  out.signed_varint(count_);
  write_bytes(out, record.key);
  write_bytes(out, record.value);
  out.signed_varint(static_cast<std::int64_t>(record.headers.size()));
  for (const RecordHeader& header : record.headers) {
    write_bytes(out, as_bytes(header.key));
    write_bytes(out, header.value);
  }
  if (empty()) first_timestamp_ms_ = max_timestamp_ms_ = record.timestamp_ms;
  max_timestamp_ms_ = std::max(max_timestamp_ms_, record.timestamp_ms);
  ++count_;
  return true;
}

Status BatchBuilder::finish(const BatchStamp& stamp, MessageBuffer& out) noexcept {
  if (empty()) return no_records();
  const Bytes from = body_.view();
  std::byte* const to = out.extend(from.size());
  if (to == nullptr) return out_of_memory();
  std::memcpy(to + kBatchHeaderBytes, from.data() + kBatchHeaderBytes, from.size() - kBatchHeaderBytes);
  write_header(stamp, 0, {to, from.size()});
  reset();
  return {};
}

Status BatchBuilder::finish(const BatchStamp& stamp, SharedSlice* batch) noexcept {
  if (empty()) return no_records();
  write_header(stamp, 0, {body_.at(0), body_.size()});
  *batch = body_.slice(0, body_.size());
  reset();
  return {};
}

void BatchBuilder::reset() noexcept {
  body_.reset();
  count_ = 0;
  ok_ = true;
}

Status BatchBuilder::no_records() noexcept {
  return {ErrorCode::invalid_argument, "a record batch needs at least one record; append one before finish"};
}

Status BatchBuilder::out_of_memory() noexcept {
  return {ErrorCode::busy, "no buffer for a record batch; try again when buffers came back"};
}

void BatchBuilder::write_header(const BatchStamp& stamp, std::uint8_t compression, MutableBytes batch) const noexcept {
  int attributes = compression;
  if (stamp.log_append_time) attributes |= kLogAppendTime;
  if (stamp.transactional) attributes |= kTransactional;
  ByteWriter out(batch);
  out.write(stamp.base_offset.value);
  out.write(static_cast<std::int32_t>(batch.size() - kBatchLengthPrefixBytes));
  out.write(stamp.leader_epoch);
  out.write<std::int8_t>(2);    // magic
  out.write<std::uint32_t>(0);  // checksum, below
  out.write(static_cast<std::int16_t>(attributes));
  out.write(count_ - 1);  // last offset delta
  out.write(first_timestamp_ms_);
  out.write(max_timestamp_ms_);
  out.write(stamp.producer_id);
  out.write(stamp.producer_epoch);
  out.write(stamp.base_sequence);
  out.write(count_);
  stamp_batch_crc(batch);
}

}  // namespace streambus
