#pragma once
// A small storage engine that is right: files per partition over the file layer, an index in memory, one sync per flush.
// It reads whole files when a partition is opened, and is not made to be fast. Its purpose is to be made wrong.
//
// A partition's directory holds
//   manifest          which segments are sealed, the start, whether it was closed in order; replaced by rename
//   <from>.log        segments in the order of their first offset; those not in the manifest end with what arrived whole
//   <from>-<n>.seg    what replace() put in the place of segments; in the manifest, or left over and removed
// A segment is a row of frames: Frame, then the batch.

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "mutation.hpp"
#include "streambus/base/record_batch.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/options.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::storage_reference {

/// In front of every batch in a file. Little-endian, as in memory: these files never leave a test.
struct Frame {
  static constexpr std::uint32_t kMagic = 0x52454631;
  std::uint32_t magic = kMagic;
  std::uint32_t bytes = 0;     ///< of the batch
  std::int64_t previous = 0;   ///< the log's end before the batch: a segment that is missing shows
  std::uint32_t checksum = 0;  ///< of the fields above and of the batch's first 21 bytes, which its own checksum leaves out
  std::uint32_t reserved = 0;
};
static_assert(sizeof(Frame) == 24);

/// A batch in a segment.
struct Entry {
  Offset first;
  Offset next;
  TimestampMs max_timestamp = kNoTimestamp;
  std::uint64_t position = 0;  ///< of the batch, behind its frame
  std::uint32_t bytes = 0;
};

/// A file with batches. The file is open as long as somebody refers to the segment.
struct Segment {
  Segment(File& opened, std::string file_name, Offset begin)
      : file(opened), name(std::move(file_name)), from(begin), to(begin) {}
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  ~Segment() { file.close(); }

  File& file;
  const std::string name;
  const Offset from;  ///< the log's end when the segment was begun
  Offset to;
  std::vector<Entry> entries;
  std::uint64_t file_bytes = 0;
  std::uint64_t batch_bytes = 0;
  TimestampMs max_timestamp = kNoTimestamp;
  TimestampMs begun_ms = 0;
  bool sealed = false;
  bool dirty = false;  ///< appended to since the last sync

  void add(const Entry& entry);
};
using SegmentRef = std::shared_ptr<Segment>;

class Engine;

class Log final : public PartitionLog, public std::enable_shared_from_this<Log> {
 public:
  Log(Engine& engine, const PartitionKey& key, const PartitionSettings& settings);

  /// Reads what is there, or makes an empty log at `start`.
  Status recover(Offset start);

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
  [[nodiscard]] bool is(Mutation mutation) const noexcept;
  [[nodiscard]] FileSystem& files() const noexcept;
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }
  Status offline() const noexcept;

  // log_files.cpp: under structure_
  Status open_segment(const std::string& name, OpenMode mode, Offset from, SegmentRef* out);
  Status scan(Segment& segment, bool sealed);
  Status load_manifest(bool* found, Offset* continues);
  Status recover_unsealed(const std::vector<std::string>& names, Offset continues);
  Status write_manifest(const std::vector<SegmentRef>& segments, Offset start, Offset end, bool clean);
  void remove_files(const std::vector<SegmentRef>& segments);

  // log.cpp
  [[nodiscard]] Status check(Bytes batches, Offset first, Offset next) const;
  Status write(Bytes batches, SegmentRef& segment, std::vector<Entry>* entries);
  void publish(const SegmentRef& segment, const std::vector<Entry>& entries, AppendResult* result);
  void post_flush();
  void flush();
  void flush_and_report();
  Status sync_dirty(const std::vector<SegmentRef>& dirty);
  void seal();
  void fail_domain(const Status& status);
  void report(std::uint64_t position);

  // log_admin.cpp
  Status drop(std::size_t count, Offset start, bool everything);
  Status build_replacement(Offset from, Offset to, BatchSource& batches, SegmentRef* out);

  Engine& engine_;
  const std::string name_;  ///< for messages
  const std::string key_;
  const std::string directory_;
  std::uint32_t domain_ = 0;

  std::mutex structure_;  ///< one of flush, replace, retention, close at a time; taken before mutex_
  std::uint64_t generation_ = 0;
  std::atomic<bool> new_entries_{false};  ///< the directory has entries that are not durable
  bool closed_ = false;

  std::shared_mutex mutex_;  ///< guards what follows; no I/O under it
  std::vector<SegmentRef> segments_;
  PartitionSettings settings_;
  Offset start_;
  Offset end_;
  Offset durable_;
  std::uint64_t position_ = 0;  ///< of the last append
  std::uint64_t reported_ = 0;
  std::uint64_t raced_ = 0;  ///< for the mutation data_race only
  bool flush_posted_ = false;
  bool reporting_ = false;
  std::condition_variable_any quiet_;  ///< reporting_ fell
  bool clean_ = true;
  bool failed_ = false;
  Status failure_;
  Bytes callers_;  ///< for the mutation bytes_kept only, as the next two
  SegmentRef callers_segment_;
  std::uint64_t callers_at_ = 0;
};

class Engine final : public StorageEngine {
 public:
  Engine(Host& host, const Options& options);
  ~Engine() override;

  [[nodiscard]] Durability durability() const noexcept override { return Durability::fsync_batch; }
  Status start() noexcept override;
  Status open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept override;
  Status remove(const PartitionKey& key) noexcept override;
  Status list(PartitionVisitor& visitor) noexcept override;
  Status stop() noexcept override { return {}; }
  [[nodiscard]] bool can_replace() const noexcept override { return true; }

  [[nodiscard]] Host& host() noexcept { return host_; }
  [[nodiscard]] Mutation mutation() const noexcept { return mutation_; }
  /// A log was closed: it may be opened again, and lives until its posted work is done.
  void closed(const std::string& key);

 private:
  Host& host_;
  const Mutation mutation_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Log>> open_;
};

[[nodiscard]] std::string directory_of(const PartitionKey& key);
[[nodiscard]] std::uint32_t frame_checksum(const Frame& frame, Bytes batch) noexcept;

}  // namespace streambus::storage_reference
