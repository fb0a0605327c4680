// Writing a partition's file anew beside appends and reads: what replaces batches, and what gives deleted space back.

#include <algorithm>
#include <iterator>
#include <new>

#include "log.hpp"
#include "streambus/base/crc32c.hpp"
#include "streambus/base/record_batch.hpp"

namespace streambus::storage_acme {
namespace {

constexpr std::size_t kFrameBytes = std::size_t{1} << 20;          ///< batches are written in frames of about this size
constexpr std::uint64_t kCatchUpBytes = std::uint64_t{256} << 10;  ///< what may be left to copy while appends wait

Status misplaced(const char* what) noexcept { return {ErrorCode::invalid_argument, what}; }

/// Whole and valid by checksum. What compaction left of a batch may have fewer records than offsets.
bool is_sound(Bytes bytes, std::size_t* total) noexcept {
  constexpr std::size_t kCrcStart = 21;
  if (!frame_batch(bytes, total).ok()) return false;
  const BatchHeader header(bytes.data());
  return header.next_offset() > header.base_offset() && crc32c(bytes.first(*total).subspan(kCrcStart)) == header.crc();
}

}  // namespace

/// A file being written, and the index that goes with it.
class Log::Copy {
 public:
  explicit Copy(Ref<LogFile> to) : to_(std::move(to)) {}

  /// Copies a batch of another file, its checksum checked: damage is not carried on.
  [[nodiscard]] Status add(LogFile& from, const Entry& entry) {
    const std::size_t at = buffer_.size();
    buffer_.resize(at + entry.bytes);
    const MutableBytes room = MutableBytes(buffer_).subspan(at);
    STREAMBUS_TRY_STATUS(from.read(entry.position, room));
    std::size_t bytes = 0;
    if (!is_sound(room, &bytes) || bytes != entry.bytes || BatchHeader(room.data()).base_offset() != entry.base)
      return {ErrorCode::corrupt, "a batch in the file is not the one that was written there"};
    return note(entry.base, entry.next, entry.max_timestamp, entry.bytes);
  }
  /// Copies batches that must lie in [from, to), behind those before.
  [[nodiscard]] Status add(Bytes batches, Offset from, Offset to) {
    while (!batches.empty()) {
      std::size_t bytes = 0;
      if (!is_sound(batches, &bytes)) return misplaced("replace: expected whole, valid batches");
      const BatchHeader header(batches.data());
      const Offset lowest = index_.empty() ? from : std::max(from, index_.back().next);
      if (header.base_offset() < lowest || header.next_offset() > to)
        return misplaced("replace: expected batches inside of the range, in order");
      buffer_.insert(buffer_.end(), batches.begin(), batches.begin() + static_cast<std::ptrdiff_t>(bytes));
      STREAMBUS_TRY_STATUS(note(header.base_offset(), header.next_offset(), header.max_timestamp(), bytes));
      batches = batches.subspan(bytes);
    }
    return {};
  }
  /// Writes what was added.
  [[nodiscard]] Status write() {
    if (buffer_.empty()) return {};
    STREAMBUS_TRY_STATUS(to_->append(piece_of(index_[written_].base), index_[written_].base, index_.back().next, buffer_));
    written_ = index_.size();
    buffer_.clear();
    return {};
  }
  [[nodiscard]] LogFile& file() noexcept { return *to_; }
  [[nodiscard]] const Ref<LogFile>& file_ref() const noexcept { return to_; }
  [[nodiscard]] std::deque<Entry>& index() noexcept { return index_; }

  std::size_t taken = 0;  ///< of the log's index, copied or left out
  Ref<LogFile> source;
  std::deque<Offset> ends;  ///< the log's, as known when it was last looked at, without those that are replaced

 private:
  /// The last `bytes` of the buffer are a batch. A frame has no gaps and lies in one piece: both end the frame before.
  [[nodiscard]] Status note(Offset base, Offset next, TimestampMs max_timestamp, std::uint64_t bytes) {
    const std::size_t before = buffer_.size() - bytes;
    const bool gap = before > 0 && (index_.back().next != base || piece_of(index_.back().base) != piece_of(base));
    if (gap || before >= kFrameBytes) {
      const std::vector<std::byte> last(buffer_.begin() + static_cast<std::ptrdiff_t>(before), buffer_.end());
      buffer_.resize(before);
      STREAMBUS_TRY_STATUS(write());
      buffer_ = last;
    }
    const std::uint64_t position = to_->end() + LogFile::kFrameHeaderBytes + buffer_.size() - bytes;
    index_.push_back({base, next, max_timestamp, position, bytes});
    return {};
  }

  [[nodiscard]] Offset piece_of(Offset base) const noexcept {
    const auto end = std::upper_bound(ends.begin(), ends.end(), base);
    return end == ends.begin() ? Offset{0} : *std::prev(end);
  }

  const Ref<LogFile> to_;
  std::deque<Entry> index_;
  std::vector<std::byte> buffer_;
  std::size_t written_ = 0;  ///< of index_
};

Offset Log::segment_end(Offset from) noexcept {
  const std::lock_guard lock(mutex_);
  const auto end = std::upper_bound(ends_.begin(), ends_.end(), from);
  return end == ends_.end() ? kNoOffset : *end;
}

Status Log::replace(Offset from, Offset to, BatchSource& batches) noexcept {
  STREAMBUS_TRY_STATUS(offline());
  {
    const std::lock_guard lock(mutex_);
    const auto is_end = [this](Offset offset) { return std::binary_search(ends_.begin(), ends_.end(), offset); };
    if (from >= to || !is_end(to) || (from != start_ && !is_end(from)))
      return misplaced("replace: expected the log's start or an end that segment_end() gave, and such an end beyond it");
  }
  try {
    const std::int64_t before = static_cast<std::int64_t>(state().bytes);
    STREAMBUS_TRY_STATUS(rewrite(from, to, &batches));
    engine_.metrics().replaced_bytes.add(std::max<std::int64_t>(0, before - static_cast<std::int64_t>(state().bytes)));
    return {};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory"};
  }
}

/// Gives space back when more is deleted than left. The log is as good without it: a failure is only told.
void Log::reclaim() noexcept {
  {
    const std::lock_guard lock(mutex_);
    const std::uint64_t deleted = file_bytes_ - LogFile::kFirstFrame - bytes_;
    if (deleted <= bytes_ || deleted <= engine_.rewrite_bytes()) return;
  }
  Status status;
  try {
    status = rewrite(Offset{0}, Offset{0}, nullptr);
  } catch (const std::bad_alloc&) {
    status = {ErrorCode::no_space, "out of memory"};
  }
  if (!status.ok()) engine_.host().log(LogLevel::warning, status.message());
}

/// Writes a file with `batches` in the place of those in [from, to), without what was deleted, and puts it in the place of the
/// present one. An error leaves that.
Status Log::rewrite(Offset from, Offset to, BatchSource* batches) {
  const std::string fresh = path_ + std::string(kNewSuffix);
  std::deque<Entry> old;
  Ref<LogFile> file;
  const LogState now = state();
  {
    const std::lock_guard lock(mutex_);
    for (const Entry& entry : index_) {
      if (entry.next <= now.end) old.push_back(entry);
    }
    file = file_;
  }
  const auto write_all = [&](Copy& copy) -> Status {
    copy.source = file;
    {
      const std::lock_guard lock(mutex_);
      std::erase_if(ends_, [&](Offset end) { return from < end && end < to; });  // one piece from now on, whatever comes
      copy.ends = ends_;
    }
    std::size_t at = 0;
    for (; at < old.size() && old[at].next <= from; ++at) STREAMBUS_TRY_STATUS(copy.add(*file, old[at]));
    while (batches != nullptr) {
      Bytes run;
      STREAMBUS_TRY_STATUS(batches->next(&run));
      if (run.empty()) break;
      STREAMBUS_TRY_STATUS(copy.add(run, from, to));
    }
    while (at < old.size() && old[at].base < to) ++at;
    for (; at < old.size(); ++at) STREAMBUS_TRY_STATUS(copy.add(*file, old[at]));
    STREAMBUS_TRY_STATUS(copy.write());
    copy.taken = old.size();
    STREAMBUS_TRY_STATUS(catch_up(copy));
    return put_in_place(copy);
  };
  Ref<LogFile> created;
  Status status = LogFile::create(engine_.files(), fresh, now.start, now.end, &created);
  if (status.ok()) {
    Copy copy(std::move(created));
    status = write_all(copy);
  }
  if (status.ok()) return {};
  {
    const std::lock_guard write(write_mutex_);
    shadow_.reset();
  }
  if (!offline().ok()) {
    fail(status);
  } else {
    (void)engine_.files().remove(fresh);
  }
  return named(status);
}

/// Copies what was appended meanwhile, the last of it while appends wait; from then on they write to both files.
Status Log::catch_up(Copy& copy) {
  std::vector<Entry> added;
  for (std::uint64_t left = UINT64_MAX; left > kCatchUpBytes;) {
    added.clear();
    left = 0;
    {
      const std::lock_guard lock(mutex_);
      for (std::size_t at = copy.taken; at < index_.size() && index_[at].next <= end_; ++at) {
        added.push_back(index_[at]);
        left += index_[at].bytes;
      }
      copy.ends = ends_;
    }
    for (const Entry& entry : added) STREAMBUS_TRY_STATUS(copy.add(*copy.source, entry));
    STREAMBUS_TRY_STATUS(copy.write());
    copy.taken += added.size();
  }
  STREAMBUS_TRY_STATUS(copy.file().sync());
  const std::lock_guard write(write_mutex_);
  added.clear();
  {
    const std::lock_guard lock(mutex_);
    added.assign(index_.begin() + static_cast<std::ptrdiff_t>(copy.taken), index_.end());
    copy.ends = ends_;
  }
  for (const Entry& entry : added) STREAMBUS_TRY_STATUS(copy.add(*copy.source, entry));
  STREAMBUS_TRY_STATUS(copy.write());
  copy.taken += added.size();
  shadow_ = copy.file_ref();
  shadow_status_ = {};
  shadow_from_ = copy.source->end();
  shadow_to_ = shadow_->end();
  return {};
}

Status Log::put_in_place(Copy& copy) {
  // No sync of the old file is reported from here on: what is reported later must be in the new one.
  const std::lock_guard flushing(flush_mutex_);
  Head head;
  {
    const std::lock_guard write(write_mutex_);
    STREAMBUS_TRY_STATUS(shadow_status_);
    const std::lock_guard lock(mutex_);
    if (!failed_.ok()) return failed_;
    head = {.durable = copy.file().end(), .start = start_, .end = end_};
  }
  STREAMBUS_TRY_STATUS(copy.file().sync());
  STREAMBUS_TRY_STATUS(copy.file().write_head(head));
  STREAMBUS_TRY_STATUS(engine_.files().rename(path_ + std::string(kNewSuffix), path_));
  const Status synced = engine_.files().sync_directory(".");
  const std::lock_guard write(write_mutex_);
  const std::lock_guard lock(mutex_);
  // Which file a restart finds is not known without the directory, or one of them lacks an append.
  if (!synced.ok() || !shadow_status_.ok()) return failed_ = synced.ok() ? shadow_status_ : synced;
  for (std::size_t at = copy.taken; at < index_.size(); ++at) {
    Entry entry = index_[at];
    entry.position = entry.position - shadow_from_ + shadow_to_;
    copy.index().push_back(entry);
  }
  index_.swap(copy.index());
  bytes_ = 0;
  for (const Entry& entry : index_) bytes_ += entry.bytes;
  file_ = std::move(shadow_);
  file_bytes_ = file_->end();
  return {};
}

}  // namespace streambus::storage_acme
