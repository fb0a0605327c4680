#pragma once

#include <future>
#include <memory>

#include "streambus/base/buffer.hpp"
#include "streambus/client/context.hpp"
#include "streambus/client/record.hpp"
#include "streambus/client/settings.hpp"

namespace streambus::client {

/// Counters since the producer was made.
struct ProducerStatistics {
  std::uint64_t records_accepted = 0;
  std::uint64_t records_delivered = 0;
  std::uint64_t records_failed = 0;
  std::uint64_t batches_delivered = 0;
  std::uint64_t bytes_delivered = 0;  ///< of batches, as sent
  std::uint64_t requests = 0;
  std::uint64_t retries = 0;         ///< batches sent again
  std::uint64_t buffered_bytes = 0;  ///< of this moment
};

/// Sends records in batches, in order per partition. Thread-safe.
///
/// Callbacks run on the context's thread, never under a lock: they must not block, and send() from one never waits (it fails
/// with busy instead). Each accepted record is reported exactly once, at the latest when the producer is destroyed.
class Producer {
 public:
  /// `on_batch`, where given, is called for every batch: the cheapest way to follow many records.
  /// Errors: invalid_argument (a setting), unsupported_compression (no such codec plugin).
  [[nodiscard]] static Result<Producer> create(std::shared_ptr<ClientContext> context, ProducerSettings settings = {},
                                               BatchCallback on_batch = {});
  Producer(Producer&&) noexcept;
  Producer& operator=(Producer&&) noexcept;
  /// close() with a time-out of 0: what is not delivered by then is reported as cancelled.
  ~Producer();

  /// Copies the record into a batch. Blocks up to send_timeout_ms while the buffer is full or the topic is not known yet.
  /// Errors (the record was not accepted): busy (buffer full), not_found (topic, partition), invalid_argument, too_large,
  /// closed, and what kept the topic's metadata from coming (io_error, timeout).
  Result<> send(const ProducerRecord& record, DeliveryCallback callback = {});

  /// The same; the future holds the fate of the record. One allocation per record: for few, important ones.
  [[nodiscard]] std::future<DeliveryReport> send_future(const ProducerRecord& record);

  /// Sends one RecordBatch that is encoded already, as it is: nothing is copied, the slice is held until the batch is reported.
  /// Records sent before go out before it. An idempotent producer copies it to put its sequence in. Blocks as send().
  /// Errors: as send(), and corrupt or invalid_record for what is not one whole batch.
  Result<> send_batch(std::string_view topic, PartitionId partition, SharedSlice batch, DeliveryCallback callback = {});

  /// Sends what is buffered without waiting for the linger time, and waits until every accepted record was reported.
  /// Errors: timeout (then they stay buffered and are sent further on).
  Result<> flush(std::int64_t timeout_ms);

  /// Refuses further records, flushes, gives up what is left after the time-out. Idempotent.
  Result<> close(std::int64_t timeout_ms);

  [[nodiscard]] ProducerStatistics statistics() const;

  class Core;

 private:
  explicit Producer(std::shared_ptr<Core> core) noexcept;
  std::shared_ptr<Core> core_;
};

}  // namespace streambus::client
