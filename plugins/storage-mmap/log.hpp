#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <string>
#include <vector>

#include "engine.hpp"
#include "manifest.hpp"
#include "segment.hpp"
#include "storage-common/paths.hpp"
#include "storage-common/scan.hpp"

namespace streambus::storage_mmap {

/// One partition: a row of segments, the last of them appended to through a window of its file.
///
/// The mutating calls come one at a time; `mutex_` guards what they publish to readers and to the two kinds of jobs:
/// flush (group commit) and maintenance (sealing, preparing). No system call is made under `mutex_`. `maintenance_`
/// serializes what writes manifests and removes files. Lock order: maintenance_, mutex_, the cache's.
/// Jobs hold a reference each, so that close() waits only for those that are running, never for queued ones.
class MmapLog final : public PartitionLog, public Pin {
 public:
  MmapLog(MmapEngine& engine, const PartitionKey& key, const PartitionSettings& settings);

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
  using Path = storage_common::Path;
  using Frames = storage_common::Frames;
  using IndexEntry = storage_common::IndexEntry;
  using ScanResult = storage_common::ScanResult;
  using SyncedMark = storage_common::SyncedMark;

  /// A window that was appended to before the present one, up to a position; kept until that is synced.
  struct EarlierWindow {
    Ref<Window> window;
    std::uint64_t end = 0;
  };
  static constexpr std::size_t kEarlierWindowsMax = 6;
  /// A segment that is appended to or waits to be sealed.
  struct Writing {
    Ref<Segment> segment;   ///< null: none
    Ref<SegmentFile> file;  ///< null: closed while idle
    Ref<Window> window;     ///< what is appended to; null: to be mapped
    Ref<Window> next;       ///< prepared, goes on before `window` ends
    EarlierWindow earlier[kEarlierWindowsMax];
    std::size_t earlier_count = 0;
    bool sync_all = false;  ///< more windows than `earlier` holds: the whole file is synced
    SegmentIndex index;
    bool index_complete = true;  ///< false: the part before its first entry is in the index file
    bool index_dirty = false;    ///< the index file does not say all
  };
  /// The beginning of the next segment, prepared under another name.
  struct Spare {
    Ref<SegmentFile> file;
    Ref<Window> window;
  };
  /// A mapped part of a file that is being prepared.
  struct Prepared {
    Ref<Window> window;
    std::uint64_t before = 0;  ///< what the file had before
  };
  static constexpr const char* kSpareName = "spare.tmp";  // what ends so is removed when the partition is opened

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
    Ref<Window> window;  ///< that is appended to; null: none
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
  class BatchCursor;

  struct SyncPiece {
    Ref<Window> window;
    std::uint64_t from = 0;
    std::uint64_t to = 0;
  };
  struct FlushTarget {
    Ref<Segment> segment;
    Ref<SegmentFile> file;
    SyncPiece pieces[kEarlierWindowsMax + 1];
    std::size_t piece_count = 0;  ///< 0: the whole file
    std::uint64_t bytes = 0;
    std::uint64_t synced_bytes = 0;
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

  ~MmapLog() override;
  void dispose() noexcept override { delete this; }

  [[nodiscard]] Path path_of(const Segment& segment, const char* kind = "seg") const noexcept {
    return Path::segment(directory_, segment.base, segment.generation, kind);
  }
  [[nodiscard]] Status at(const Segment& segment, const Status& status) const noexcept;
  [[nodiscard]] Status offline_status() noexcept;

  // Appending: log.cpp.
  [[nodiscard]] Status append_batches(Bytes batches, Offset first, Offset next, AppendResult* result);
  [[nodiscard]] bool must_roll(std::size_t bytes) noexcept;
  void roll();
  void publish(Bytes batches, const Frames& frames, AppendResult* result);
  void add_index_entries(Bytes batches, std::uint64_t position, TimestampMs max_before) noexcept;
  [[nodiscard]] bool wants_preparing() const noexcept;

  // Room to append to: prepare.cpp.
  [[nodiscard]] Status make_room(std::size_t bytes);
  [[nodiscard]] Status open_active();
  [[nodiscard]] Status start_segment(Ref<Segment> segment);
  [[nodiscard]] Status extend_active(std::uint64_t position, std::uint64_t end, Ref<Window>* window);
  [[nodiscard]] std::uint64_t prepared_end(std::uint64_t position, std::uint64_t least) const noexcept;
  [[nodiscard]] Status prepare();
  [[nodiscard]] Status prepare_next(const Writing& active, std::uint64_t bytes, bool zeros);
  [[nodiscard]] Status prepare_spare(std::uint64_t wanted, bool zeros);
  [[nodiscard]] Status prepare_file(SegmentFile& file, std::uint64_t from, std::uint64_t to, bool zeros, Prepared* out);
  [[nodiscard]] Status populate(const Prepared& prepared, bool zeros) noexcept;
  void drop_spare() noexcept;
  void park_when_idle() noexcept;
  void park() noexcept;

  // Jobs: log_jobs.cpp.
  void run_flush() noexcept;
  void run_maintenance() noexcept;
  void post_maintenance() noexcept;
  void collect_unsynced(Flush* flush);
  void collect_pieces(const Writing& writing, FlushTarget* target);
  void flush_now(Flush& flush) noexcept;
  [[nodiscard]] Status sync_targets(Flush& flush) noexcept;
  [[nodiscard]] Status sync_pieces(FlushTarget& target) noexcept;
  [[nodiscard]] Status sync_entry() noexcept;
  bool mark_synced(const Flush& flush);
  void write_mark(const Segment& segment, Offset end, std::uint64_t bytes, std::uint32_t frame_crc);
  void fail(const Status& status) noexcept;
  [[nodiscard]] Status seal_all();
  [[nodiscard]] Status seal(Writing& writing);
  [[nodiscard]] Status complete_index(Writing& writing, std::uint64_t bytes);
  [[nodiscard]] Status write_index(const Segment& segment, const SegmentIndex& index, std::uint64_t bytes);
  [[nodiscard]] Manifest manifest_now(bool closed, std::size_t skip);
  [[nodiscard]] Status write_manifest(Offset start, std::size_t skip, bool closed);
  [[nodiscard]] Status close_files();
  [[nodiscard]] Status remove_first(std::size_t count, Offset start);
  void remove_files(const Segment& segment) noexcept;

  // Reading: log_read.cpp.
  [[nodiscard]] Status read_batches(ReadRequest request, ReadResult* result);
  [[nodiscard]] Status read_segment(const ReadRequest& request, ReadPlace* located, ReadResult* result);
  [[nodiscard]] Status locate(const ReadRequest& request, ReadPlace* place);
  void look_up(const SegmentIndex& index, const ReadRequest& request, ReadPlace* place) const noexcept;
  [[nodiscard]] Status find_start(const ReadRequest& request, ReadPlace* place, BatchCursor& cursor);
  [[nodiscard]] Status find_end(const ReadRequest& request, const ReadPlace& place, std::uint64_t reach, BatchCursor& cursor,
                                std::uint64_t* end, Offset* next);
  [[nodiscard]] Status look_up_loaded(const ReadRequest& request, BatchCursor& cursor, ReadPlace* place);
  [[nodiscard]] Status index_of(BatchCursor& cursor, Ref<LoadedIndex>* index);
  [[nodiscard]] Status load_index(BatchCursor& cursor, SegmentIndex* index);
  [[nodiscard]] Status adopt_index(BatchCursor& cursor);
  [[nodiscard]] Status find_time_once(TimestampMs timestamp, Offset* batch_base);
  [[nodiscard]] Status find_time_in(Ref<Segment> segment, TimestampMs timestamp, Offset* batch_base);
  [[nodiscard]] Status verify(const Segment& segment, Bytes run, std::uint64_t position) const noexcept;
  [[nodiscard]] Status page_failed(Segment& segment, const Window& window, const Status& status) noexcept;
  [[nodiscard]] Writing* writing_of(const Segment& segment) noexcept;

  // Recovery: recovery.cpp.
  struct Found;
  [[nodiscard]] Status list_files(Found* found);
  [[nodiscard]] Status load_manifest(Found* found);
  [[nodiscard]] Status take_listed(Found* found);
  [[nodiscard]] Status take_entry(Found* found, const ManifestEntry& entry);
  void remove_unlisted(Found* found, const std::vector<ManifestEntry>& entries);
  [[nodiscard]] Status scan_rest(Found* found);
  [[nodiscard]] Status scan_one(Found* found, Offset base);
  [[nodiscard]] Status check_mark(Found* found, Offset base, const ScanResult& scan);
  [[nodiscard]] Status settle(Found* found, Writing& writing, const ScanResult& scan);
  [[nodiscard]] Status rewrite(const Segment& segment, File& file, std::uint64_t from, std::uint64_t to);
  [[nodiscard]] Status cut_from(Found* found, std::size_t first);
  [[nodiscard]] Status verify_sealed(const ManifestEntry& entry);

  // Replacement: replace.cpp.
  class Replacement;
  [[nodiscard]] Status check_bounds(Offset from, Offset to, std::size_t* first, std::size_t* count);
  [[nodiscard]] Status swap_in(Replacement& made, std::size_t first, std::size_t count);

  MmapEngine& engine_;
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

  std::mutex mutex_;
  std::condition_variable idle_;
  PartitionSettings settings_;
  std::vector<Ref<Segment>> segments_;  ///< in offset order; neighbours share a boundary
  Writing active_;
  std::list<Writing> sealing_;
  Spare spare_;
  Ref<Window> retired_;  ///< waits to be unmapped
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
  std::uint64_t flush_bytes_ = 0;  ///< of a group commit, moving average
  std::uint32_t generation_ = 0;
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
  bool prepare_failed_ = false;  ///< no room or resources: not tried again before the next window or segment
};

}  // namespace streambus::storage_mmap
