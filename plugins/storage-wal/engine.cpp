#include "engine.hpp"

#include <algorithm>
#include <chrono>
#include <new>

#include "log.hpp"
#include "manifest.hpp"
#include "names.hpp"
#include "paths.hpp"
#include "text.hpp"

namespace streambus::storage_wal {
namespace {

Status check_key(const PartitionKey& key) noexcept {
  if (is_topic_id(key.topic_id) && key.partition >= 0 && key.partition <= 999'999'999) return {};
  return status_of(ErrorCode::invalid_argument,
                   "partition key: expected 32 hexadecimal digits and an index, found '%.40s' and %d",
                   std::string(key.topic_id).c_str(), key.partition);
}

}  // namespace

WalMetrics::WalMetrics(Host& host) noexcept
    : StorageMetrics(host),
      index_rebuilds(host.metric(MetricKind::counter, "storage_index_rebuilds_total", "Indexes rebuilt: missing or wrong")) {}

IntervalFlusher::~IntervalFlusher() { stop(); }

void IntervalFlusher::start(std::int64_t interval_ns) {
  thread_ = std::thread([this, interval_ns] { run(interval_ns); });
}

void IntervalFlusher::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  dirty_.clear();
}

bool IntervalFlusher::add(Ref<WalLog> log) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    dirty_.push_back(std::move(log));
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void IntervalFlusher::run(std::int64_t interval_ns) noexcept {
  std::vector<Ref<WalLog>> due;
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, std::chrono::nanoseconds(interval_ns), [this] { return stopping_; })) {
    due.swap(dirty_);
    lock.unlock();
    for (const Ref<WalLog>& log : due) log->post_flush();
    due.clear();
    lock.lock();
  }
}

WalEngine::WalEngine(Host& host, const Options& options)
    : host_(host),
      settings_(parse_settings(options)),
      metrics_(host),
      cache_(host.files(), settings_.open_files_max),
      marks_(host) {}

Status WalEngine::start() noexcept {
  try {
    STREAMBUS_TRY_STATUS(start_directory());
    STREAMBUS_TRY_STATUS(marks_.open());
    if (settings_.durability == Durability::fsync_interval) interval_flusher_.start(settings_.interval_ns);
    return {};
  } catch (const std::exception& error) {  // no memory, no thread
    return {ErrorCode::no_space, error.what()};
  }
}

/// Checks the format, notes how the last run ended, and that this one has not ended yet.
Status WalEngine::start_directory() {
  std::vector<std::byte> bytes;
  DirectoryState state;
  Status status = read_small_file(files(), DirectoryState::kFileName, 4096, &bytes);
  if (status.ok()) {
    status = DirectoryState::decode(bytes, &state);
    if (status.code == ErrorCode::corrupt) {
      return status_of(ErrorCode::corrupt, "%.100s; remove the file to have every partition checked", status.text);
    }
    STREAMBUS_TRY_STATUS(status);
  } else if (status.code != ErrorCode::not_found) {
    return status;
  } else {
    Names names;
    STREAMBUS_TRY_STATUS(files().list(".", names));
    const bool used = std::any_of(names.directories.begin(), names.directories.end(),
                                  [](const std::string& name) { return is_topic_id(name); });
    if (used) host_.log(LogLevel::warning, "wal.state is missing: every partition is checked as after a crash");
    // Without it, which manifests can be trusted is unknown: start behind any run that may have been.
    state = {.clean = false, .run = used ? static_cast<std::uint64_t>(host_.wall_ms()) : 0};
  }
  unclean_run_ = state.clean ? state.unclean_run : state.run;
  run_ = state.run + 1;
  return replace_file(files(), ".", DirectoryState::kFileName, state_of(false).encode());
}

Status WalEngine::open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept {
  *log = nullptr;
  STREAMBUS_TRY_STATUS(check_key(key));
  if (start < Offset{0}) return {ErrorCode::invalid_argument, "a partition cannot start at a negative offset"};
  try {
    const Key name(key.topic_id, key.partition);
    {
      const std::lock_guard lock(mutex_);
      if (!open_.insert(name).second) {
        return status_of(ErrorCode::already_exists, "%.64s-%d is open already", std::string(key.topic).c_str(), key.partition);
      }
    }
    Status status;
    try {
      auto opened = Ref<WalLog>::adopt(new WalLog(*this, key, settings));
      status = opened->recover(start);
      if (status.ok()) {
        *log = opened.detach();
        return {};
      }
    } catch (const std::bad_alloc&) {
      status = {ErrorCode::no_space, "out of memory while opening a partition"};
    }
    closed(key.topic_id, key.partition, true);  // whatever its manifest says is as true as before
    return status;
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory while opening a partition"};
  }
}

void WalEngine::closed(std::string_view topic_id, PartitionId partition, bool clean) noexcept {
  if (!clean) unclean_ = true;
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(open_.begin(), open_.end(),
                                  [&](const Key& key) { return key.second == partition && key.first == topic_id; });
  if (found != open_.end()) open_.erase(found);
}

Status WalEngine::remove(const PartitionKey& key) noexcept {
  STREAMBUS_TRY_STATUS(check_key(key));
  try {
    return remove_files(key);
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory while removing a partition"};
  }
}

Status WalEngine::remove_files(const PartitionKey& key) {
  {
    const std::lock_guard lock(mutex_);
    if (open_.contains(Key(key.topic_id, key.partition))) {
      return status_of(ErrorCode::busy, "%.64s-%d is open: close it first", std::string(key.topic).c_str(), key.partition);
    }
  }
  const Path directory = Path::directory(key.topic_id, key.partition);
  Names names;
  STREAMBUS_TRY_STATUS(files().list(directory, names));
  if (names.out_of_memory) throw std::bad_alloc();
  for (const std::string& name : names.files) STREAMBUS_TRY_STATUS(files().remove(Path::file(directory, name)));
  STREAMBUS_TRY_STATUS(files().remove_directory(directory));
  std::byte id[16];
  (void)parse_topic_id(key.topic_id, id);
  marks_.erase(id, key.partition);
  // The topic's directory goes with its last partition.
  if (files().remove_directory(key.topic_id).ok()) return files().sync_directory(".");
  return files().sync_directory(key.topic_id);
}

Status WalEngine::list(PartitionVisitor& visitor) noexcept {
  try {
    Names topics;
    STREAMBUS_TRY_STATUS(files().list(".", topics));
    for (const std::string& topic : topics.directories) {
      if (!is_topic_id(topic)) continue;
      Names partitions;
      STREAMBUS_TRY_STATUS(files().list(topic, partitions));
      for (const std::string& name : partitions.directories) {
        PartitionId partition = 0;
        if (parse_partition(name, &partition)) visitor.partition(topic, partition);
      }
    }
    return {};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory while listing partitions"};
  }
}

Status WalEngine::stop() noexcept {
  interval_flusher_.stop();
  marks_.close();
  if (unclean_) return {};  // the next start checks what must be checked
  try {
    return replace_file(files(), ".", DirectoryState::kFileName, state_of(true).encode());
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory while stopping"};
  }
}

}  // namespace streambus::storage_wal
