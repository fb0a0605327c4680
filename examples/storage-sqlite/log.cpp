#include "log.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include "batch_checks.hpp"

namespace streambus::storage_sqlite {
namespace {

/// A read returns no more than this at once, a single larger batch apart.
constexpr std::uint64_t kReadBytesMax = std::uint64_t{4} << 20;
/// A piece is in memory while it is replaced.
constexpr std::int64_t kPieceBytesMax = std::int64_t{16} << 20;

Status out_of_memory() noexcept { return {ErrorCode::no_space, "out of memory"}; }

}  // namespace

/// Collects batches for a read, within its bounds.
class Log::Answer final : public Pin {
 public:
  explicit Answer(const ReadRequest& request) : request_(request), next(request.from) {}

  /// False when the batch does not belong into the answer, and none behind it does.
  [[nodiscard]] bool add(Offset batch_next, Bytes batch) {
    if (batch_next > request_.limit) return false;
    const std::uint64_t sum = bytes_.size() + batch.size();
    const bool forced = bytes_.empty() && request_.at_least_one;
    if ((!forced && sum > request_.bytes_max) || (!bytes_.empty() && sum > kReadBytesMax)) return false;
    bytes_.insert(bytes_.end(), batch.begin(), batch.end());
    next = batch_next;
    return true;
  }
  [[nodiscard]] Bytes bytes() const noexcept { return bytes_; }

 private:
  ~Answer() override = default;
  void dispose() noexcept override { delete this; }

  const ReadRequest request_;
  std::vector<std::byte> bytes_;

 public:
  Offset next;  ///< behind the last batch
};

Log::Log(Engine& engine, const PartitionKey& key, const PartitionSettings& settings)
    : engine_(engine),
      topic_id_(key.topic_id),
      partition_(key.partition),
      table_(table_of(key)),
      name_(std::string(key.topic) + "-" + std::to_string(key.partition)),
      domain_(engine.domain()),
      settings_(settings) {}

Log::~Log() = default;

std::string Log::table_of(const PartitionKey& key) {
  return "batches_" + std::string(key.topic_id) + "_" + std::to_string(key.partition);
}

// ---- recovery

Status Log::sum_bytes(std::uint64_t* bytes) {
  Statement sum(connection(), "SELECT coalesce(sum(length(data)), 0) FROM " + table_);
  if (sum.next()) *bytes = static_cast<std::uint64_t>(sum.integer(0));
  return sum.status();
}

Status Log::recover(Offset start) {
  const MetricTimer timer(engine_.host(), engine_.metrics().recovery_ns);
  Offset closed_end = kNoOffset;  // what close() wrote down
  {
    Statement row(connection(), "SELECT first, next, crc FROM partitions WHERE topic_id = ? AND partition = ?");
    if (row.bind(topic_id_, std::int64_t{partition_}).next()) {
      start_.value = row.integer(0);
      end_.value = row.integer(1);
      closed_end = end_;
      clean_ = engine_.was_closed(table_);
      if (partition_crc(start_, end_) != row.integer(2))
        return {ErrorCode::corrupt, name_ + ": batches.db: its row in partitions is damaged"};
    } else {
      STREAMBUS_TRY_STATUS(named(row.status()));
      Transaction transaction(engine_.database());
      Statement insert(connection(), "INSERT INTO partitions VALUES (?, ?, ?, ?, ?)");
      transaction.run(insert.bind(topic_id_, std::int64_t{partition_}, start, start, partition_crc(start, start)));
      transaction.execute("CREATE TABLE " + table_ +
                          " (base INTEGER PRIMARY KEY, next INTEGER, time INTEGER, after INTEGER, crc INTEGER, data BLOB)");
      STREAMBUS_TRY_STATUS(named(transaction.commit()));
      start_ = end_ = start;
    }
  }
  Statement pieces(connection(), "SELECT first FROM pieces WHERE topic_id = ? AND partition = ? ORDER BY first");
  pieces.bind(topic_id_, std::int64_t{partition_});
  while (pieces.next()) ends_.push_back({pieces.integer(0)});
  STREAMBUS_TRY_STATUS(named(pieces.status()));
  Offset expected = kNoOffset;
  const bool verify = !clean_ || engine_.verifies_always();
  const std::string columns = !verify ? "base, next, 0, after, 0, NULL" : "base, next, time, after, crc, data";
  // That every row is there does not mean that a search finds it: the keys above the rows may be damaged.
  Statement search(connection(), "SELECT max(base) FROM " + table_ + " WHERE base <= ?");
  Statement rows(connection(), "SELECT " + columns + ", length(data) FROM " + table_ + " ORDER BY base");
  while (rows.next()) {
    const Offset base{rows.integer(0)};
    const Offset next{rows.integer(1)};
    const Offset after{rows.integer(3)};
    const bool found = !verify || (search.bind(base).next() && search.integer(0) == base.value);
    if (verify) STREAMBUS_TRY_STATUS(named(search.run()));
    const bool sound =
        !verify || row_crc(base, next, rows.integer(2), after, rows.blob(5)) == static_cast<std::uint32_t>(rows.integer(4));
    if (!sound || !found || (expected != kNoOffset && after != expected)) {
      return {ErrorCode::corrupt, name_ + ": batches.db: damaged at offset " + std::to_string(base.value) + " of table " +
                                      table_ +
                                      (!sound   ? ": the row's checksum is wrong"
                                       : !found ? ": a search misses it"
                                                : ": batches before it are missing")};
    }
    expected = next;
    end_ = std::max(end_, next);
    const auto bytes = static_cast<std::uint64_t>(rows.integer(6));
    piece_bytes_ = !ends_.empty() && base < ends_.back() ? 0 : piece_bytes_ + bytes;
    bytes_ += bytes;
  }
  STREAMBUS_TRY_STATUS(named(rows.status()));
  if (clean_ && closed_end != kNoOffset && closed_end != end_)
    return {ErrorCode::corrupt, name_ + ": batches.db: expected batches up to offset " + std::to_string(closed_end.value) +
                                    ", found " + std::to_string(end_.value)};
  stored_ = durable_ = end_;
  engine_.metrics().stored_bytes.add(static_cast<std::int64_t>(bytes_));
  return {};
}

std::int64_t Log::partition_crc(Offset first, Offset next) const noexcept {
  return row_crc(first, next, partition_, {}, as_bytes(topic_id_));
}

LogState Log::state() noexcept {
  const std::lock_guard lock(mutex_);
  return {.start = start_, .end = end_, .durable = durable_, .bytes = bytes_, .segments = 1, .clean = clean_};
}

// ---- appending

std::vector<Ref<Batch>> Log::copy_batches(Bytes batches) {
  std::vector<Ref<Batch>> copies;
  while (!batches.empty()) {
    copies.push_back(Ref<Batch>::adopt(new Batch(Ref<Log>::share(this), batches)));
    batches = batches.subspan(copies.back()->data.size());
  }
  return copies;
}

Offset Log::piece_for(Offset first, std::uint64_t bytes) const noexcept {
  const auto limit = static_cast<std::uint64_t>(std::min(settings_.segment_bytes, kPieceBytesMax));
  if (piece_bytes_ > 0 && piece_bytes_ + bytes > limit) return first;
  return ends_.empty() ? Offset{0} : ends_.back();
}

Status Log::append(Bytes batches, Offset first, Offset next, TimestampMs /*max_timestamp*/, AppendResult* result) noexcept {
  const MetricTimer timer(engine_.host(), engine_.metrics().append_ns);
  STREAMBUS_TRY_STATUS(check_append(batches, first, next));
  try {
    if (engine_.is_full()) {  // rather wait for the database than refuse what there may be room for again
      Status status;
      {
        const std::lock_guard database(engine_.database_mutex());
        status = engine_.write_queue();
      }
      STREAMBUS_TRY_STATUS(settled(status));
    }
    STREAMBUS_TRY_STATUS(append_copies(copy_batches(batches), batches.size(), result));
  } catch (const std::exception&) {
    return out_of_memory();
  }
  engine_.metrics().appends.add(1);
  engine_.metrics().append_bytes.add(static_cast<std::int64_t>(batches.size()));
  engine_.metrics().stored_bytes.add(static_cast<std::int64_t>(batches.size()));
  engine_.post_flush();
  return {};
}

Status Log::append_copies(const std::vector<Ref<Batch>>& batches, std::size_t bytes, AppendResult* result) {
  const std::lock_guard lock(mutex_);
  const Offset first = batches.front()->base;
  if (first < end_) {
    return {ErrorCode::invalid_argument, name_ + ": expected a batch at offset " + std::to_string(end_.value) +
                                             " or above, found " + std::to_string(first.value)};
  }
  const Offset piece = piece_for(first, bytes);
  Offset after = end_;
  for (const Ref<Batch>& batch : batches) {
    batch->piece = piece;
    batch->after = std::exchange(after, batch->next);
  }
  const std::size_t before = waiting_.size();
  try {
    waiting_.insert(waiting_.end(), batches.begin(), batches.end());
    if (piece == first && piece > Offset{0}) ends_.push_back(piece);
    if (const Status status = engine_.enqueue(batches, &result->position); !status.ok()) {
      if (piece == first && piece > Offset{0}) ends_.pop_back();
      waiting_.resize(before);
      return {status.code, name_ + ": " + status.text};
    }
  } catch (const std::bad_alloc&) {
    waiting_.resize(before);
    throw;
  }
  piece_bytes_ = piece == first ? bytes : piece_bytes_ + bytes;
  end_ = after;
  bytes_ += bytes;
  return {};
}

std::string Log::insert_sql() const { return "INSERT INTO " + table_ + " VALUES (?, ?, ?, ?, ?, ?)"; }

void Log::write(Transaction& transaction, Statement& insert, const Batch& batch) const {
  const std::int64_t crc = row_crc(batch.base, batch.next, batch.time, batch.after, batch.data);
  transaction.run(insert.bind(batch.base, batch.next, batch.time, batch.after, crc, Bytes(batch.data)));
  if (batch.piece != batch.base || batch.piece == Offset{0}) return;
  Statement piece(connection(), "INSERT OR IGNORE INTO pieces VALUES (?, ?, ?)");
  transaction.run(piece.bind(topic_id_, std::int64_t{partition_}, batch.piece));
}

void Log::stored(const Batch& batch) noexcept {
  const std::lock_guard lock(mutex_);
  stored_ = batch.next;
  if (!waiting_.empty() && waiting_.front().get() == &batch) waiting_.pop_front();
}

void Log::durable(Offset end) noexcept {
  const std::lock_guard lock(mutex_);
  durable_ = std::max(durable_, end);
}

/// Makes durable what waits. With no lock held.
Status Log::write_waiting() {
  Status status;
  {
    const std::lock_guard database(engine_.database_mutex());
    status = engine_.write_queue();
  }
  if (status.ok()) status = engine_.sync();
  return settled(status);
}

/// An outcome of the database: a failure of its I/O takes the engine offline. With no lock held.
Status Log::settled(const Status& status) noexcept {
  if (status.code == ErrorCode::io_error) engine_.fail(status);
  return named(status);
}

Status Log::named(const Status& status) const noexcept {
  if (status.ok()) return status;
  try {
    return {status.code, name_ + ": " + status.text};
  } catch (const std::exception&) {
    return status;
  }
}

/// Writes down where the log ends, so that the next opening knows what to expect.
Status Log::write_end() {
  {
    const std::lock_guard database(engine_.database_mutex());
    STREAMBUS_TRY_STATUS(engine_.write_queue());
    Statement update(connection(), "UPDATE partitions SET next = ?, crc = ? WHERE topic_id = ? AND partition = ?");
    STREAMBUS_TRY_STATUS(update.bind(end_, partition_crc(start_, end_), topic_id_, std::int64_t{partition_}).run());
  }
  return engine_.sync();
}

Status Log::close() noexcept {
  Status status;
  try {
    status = settled(write_end());
  } catch (const std::exception&) {
    status = out_of_memory();
  }
  engine_.post_flush();  // which reports
  engine_.forget(*this);
  std::deque<Ref<Batch>> dropped;
  {
    const std::lock_guard lock(mutex_);
    dropped.swap(waiting_);
    engine_.metrics().stored_bytes.add(-static_cast<std::int64_t>(bytes_));
  }
  engine_.closed(table_, status.ok());
  dropped.clear();
  release();
  return status;
}

// ---- reading

Status Log::read(const ReadRequest& request, ReadResult* result) noexcept {
  *result = {};
  result->next = request.from;
  try {
    std::vector<Ref<Batch>> waiting;
    Offset stored;
    ReadRequest bounded = request;
    {
      const std::lock_guard lock(mutex_);
      if (request.from < start_ || request.from > end_) {
        return {ErrorCode::out_of_range, name_ + ": expected an offset from " + std::to_string(start_.value) + " to " +
                                             std::to_string(end_.value) + ", found " + std::to_string(request.from.value)};
      }
      bounded.limit = std::min(request.limit, end_);
      stored = stored_;
      waiting.assign(waiting_.begin(), waiting_.end());
    }
    auto answer = Ref<Answer>::adopt(new Answer(bounded));
    bool more = true;
    if (request.from < stored) {
      STREAMBUS_TRY_STATUS(read_rows(bounded, stored, *answer));
      // Where the rows end before those that wait begin, the answer is full.
      more = waiting.empty() || answer->next == waiting.front()->after || answer->bytes().empty();
    }
    for (auto batch = waiting.begin(); more && batch != waiting.end(); ++batch) {
      if ((*batch)->next > request.from) more = answer->add((*batch)->next, (*batch)->data);
    }
    if (answer->bytes().empty()) return {};
    result->slices[0] = Slice::memory(answer->bytes());
    result->slice_count = 1;
    result->bytes = answer->bytes().size();
    result->next = answer->next;
    result->pin = answer.detach();
    return {};
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

Status Log::read_rows(const ReadRequest& request, Offset stored_end, Answer& answer) {
  const std::lock_guard database(engine_.database_mutex());
  Statement rows(connection(), "SELECT base, next, time, after, crc, data FROM " + table_ +
                                   " WHERE base >= coalesce((SELECT max(base) FROM " + table_ +
                                   " WHERE base <= ?1), 0) AND base < ?2 ORDER BY base");
  rows.bind(request.from, std::min(request.limit, stored_end));
  while (rows.next()) {
    const Offset base{rows.integer(0)};
    const Offset next{rows.integer(1)};
    if (next <= request.from) continue;
    const Bytes data = rows.blob(5);
    const auto crc = static_cast<std::uint32_t>(rows.integer(4));
    if (row_crc(base, next, rows.integer(2), {rows.integer(3)}, data) != crc) {
      if (!answer.bytes().empty()) return {};  // what is good first
      return {ErrorCode::corrupt, name_ + ": batches.db: the row at offset " + std::to_string(base.value) + " is damaged"};
    }
    if (!answer.add(next, data)) return {};
  }
  const Status status = rows.status();
  return status.ok() || !answer.bytes().empty() ? Status{} : Status{status.code, name_ + ": " + status.text};
}

Status Log::find_row(TimestampMs timestamp, Offset* batch_base) {
  const std::lock_guard database(engine_.database_mutex());
  Statement row(connection(), "SELECT base FROM " + table_ + " WHERE time >= ? ORDER BY base LIMIT 1");
  if (row.bind(timestamp).next()) batch_base->value = row.integer(0);
  return row.status();
}

Status Log::find_time(TimestampMs timestamp, Offset* batch_base) noexcept {
  *batch_base = kNoOffset;
  try {
    std::vector<Ref<Batch>> waiting;
    {
      const std::lock_guard lock(mutex_);
      waiting.assign(waiting_.begin(), waiting_.end());
    }
    STREAMBUS_TRY_STATUS(find_row(timestamp, batch_base));
    if (*batch_base != kNoOffset) return {};
    const auto found =
        std::find_if(waiting.begin(), waiting.end(), [&](const Ref<Batch>& batch) { return batch->time >= timestamp; });
    if (found != waiting.end()) *batch_base = (*found)->base;
    return {};
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

// ---- retention

Status Log::apply(const PartitionSettings& settings) noexcept {
  const std::lock_guard lock(mutex_);
  settings_ = settings;
  return {};
}

Status Log::delete_rows(Offset start) {
  const std::lock_guard database(engine_.database_mutex());
  STREAMBUS_TRY_STATUS(engine_.write_queue());
  Offset end;
  {
    const std::lock_guard lock(mutex_);
    if (start > end_) return {ErrorCode::out_of_range, "expected an offset in the log, found one beyond its end"};
    if (start <= start_) return {};
    end = end_;
  }
  Transaction transaction(engine_.database());
  Statement update(connection(), "UPDATE partitions SET first = ?, next = ?, crc = ? WHERE topic_id = ? AND partition = ?");
  transaction.run(update.bind(start, end, partition_crc(start, end), topic_id_, std::int64_t{partition_}));
  Statement pieces(connection(), "DELETE FROM pieces WHERE first <= ? AND topic_id = ? AND partition = ?");
  transaction.run(pieces.bind(start, topic_id_, std::int64_t{partition_}));
  Statement rows(connection(), "DELETE FROM " + table_ + " WHERE base < ?1 AND next <= ?1");
  transaction.run(rows.bind(start));
  STREAMBUS_TRY_STATUS(transaction.commit());
  std::uint64_t left = 0;
  STREAMBUS_TRY_STATUS(sum_bytes(&left));
  const std::lock_guard lock(mutex_);
  for (const Ref<Batch>& batch : waiting_) left += batch->data.size();
  const auto removed = static_cast<std::int64_t>(bytes_ - left);
  engine_.metrics().removed_bytes.add(removed);
  engine_.metrics().stored_bytes.add(-removed);
  start_ = start;
  bytes_ = left;
  while (!ends_.empty() && ends_.front() <= start_) ends_.pop_front();
  return {};
}

Status Log::delete_before(Offset start) noexcept {
  try {
    Status status = delete_rows(start);
    if (status.ok()) status = engine_.sync();
    engine_.post_flush();
    return settled(status);
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

Status Log::retain(TimestampMs now) noexcept {
  try {
    STREAMBUS_TRY_STATUS(write_waiting());
    Offset start;
    {
      const std::lock_guard database(engine_.database_mutex());
      PartitionSettings settings;
      std::uint64_t left = 0;
      {
        const std::lock_guard lock(mutex_);
        settings = settings_;
        left = bytes_;
        start = start_;
      }
      Statement rows(connection(), "SELECT next, time, length(data) FROM " + table_ + " ORDER BY base");
      while (rows.next()) {
        const auto bytes = static_cast<std::uint64_t>(rows.integer(2));
        const TimestampMs time = rows.integer(1);
        const bool too_many =
            settings.retention_bytes >= 0 && left - bytes >= static_cast<std::uint64_t>(settings.retention_bytes);
        const bool too_old = settings.retention_ms >= 0 && time >= 0 && now - time > settings.retention_ms;
        if (!too_many && !too_old) break;
        left -= bytes;
        start.value = rows.integer(0);
      }
      STREAMBUS_TRY_STATUS(rows.status());
    }
    return delete_before(start);
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

// ---- replacement

Offset Log::segment_end(Offset from) noexcept {
  const std::lock_guard lock(mutex_);
  const auto end = std::upper_bound(ends_.begin(), ends_.end(), from);
  return end == ends_.end() ? kNoOffset : *end;
}

Status Log::collect(Offset from, Offset to, BatchSource& source, std::vector<Ref<Batch>>* batches) {
  Offset lowest = from;
  for (;;) {
    Bytes run;
    STREAMBUS_TRY_STATUS(source.next(&run));
    if (run.empty()) return {};
    while (!run.empty()) {
      std::size_t bytes = 0;
      if (!is_sound(run, &bytes)) return {ErrorCode::invalid_argument, "replace: expected whole, valid batches"};
      batches->push_back(Ref<Batch>::adopt(new Batch(Ref<Log>::share(this), run)));
      Batch& batch = *batches->back();
      if (batch.base < lowest || batch.next > to)
        return {ErrorCode::invalid_argument, "replace: expected batches inside of the range, in order"};
      batch.after = std::exchange(lowest, batch.next);
      run = run.subspan(bytes);
    }
  }
}

Status Log::replace_rows(Offset from, Offset to, const std::vector<Ref<Batch>>& batches) {
  const std::lock_guard database(engine_.database_mutex());
  STREAMBUS_TRY_STATUS(engine_.write_queue());
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  STREAMBUS_TRY_STATUS(sum_bytes(&before));
  Transaction transaction(engine_.database());
  // The chain goes on: from the row before, through the new ones, to the one behind.
  Offset chained = from;
  Statement previous(connection(), "SELECT next FROM " + table_ + " WHERE base < ? ORDER BY base DESC LIMIT 1");
  if (previous.bind(from).next()) chained.value = previous.integer(0);
  transaction.run(previous);
  Statement remove(connection(), "DELETE FROM " + table_ + " WHERE next > ? AND base < ?");
  transaction.run(remove.bind(from, to));
  Statement insert(connection(), insert_sql());
  for (const Ref<Batch>& batch : batches) {
    batch->after = std::exchange(chained, batch->next);
    if (transaction.ok()) write(transaction, insert, *batch);
  }
  Statement behind(connection(), "SELECT base, next, time, data FROM " + table_ + " WHERE base >= ? ORDER BY base LIMIT 1");
  if (transaction.ok() && behind.bind(to).next()) {
    const Offset base{behind.integer(0)};
    const std::int64_t crc = row_crc(base, {behind.integer(1)}, behind.integer(2), chained, behind.blob(3));
    Statement update(connection(), "UPDATE " + table_ + " SET after = ?, crc = ? WHERE base = ?");
    transaction.run(update.bind(chained, crc, base));
  }
  Statement pieces(connection(), "DELETE FROM pieces WHERE first > ? AND first < ? AND topic_id = ? AND partition = ?");
  transaction.run(pieces.bind(from, to, topic_id_, std::int64_t{partition_}));
  STREAMBUS_TRY_STATUS(transaction.commit());
  STREAMBUS_TRY_STATUS(sum_bytes(&after));
  const std::lock_guard lock(mutex_);
  std::erase_if(ends_, [&](Offset end) { return from < end && end < to; });
  bytes_ = bytes_ - before + after;
  const auto saved = static_cast<std::int64_t>(before) - static_cast<std::int64_t>(after);
  engine_.metrics().replaced_bytes.add(std::max<std::int64_t>(saved, 0));
  engine_.metrics().stored_bytes.add(-saved);
  return {};
}

Status Log::replace(Offset from, Offset to, BatchSource& batches) noexcept {
  STREAMBUS_TRY_STATUS(engine_.failure());
  {
    const std::lock_guard lock(mutex_);
    const auto is_end = [this](Offset offset) { return std::binary_search(ends_.begin(), ends_.end(), offset); };
    if (from >= to || !is_end(to) || (from != start_ && !is_end(from))) {
      return {ErrorCode::invalid_argument,
              "replace: expected the log's start or an end that segment_end() gave, and such an end beyond it"};
    }
  }
  try {
    // Before the database is taken: the source may read from this log.
    std::vector<Ref<Batch>> replacements;
    STREAMBUS_TRY_STATUS(collect(from, to, batches, &replacements));
    Status status = replace_rows(from, to, replacements);
    if (status.ok()) status = engine_.sync();
    engine_.post_flush();
    return settled(status);
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

}  // namespace streambus::storage_sqlite
