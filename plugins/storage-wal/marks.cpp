#include "marks.hpp"

#include <algorithm>
#include <cstring>

#include "manifest.hpp"
#include "paths.hpp"
#include "streambus/base/bytes.hpp"
#include "streambus/base/crc32c.hpp"
#include "text.hpp"

namespace streambus::storage_wal {
namespace {

constexpr char kMagic[5] = "SBMK";
constexpr std::size_t kCrcPosition = SyncedMarks::kSlotBytes - 4;

}  // namespace

bool SyncedMarks::Key::operator<(const Key& other) const noexcept {
  const int order = std::memcmp(topic_id, other.topic_id, sizeof topic_id);
  return order != 0 ? order < 0 : partition < other.partition;
}

SyncedMarks::Key SyncedMarks::key_of(const std::byte (&topic_id)[16], PartitionId partition) noexcept {
  Key key;
  std::memcpy(key.topic_id, topic_id, sizeof key.topic_id);
  key.partition = partition;
  return key;
}

void SyncedMarks::encode(const std::byte (&topic_id)[16], PartitionId partition, const SyncedMark& mark,
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

SyncedMarks::Slot SyncedMarks::decode(Bytes slot, std::byte (&topic_id)[16], PartitionId* partition,
                                      SyncedMark* mark) noexcept {
  if (std::all_of(slot.begin(), slot.end(), [](std::byte b) { return b == std::byte{0}; })) return Slot::blank;
  if (as_text(slot.first(4)) != kMagic ||
      load_be<std::uint32_t>(slot.data() + kCrcPosition) != crc32c(slot.first(kCrcPosition)))
    return Slot::damaged;
  ByteReader in(slot.subspan(4));
  std::memcpy(topic_id, in.bytes(16).data(), 16);
  *partition = in.read<PartitionId>();
  mark->segment = {in.read<std::int64_t>()};
  mark->end = {in.read<std::int64_t>()};
  mark->position = in.read<std::uint64_t>();
  mark->frame_crc = in.read<std::uint32_t>();
  return Slot::mark;
}

Status SyncedMarks::open() {
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
    Key key;
    Entry entry{static_cast<std::uint32_t>(i), true, {}};
    const Slot content = decode(slot, key.topic_id, &key.partition, &entry.mark);
    if (content != Slot::mark) {
      damaged += content == Slot::damaged ? 1 : 0;
      free_.push_back(static_cast<std::uint32_t>(i));
      continue;
    }
    entries_.insert_or_assign(key, entry);
  }
  slot_count_ = static_cast<std::uint32_t>(count);
  if (damaged > 0) {
    log_line(host_, LogLevel::warning, "%s: %zu of %zu slots are damaged; their partitions lose the check of synced data once",
             kFileName, damaged, count);
  }
  return host_.files().open(kFileName, OpenMode::create, &file_);
}

void SyncedMarks::close() noexcept {
  if (file_ != nullptr) std::exchange(file_, nullptr)->close();
}

bool SyncedMarks::find(const std::byte (&topic_id)[16], PartitionId partition, SyncedMark* mark) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key_of(topic_id, partition));
  if (found == entries_.end() || !found->second.has_mark) return false;
  *mark = found->second.mark;
  return true;
}

std::uint32_t SyncedMarks::slot(const std::byte (&topic_id)[16], PartitionId partition) {
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

void SyncedMarks::write(std::uint32_t slot, const std::byte (&topic_id)[16], PartitionId partition,
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

void SyncedMarks::erase(const std::byte (&topic_id)[16], PartitionId partition) noexcept {
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

void SyncedMarks::put(std::uint32_t slot, const std::byte (&bytes)[kSlotBytes]) noexcept {
  if (file_ == nullptr) return;
  const Slice slice = Slice::memory(bytes);
  const Status status = file_->write_at(std::uint64_t{slot} * kSlotBytes, &slice, 1);
  if (!status.ok() && !warned_.exchange(true)) {
    log_line(host_, LogLevel::warning, "%s: cannot be written, synced data is checked less strictly after a crash: %s",
             kFileName, status.text);
  }
}

}  // namespace streambus::storage_wal
