#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "streambus/base/batch_builder.hpp"
#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"
#include "streambus/base/record_batch.hpp"

namespace streambus::client {

inline constexpr PartitionId kAnyPartition = -1;

/// A record to send. All views are copied by send().
struct ProducerRecord {
  std::string_view topic;
  PartitionId partition = kAnyPartition;    ///< by the hash of the key; without a key the producer chooses, batch by batch
  TimestampMs timestamp_ms = kNoTimestamp;  ///< none: the time of send()
  std::optional<Bytes> key;
  std::optional<Bytes> value;
  std::span<const RecordHeader> headers;
  std::uint64_t tag = 0;  ///< handed back in BatchReport::tags
};

/// The fate of one record.
struct DeliveryReport {
  Result<> outcome;  ///< timeout: it may have been written or not
  PartitionId partition = 0;
  Offset offset = kNoOffset;  ///< unknown with acks = none
  TimestampMs log_append_time = kNoTimestamp;
};
using DeliveryCallback = std::move_only_function<void(const DeliveryReport&)>;

/// The fate of one batch. Views are valid during the callback.
struct BatchReport {
  std::string_view topic;
  PartitionId partition = 0;
  Result<> outcome;
  Offset base_offset = kNoOffset;
  std::uint32_t record_count = 0;
  std::uint64_t bytes = 0;              ///< as sent
  std::int64_t first_send_ns = 0;       ///< monotonic: when the first record was accepted
  std::span<const std::uint64_t> tags;  ///< one per record where any record had one, else empty
};
using BatchCallback = std::function<void(const BatchReport&)>;

/// A record as consumed: views, valid until the next poll().
struct ConsumedRecord {
  Offset offset;
  TimestampMs timestamp_ms = kNoTimestamp;
  bool has_key = false;
  bool has_value = false;
  Bytes key;
  Bytes value;
  std::int32_t header_count = 0;
  Bytes headers;  ///< encoded; see HeaderReader
};

/// Walks the headers of a consumed record:  HeaderReader reader(record);  while (reader.next()) use(reader.key(),
/// reader.value());
class HeaderReader {
 public:
  explicit HeaderReader(const ConsumedRecord& record) noexcept : reader_(record.headers), left_(record.header_count) {}
  /// False at the end.
  [[nodiscard]] bool next() noexcept;
  [[nodiscard]] std::string_view key() const noexcept { return key_; }
  [[nodiscard]] std::optional<Bytes> value() const noexcept { return value_; }

 private:
  ByteReader reader_;
  std::int32_t left_;
  std::string_view key_;
  std::optional<Bytes> value_;
};

/// Records of one batch as poll() returns them. A view, valid until the next poll().
class ConsumedBatch {
 public:
  ConsumedBatch(std::string_view topic, PartitionId partition, Bytes batch, Bytes body, Offset from) noexcept
      : topic_(topic), partition_(partition), batch_(batch), body_(body), from_(from) {}

  [[nodiscard]] std::string_view topic() const noexcept { return topic_; }
  [[nodiscard]] PartitionId partition() const noexcept { return partition_; }
  /// The batch as stored, header included.
  [[nodiscard]] Bytes encoded() const noexcept { return batch_; }
  [[nodiscard]] BatchHeader header() const noexcept { return BatchHeader(batch_.data()); }
  /// An upper bound of the records that records() yields: those before the consumer's position are skipped.
  [[nodiscard]] std::int32_t record_count() const noexcept { return header().record_count(); }

  /// Yields the batch's records at or after the consumer's position, in order.
  class Cursor {
   public:
    explicit Cursor(const ConsumedBatch& batch) noexcept;
    /// False at the end, and at a malformed record: then ok() is false.
    [[nodiscard]] bool next(ConsumedRecord& record) noexcept;
    [[nodiscard]] bool ok() const noexcept { return reader_.ok(); }

   private:
    RecordReader reader_;
    Offset base_;
    Offset from_;
    TimestampMs base_timestamp_;
    TimestampMs append_time_;  ///< of every record, where the topic uses LogAppendTime
  };
  [[nodiscard]] Cursor records() const noexcept { return Cursor(*this); }

 private:
  std::string_view topic_;
  PartitionId partition_;
  Bytes batch_;
  Bytes body_;
  Offset from_;
};

}  // namespace streambus::client
