#pragma once
// RecordBatch v2: the unit on the wire, in memory and on disk (Kafka's message format, KIP-98; all integers big-endian).
//
//   0 base_offset:i64   8 batch_length:i32 (bytes after this field)   12 partition_leader_epoch:i32   16 magic:i8 = 2
//  17 crc:u32 (CRC-32C of bytes 21..end)   21 attributes:i16   23 last_offset_delta:i32   27 base_timestamp:i64
//  35 max_timestamp:i64   43 producer_id:i64   51 producer_epoch:i16   53 base_sequence:i32   57 record_count:i32   61 records
//
// base_offset and partition_leader_epoch lie outside the checksum: the broker stamps them in place.

#include "streambus/base/bytes.hpp"
#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"

namespace streambus {

inline constexpr std::size_t kBatchHeaderBytes = 61;
inline constexpr std::size_t kBatchLengthPrefixBytes = 12;  ///< base_offset and batch_length
inline constexpr std::int64_t kNoProducerId = -1;

/// The compression ids of RecordBatch attributes; 5 to 7 are free and no Kafka client reads them.
enum class CompressionId : std::uint8_t { none = 0, gzip = 1, snappy = 2, lz4 = 3, zstd = 4 };

/// Typed access to the header of a batch. The view must span at least kBatchHeaderBytes; it owns nothing.
class BatchHeader {
 public:
  explicit BatchHeader(const std::byte* batch) noexcept : batch_(batch) {}

  [[nodiscard]] Offset base_offset() const noexcept { return {load_be<std::int64_t>(batch_)}; }
  [[nodiscard]] std::int32_t length_field() const noexcept { return load_be<std::int32_t>(batch_ + 8); }
  /// Size of the whole batch in bytes.
  [[nodiscard]] std::size_t total_bytes() const noexcept {
    return kBatchLengthPrefixBytes + static_cast<std::size_t>(length_field());
  }
  [[nodiscard]] LeaderEpoch leader_epoch() const noexcept { return load_be<std::int32_t>(batch_ + 12); }
  [[nodiscard]] std::int8_t magic() const noexcept { return load_be<std::int8_t>(batch_ + 16); }
  [[nodiscard]] std::uint32_t crc() const noexcept { return load_be<std::uint32_t>(batch_ + 17); }
  [[nodiscard]] std::int16_t attributes() const noexcept { return load_be<std::int16_t>(batch_ + 21); }
  [[nodiscard]] std::uint8_t compression() const noexcept { return static_cast<std::uint8_t>(attributes() & 0x7); }
  [[nodiscard]] bool log_append_time() const noexcept { return (attributes() & 0x8) != 0; }
  [[nodiscard]] bool transactional() const noexcept { return (attributes() & 0x10) != 0; }
  [[nodiscard]] bool control() const noexcept { return (attributes() & 0x20) != 0; }
  [[nodiscard]] std::int32_t last_offset_delta() const noexcept { return load_be<std::int32_t>(batch_ + 23); }
  [[nodiscard]] Offset last_offset() const noexcept { return base_offset() + last_offset_delta(); }
  /// The offset after the batch.
  [[nodiscard]] Offset next_offset() const noexcept { return last_offset() + 1; }
  [[nodiscard]] TimestampMs base_timestamp() const noexcept { return load_be<std::int64_t>(batch_ + 27); }
  [[nodiscard]] TimestampMs max_timestamp() const noexcept { return load_be<std::int64_t>(batch_ + 35); }
  [[nodiscard]] std::int64_t producer_id() const noexcept { return load_be<std::int64_t>(batch_ + 43); }
  [[nodiscard]] std::int16_t producer_epoch() const noexcept { return load_be<std::int16_t>(batch_ + 51); }
  [[nodiscard]] std::int32_t base_sequence() const noexcept { return load_be<std::int32_t>(batch_ + 53); }
  [[nodiscard]] std::int32_t record_count() const noexcept { return load_be<std::int32_t>(batch_ + 57); }

 private:
  const std::byte* batch_;
};

/// Stamps what the broker decides into a batch, in place; the checksum stays valid.
void stamp_batch(std::byte* batch, Offset base_offset, LeaderEpoch epoch) noexcept;

/// Recomputes the checksum after a change below byte 21.
void stamp_batch_crc(MutableBytes batch) noexcept;

/// Checks the structure of the first batch in `bytes`: complete header, magic 2, plausible length, whole batch present.
/// Returns its size in bytes. Errors: corrupt (says which field, expected and found), unsupported_format (other magic).
[[nodiscard]] Status frame_batch(Bytes bytes, std::size_t* total_bytes) noexcept;

/// The same, and the checksum, and that record_count and last_offset_delta agree and are positive.
/// Errors: as frame_batch, and invalid_record.
[[nodiscard]] Status check_batch(Bytes bytes, std::size_t* total_bytes) noexcept;

/// As check_batch() for a batch that a log gave: compaction may have left gaps between its offsets, or no record at all.
[[nodiscard]] Status check_stored_batch(Bytes bytes, std::size_t* total_bytes) noexcept;

/// One record of an uncompressed batch body; views into the body.
struct RecordView {
  std::int64_t timestamp_delta_ms = 0;
  std::int32_t offset_delta = 0;
  bool has_key = false;
  bool has_value = false;
  Bytes key;
  Bytes value;
  std::int32_t header_count = 0;
  Bytes headers;  ///< the encoded headers, header_count of them: varint key length, key, varint value length (-1: null), value
};

/// Walks the records of a decompressed batch body.
///   RecordReader reader(body, count);  while (reader.next(record)) ...;  if (!reader.ok()) corrupt;
class RecordReader {
 public:
  RecordReader(Bytes body, std::int32_t record_count) noexcept : reader_(body), left_(record_count) {}
  [[nodiscard]] bool next(RecordView& record) noexcept;
  /// False after a malformed record, or bytes left over behind the last one.
  [[nodiscard]] bool ok() const noexcept { return ok_; }

 private:
  ByteReader reader_;
  std::int32_t left_;
  bool ok_ = true;
};

/// One header of a record; views into the body.
struct RecordHeaderView {
  std::string_view key;
  bool has_value = false;
  Bytes value;
};

/// Walks the headers of a record, as RecordReader walks records.
class RecordHeaderReader {
 public:
  explicit RecordHeaderReader(const RecordView& record) noexcept : reader_(record.headers), left_(record.header_count) {}
  [[nodiscard]] bool next(RecordHeaderView& header) noexcept;
  /// False after a malformed header, or bytes left over behind the last one.
  [[nodiscard]] bool ok() const noexcept { return ok_; }

 private:
  ByteReader reader_;
  std::int32_t left_;
  bool ok_ = true;
};

}  // namespace streambus
