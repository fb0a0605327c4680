#pragma once
// What a produced batch must be to be let in, and what the topic's settings change in it. O(1) per batch but for the
// checksum; records are looked at only where the topic asks for another codec.

#include "producer_table.hpp"
#include "streambus/base/message_buffer.hpp"
#include "streambus/host/batch_codec.hpp"

namespace streambus::broker {

/// The settings of a topic that admission acts on.
struct AdmissionRules {
  static constexpr std::uint8_t kAsProduced = 0xff;

  std::int32_t batch_bytes_max = 1'048'588;
  bool log_append_time = false;
  bool keys_required = false;              ///< a compacted topic: records are looked at
  std::uint8_t compression = kAsProduced;  ///< or a compression id that the topic's batches are stored in
};

/// Whole batches, ready for stamping and appending.
struct AdmittedBatches {
  MutableBytes bytes;  ///< the caller's, or in Workspace::out
  std::int64_t record_count = 0;
  TimestampMs max_timestamp = kNoTimestamp;
  TimestampMs log_append_time = kNoTimestamp;
  ProducerStamp first;  ///< of the first batch; producer_id -1: not idempotent
};

/// Memory for batches that are re-encoded; borrows nothing until then.
struct Workspace {
  explicit Workspace(BufferSource& buffers) noexcept : out(buffers), scratch(buffers) {}
  MessageBuffer out;
  MessageBuffer scratch;
};

/// The most bytes that the records of one batch may have when decompressed.
inline constexpr std::size_t kBodyBytesMax = std::size_t{256} << 20;

/// The stamp of a batch's producer.
[[nodiscard]] ProducerStamp stamp_of(const BatchHeader& batch) noexcept;

/// Checks all batches in `batches` (structure, checksum, size, kind), rewrites in place what LogAppendTime asks for and
/// re-encodes what `compression.type` asks for. Thread-safe. All or nothing.
/// Errors: corrupt, unsupported_format, invalid_record, too_large, unsupported_compression, unsupported (transactions), busy.
[[nodiscard]] Status admit(const AdmissionRules& rules, const CodecSet& codecs, MutableBytes batches, TimestampMs now,
                           Workspace& workspace, AdmittedBatches* out) noexcept;

}  // namespace streambus::broker
