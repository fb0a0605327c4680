#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "streambus/client/context.hpp"
#include "streambus/client/record.hpp"
#include "streambus/client/settings.hpp"

namespace streambus::client {

/// Where to start reading a partition.
struct StartAt {
  enum class Kind : std::uint8_t { beginning, end, offset, time };
  Kind kind = Kind::beginning;
  std::int64_t value = 0;  ///< an offset, or milliseconds since 1970

  [[nodiscard]] static StartAt beginning() noexcept { return {}; }
  [[nodiscard]] static StartAt end() noexcept { return {Kind::end, 0}; }
  [[nodiscard]] static StartAt offset(Offset offset) noexcept { return {Kind::offset, offset.value}; }
  /// The first record whose time is not earlier; the end where there is none.
  [[nodiscard]] static StartAt time(TimestampMs timestamp_ms) noexcept { return {Kind::time, timestamp_ms}; }
};

struct Assignment {
  std::string topic;
  PartitionId partition = 0;
  StartAt start;
};

/// What is known of an assigned partition.
struct ConsumerPosition {
  Offset next = kNoOffset;            ///< of the next record that poll() will return; none before the start is known
  Offset high_watermark = kNoOffset;  ///< the end as of the last answer of the broker; none before the first
  std::uint64_t prefetched_bytes = 0;
  [[nodiscard]] bool at_end() const noexcept { return high_watermark != kNoOffset && next >= high_watermark; }
};

struct ConsumerStatistics {
  std::uint64_t requests = 0;
  std::uint64_t bytes = 0;  ///< of batches, as received
  std::uint64_t batches = 0;
  std::uint64_t records_max = 0;  ///< of the batches returned; an upper bound of the records
  std::uint64_t retries = 0;
  std::uint64_t resets = 0;  ///< offsets out of range
};

/// Reads assigned partitions, fetching ahead in the background. One thread at a time, but for wake() and statistics().
class Consumer {
 public:
  /// Errors: invalid_argument (a setting).
  [[nodiscard]] static Result<Consumer> create(std::shared_ptr<ClientContext> context, ConsumerSettings settings = {});
  Consumer(Consumer&&) noexcept;
  Consumer& operator=(Consumer&&) noexcept;
  ~Consumer();

  /// Replaces the assignment; what was fetched for the old one is dropped. Errors: invalid_argument (a partition twice).
  Result<> assign(std::vector<Assignment> assignments);

  /// Goes on elsewhere in an assigned partition; also the way on after an error of that partition. Errors: not_found.
  Result<> seek(std::string_view topic, PartitionId partition, StartAt start);

  /// Returns batches that are there, waiting up to `timeout_ms` for the first; empty when none came or wake() was called.
  /// The span and all views stay valid until the next call of poll(), assign(), seek() or the destructor; nothing is copied.
  /// Errors, of one partition, which then stands still until seek(): not_found, out_of_range (where the settings say so),
  /// corrupt, unsupported_compression, permission_denied. Failures that may pass (no connection, no leader) are retried: see
  /// trouble().
  [[nodiscard]] Result<std::span<const ConsumedBatch>> poll(std::int64_t timeout_ms);

  /// Makes a poll() that waits return now. Any thread; safe in a signal handler's helper thread, not in the handler.
  void wake();

  /// Errors: not_found.
  [[nodiscard]] Result<ConsumerPosition> position(std::string_view topic, PartitionId partition) const;

  /// Why nothing could be fetched lately, and since when (monotonic); none while all is well.
  struct Trouble {
    Error error;
    std::int64_t since_ns;
  };
  [[nodiscard]] std::optional<Trouble> trouble() const;

  [[nodiscard]] ConsumerStatistics statistics() const;

  class Core;

 private:
  explicit Consumer(std::shared_ptr<Core> core) noexcept;
  std::shared_ptr<Core> core_;
};

}  // namespace streambus::client
