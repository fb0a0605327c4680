#include "batch_filter.hpp"

#include <algorithm>

#include "admission.hpp"

namespace streambus::broker {
namespace {

constexpr std::int16_t kHasHorizon = 0x40;

// Where the fields of a batch's header lie.
constexpr std::size_t kLengthAt = 8;
constexpr std::size_t kAttributesAt = 21;
constexpr std::size_t kLastOffsetDeltaAt = 23;
constexpr std::size_t kBaseTimestampAt = 27;
constexpr std::size_t kMaxTimestampAt = 35;
constexpr std::size_t kBaseSequenceAt = 53;
constexpr std::size_t kRecordCountAt = 57;

bool has_horizon(const BatchHeader& batch) noexcept { return (batch.attributes() & kHasHorizon) != 0; }

Status malformed(const BatchHeader& batch) noexcept {
  char text[96];
  std::snprintf(text, sizeof text, "the batch at offset %lld holds records that do not decode",
                static_cast<long long>(batch.base_offset().value));
  return {ErrorCode::corrupt, text};
}

/// The last word of its producer, or of the whole log.
bool must_stay(const FilterPlan& plan, const BatchHeader& batch) {
  if (batch.next_offset() == plan.keep_end) return true;
  if (batch.producer_id() < 0) return false;
  const auto producer = plan.producers->find(batch.producer_id());
  return producer != plan.producers->end() && producer->second == batch.last_offset();
}

}  // namespace

bool read_record(ByteReader& body, RawRecord* record) noexcept {
  const std::int64_t length = body.signed_varint();
  if (length < 0) return false;
  ByteReader in(body.bytes(static_cast<std::size_t>(length)));
  record->attributes = in.read<std::int8_t>();
  record->timestamp_delta = in.signed_varint();
  record->offset_delta = in.signed_varint();
  if (!body.ok() || !in.ok()) return false;
  record->rest = {in.position(), in.remaining()};
  const std::int64_t key_bytes = in.signed_varint();
  record->has_key = key_bytes >= 0;
  record->key = record->has_key ? in.bytes(static_cast<std::size_t>(key_bytes)) : Bytes{};
  record->has_value = in.signed_varint() >= 0;
  return in.ok();
}

Status BatchFilter::open(Bytes batch, Bytes* body) noexcept {
  const Status status = decompress_batch(codecs_, batch, kBodyBytesMax, body_, body);
  if (status.code != ErrorCode::unsupported_compression) return status;
  *body = {};
  return {};
}

bool BatchFilter::keeps(const FilterPlan& plan, const BatchHeader& batch, const RawRecord& record) const noexcept {
  const Offset offset = batch.base_offset() + record.offset_delta;
  if (!record.has_key || offset < plan.start) return false;
  if (plan.keys->find(hash_key(record.key)) > offset) return false;
  // A horizon was set when the key's earlier records had gone. It is the base timestamp.
  const bool expired = has_horizon(batch) && batch.base_timestamp() <= plan.now && batch.next_offset() <= plan.map_end;
  return record.has_value || !expired;
}

Status BatchFilter::look(const FilterPlan& plan, Bytes batch_bytes, Verdict* verdict) {
  std::size_t total = 0;
  STREAMBUS_TRY_STATUS(check_stored_batch(batch_bytes, &total));  // what is damaged must not get a checksum that holds
  const BatchHeader batch(batch_bytes.data());
  *verdict = {.kept_bytes = total};
  kept_.clear();
  if (batch.control()) return {};
  Bytes body;
  STREAMBUS_TRY_STATUS(open(batch_bytes, &body));
  if (body.data() == nullptr && batch.record_count() > 0) {
    verdict->opaque = true;
    if (batch.base_offset() >= plan.start) return {};
    return {ErrorCode::unsupported_compression, "the log starts inside a batch whose codec is not loaded: load it"};
  }
  ByteReader reader(body);
  bool tombstones = false;
  std::uint64_t kept_bytes = 0;
  for (std::int32_t i = 0; i < batch.record_count(); ++i) {
    RawRecord record;
    if (!read_record(reader, &record)) return malformed(batch);
    if (!keeps(plan, batch, record)) continue;
    tombstones |= !record.has_value;
    kept_bytes += record.rest.size();
    kept_.push_back(record);
  }
  if (reader.remaining() != 0) return malformed(batch);
  verdict->removed = static_cast<std::uint32_t>(batch.record_count()) - static_cast<std::uint32_t>(kept_.size());
  if (kept_.empty()) {
    verdict->kept_bytes = must_stay(plan, batch) ? kBatchHeaderBytes : 0;
    verdict->outcome = verdict->kept_bytes == 0                            ? Outcome::gone
                       : verdict->removed > 0 || total > kBatchHeaderBytes ? Outcome::empty
                                                                           : Outcome::as_it_is;
    return {};
  }
  // Only where all that the key had before is known to be gone afterwards.
  const bool new_horizon = tombstones && !has_horizon(batch) && batch.next_offset() <= plan.map_end;
  if (tombstones && has_horizon(batch)) verdict->horizon = batch.base_timestamp();
  if (new_horizon) verdict->horizon = plan.new_horizon;
  if (verdict->removed == 0 && !new_horizon) return {};
  verdict->outcome = Outcome::changed;
  const std::uint64_t body_bytes = std::max<std::uint64_t>(body.size(), 1);
  verdict->kept_bytes = kBatchHeaderBytes + (total - kBatchHeaderBytes) * std::min(kept_bytes, body_bytes) / body_bytes;
  return {};
}

void BatchFilter::write_records(const BatchHeader& batch, std::int64_t shift, TimestampMs base_timestamp) noexcept {
  for (const RawRecord& record : kept_) {
    const std::int64_t timestamp_delta = batch.base_timestamp() + record.timestamp_delta - base_timestamp;
    const std::int64_t offset_delta = record.offset_delta - shift;
    const std::size_t bytes =
        1 + varint_bytes(zigzag(timestamp_delta)) + varint_bytes(zigzag(offset_delta)) + record.rest.size();
    plain_.signed_varint(static_cast<std::int64_t>(bytes));
    plain_.write(record.attributes);
    plain_.signed_varint(timestamp_delta);
    plain_.signed_varint(offset_delta);
    plain_.bytes(record.rest);
  }
}

Status BatchFilter::write(const FilterPlan& plan, Bytes batch_bytes, const Verdict& verdict, MessageBuffer& out) noexcept {
  const auto written = [](const MessageBuffer& buffer) {
    return buffer.ok() ? Status() : Status(ErrorCode::busy, "no buffer for the batches that compaction keeps");
  };
  if (verdict.outcome == Outcome::gone) return {};
  const BatchHeader batch(batch_bytes.data());
  // Where the log starts inside the batch, so does what is kept of it; its sequence numbers go with the offsets.
  const std::int64_t shift = std::max<std::int64_t>(plan.start - batch.base_offset(), 0);
  if (verdict.outcome == Outcome::as_it_is && shift == 0) {
    out.bytes(batch_bytes);
    return written(out);
  }
  const bool new_horizon = verdict.horizon != CompactionProgress::kNever && !has_horizon(batch);
  const bool keeps_horizon = verdict.horizon != CompactionProgress::kNever && has_horizon(batch);
  const TimestampMs base_timestamp = new_horizon ? verdict.horizon : batch.base_timestamp();
  plain_.reset();
  plain_.bytes(batch_bytes.first(kBatchHeaderBytes));
  write_records(batch, shift, base_timestamp);
  STREAMBUS_TRY_STATUS(written(plain_));

  TimestampMs max_timestamp = kNoTimestamp;
  for (const RawRecord& record : kept_)
    max_timestamp = std::max(max_timestamp, batch.base_timestamp() + record.timestamp_delta);
  if (kept_.empty() || batch.log_append_time()) max_timestamp = batch.max_timestamp();

  std::byte* const header = plain_.at(0);
  constexpr int kOutside = kHasHorizon | 0x7;  // what is written plain is compressed below
  store_be(header, batch.base_offset().value + shift);
  store_be(header + kLengthAt, static_cast<std::int32_t>(plain_.size() - kBatchLengthPrefixBytes));
  store_be(header + kAttributesAt,
           static_cast<std::int16_t>((batch.attributes() & ~kOutside) | (new_horizon || keeps_horizon ? kHasHorizon : 0)));
  store_be(header + kLastOffsetDeltaAt, static_cast<std::int32_t>(batch.last_offset_delta() - shift));
  store_be(header + kBaseTimestampAt, base_timestamp);
  store_be(header + kMaxTimestampAt, max_timestamp);
  if (batch.base_sequence() >= 0) store_be(header + kBaseSequenceAt, advance_sequence(batch.base_sequence(), shift));
  store_be(header + kRecordCountAt, static_cast<std::int32_t>(kept_.size()));
  stamp_batch_crc({header, plain_.size()});
  const Codec* const codec = kept_.empty() ? nullptr : codecs_.by_id(batch.compression());
  STREAMBUS_TRY_STATUS(recompress_batch(codecs_, plain_.view(), codec, kBodyBytesMax, scratch_, out));
  return written(out);
}

}  // namespace streambus::broker
