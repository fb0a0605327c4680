#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "engine.hpp"
#include "log_file.hpp"

namespace streambus::storage_acme {

/// Where one batch lies.
struct Entry {
  Offset base;
  Offset next;
  TimestampMs max_timestamp = kNoTimestamp;
  std::uint64_t position = 0;  ///< in the file
  std::uint64_t bytes = 0;
};

/// One partition: a file and, in memory, where each of its batches lies.
///
/// Lock order: flush_mutex_, write_mutex_, mutex_. Reports to the host are made under none of them. A flush job holds a
/// reference, so that close() waits for the one that runs, never for one that is queued.
class Log final : public PartitionLog, public Pin {
 public:
  static constexpr std::string_view kNewSuffix = ".new";  ///< of a file that will take the place of another

  Log(Engine& engine, const PartitionKey& key, const std::string& path, const PartitionSettings& settings);

  /// Opens the file, creating it when it is missing. Before any other call. May throw std::bad_alloc.
  [[nodiscard]] Status recover(Offset start);

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
  class Recovery;
  class Copy;

  ~Log() override;
  void dispose() noexcept override { delete this; }

  // Appending and making durable: log.cpp.
  [[nodiscard]] Status check_append(Bytes batches, Offset first, Offset next);
  [[nodiscard]] Status append_frame(Bytes batches, Offset first, Offset next);
  void post_flush() noexcept;
  void run_flush() noexcept;
  [[nodiscard]] Status flush() noexcept;
  [[nodiscard]] Status offline() noexcept;
  void fail(const Status& status) noexcept;
  [[nodiscard]] Status named(const Status& status) const noexcept;
  void forget_before(Offset start);
  void count_piece(Offset piece, std::uint64_t bytes) noexcept;

  // Writing the file anew: log_rewrite.cpp.
  [[nodiscard]] Status rewrite(Offset from, Offset to, BatchSource* batches);
  [[nodiscard]] Status catch_up(Copy& copy);
  [[nodiscard]] Status put_in_place(Copy& copy);
  void reclaim() noexcept;

  Engine& engine_;
  const std::string name_;  ///< for messages: "orders-0"
  const std::string path_;
  const std::uint32_t domain_;

  std::mutex flush_mutex_;  ///< held while the file is synced, its head is written, another takes its place
  std::mutex write_mutex_;  ///< held while frames are written

  // Guarded by write_mutex_.
  Ref<LogFile> shadow_;  ///< the file that will take the place of file_: gets every frame as well
  Status shadow_status_;
  std::uint64_t shadow_from_ = 0;  ///< frames of file_ from here on are in shadow_ at the same distance from
  std::uint64_t shadow_to_ = 0;    ///< here

  std::mutex mutex_;
  std::condition_variable idle_;
  PartitionSettings settings_;
  Ref<LogFile> file_;
  std::uint64_t file_bytes_ = 0;  ///< with whole frames
  std::deque<Entry> index_;       ///< in offset order; those at or above end_ are being written
  Offset start_;
  Offset end_;
  Offset durable_;
  std::uint64_t bytes_ = 0;
  std::deque<Offset> ends_;        ///< where one piece ends, the next begins: what replace() takes, for want of segments
  std::uint64_t piece_bytes_ = 0;  ///< of the last piece
  std::uint64_t appends_ = 0;      ///< the position of the last append, as durability is reported
  std::uint64_t flushed_ = 0;
  Status failed_;
  bool failure_told_ = false;
  bool clean_ = true;
  bool flush_posted_ = false;
  bool flush_running_ = false;
  bool closing_ = false;
};

}  // namespace streambus::storage_acme
