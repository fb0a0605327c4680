#pragma once
// The synced marks: how far each partition's segment is known to be on the device. One file for all partitions, one
// 64-byte slot each, overwritten in place after a sync and not synced itself: a stale mark is only less strict.

#include <map>
#include <mutex>
#include <vector>

#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus::storage_wal {

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
  static constexpr std::size_t kFileBytesMax = std::size_t{256} << 20;

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

  enum class Slot : std::uint8_t { blank, mark, damaged };
  /// Reads a slot of kSlotBytes.
  [[nodiscard]] static Slot decode(Bytes slot, std::byte (&topic_id)[16], PartitionId* partition, SyncedMark* mark) noexcept;
  static void encode(const std::byte (&topic_id)[16], PartitionId partition, const SyncedMark& mark,
                     std::byte (&out)[kSlotBytes]) noexcept;

 private:
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

}  // namespace streambus::storage_wal
