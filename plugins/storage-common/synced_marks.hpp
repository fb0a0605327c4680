#pragma once
// The synced marks: how far each partition's segment is known to be on the device. One file for all partitions, one
// 64-byte slot each, overwritten in place after a sync and not synced itself: a stale mark is only less strict.

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "storage-common/small_files.hpp"
#include "storage-common/text.hpp"
#include "streambus/base/bytes.hpp"
#include "streambus/base/crc32c.hpp"
#include "streambus/base/ids.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus::storage_common {

/// Everything below it was synced. Damage there is damage, not a torn tail.
struct SyncedMark {
  Offset segment;               ///< base of the segment
  Offset end;                   ///< log offset at the position
  std::uint64_t position = 0;   ///< bytes of the segment
  std::uint32_t frame_crc = 0;  ///< of the segment's frames below the position
};

/// Thread-safe.
class SyncedMarks {
 public:
  static constexpr const char* kFileName = "marks";
  static constexpr std::size_t kSlotBytes = 64;

  explicit SyncedMarks(Host& host) noexcept : host_(host) {}
  SyncedMarks(const SyncedMarks&) = delete;
  SyncedMarks& operator=(const SyncedMarks&) = delete;
  ~SyncedMarks() { close(); }

  /// Reads the file, if there is one. Damaged slots are counted and dropped, with a warning.
  [[nodiscard]] Status open();
  void close() noexcept;

  /// The mark of a partition; false where there is none. `topic_id`: 16 bytes.
  [[nodiscard]] bool find(const std::byte (&topic_id)[16], PartitionId partition, SyncedMark* mark) noexcept;
  /// The slot of a partition, assigned now where it has none. Constant until erase().
  [[nodiscard]] std::uint32_t slot(const std::byte (&topic_id)[16], PartitionId partition);
  /// Overwrites a slot: one small write to the page cache. A failure is logged once: the mark is then stale.
  void write(std::uint32_t slot, const std::byte (&topic_id)[16], PartitionId partition, const SyncedMark& mark) noexcept;
  /// Forgets a removed partition.
  void erase(const std::byte (&topic_id)[16], PartitionId partition) noexcept;

  static void encode(const std::byte (&topic_id)[16], PartitionId partition, const SyncedMark& mark,
                     std::byte (&out)[kSlotBytes]) noexcept;

 private:
  static constexpr char kMagic[5] = "SBMK";
  static constexpr std::size_t kFileBytesMax = std::size_t{256} << 20;
  static constexpr std::size_t kCrcPosition = kSlotBytes - 4;

  struct Key {
    std::byte topic_id[16];
    PartitionId partition;
    bool operator<(const Key& other) const noexcept;
  };
  struct Entry {
    std::uint32_t slot;
    bool has_mark;
    SyncedMark mark;
  };
  static Key key_of(const std::byte (&topic_id)[16], PartitionId partition) noexcept;
  void put(std::uint32_t slot, const std::byte (&bytes)[kSlotBytes]) noexcept;

  Host& host_;
  std::mutex mutex_;
  std::map<Key, Entry> entries_;
  std::vector<std::uint32_t> free_;
  std::uint32_t slot_count_ = 0;
  File* file_ = nullptr;  ///< set by open(), opened for writing; constant until close()
  std::atomic<bool> warned_{false};
};

inline bool SyncedMarks::Key::operator<(const Key& other) const noexcept {
  const int order = std::memcmp(topic_id, other.topic_id, sizeof topic_id);
  return order != 0 ? order < 0 : partition < other.partition;
}

inline SyncedMarks::Key SyncedMarks::key_of(const std::byte (&topic_id)[16], PartitionId partition) noexcept {
  Key key;
  std::memcpy(key.topic_id, topic_id, sizeof key.topic_id);
  key.partition = partition;
  return key;
}

inline void SyncedMarks::encode(const std::byte (&topic_id)[16], PartitionId partition, const SyncedMark& mark,
                                std::byte (&out)[kSlotBytes]) noexcept {
  ByteWriter writer(out);
  writer.bytes(as_bytes({kMagic, 4}));
  writer.bytes(topic_id);
  writer.write(partition);
  writer.write(mark.segment.value);
  writer.write(mark.end.value);
  writer.write(mark.position);
  writer.write(mark.frame_crc);
  writer.write(std::uint64_t{0});  // reserved
  writer.write(crc32c(Bytes(out).first(kCrcPosition)));
}

inline Status SyncedMarks::open() {
  const std::lock_guard lock(mutex_);
  std::vector<std::byte> bytes;
  if (const Status status = read_small_file(host_.files(), kFileName, kFileBytesMax, &bytes);
      !status.ok() && status.code != ErrorCode::not_found) {
    return status;
  }
  std::size_t damaged = 0;
  const std::size_t count = (bytes.size() + kSlotBytes - 1) / kSlotBytes;
  bytes.resize(count * kSlotBytes);
  for (std::size_t i = 0; i < count; ++i) {
    const Bytes slot = Bytes(bytes).subspan(i * kSlotBytes, kSlotBytes);
    const bool blank = std::all_of(slot.begin(), slot.end(), [](std::byte b) { return b == std::byte{0}; });
    const bool intact = as_text(slot.first(4)) == kMagic &&
                        load_be<std::uint32_t>(slot.data() + kCrcPosition) == crc32c(slot.first(kCrcPosition));
    if (blank || !intact) {
      damaged += blank ? 0 : 1;
      free_.push_back(static_cast<std::uint32_t>(i));
      continue;
    }
    ByteReader in(slot.subspan(4));
    Key key;
    std::memcpy(key.topic_id, in.bytes(16).data(), 16);
    key.partition = in.read<PartitionId>();
    Entry entry{static_cast<std::uint32_t>(i), true, {}};
    entry.mark.segment = {in.read<std::int64_t>()};
    entry.mark.end = {in.read<std::int64_t>()};
    entry.mark.position = in.read<std::uint64_t>();
    entry.mark.frame_crc = in.read<std::uint32_t>();
    entries_.insert_or_assign(key, entry);
  }
  slot_count_ = static_cast<std::uint32_t>(count);
  if (damaged > 0) {
    log_line(host_, LogLevel::warning, "%s: %zu of %zu slots are damaged; their partitions lose the check of synced data once",
             kFileName, damaged, count);
  }
  return host_.files().open(kFileName, OpenMode::create, &file_);
}

inline void SyncedMarks::close() noexcept {
  if (file_ != nullptr) std::exchange(file_, nullptr)->close();
}

inline bool SyncedMarks::find(const std::byte (&topic_id)[16], PartitionId partition, SyncedMark* mark) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key_of(topic_id, partition));
  if (found == entries_.end() || !found->second.has_mark) return false;
  *mark = found->second.mark;
  return true;
}

inline std::uint32_t SyncedMarks::slot(const std::byte (&topic_id)[16], PartitionId partition) {
  const std::lock_guard lock(mutex_);
  const auto [place, added] = entries_.try_emplace(key_of(topic_id, partition), Entry{0, false, {}});
  if (added) {
    if (free_.empty()) {
      place->second.slot = slot_count_++;
    } else {
      place->second.slot = free_.back();
      free_.pop_back();
    }
  }
  return place->second.slot;
}

inline void SyncedMarks::write(std::uint32_t slot, const std::byte (&topic_id)[16], PartitionId partition,
                               const SyncedMark& mark) noexcept {
  std::byte bytes[kSlotBytes];
  encode(topic_id, partition, mark, bytes);
  put(slot, bytes);
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key_of(topic_id, partition));
  if (found != entries_.end()) {
    found->second.has_mark = true;
    found->second.mark = mark;
  }
}

inline void SyncedMarks::erase(const std::byte (&topic_id)[16], PartitionId partition) noexcept {
  std::uint32_t slot = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(key_of(topic_id, partition));
    if (found == entries_.end()) return;
    slot = found->second.slot;
    entries_.erase(found);
  }
  const std::byte blank[kSlotBytes] = {};
  put(slot, blank);
  const std::lock_guard lock(mutex_);
  try {
    free_.push_back(slot);
  } catch (const std::bad_alloc&) {
    // the slot stays unused in this run
  }
}

inline void SyncedMarks::put(std::uint32_t slot, const std::byte (&bytes)[kSlotBytes]) noexcept {
  if (file_ == nullptr) return;
  const Slice slice = Slice::memory(bytes);
  const Status status = file_->write_at(std::uint64_t{slot} * kSlotBytes, &slice, 1);
  if (!status.ok() && !warned_.exchange(true)) {
    log_line(host_, LogLevel::warning, "%s: cannot be written, synced data is checked less strictly after a crash: %s",
             kFileName, status.text);
  }
}

}  // namespace streambus::storage_common
