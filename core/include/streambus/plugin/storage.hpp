#pragma once
// The storage contract. An engine keeps whole RecordBatches in partitions and knows nothing of wire, topics' settings
// beyond those handed to it, producers or epochs: these are the core's.

#include <cstdint>
#include <string_view>

#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"
#include "streambus/base/pin.hpp"
#include "streambus/base/slice.hpp"
#include "streambus/plugin/inspection.hpp"

namespace streambus {

/// When a produce request is answered: the promise that every figure is quoted with.
enum class Durability : std::uint8_t {
  memory,          ///< nothing survives the process
  page_cache,      ///< survives the process, not the machine
  fsync_interval,  ///< as page_cache; the machine loses at most the last interval
  fsync_batch,     ///< on the device before the answer
};

[[nodiscard]] constexpr std::string_view name_of(Durability durability) noexcept {
  switch (durability) {
    case Durability::memory:
      return "memory";
    case Durability::page_cache:
      return "pagecache";
    case Durability::fsync_interval:
      return "fsync-interval";
    case Durability::fsync_batch:
      return "fsync-batch";
  }
  return "unknown";
}

/// The settings of a topic that an engine acts on. -1: unlimited.
struct PartitionSettings {
  std::int64_t retention_ms = -1;
  std::int64_t retention_bytes = -1;
  std::int64_t segment_bytes = 1 << 30;
  std::int64_t segment_ms = -1;  ///< roll a segment whose first append is older
};

/// Names a partition. `topic_id` is 32 hexadecimal digits, unique for ever: a topic created again under its old name
/// has another id. Engines name directories by it, never by `topic`, which is for messages only.
struct PartitionKey {
  std::string_view topic;
  std::string_view topic_id;
  PartitionId partition = 0;
};

/// What an engine knows of a partition. One consistent snapshot.
struct LogState {
  Offset start;             ///< first offset that can be read
  Offset end;               ///< the next append's lowest legal base offset
  Offset durable;           ///< all below it survive what the durability class promises; <= end
  std::uint64_t bytes = 0;  ///< stored bytes of batches
  std::uint32_t segments = 0;
  bool clean = true;  ///< false: opened after an unclean end; weaker classes may have lost a tail
};

/// What one append got.
struct AppendResult {
  /// The batch is durable once durable_advanced(domain, p) with p >= position was reported.
  /// 0: durable already, as far as the class promises: no report will come.
  std::uint64_t position = 0;
};

struct ReadRequest {
  Offset from;   ///< any offset in [start, end): the batch that contains it is the first one returned
  Offset limit;  ///< only batches that lie wholly below it
  std::uint64_t bytes_max = 0;
  bool at_least_one = false;  ///< return the first batch even when it is larger than bytes_max
};

/// Whole batches in offset order, as runs of bytes. A slice never ends inside a batch.
struct ReadResult {
  static constexpr std::size_t kSlicesMax = 8;
  Slice slices[kSlicesMax];
  std::uint32_t slice_count = 0;
  std::uint64_t bytes = 0;
  Offset next;         ///< where to go on: after the last batch returned, or behind a gap there; request.from where none is
  Pin* pin = nullptr;  ///< one reference for the caller, keeps every slice valid; null only where there is no slice
};

/// Gives whole batches in offset order, one run after the other.
class BatchSource {
 public:
  BatchSource() = default;
  BatchSource(const BatchSource&) = delete;
  BatchSource& operator=(const BatchSource&) = delete;

  /// The next run of whole batches, valid until the next call; empty at the end. An error ends what they were wanted for,
  /// which then changes nothing and returns that error.
  virtual Status next(Bytes* batches) noexcept = 0;

 protected:
  ~BatchSource() = default;
};

/// One partition's log.
///
/// Threads: one mutating call (append, apply, delete_before, retain, close) at a time, the core sees to it; reads,
/// segment_end() and state() from any thread at any time, also during a mutating call. replace() runs beside appends and
/// reads, never beside another replace(), delete_before(), retain() or close().
/// Blocking: append returns within a millisecond or so (it may write to the page cache, never waits for the device).
/// read may wait for the disk when data is cold. The others may block and are called on worker threads.
/// After a failure with io_error or corrupt the partition is offline: later appends fail, reads of what is good go on.
/// no_space leaves the log as it was before the append: retriable.
class PartitionLog {
 public:
  PartitionLog() = default;
  PartitionLog(const PartitionLog&) = delete;
  PartitionLog& operator=(const PartitionLog&) = delete;

  [[nodiscard]] virtual LogState state() noexcept = 0;

  /// The domain in which this log reports durability; constant.
  [[nodiscard]] virtual std::uint32_t durability_domain() const noexcept = 0;

  /// Appends one or more whole batches, already stamped with consecutive offsets and valid by checksum.
  /// `first` is the base offset of the first batch and must be >= end (a gap is legal); `next` is the offset after the
  /// last one; `max_timestamp` the largest of the batches. The bytes are read before the call returns.
  /// All or nothing: visible to reads on return. Errors: invalid_argument (first below end), no_space, io_error, offline.
  virtual Status append(Bytes batches, Offset first, Offset next, TimestampMs max_timestamp, AppendResult* result) noexcept = 0;

  /// Where no batch contains `from` (a gap), the first one behind it begins the result.
  /// Errors: out_of_range (from outside [start, end]; from == end gives an empty result), io_error, corrupt.
  virtual Status read(const ReadRequest& request, ReadResult* result) noexcept = 0;

  /// Finds the first batch whose max_timestamp is >= `timestamp` and returns its base offset, or kNoOffset where none is.
  /// The core looks for the exact record inside the batch.
  virtual Status find_time(TimestampMs timestamp, Offset* batch_base) noexcept = 0;

  /// Takes changed settings into account from the next append or retain() on.
  virtual Status apply(const PartitionSettings& settings) noexcept = 0;

  /// Makes offsets below `start` unreadable at once and for good; frees space when it can (whole segments).
  virtual Status delete_before(Offset start) noexcept = 0;

  /// Enforces retention by bytes and time; called by the core's timer. `now` is wall-clock milliseconds.
  virtual Status retain(TimestampMs now) noexcept = 0;

  /// Makes all that was appended durable, closes files and destroys the object. Slices handed out stay valid.
  virtual Status close() noexcept = 0;

  /// The end of the segment that holds `from`, in [start, end): what replace() takes as one piece. kNoOffset where that is
  /// the active one, still appended to. An engine without segments names the end of any batch about segment_bytes behind.
  [[nodiscard]] virtual Offset segment_end(Offset from) noexcept {
    (void)from;
    return kNoOffset;
  }

  /// Puts other batches in the place of all those in [from, to): what compaction keeps of them, valid and in order, within
  /// [from, to), perhaps none. `from` is the log's start or an end that segment_end() gave, `to` such an end beyond it.
  /// Atomic: reads and recovery find the old ones or the new ones; on return the new ones are at least as durable as the old
  /// ones were. Start and end stay; slices handed out stay valid. Blocks. Errors leave the old batches: invalid_argument (no
  /// segment bounds, batches outside), no_space, io_error, unsupported, those of `batches`.
  virtual Status replace(Offset from, Offset to, BatchSource& batches) noexcept {
    (void)from, (void)to, (void)batches;
    return {ErrorCode::unsupported, "this engine cannot replace batches"};
  }

 protected:
  ~PartitionLog() = default;
};

/// Called for each partition that an engine finds in its directory; the views are valid during the call.
class PartitionVisitor {
 public:
  PartitionVisitor() = default;
  PartitionVisitor(const PartitionVisitor&) = delete;
  PartitionVisitor& operator=(const PartitionVisitor&) = delete;
  virtual void partition(std::string_view topic_id, PartitionId partition) noexcept = 0;

 protected:
  ~PartitionVisitor() = default;
};

/// A storage plugin's object. Lifecycle: create (options only, no I/O) -> start -> any calls -> stop -> destroy.
/// Calls on different partitions may come from different threads at the same time.
class StorageEngine {
 public:
  StorageEngine() = default;
  StorageEngine(const StorageEngine&) = delete;
  StorageEngine& operator=(const StorageEngine&) = delete;
  virtual ~StorageEngine() = default;

  [[nodiscard]] virtual Durability durability() const noexcept = 0;

  /// Opens the data directory: checks its format version, recovers what must be recovered. May block.
  virtual Status start() noexcept = 0;

  /// Opens a partition, creating it empty with start = end = `start` when it does not exist.
  /// Errors: corrupt (damage before the synced mark: says file and position), already_exists (open already), io_error.
  virtual Status open(const PartitionKey& key, Offset start, const PartitionSettings& settings,
                      PartitionLog** log) noexcept = 0;

  /// Removes a closed partition and its files. not_found when there is none. Slices handed out stay valid.
  virtual Status remove(const PartitionKey& key) noexcept = 0;

  /// Lists what is stored, open or not: the core removes orphans of interrupted deletions.
  virtual Status list(PartitionVisitor& visitor) noexcept = 0;

  /// All partitions are closed by now; marks the directory as cleanly shut down. May block.
  virtual Status stop() noexcept = 0;

  /// True where PartitionLog::replace() works: topics with cleanup.policy=compact are refused on the others. Constant.
  [[nodiscard]] virtual bool can_replace() const noexcept { return false; }

  /// Reads all that is stored and reports it, instead of start(): of the other calls only the destruction follows. The host's
  /// files() are then read-only, without mappings; its durability() is not to be used. Checks every checksum, that offsets
  /// rise, indexes and marks against the batches; goes on behind damage as far as it can, and changes nothing. Blocks. Findings
  /// are no errors. Errors: io_error, unsupported (this engine cannot; a newer format), cancelled (by the inspector).
  virtual Status inspect(Inspector& inspector) noexcept {
    (void)inspector;
    return {ErrorCode::unsupported, "this engine cannot inspect what it stored"};
  }
};

}  // namespace streambus
