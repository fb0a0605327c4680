#pragma once
// What compaction keeps of one batch.

#include <vector>

#include "compaction.hpp"
#include "key_offsets.hpp"
#include "streambus/base/message_buffer.hpp"
#include "streambus/host/batch_codec.hpp"

namespace streambus::broker {

/// A record in its encoded form. Views into the batch's body.
struct RawRecord {
  std::int8_t attributes = 0;
  std::int64_t timestamp_delta = 0;
  std::int64_t offset_delta = 0;
  Bytes rest;  ///< from the length of the key on
  bool has_key = false;
  bool has_value = false;
  Bytes key;
};

/// Takes the next record from a body. False where it is malformed.
[[nodiscard]] bool read_record(ByteReader& body, RawRecord* record) noexcept;

/// What of a pass decides about single batches. Constant during the pass.
struct FilterPlan {
  const KeyOffsets* keys = nullptr;
  const ProducerEnds* producers = nullptr;
  Offset start;                 ///< records below it are deleted already
  Offset map_end;               ///< `keys` knows all below it
  Offset keep_end = kNoOffset;  ///< the batch that ends here stays, if empty: nothing lies behind it yet
  TimestampMs now = 0;
  TimestampMs new_horizon = 0;  ///< when tombstones may go whose time begins to run now
};

/// Looks at batches and writes what is kept of them. As in Kafka (KIP-534) a batch with tombstones says since when they may
/// go: bit 6 of its attributes, and that time in the place of the base timestamp. One thread at a time.
class BatchFilter {
 public:
  enum class Outcome : std::uint8_t {
    as_it_is,
    changed,  ///< fewer records, another start or a horizon
    empty,    ///< only the header stays
    gone,
  };
  struct Verdict {
    Outcome outcome = Outcome::as_it_is;
    std::uint64_t kept_bytes = 0;  ///< about; compressed batches in proportion
    std::uint32_t removed = 0;     ///< records
    TimestampMs horizon = CompactionProgress::kNever;
    bool opaque = false;  ///< in a codec that is not loaded
  };

  BatchFilter(const CodecSet& codecs, BufferSource& buffers) noexcept
      : codecs_(codecs), body_(buffers), plain_(buffers), scratch_(buffers) {}

  /// Decides. Throws std::bad_alloc. Errors: corrupt (checksum or records do not hold), too_large, busy (memory).
  [[nodiscard]] Status look(const FilterPlan& plan, Bytes batch, Verdict* verdict);

  /// Appends to `out` what look(), which came before for the same batch, decided. Errors: busy (memory).
  [[nodiscard]] Status write(const FilterPlan& plan, Bytes batch, const Verdict& verdict, MessageBuffer& out) noexcept;

  /// The records of a batch, decompressed. Null body where its codec is not loaded. Valid until the next call.
  [[nodiscard]] Status open(Bytes batch, Bytes* body) noexcept;

 private:
  [[nodiscard]] bool keeps(const FilterPlan& plan, const BatchHeader& batch, const RawRecord& record) const noexcept;
  void write_records(const BatchHeader& batch, std::int64_t shift, TimestampMs base_timestamp) noexcept;

  const CodecSet& codecs_;
  MessageBuffer body_;
  MessageBuffer plain_;
  MessageBuffer scratch_;
  std::vector<RawRecord> kept_;
};

}  // namespace streambus::broker
