#pragma once

#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "engine.hpp"

namespace streambus::storage_sqlite {

/// One partition: a table with a row per batch, and in memory those batches that are not in it yet.
///
///   base, next, time   of the batch, by its header (base is the key)
///   after              where the log ended before it: a row that is missing leaves a hole in this chain
///   crc                CRC-32C of base, next, time, after (8 bytes each, big-endian) and data: what is served is what was
///   written data               the batch
class Log final : public PartitionLog, public Pin {
 public:
  Log(Engine& engine, const PartitionKey& key, const PartitionSettings& settings);

  [[nodiscard]] static std::string table_of(const PartitionKey& key);

  // With the engine's database_mutex() held.
  /// Makes the table, or reads what is in it; after an unclean end every row is checked. Errors: corrupt, no_space, io_error.
  [[nodiscard]] Status recover(Offset start);
  [[nodiscard]] std::string insert_sql() const;
  void write(Transaction& transaction, Statement& insert, const Batch& batch) const;
  /// The batch is in the table.
  void stored(const Batch& batch) noexcept;

  /// All below `end` is on the device.
  void durable(Offset end) noexcept;

  [[nodiscard]] LogState state() noexcept override;
  [[nodiscard]] std::uint32_t durability_domain() const noexcept override { return domain_; }
  Status append(Bytes batches, Offset first, Offset next, TimestampMs max_timestamp, AppendResult* result) noexcept override;
  Status read(const ReadRequest& request, ReadResult* result) noexcept override;
  Status find_time(TimestampMs timestamp, Offset* batch_base) noexcept override;
  Status apply(const PartitionSettings& settings) noexcept override;
  Status delete_before(Offset start) noexcept override;
  Status retain(TimestampMs now) noexcept override;
  Status close() noexcept override;
  [[nodiscard]] Offset segment_end(Offset from) noexcept override;
  Status replace(Offset from, Offset to, BatchSource& batches) noexcept override;

 private:
  class Answer;

  ~Log() override;
  void dispose() noexcept override { delete this; }

  [[nodiscard]] std::vector<Ref<Batch>> copy_batches(Bytes batches);
  [[nodiscard]] Status append_copies(const std::vector<Ref<Batch>>& batches, std::size_t bytes, AppendResult* result);
  [[nodiscard]] Offset piece_for(Offset first, std::uint64_t bytes) const noexcept;
  [[nodiscard]] Status write_waiting();
  [[nodiscard]] Status write_end();
  [[nodiscard]] std::int64_t partition_crc(Offset first, Offset next) const noexcept;
  [[nodiscard]] Status read_rows(const ReadRequest& request, Offset stored_end, Answer& answer);
  [[nodiscard]] Status find_row(TimestampMs timestamp, Offset* batch_base);
  [[nodiscard]] Status delete_rows(Offset start);
  [[nodiscard]] Status collect(Offset from, Offset to, BatchSource& source, std::vector<Ref<Batch>>* batches);
  [[nodiscard]] Status replace_rows(Offset from, Offset to, const std::vector<Ref<Batch>>& batches);
  [[nodiscard]] Status sum_bytes(std::uint64_t* bytes);
  [[nodiscard]] Status settled(const Status& status) noexcept;
  [[nodiscard]] Status named(const Status& status) const noexcept;
  [[nodiscard]] sqlite3* connection() const noexcept { return engine_.database().handle(); }

  Engine& engine_;
  const std::string topic_id_;
  const PartitionId partition_;
  const std::string table_;
  const std::string name_;  ///< for messages: "orders-0"
  const std::uint32_t domain_;
  bool clean_ = true;

  std::mutex mutex_;
  PartitionSettings settings_;
  std::deque<Ref<Batch>> waiting_;  ///< appended, not stored
  std::deque<Offset> ends_;         ///< where pieces end: what replace() takes, for want of segments
  std::uint64_t piece_bytes_ = 0;   ///< of the last piece
  Offset start_;
  Offset end_;
  Offset stored_;   ///< all below is in the table
  Offset durable_;  ///< all below is on the device
  std::uint64_t bytes_ = 0;
};

}  // namespace streambus::storage_sqlite
