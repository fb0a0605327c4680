#include "admission.hpp"

#include <algorithm>
#include <cstdio>

namespace streambus::broker {
namespace {

constexpr std::size_t kAttributesPosition = 21;
constexpr std::size_t kMaxTimestampPosition = 35;
constexpr std::int16_t kLogAppendTimeBit = 0x8;

template <class... Args>
Status refuse(ErrorCode code, const char* format, Args... args) noexcept {
  char text[sizeof(Status::text)];
  std::snprintf(text, sizeof text, format, args...);
  return {code, text};
}

Status check_size(const AdmissionRules& rules, std::size_t bytes) noexcept {
  if (bytes <= static_cast<std::size_t>(rules.batch_bytes_max)) return {};
  return refuse(ErrorCode::too_large, "the batch has %zu bytes, the topic's max.message.bytes is %d", bytes,
                rules.batch_bytes_max);
}

/// What only a header says. Kafka's own rules (LogValidator) where they can be seen without the records.
Status check_header(const AdmissionRules& rules, const CodecSet& codecs, const BatchHeader& batch) noexcept {
  if (batch.control()) return {ErrorCode::invalid_record, "control batches are written by the broker, not by clients"};
  if (batch.transactional()) return {ErrorCode::unsupported, "transactions are not offered"};
  if (batch.log_append_time() && !rules.log_append_time) {
    return {ErrorCode::invalid_record, "the batch says LogAppendTime, which only the broker may set; the topic has CreateTime"};
  }
  if (batch.producer_id() >= 0 && (batch.base_sequence() < 0 || batch.producer_epoch() < 0)) {
    return refuse(ErrorCode::invalid_record, "an idempotent batch needs an epoch and a sequence of 0 or above, found %d and %d",
                  batch.producer_epoch(), batch.base_sequence());
  }
  // Kafka's own codecs pass through without being looked at; other ids mean nothing unless their codec is here.
  if (batch.compression() > static_cast<std::uint8_t>(CompressionId::zstd) && codecs.by_id(batch.compression()) == nullptr) {
    return refuse(ErrorCode::unsupported_compression, "no codec with id %d is loaded", batch.compression());
  }
  return {};
}

/// Every record of a compacted topic has a key: it is all that says what replaces what.
Status check_keys(const CodecSet& codecs, Bytes batch_bytes, MessageBuffer& scratch) noexcept {
  const BatchHeader batch(batch_bytes.data());
  Bytes body;
  STREAMBUS_TRY_STATUS(decompress_batch(codecs, batch_bytes, kBodyBytesMax, scratch, &body));
  RecordReader reader(body, batch.record_count());
  int index = 0;
  for (RecordView record; reader.next(record); ++index) {
    if (!record.has_key) {
      return refuse(ErrorCode::invalid_record,
                    "the topic is compacted (cleanup.policy): expected records with keys, record %d of the batch has none",
                    index);
    }
  }
  return reader.ok() ? Status() : Status(ErrorCode::invalid_record, "the records of the batch do not decode");
}

/// Several batches in one call must be one producer's, in sequence: then the first one's check speaks for all.
Status check_sequence(const AdmittedBatches& so_far, const ProducerStamp& stamp) noexcept {
  if (stamp.producer_id != so_far.first.producer_id || stamp.epoch != so_far.first.epoch) {
    return {ErrorCode::invalid_record, "the batches of one request come from different producers"};
  }
  const std::int32_t expected = advance_sequence(so_far.first.first_sequence, so_far.record_count);
  if (stamp.producer_id < 0 || stamp.first_sequence == expected) return {};
  return refuse(ErrorCode::out_of_order_sequence, "the second batch of the request begins at sequence %d, expected %d",
                stamp.first_sequence, expected);
}

void rewrite_time(MutableBytes batch, TimestampMs now) noexcept {
  store_be(batch.data() + kAttributesPosition,
           static_cast<std::int16_t>(BatchHeader(batch.data()).attributes() | kLogAppendTimeBit));
  store_be(batch.data() + kMaxTimestampPosition, now);
  stamp_batch_crc(batch);
}

/// Stores all batches anew in the topic's codec.
Status re_encode(const AdmissionRules& rules, const CodecSet& codecs, MutableBytes batches, Workspace& workspace,
                 MutableBytes* out) noexcept {
  const Codec* const target = rules.compression == 0 ? nullptr : codecs.by_id(rules.compression);
  if (target == nullptr && rules.compression != 0) {
    return {ErrorCode::unsupported_compression,
            "the codec that the topic's compression.type names is not in the configuration"};
  }
  for (MutableBytes left = batches; !left.empty();) {
    const std::size_t bytes = BatchHeader(left.data()).total_bytes();
    const std::size_t before = workspace.out.size();
    STREAMBUS_TRY_STATUS(recompress_batch(codecs, left.first(bytes), target, kBodyBytesMax, workspace.scratch, workspace.out));
    STREAMBUS_TRY_STATUS(check_size(rules, workspace.out.size() - before));
    left = left.subspan(bytes);
  }
  *out = {workspace.out.at(0), workspace.out.size()};
  return {};
}

}  // namespace

ProducerStamp stamp_of(const BatchHeader& batch) noexcept {
  return {.producer_id = batch.producer_id(),
          .epoch = batch.producer_epoch(),
          .first_sequence = batch.base_sequence(),
          .record_count = batch.record_count()};
}

Status admit(const AdmissionRules& rules, const CodecSet& codecs, MutableBytes batches, TimestampMs now, Workspace& workspace,
             AdmittedBatches* out) noexcept {
  if (batches.empty()) return {ErrorCode::invalid_record, "the request holds no record batch for this partition"};
  bool other_codec = false;
  for (MutableBytes left = batches; !left.empty();) {
    std::size_t bytes = 0;
    STREAMBUS_TRY_STATUS(frame_batch(left, &bytes));
    STREAMBUS_TRY_STATUS(check_size(rules, bytes));  // before the checksum: refusing what is large is cheap
    STREAMBUS_TRY_STATUS(check_batch(left.first(bytes), &bytes));
    const BatchHeader batch(left.data());
    STREAMBUS_TRY_STATUS(check_header(rules, codecs, batch));
    if (rules.keys_required) STREAMBUS_TRY_STATUS(check_keys(codecs, left.first(bytes), workspace.scratch));
    const ProducerStamp stamp = stamp_of(batch);
    if (out->record_count == 0) {
      out->first = stamp;
    } else {
      STREAMBUS_TRY_STATUS(check_sequence(*out, stamp));
    }
    out->record_count += batch.record_count();
    out->max_timestamp = std::max(out->max_timestamp, batch.max_timestamp());
    other_codec |= rules.compression != AdmissionRules::kAsProduced && batch.compression() != rules.compression;
    left = left.subspan(bytes);
  }
  out->bytes = batches;
  if (other_codec) STREAMBUS_TRY_STATUS(re_encode(rules, codecs, batches, workspace, &out->bytes));
  if (rules.log_append_time) {
    out->max_timestamp = out->log_append_time = now;
    for (MutableBytes left = out->bytes; !left.empty();) {
      const std::size_t bytes = BatchHeader(left.data()).total_bytes();
      rewrite_time(left.first(bytes), now);
      left = left.subspan(bytes);
    }
  }
  return {};
}

}  // namespace streambus::broker
