#include "engine.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include "log.hpp"
#include "streambus/base/record_batch.hpp"

namespace streambus::storage_sqlite {
namespace {

Status check_key(const PartitionKey& key) noexcept {
  constexpr std::size_t kTopicIdBytes = 32;
  const bool digits = key.topic_id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (key.topic_id.size() == kTopicIdBytes && digits && key.partition >= 0) return {};
  return {ErrorCode::invalid_argument, "partition key: expected a topic id of 32 hexadecimal digits and an index from 0 on"};
}

/// Only memory can run out where C++ throws here.
Status out_of_memory() noexcept { return {ErrorCode::no_space, "out of memory"}; }

}  // namespace

Batch::Batch(Ref<Log> owner, Bytes batches)
    : log(std::move(owner)),
      data(batches.begin(), batches.begin() + static_cast<std::ptrdiff_t>(BatchHeader(batches.data()).total_bytes())),
      base(BatchHeader(data.data()).base_offset()),
      next(BatchHeader(data.data()).next_offset()),
      time(BatchHeader(data.data()).max_timestamp()) {}

Batch::~Batch() = default;

Engine::Engine(Host& host, const Options& options)
    : host_(host),
      metrics_(host),
      queue_bytes_max_(options.size("queue_bytes_max")),
      verify_(options.boolean("verify_on_open")),
      checkpoint_bytes_(options.size("checkpoint_bytes")),
      database_(host.files()) {}

// ---- life

Status Engine::open_database() {
  const std::lock_guard syncing(sync_mutex_);
  STREAMBUS_TRY_STATUS(database_.open());
  {
    Statement version(database_.handle(), "PRAGMA user_version");
    clean_start_ = version.next() && version.integer(0) == 1;
    STREAMBUS_TRY_STATUS(version.status());
  }
  if (!clean_start_ || verify_) STREAMBUS_TRY_STATUS(database_.check());
  STREAMBUS_TRY_STATUS(database_.execute("PRAGMA user_version = 0"));
  const std::lock_guard lock(mutex_);
  domain_ = host_.durability().open_domain();
  failed_ = {};
  failure_told_ = full_ = false;
  unsynced_.clear();
  durable_ = reported_ = written_ = appended_;
  return {};
}

Status Engine::start() noexcept {
  try {
    const std::lock_guard database(database_mutex_);
    return open_database();
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

/// Reports what is left to report; none comes after.
void Engine::close_domain() noexcept {
  const auto wait = [this] {
    std::unique_lock lock(mutex_);
    reported_all_.wait(lock, [this] { return !reporting_; });
  };
  wait();
  report();
  wait();
  std::uint32_t domain = 0;
  {
    const std::lock_guard lock(mutex_);
    domain = std::exchange(domain_, 0);
  }
  if (domain != 0) host_.durability().close_domain(domain);
}

Status Engine::stop() noexcept {
  const std::lock_guard database(database_mutex_);
  Status status = failure();
  if (status.ok()) status = database_.execute("PRAGMA user_version = 1");
  {
    const std::lock_guard syncing(sync_mutex_);
    database_.close();
  }
  close_domain();
  return status;
}

Status Engine::open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept {
  *log = nullptr;
  STREAMBUS_TRY_STATUS(check_key(key));
  if (start < Offset{0}) return {ErrorCode::invalid_argument, "a partition cannot start at a negative offset"};
  try {
    const std::lock_guard database(database_mutex_);
    const std::string table = Log::table_of(key);
    bool again = false;
    {
      const std::lock_guard lock(mutex_);
      if (open_.contains(table)) return {ErrorCode::already_exists, std::string(key.topic) + ": the partition is open already"};
      again = !failed_.ok() && open_.empty();
    }
    if (again) {  // whatever made it fail may be over: back without a restart
      close_domain();
      STREAMBUS_TRY_STATUS(open_database());
    }
    STREAMBUS_TRY_STATUS(failure());
    auto opened = Ref<Log>::adopt(new Log(*this, key, settings));
    STREAMBUS_TRY_STATUS(opened->recover(start));
    const std::lock_guard lock(mutex_);
    in_order_[table] = false;
    open_.insert(table);
    *log = opened.detach();
    return {};
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

void Engine::closed(const std::string& table, bool in_order) noexcept {
  const std::lock_guard lock(mutex_);
  open_.erase(table);
  in_order_.find(table)->second = in_order;
}

bool Engine::was_closed(const std::string& table) noexcept {
  const std::lock_guard lock(mutex_);
  const auto known = in_order_.find(table);
  return known != in_order_.end() ? known->second : clean_start_;
}

Status Engine::remove(const PartitionKey& key) noexcept {
  STREAMBUS_TRY_STATUS(check_key(key));
  try {
    const std::lock_guard database(database_mutex_);
    const std::string table = Log::table_of(key);
    {
      const std::lock_guard lock(mutex_);
      if (open_.contains(table)) return {ErrorCode::busy, std::string(key.topic) + ": the partition is open: close it first"};
    }
    const std::string topic_id(key.topic_id);
    Statement known(database_.handle(), "SELECT 1 FROM partitions WHERE topic_id = ? AND partition = ?");
    const bool found = known.bind(topic_id, std::int64_t{key.partition}).next();
    STREAMBUS_TRY_STATUS(known.run());
    if (!found) return {ErrorCode::not_found, "there is no such partition"};
    Transaction transaction(database_);
    for (const char* const sql : {"DELETE FROM partitions WHERE topic_id = ? AND partition = ?",
                                  "DELETE FROM pieces WHERE topic_id = ? AND partition = ?"}) {
      transaction.run(Statement(database_.handle(), sql).bind(topic_id, std::int64_t{key.partition}));
    }
    transaction.execute("DROP TABLE " + table);
    return transaction.commit();
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

Status Engine::list(PartitionVisitor& visitor) noexcept {
  try {
    const std::lock_guard database(database_mutex_);
    Statement rows(database_.handle(), "SELECT topic_id, partition FROM partitions");
    while (rows.next()) visitor.partition(rows.text(0), static_cast<PartitionId>(rows.integer(1)));
    return rows.status();
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

// ---- the queue

std::uint32_t Engine::domain() noexcept {
  const std::lock_guard lock(mutex_);
  return domain_;
}

Status Engine::failure() noexcept {
  const std::lock_guard lock(mutex_);
  return failed_.ok() ? Status{} : Status{ErrorCode::offline, failed_.message()};
}

bool Engine::is_full() noexcept {
  const std::lock_guard lock(mutex_);
  return full_;
}

Status Engine::enqueue(const std::vector<Ref<Batch>>& batches, std::uint64_t* position) {
  const std::lock_guard lock(mutex_);
  if (!failed_.ok()) return {ErrorCode::offline, failed_.message()};
  if (full_) return {ErrorCode::no_space, "the disk has no room for what waits to be written"};
  if (queue_bytes_ >= queue_bytes_max_) return {ErrorCode::no_space, "too much waits to be written (queue_bytes_max)"};
  const std::size_t before = queue_.size();
  try {
    queue_.insert(queue_.end(), batches.begin(), batches.end());
  } catch (const std::bad_alloc&) {
    queue_.resize(before);
    throw;
  }
  *position = ++appended_;
  for (const Ref<Batch>& batch : batches) {
    batch->position = appended_;
    queue_bytes_ += batch->data.size();
  }
  return {};
}

Status Engine::write_batches(const std::deque<Ref<Batch>>& batches) {
  Transaction transaction(database_);
  for (auto batch = batches.begin(); batch != batches.end() && transaction.ok();) {
    const Log& log = *(*batch)->log;
    Statement insert(database_.handle(), log.insert_sql());
    for (; batch != batches.end() && (*batch)->log.get() == &log; ++batch) log.write(transaction, insert, **batch);
  }
  return transaction.commit();
}

/// Where the disk has no room, what the write-ahead log takes up may be enough.
Status Engine::try_to_write(const std::deque<Ref<Batch>>& batches) {
  Status status = write_batches(batches);
  if (status.code == ErrorCode::no_space && database_.checkpoint(true).ok()) status = write_batches(batches);
  std::uint64_t free = 0;
  if (!status.ok() || !host_.files().free_space(&free).ok()) return status;
  // A checkpoint needs room in the main file for what the log holds: in time, while there is some.
  const std::uint64_t log_bytes = database_.log_bytes();
  const bool scarce = log_bytes > free / 4;
  if (scarce || log_bytes > checkpoint_bytes_) (void)database_.checkpoint(scarce).ok();
  return status;
}

Status Engine::write_queue() {
  std::deque<Ref<Batch>> batches;
  std::uint64_t position = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!failed_.ok()) return {ErrorCode::offline, failed_.message()};
    batches.swap(queue_);
    position = appended_;
  }
  if (batches.empty()) return {};
  const Status status = try_to_write(batches);
  if (status.ok()) {
    for (const Ref<Batch>& batch : batches) batch->log->stored(*batch);
  }
  const std::lock_guard lock(mutex_);
  full_ = status.code == ErrorCode::no_space;
  if (status.ok()) {
    written_ = position;
    for (const Ref<Batch>& batch : batches) {
      queue_bytes_ -= batch->data.size();
      ++unsynced_batches_;
      if (unsynced_.empty() || unsynced_.back().first.get() != batch->log.get())
        unsynced_.emplace_back(batch->log, batch->next);
      unsynced_.back().second = batch->next;
    }
  } else if (full_) {
    batches.insert(batches.end(), queue_.begin(), queue_.end());
    queue_.swap(batches);
  } else {
    failed_ = status;
  }
  return status;
}

Status Engine::sync() noexcept {
  const std::lock_guard syncing(sync_mutex_);
  std::vector<std::pair<Ref<Log>, Offset>> ends;
  std::uint64_t position = 0;
  std::int64_t batches = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!failed_.ok()) return {ErrorCode::offline, failed_.message()};
    ends.swap(unsynced_);
    position = written_;
    batches = std::exchange(unsynced_batches_, 0);
  }
  {
    const MetricTimer timer(host_, metrics_.fsync_ns);
    STREAMBUS_TRY_STATUS(database_.sync());
  }
  if (batches > 0) metrics_.flushed_batches.add(batches);
  for (const auto& [log, end] : ends) log->durable(end);
  const std::lock_guard lock(mutex_);
  durable_ = position;
  return {};
}

void Engine::forget(const Log& log) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase_if(queue_, [&](const Ref<Batch>& batch) {
    if (batch->log.get() != &log) return false;
    queue_bytes_ -= batch->data.size();
    return true;
  });
}

void Engine::post_flush() noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(flush_posted_, true)) return;
  }
  host_.post(WorkClass::flush, [](void* engine) noexcept { static_cast<Engine*>(engine)->run_flush(); }, this);
}

/// One job at a time, so that reports come in order.
void Engine::run_flush() noexcept {
  Status status;
  try {
    const std::lock_guard database(database_mutex_);
    status = write_queue();
  } catch (const std::exception&) {
    status = out_of_memory();
  }
  if (status.ok()) status = sync();
  if (!status.ok() && status.code != ErrorCode::no_space) fail(status);
  report();
  bool again = false;
  {
    const std::lock_guard lock(mutex_);
    flush_posted_ = false;
    again = domain_ != 0 && failed_.ok() && !full_ && (!queue_.empty() || reported_ < durable_);
  }
  if (again) post_flush();
}

/// Tells the host what became durable. Under no lock; whoever comes while another reports leaves it to that one's next job.
void Engine::report() noexcept {
  std::uint64_t position = 0;
  std::uint32_t domain = 0;
  {
    const std::lock_guard lock(mutex_);
    if (reporting_ || domain_ == 0 || !failed_.ok() || reported_ == durable_) return;
    position = reported_ = durable_;
    domain = domain_;
    reporting_ = true;
  }
  host_.durability().durable_advanced(domain, position);
  const std::lock_guard lock(mutex_);
  reporting_ = false;
  reported_all_.notify_all();
}

void Engine::fail(const Status& status) noexcept {
  std::deque<Ref<Batch>> dropped;
  std::uint32_t domain = 0;
  {
    const std::lock_guard lock(mutex_);
    if (failed_.ok()) failed_ = status;
    if (std::exchange(failure_told_, true)) return;
    dropped.swap(queue_);
    queue_bytes_ = 0;
    domain = domain_;
  }
  metrics_.failures.add(1);
  host_.log(LogLevel::error, status.message());
  host_.durability().domain_failed(domain, status);
}

}  // namespace streambus::storage_sqlite
