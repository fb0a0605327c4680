#include "log.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "streambus/base/record_batch.hpp"

namespace streambus::storage_acme {
namespace {

/// A read returns no more than this at once, a single larger batch apart.
constexpr std::uint64_t kReadBytesMax = std::uint64_t{4} << 20;

Status out_of_memory() noexcept { return {ErrorCode::no_space, "out of memory"}; }

Entry entry_of(const std::byte* batch, std::uint64_t position) noexcept {
  const BatchHeader header(batch);
  return {header.base_offset(), header.next_offset(), header.max_timestamp(), position, header.total_bytes()};
}

/// Checks that `batches` are whole and begin at `first`, one behind the other without a gap, and end at `next`.
Status check_batches(Bytes batches, Offset first, Offset next) noexcept {
  Offset expected = first;
  while (!batches.empty()) {
    std::size_t bytes = 0;
    const Status framed = frame_batch(batches, &bytes);
    if (!framed.ok()) return {ErrorCode::invalid_argument, framed.message()};
    const BatchHeader header(batches.data());
    if (header.base_offset() != expected || header.next_offset() <= expected)
      return {ErrorCode::invalid_argument, "the offsets of the batches do not follow each other from `first` on"};
    expected = header.next_offset();
    batches = batches.subspan(bytes);
  }
  if (expected != next || first == next) return {ErrorCode::invalid_argument, "the batches do not end at `next`"};
  return {};
}

/// The bytes of a read, kept until the last reference goes.
class Block final : public Pin {
 public:
  explicit Block(std::size_t bytes) : bytes_(std::make_unique_for_overwrite<std::byte[]>(bytes)) {}
  [[nodiscard]] std::byte* data() noexcept { return bytes_.get(); }

 private:
  ~Block() override = default;
  void dispose() noexcept override { delete this; }
  const std::unique_ptr<std::byte[]> bytes_;
};

}  // namespace

/// Fills a log's index from its file.
class Log::Recovery final : public FrameVisitor {
 public:
  explicit Recovery(Log& log) : log_(log) {}
  Status frame(const Frame& frame) override {
    STREAMBUS_TRY_STATUS(check_batches(frame.batches, frame.first, frame.next));
    if (!log_.index_.empty() && frame.first < log_.index_.back().next)
      return {ErrorCode::corrupt, "its offsets lie below those before it"};
    for (std::size_t at = 0; at < frame.batches.size(); at += log_.index_.back().bytes)
      log_.index_.push_back(entry_of(frame.batches.data() + at, frame.position + at));
    log_.count_piece(frame.piece, frame.batches.size());
    log_.end_ = std::max(log_.end_, frame.next);
    return {};
  }

 private:
  Log& log_;
};

Log::Log(Engine& engine, const PartitionKey& key, const std::string& path, const PartitionSettings& settings)
    : engine_(engine),
      name_(std::string(key.topic) + "-" + std::to_string(key.partition)),
      path_(path),
      domain_(engine.host().durability().open_domain()),
      settings_(settings) {}

Log::~Log() {
  if (!closing_) engine_.host().durability().close_domain(domain_);
}

Status Log::recover(Offset start) {
  const MetricTimer timer(engine_.host(), engine_.metrics().recovery_ns);
  Status status = LogFile::open(engine_.files(), path_, &file_);
  if (status.code == ErrorCode::not_found) {
    const std::string fresh = path_ + std::string(kNewSuffix);
    STREAMBUS_TRY_STATUS(LogFile::create(engine_.files(), fresh, start, start, &file_));
    STREAMBUS_TRY_STATUS(file_->sync());
    STREAMBUS_TRY_STATUS(engine_.files().rename(fresh, path_));
    status = engine_.files().sync_directory(".");
  }
  STREAMBUS_TRY_STATUS(named(status));
  const Head head = file_->head();
  start_ = head.start;
  end_ = head.end;
  Recovery recovery(*this);
  std::uint64_t cut = 0;
  STREAMBUS_TRY_STATUS(named(file_->recover(recovery, &cut)));
  clean_ = cut == 0 && file_->end() == head.durable;
  if (cut > 0) {
    engine_.metrics().recovery_cut_bytes.add(static_cast<std::int64_t>(cut));
    engine_.host().log(LogLevel::info, name_ + ": cut " + std::to_string(cut) + " bytes that were never durable");
  }
  if (!clean_) STREAMBUS_TRY_STATUS(named(file_->write_head({.durable = file_->end(), .start = start_, .end = end_})));
  durable_ = end_;
  file_bytes_ = file_->end();
  for (const Entry& entry : index_) bytes_ += entry.bytes;
  engine_.metrics().stored_bytes.add(static_cast<std::int64_t>(bytes_));
  forget_before(start_);
  return {};
}

LogState Log::state() noexcept {
  const std::lock_guard lock(mutex_);
  return {.start = start_, .end = end_, .durable = durable_, .bytes = bytes_, .segments = 1, .clean = clean_};
}

// ---- appending

Status Log::check_append(Bytes batches, Offset first, Offset next) {
  const std::lock_guard lock(mutex_);
  if (!failed_.ok()) return {ErrorCode::offline, name_ + " is offline: " + failed_.text};
  if (first < end_) {
    return {ErrorCode::invalid_argument, name_ + ": expected a batch at offset " + std::to_string(end_.value) +
                                             " or above, found " + std::to_string(first.value)};
  }
  return check_batches(batches, first, next);
}

Status Log::append(Bytes batches, Offset first, Offset next, TimestampMs /*max_timestamp*/, AppendResult* result) noexcept {
  const MetricTimer timer(engine_.host(), engine_.metrics().append_ns);
  try {
    STREAMBUS_TRY_STATUS(check_append(batches, first, next));
    if (const Status status = append_frame(batches, first, next); !status.ok()) {
      if (status.code != ErrorCode::no_space) fail(status);
      return named(status);
    }
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
  {
    const std::lock_guard lock(mutex_);
    result->position = appends_;
  }
  engine_.metrics().appends.add(1);
  engine_.metrics().append_bytes.add(static_cast<std::int64_t>(batches.size()));
  engine_.metrics().stored_bytes.add(static_cast<std::int64_t>(batches.size()));
  post_flush();
  return {};
}

Status Log::append_frame(Bytes batches, Offset first, Offset next) {
  const std::lock_guard write(write_mutex_);
  std::size_t before = 0;
  Offset piece;
  {
    const std::lock_guard lock(mutex_);
    before = index_.size();
    const bool full = piece_bytes_ > 0 && piece_bytes_ + batches.size() > static_cast<std::uint64_t>(settings_.segment_bytes);
    if (full || !ends_.empty()) piece = full ? first : ends_.back();
    const std::uint64_t position = file_->end() + LogFile::kFrameHeaderBytes;
    try {
      for (std::size_t at = 0; at < batches.size(); at += index_.back().bytes)
        index_.push_back(entry_of(batches.data() + at, position + at));
    } catch (const std::bad_alloc&) {
      index_.resize(before);
      throw;
    }
  }
  const Status status = file_->append(piece, first, next, batches);
  if (status.ok() && shadow_ && shadow_status_.ok()) shadow_status_ = shadow_->append(piece, first, next, batches);
  const std::lock_guard lock(mutex_);
  if (!status.ok()) {
    index_.resize(before);
    return status;
  }
  file_bytes_ = file_->end();
  count_piece(piece, batches.size());
  end_ = next;
  bytes_ += batches.size();
  ++appends_;
  return {};
}

/// Takes note of batches that belong to the piece that begins at `piece`. Under mutex_, or before any other call.
void Log::count_piece(Offset piece, std::uint64_t bytes) noexcept {
  try {
    if (piece > (ends_.empty() ? Offset{0} : ends_.back())) {
      ends_.push_back(piece);
      piece_bytes_ = 0;
    }
  } catch (const std::bad_alloc&) {  // a larger piece is no harm
  }
  piece_bytes_ += bytes;
}

// ---- durability

void Log::post_flush() noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (flush_posted_) return;
    flush_posted_ = true;
  }
  add_ref();
  engine_.host().post(WorkClass::flush, [](void* log) noexcept { static_cast<Log*>(log)->run_flush(); }, this);
}

/// One job at a time is posted or running, so that reports come in order.
void Log::run_flush() noexcept {
  const Ref<Log> posted = Ref<Log>::adopt(this);
  {
    const std::lock_guard lock(mutex_);
    if (closing_) return;
    flush_running_ = true;
  }
  if (const Status status = flush(); !status.ok()) fail(status);
  bool again = false;
  {
    const std::lock_guard lock(mutex_);
    flush_posted_ = flush_running_ = false;
    again = flushed_ < appends_ && failed_.ok() && !closing_;
    idle_.notify_all();
  }
  if (again) post_flush();
}

/// Makes durable what is there now, and reports it. An error is final.
Status Log::flush() noexcept {
  std::uint64_t position = 0;
  std::uint64_t batches = 0;
  {
    const std::lock_guard flushing(flush_mutex_);
    Ref<LogFile> file;
    Head head;
    {
      const std::lock_guard lock(mutex_);
      if (!failed_.ok() || (flushed_ == appends_ && file_->head().durable == file_bytes_)) return failed_;
      file = file_;
      head = {.durable = file_bytes_, .start = start_, .end = end_};
      position = appends_;
      batches = appends_ - flushed_;
    }
    {
      const MetricTimer timer(engine_.host(), engine_.metrics().fsync_ns);
      STREAMBUS_TRY_STATUS(file->sync());
    }
    // Not synced itself: an older one promises less, which is never wrong.
    STREAMBUS_TRY_STATUS(file->write_head(head));
    engine_.metrics().flushed_batches.add(static_cast<std::int64_t>(batches));
    const std::lock_guard lock(mutex_);
    durable_ = std::max(durable_, head.end);
    flushed_ = position;
  }
  if (batches > 0) engine_.host().durability().durable_advanced(domain_, position);
  return {};
}

Status Log::offline() noexcept {
  const std::lock_guard lock(mutex_);
  return failed_.ok() ? Status{} : Status{ErrorCode::offline, failed_.message()};
}

/// Takes the partition offline for good, until it is opened again. Not under a lock.
void Log::fail(const Status& status) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (failed_.ok()) failed_ = status;
    if (std::exchange(failure_told_, true)) return;
  }
  engine_.metrics().failures.add(1);
  engine_.host().log(LogLevel::error, status.message());
  engine_.host().durability().domain_failed(domain_, status);
}

Status Log::named(const Status& status) const noexcept {
  if (status.ok()) return status;
  try {
    return {status.code, name_ + ": " + status.text, status.sys_errno};
  } catch (const std::bad_alloc&) {
    return status;
  }
}

Status Log::close() noexcept {
  {
    std::unique_lock lock(mutex_);
    closing_ = true;
    idle_.wait(lock, [this] { return !flush_running_; });
  }
  Status status = flush();
  if (!status.ok()) fail(status);
  engine_.metrics().stored_bytes.add(-static_cast<std::int64_t>(state().bytes));
  engine_.host().durability().close_domain(domain_);
  {
    const std::lock_guard lock(mutex_);
    file_.reset();
  }
  engine_.closed(path_);
  status = named(status);
  release();
  return status;
}

// ---- reading

Status Log::read(const ReadRequest& request, ReadResult* result) noexcept {
  *result = {};
  result->next = request.from;
  try {
    std::vector<Entry> wanted;
    Ref<LogFile> file;
    std::uint64_t bytes = 0;
    {
      const std::lock_guard lock(mutex_);
      if (request.from < start_ || request.from > end_) {
        return {ErrorCode::out_of_range, name_ + ": expected an offset from " + std::to_string(start_.value) + " to " +
                                             std::to_string(end_.value) + ", found " + std::to_string(request.from.value)};
      }
      const Offset limit = std::min(request.limit, end_);
      auto entry = std::upper_bound(index_.begin(), index_.end(), request.from,
                                    [](Offset from, const Entry& candidate) { return from < candidate.next; });
      for (; entry != index_.end() && entry->next <= limit; ++entry) {
        const bool forced = wanted.empty() && request.at_least_one;
        if (!forced && bytes + entry->bytes > request.bytes_max) break;
        if (!wanted.empty() && bytes + entry->bytes > kReadBytesMax) break;
        wanted.push_back(*entry);
        bytes += entry->bytes;
      }
      file = file_;
    }
    if (wanted.empty()) return {};
    // One system call for all, then the frame headers between the batches are closed up.
    const std::uint64_t begin = wanted.front().position;
    const std::uint64_t end = wanted.back().position + wanted.back().bytes;
    auto block = Ref<Block>::adopt(new Block(end - begin));
    if (const Status status = file->read(begin, {block->data(), end - begin}); !status.ok()) return named(status);
    std::byte* to = block->data();
    for (const Entry& entry : wanted) {
      const std::byte* const from = block->data() + (entry.position - begin);
      if (to != from) std::memmove(to, from, entry.bytes);
      to += entry.bytes;
    }
    result->slices[0] = Slice::memory({block->data(), static_cast<std::size_t>(bytes)});
    result->slice_count = 1;
    result->bytes = bytes;
    result->next = wanted.back().next;
    result->pin = block.detach();
    return {};
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

Status Log::find_time(TimestampMs timestamp, Offset* batch_base) noexcept {
  const std::lock_guard lock(mutex_);
  *batch_base = kNoOffset;
  for (const Entry& entry : index_) {
    if (entry.next > end_) break;
    if (entry.max_timestamp < timestamp) continue;
    *batch_base = entry.base;
    break;
  }
  return {};
}

// ---- retention

Status Log::apply(const PartitionSettings& settings) noexcept {
  const std::lock_guard lock(mutex_);
  settings_ = settings;
  return {};
}

void Log::forget_before(Offset start) {
  std::uint64_t removed = 0;
  {
    const std::lock_guard lock(mutex_);
    start_ = std::max(start_, start);
    for (; !index_.empty() && index_.front().next <= start_; index_.pop_front()) removed += index_.front().bytes;
    while (!ends_.empty() && ends_.front() <= start_) ends_.pop_front();
    bytes_ -= removed;
  }
  engine_.metrics().removed_bytes.add(static_cast<std::int64_t>(removed));
  engine_.metrics().stored_bytes.add(-static_cast<std::int64_t>(removed));
}

Status Log::delete_before(Offset start) noexcept {
  STREAMBUS_TRY_STATUS(offline());
  Status status;
  {
    const std::lock_guard flushing(flush_mutex_);
    Head head = file_->head();
    {
      const std::lock_guard lock(mutex_);
      if (start > end_) return {ErrorCode::out_of_range, "expected an offset in the log, found one beyond its end"};
      if (start <= start_) return {};
      head.start = start;
      head.end = end_;
    }
    status = file_->write_head(head);
    if (status.code == ErrorCode::no_space) return named(status);  // the other copy of the head still holds
    if (status.ok()) status = file_->sync();
  }
  if (!status.ok()) {
    fail(status);
    return named(status);
  }
  forget_before(start);
  reclaim();
  return {};
}

Status Log::retain(TimestampMs now) noexcept {
  Offset start;
  {
    const std::lock_guard lock(mutex_);
    start = start_;
    std::uint64_t left = bytes_;
    for (const Entry& entry : index_) {
      const bool too_many =
          settings_.retention_bytes >= 0 && left - entry.bytes >= static_cast<std::uint64_t>(settings_.retention_bytes);
      const bool too_old =
          settings_.retention_ms >= 0 && entry.max_timestamp >= 0 && now - entry.max_timestamp > settings_.retention_ms;
      if (entry.next > end_ || (!too_many && !too_old)) break;
      left -= entry.bytes;
      start = entry.next;
    }
    if (start == start_) return {};
  }
  return delete_before(start);
}

}  // namespace streambus::storage_acme
