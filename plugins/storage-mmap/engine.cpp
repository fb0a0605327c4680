#include "engine.hpp"

#include <algorithm>
#include <new>

#include "log.hpp"
#include "manifest.hpp"
#include "storage-common/directory.hpp"

namespace streambus::storage_mmap {

using storage_common::check_key;
using storage_common::DirectoryState;
using storage_common::is_topic_id;
using storage_common::Names;
using storage_common::Path;
using storage_common::status_of;

MmapMetrics::MmapMetrics(Host& host) noexcept
    : StorageMetrics(host),
      index_rebuilds(host.metric(MetricKind::counter, "storage_index_rebuilds_total", "Indexes rebuilt: missing or wrong")),
      prepare_ns(host.metric(MetricKind::histogram, "storage_prepare_nanoseconds", "Time of preparing segments ahead")),
      inline_prepares(host.metric(MetricKind::counter, "storage_inline_prepares_total",
                                  "Appends that had to prepare their segment themselves")) {}

MmapEngine::MmapEngine(Host& host, const Options& options)
    : host_(host),
      settings_(parse_settings(options)),
      metrics_(host),
      cache_(host.files(), settings_.window_bytes, settings_.windows_max),
      marks_(host) {}

Status MmapEngine::start() noexcept {
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
Status MmapEngine::start_directory() {
  std::vector<std::byte> bytes;
  DirectoryState state;
  Status status = storage_common::read_small_file(files(), kStateFile, 4096, &bytes);
  if (status.ok()) {
    status = DirectoryState::decode(bytes, kStateFile, kStateMagic, &state);
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
    if (used) host_.log(LogLevel::warning, "mmap.state is missing: every partition is checked as after a crash");
    // Without it, which manifests can be trusted is unknown: start behind any run that may have been.
    state = {.clean = false, .run = used ? static_cast<std::uint64_t>(host_.wall_ms()) : 0};
  }
  unclean_run_ = state.clean ? state.unclean_run : state.run;
  run_ = state.run + 1;
  return write_state(false);
}

Status MmapEngine::write_state(bool clean) {
  const DirectoryState state{clean, run_, unclean_run_};
  return storage_common::replace_file(files(), ".", kStateFile, state.encode(kStateMagic));
}

Status MmapEngine::open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept {
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
      auto opened = Ref<MmapLog>::adopt(new MmapLog(*this, key, settings));
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

void MmapEngine::closed(std::string_view topic_id, PartitionId partition, bool clean) noexcept {
  if (!clean) unclean_ = true;
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(open_.begin(), open_.end(),
                                  [&](const Key& key) { return key.second == partition && key.first == topic_id; });
  if (found != open_.end()) open_.erase(found);
}

Status MmapEngine::remove(const PartitionKey& key) noexcept {
  STREAMBUS_TRY_STATUS(check_key(key));
  try {
    return remove_files(key);
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory while removing a partition"};
  }
}

Status MmapEngine::remove_files(const PartitionKey& key) {
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
  (void)storage_common::parse_topic_id(key.topic_id, id);
  marks_.erase(id, key.partition);
  // The topic's directory goes with its last partition.
  if (files().remove_directory(key.topic_id).ok()) return files().sync_directory(".");
  return files().sync_directory(key.topic_id);
}

Status MmapEngine::list(PartitionVisitor& visitor) noexcept {
  try {
    Names topics;
    STREAMBUS_TRY_STATUS(files().list(".", topics));
    for (const std::string& topic : topics.directories) {
      if (!is_topic_id(topic)) continue;
      Names partitions;
      STREAMBUS_TRY_STATUS(files().list(topic, partitions));
      for (const std::string& name : partitions.directories) {
        PartitionId partition = 0;
        if (storage_common::parse_partition(name, &partition)) visitor.partition(topic, partition);
      }
    }
    return {};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory while listing partitions"};
  }
}

Status MmapEngine::stop() noexcept {
  interval_flusher_.stop();
  marks_.close();
  if (unclean_) return {};  // the next start checks what must be checked
  try {
    return write_state(true);
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory while stopping"};
  }
}

}  // namespace streambus::storage_mmap
