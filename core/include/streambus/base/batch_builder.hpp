#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "streambus/base/message_buffer.hpp"
#include "streambus/base/record_batch.hpp"

namespace streambus {

/// A header to write; views that the caller keeps alive during the call.
struct RecordHeader {
  std::string_view key;
  std::optional<Bytes> value;  ///< absent: null
};

/// A record to write; views that the caller keeps alive during the call.
struct Record {
  TimestampMs timestamp_ms = kNoTimestamp;
  std::optional<Bytes> key;    ///< absent: null
  std::optional<Bytes> value;  ///< absent: null
  std::span<const RecordHeader> headers;
};

/// What the header of a finished batch says besides its records.
struct BatchStamp {
  Offset base_offset{0};
  LeaderEpoch leader_epoch = -1;
  std::int64_t producer_id = kNoProducerId;
  std::int16_t producer_epoch = -1;
  std::int32_t base_sequence = -1;
  bool transactional = false;
  bool log_append_time = false;
};

/// Anything that compresses as the plugin API's Codec does, which lies in a layer above this one.
template <class T>
concept BatchCompressor = requires(const T& codec, Bytes in, MutableBytes out) {
  { codec.id() } noexcept -> std::same_as<std::uint8_t>;
  { codec.compress_bound(in.size()) } noexcept -> std::same_as<std::size_t>;
  { codec.compress(in, out).bytes } noexcept -> std::convertible_to<std::size_t>;
};

/// Builds RecordBatches (v2), one after another, in borrowed memory that it keeps between them. No allocation per record.
/// One thread at a time.
///   BatchBuilder builder(pool);  builder.append({.timestamp_ms = now, .value = as_bytes("hello")});
///   builder.finish({.producer_id = 7, .producer_epoch = 0, .base_sequence = 0}, out);
class BatchBuilder {
 public:
  explicit BatchBuilder(BufferSource& source) noexcept : body_(source) {}

  /// Adds a record. False when it does not fit: the batch would pass the format's limits (2 GiB, 2^31 - 1 records) or memory
  /// ran out (ok() tells which); the batch stays as it was, and can be finished.
  [[nodiscard]] bool append(const Record& record) noexcept;

  /// False after memory ran out, until reset().
  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] std::int32_t record_count() const noexcept { return count_; }
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  /// Size of the batch if it was finished now without compression, in bytes.
  [[nodiscard]] std::size_t estimated_bytes() const noexcept { return kBatchHeaderBytes + body_bytes(); }
  /// By how much append(record) would grow the batch, in bytes; exact.
  [[nodiscard]] std::size_t record_bytes(const Record& record) const noexcept;

  /// Appends the finished, uncompressed batch to `out` and starts the next one.
  /// Errors: invalid_argument when no record was added, busy when `out` could not grow; the records stay then.
  [[nodiscard]] Status finish(const BatchStamp& stamp, MessageBuffer& out) noexcept;

  /// The same with the records compressed, unless the codec is null or declines: they are then stored as they are.
  template <BatchCompressor Codec>
  [[nodiscard]] Status finish(const BatchStamp& stamp, const Codec* codec, MessageBuffer& out) noexcept {
    if (codec == nullptr || empty()) return finish(stamp, out);
    const std::size_t start = out.size();
    const std::size_t bound = codec->compress_bound(body_bytes());
    std::byte* const batch = out.extend(kBatchHeaderBytes + bound);
    if (batch == nullptr) return out_of_memory();
    const auto result = codec->compress(body(), {batch + kBatchHeaderBytes, bound});
    if (result.outcome != decltype(result.outcome)::done || result.bytes >= body_bytes()) {
      out.truncate(start);
      return finish(stamp, out);
    }
    out.truncate(start + kBatchHeaderBytes + result.bytes);
    write_header(stamp, codec->id(), {out.at(start), kBatchHeaderBytes + result.bytes});
    reset();
    return {};
  }

  /// The finished, uncompressed batch where it was built, without copying. Errors: invalid_argument when no record was added.
  [[nodiscard]] Status finish(const BatchStamp& stamp, SharedSlice* batch) noexcept;

  /// Forgets the records, keeps the memory.
  void reset() noexcept;

 private:
  [[nodiscard]] std::size_t body_bytes() const noexcept { return empty() ? 0 : body_.size() - kBatchHeaderBytes; }
  [[nodiscard]] Bytes body() const noexcept { return body_.view().subspan(kBatchHeaderBytes); }
  [[nodiscard]] static Status no_records() noexcept;
  [[nodiscard]] static Status out_of_memory() noexcept;
  void write_header(const BatchStamp& stamp, std::uint8_t compression, MutableBytes batch) const noexcept;

  MessageBuffer body_;  ///< the header's room, then the records
  TimestampMs first_timestamp_ms_ = kNoTimestamp;
  TimestampMs max_timestamp_ms_ = kNoTimestamp;
  std::int32_t count_ = 0;
  bool ok_ = true;
};

}  // namespace streambus
