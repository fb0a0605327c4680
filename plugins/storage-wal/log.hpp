#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <vector>

#include "engine.hpp"
#include "manifest.hpp"
#include "scan.hpp"

namespace streambus::storage_wal {

/// One partition: a row of segments, the last of them appended to.
///
/// The mutating calls come one at a time; `mutex_` guards what they publish to readers and to the two kinds of jobs:
/// flush (group commit) and maintenance (sealing, writeback). No system call is made under `mutex_`. `maintenance_`
/// serializes what writes manifests and removes files. Lock order: maintenance_, mutex_, the cache's.
/// Jobs hold a reference each, so that close() waits only for those that are running, never for queued ones.
class WalLog final : public PartitionLog, public Pin {
 public:
  WalLog(WalEngine& engine, const PartitionKey& key, const PartitionSettings& settings);

  /// Brings the log to life from what is on disk. Before any other call.
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

  /// Has a flush job posted unless one is queued. For the interval flusher.
  void post_flush() noexcept;

 private:
  /// A segment with its writable file and its index: the active one, and those that wait to be sealed.
  struct Writing {
    Ref<Segment> segment;              ///< null: none
    Ref<OpenFile> file;                ///< null: closed while idle
    std::uint64_t file_bytes = 0;      ///< written, zeros included
    std::uint64_t reserved_bytes = 0;  ///< with blocks, also behind the end of the file
    SegmentIndex index;
    bool index_complete = true;  ///< false: the part before its first entry is in the index file
    bool index_dirty = false;    ///< the index file does not say all
  };
  /// A batch boundary that is likely to be asked for again.
  struct Hint {
    const Segment* segment = nullptr;
    Offset offset{-1};
    std::uint64_t position = 0;
  };
  static constexpr std::size_t kHints = 4;
  /// What a read needs to know, taken under the mutex.
  struct ReadPlace {
    Ref<Segment> segment;
    Ref<OpenFile> file;  ///< null: to be got from the cache
    std::uint64_t bytes = 0;
    Offset end;
    std::uint64_t start_position = 0;
    bool start_exact = false;
    bool start_known = false;  ///< the index had an entry
    IndexEntry end_entry;      ///< a boundary at or before where the read ends
    bool end_known = false;
    std::uint64_t limit_position = 0;
    bool limit_exact = false;
  };
  struct FlushTarget {
    Ref<Segment> segment;
    Ref<OpenFile> file;
    std::uint64_t bytes = 0;
    Offset end;
    std::uint32_t frame_crc = 0;
    bool entry_synced = false;
  };
  struct Flush {
    static constexpr std::size_t kSegmentsMax = 8;
    FlushTarget targets[kSegmentsMax];
    std::size_t count = 0;
    Offset end;  ///< everything below it is durable afterwards
    std::uint64_t batches = 0;
  };

  ~WalLog() override;
  void dispose() noexcept override { delete this; }

  [[nodiscard]] Path path_of(const Segment& segment, const char* kind = "log") const noexcept {
    return Path::segment(directory_, segment.base, segment.generation, kind);
  }
  [[nodiscard]] bool must_roll(std::size_t bytes) noexcept;
  [[nodiscard]] Status offline_status() noexcept;

  // Appending: log.cpp.
  [[nodiscard]] Status append_batches(Bytes batches, Offset first, Offset next, AppendResult* result);
  void roll();
  [[nodiscard]] Status prepare_active();
  [[nodiscard]] Status write_active(Bytes batches) noexcept;
  [[nodiscard]] Status take_back(std::uint64_t position) noexcept;
  void publish(Bytes batches, const Frames& frames, AppendResult* result);
  void add_index_entries(Bytes batches, std::uint64_t position, TimestampMs max_before) noexcept;

  // Jobs: log_jobs.cpp.
  void run_flush() noexcept;
  void run_maintenance() noexcept;
  [[nodiscard]] std::uint64_t reserve_ahead() noexcept;
  void post_maintenance() noexcept;
  void collect_unsynced(Flush* flush);
  void flush_now(Flush& flush) noexcept;
  [[nodiscard]] Status sync_targets(Flush& flush) noexcept;
  [[nodiscard]] Status sync_entry() noexcept;
  [[nodiscard]] Status timed_sync(File& file) noexcept;
  bool mark_synced(const Flush& flush);
  void write_mark(const FlushTarget& target);
  void fail(const Status& status) noexcept;
  [[nodiscard]] Status seal_all();
  [[nodiscard]] Status seal(Writing& writing);
  [[nodiscard]] Status complete_index(Writing& writing, std::uint64_t bytes);
  [[nodiscard]] Status write_index(const Segment& segment, const SegmentIndex& index, std::uint64_t bytes);
  [[nodiscard]] Status write_manifest(Offset start, std::size_t skip, bool closed);
  [[nodiscard]] std::vector<std::byte> manifest_of(const std::vector<Ref<Segment>>& segments, Offset start, std::size_t skip,
                                                   bool closed) const;
  void park_when_idle() noexcept;
  void park() noexcept;
  [[nodiscard]] Status close_files();
  [[nodiscard]] Status remove_first(std::size_t count, Offset start);

  // Replacing: log_replace.cpp.
  struct Replacement;
  [[nodiscard]] Status replace_segments(Offset from, Offset to, BatchSource& batches);
  [[nodiscard]] Status plan_replacement(Offset from, Offset to, Replacement* plan);
  [[nodiscard]] Status write_replacement(Replacement& plan, BatchSource& batches);
  [[nodiscard]] Status adopt_replacement(Replacement& plan);
  void publish_replacement(Replacement& plan);
  void remove_files(const std::vector<Ref<Segment>>& segments) noexcept;

  // Reading: log_read.cpp.
  [[nodiscard]] std::vector<Ref<Segment>>::iterator find_listed(const Segment& segment) noexcept;
  [[nodiscard]] std::vector<Ref<Segment>>::iterator segment_of(Offset from) noexcept;
  [[nodiscard]] bool is_listed(const Segment& segment) noexcept;
  [[nodiscard]] Status read_batches(const ReadRequest& request, ReadResult* result);
  [[nodiscard]] Status locate(const ReadRequest& request, ReadPlace* place);
  void look_up(const SegmentIndex& index, const ReadRequest& request, ReadPlace* place) const noexcept;
  [[nodiscard]] Status find_start(const ReadRequest& request, ReadPlace* place);
  [[nodiscard]] Status find_end(const ReadRequest& request, const ReadPlace& place, std::uint64_t* end, Offset* next);
  [[nodiscard]] Status index_of(const Segment& segment, OpenFile& file, std::uint64_t bytes, const SegmentIndex** index);
  [[nodiscard]] Status load_index(const Segment& segment, File& file, std::uint64_t bytes, SegmentIndex* index);
  [[nodiscard]] Status adopt_index(const Segment& segment, File& file, std::uint64_t bytes);
  [[nodiscard]] Status find_time_in(Ref<Segment> segment, TimestampMs timestamp, Offset* batch_base);
  [[nodiscard]] Status verify(const ReadPlace& place, std::uint64_t end);
  [[nodiscard]] Writing* writing_of(const Segment& segment) noexcept;
  [[nodiscard]] Status at(const Segment& segment, const Status& status) const noexcept;

  // Recovery: recovery.cpp.
  struct Found;
  [[nodiscard]] Status list_files(Found* found);
  [[nodiscard]] Status load_manifest(Found* found);
  [[nodiscard]] Status take_sealed(Found* found);
  [[nodiscard]] Status scan_rest(Found* found);
  [[nodiscard]] Status scan_one(Found* found, Offset base);
  [[nodiscard]] Status settle(Found* found, Writing& writing, const ScanResult& scan);
  [[nodiscard]] Status cut_from(Found* found, std::size_t first);
  [[nodiscard]] Status verify_sealed(const ManifestEntry& entry);

  WalEngine& engine_;
  const std::string topic_;
  const std::string topic_id_;
  const PartitionId partition_;
  const Path directory_;
  std::byte id_[16];
  std::uint32_t domain_ = 0;
  const bool acks_wait_;  ///< the class fsync-batch

  std::mutex maintenance_;
  std::atomic<bool> entries_synced_{false};  ///< the directories above the files are on the device
  std::uint32_t mark_slot_ = UINT32_MAX;     ///< of whoever flushes
  std::uint32_t generation_ = 0;             ///< of the last replacement that was tried; no two share file names

  std::mutex mutex_;
  std::condition_variable idle_;
  PartitionSettings settings_;
  std::vector<Ref<Segment>> segments_;  ///< with batches, in offset order; neighbours share a boundary
  Writing active_;
  std::list<Writing> sealing_;
  Offset start_;
  Offset end_;
  Offset durable_;
  Hint durable_hint_;
  Hint hints_[kHints];
  std::uint32_t next_hint_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t appends_ = 0;
  std::uint64_t flushed_appends_ = 0;
  std::uint64_t appends_at_retain_ = 0;
  std::uint64_t writeback_from_ = 0;
  std::uint64_t writeback_to_ = 0;
  Status failed_;
  std::atomic<bool> offline_{false};
  bool failure_told_ = false;
  std::atomic<bool> changed_{false};  ///< the manifest on disk does not say all; set by the appending thread
  bool clean_ = true;
  bool closing_ = false;
  bool flush_queued_ = false;  ///< or running
  bool flush_again_ = false;
  bool flush_running_ = false;
  bool interval_queued_ = false;
  bool maintenance_queued_ = false;
};

}  // namespace streambus::storage_wal
