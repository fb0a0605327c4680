#pragma once
// Idempotent producers of one partition (KIP-98): what each appended last, so that a retried batch is found and a lost one
// noticed.

#include <array>
#include <cstdint>
#include <unordered_map>

#include "streambus/base/bytes.hpp"
#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"

namespace streambus::broker {

class MetaWriter;

/// Sequences count records from 0 to 2^31 - 1 and begin again at 0.
[[nodiscard]] constexpr std::int32_t advance_sequence(std::int32_t sequence, std::int64_t records) noexcept {
  return static_cast<std::int32_t>((std::int64_t{sequence} + records) & 0x7fffffff);
}

/// A batch that a producer appended.
struct ProducedBatch {
  std::int32_t first_sequence = 0;
  std::int32_t last_sequence = 0;
  Offset first;
  Offset last;
  TimestampMs max_timestamp = kNoTimestamp;
};

/// Who sends what, as a batch header says it.
struct ProducerStamp {
  std::int64_t producer_id = -1;
  std::int16_t epoch = -1;
  std::int32_t first_sequence = -1;
  std::int32_t record_count = 0;

  [[nodiscard]] std::int32_t last_sequence() const noexcept { return advance_sequence(first_sequence, record_count - 1); }
};

/// Not thread-safe: used under the partition's append lock.
class ProducerTable {
 public:
  static constexpr std::size_t kBatchesKept = 5;         ///< as many requests as a client may have in flight
  static constexpr std::size_t kProducersMax = 100'000;  ///< above it the longest idle quarter is forgotten

  struct Verdict {
    ErrorCode error = ErrorCode::ok;
    const ProducedBatch* duplicate = nullptr;  ///< set: the batch is here already; valid until the table changes
    std::int32_t expected_sequence = 0;        ///< for messages
  };
  /// May this batch be appended? Errors: producer_fenced (older epoch), unknown_producer (nothing known, and the sequence
  /// does not begin at 0), out_of_order_sequence (a gap), duplicate_sequence (appended before the batches that are kept).
  [[nodiscard]] Verdict check(const ProducerStamp& stamp) const noexcept;

  /// Makes room for a producer, so that record() cannot fail. False when memory ran out.
  [[nodiscard]] bool prepare(std::int64_t producer_id) noexcept;
  /// Forgets a producer that prepare() made and nothing was recorded of.
  void discard_unused(std::int64_t producer_id) noexcept;

  /// Remembers an appended batch. `now_ns` is monotonic.
  void record(const ProducerStamp& stamp, const ProducedBatch& batch, std::int64_t now_ns);

  /// Forgets producers that did nothing since `before_ns`.
  void expire(std::int64_t before_ns) noexcept;

  /// The last offset of each producer.
  [[nodiscard]] std::unordered_map<std::int64_t, Offset> ends() const;

  [[nodiscard]] std::size_t size() const noexcept { return producers_.size(); }

  void encode(MetaWriter& out) const;
  /// Replaces the content; every producer counts as used at `now_ns`. Errors: corrupt.
  [[nodiscard]] Result<> decode(ByteReader& in, std::int64_t now_ns);

 private:
  struct Producer {
    std::int16_t epoch = -1;
    std::uint8_t count = 0;   ///< of batches kept
    std::uint8_t newest = 0;  ///< its place
    std::int64_t used_ns = 0;
    std::array<ProducedBatch, kBatchesKept> batches;

    [[nodiscard]] const ProducedBatch& last() const noexcept { return batches[newest]; }
  };
  void forget_idle_quarter();

  std::unordered_map<std::int64_t, Producer> producers_;
};

}  // namespace streambus::broker
