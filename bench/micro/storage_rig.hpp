#pragma once
// What the storage benchmarks share: an engine with open partitions through the real host services, and bare loops of the same
// I/O.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "streambus/base/record_batch.hpp"
#include "streambus/host/plugin_registry.hpp"
#include "streambus/host/services.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::bench {

using Clock = std::chrono::steady_clock;
using PluginOptions = std::vector<std::pair<std::string, std::string>>;

inline constexpr TimestampMs kBatchTime = 1'700'000'000'000;

inline double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

/// Lets a burst wait until what it appended is durable, in whatever domains.
class WaitingSink final : public DurabilitySink {
 public:
  std::uint32_t open_domain() noexcept override {
    const std::lock_guard lock(mutex_);
    positions_.push_back(0);
    return static_cast<std::uint32_t>(positions_.size() - 1);
  }
  void close_domain(std::uint32_t) noexcept override {}
  void durable_advanced(std::uint32_t domain, std::uint64_t position) noexcept override {
    const std::lock_guard lock(mutex_);
    positions_[domain] = position;
    ++reports_;
    changed_.notify_all();
  }
  void domain_failed(std::uint32_t, const Status& status) noexcept override {
    std::fprintf(stderr, "storage benchmark: %s\n", status.text);
    std::abort();
  }
  void wait(std::uint32_t domain, std::uint64_t position) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return positions_[domain] >= position; });
  }
  [[nodiscard]] std::uint64_t reports() {
    const std::lock_guard lock(mutex_);
    return reports_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::uint64_t> positions_;
  std::uint64_t reports_ = 0;
};

/// A directory for one benchmark, removed afterwards.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "streambus-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() { std::filesystem::remove_all(path_); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// A valid batch of that many bytes; its records are not.
inline std::vector<std::byte> batch_of(std::size_t bytes, std::int32_t records) {
  std::vector<std::byte> batch(bytes, std::byte{'x'});
  store_be(batch.data() + 8, static_cast<std::int32_t>(bytes - kBatchLengthPrefixBytes));
  store_be(batch.data() + 16, std::int8_t{2});
  store_be(batch.data() + 23, records - 1);
  store_be(batch.data() + 35, std::int64_t{kBatchTime});
  store_be(batch.data() + 57, records);
  stamp_batch_crc(batch);
  return batch;
}

/// An engine with open partitions.
class Engine {
 public:
  Engine(const std::string& plugin_name, const PluginOptions& options, std::filesystem::path data, int partitions) {
    static PluginRegistry registry({STREAMBUS_PLUGIN_DIRECTORY});
    auto plugin = registry.load(PluginKind::storage, plugin_name);
    if (!plugin) throw std::runtime_error(plugin.error().message);
    OptionValues values((*plugin)->options());
    for (const auto& [key, text] : options) {
      for (const OptionSpec& spec : values.table()) {
        if (key == spec.key) values.set(key, parse_option(spec, text).value());
      }
    }
    Services::HostSpec spec;
    spec.instance_name = "bench";
    spec.component = "storage.bench";
    spec.data_directory = std::move(data);
    spec.durability = &sink_;
    auto instance = create_instance<StorageEngine>(services_, **plugin, values, std::move(spec));
    if (!instance) throw std::runtime_error(instance.error().message);
    engine_ = std::move(*instance);
    check(engine_->start());
    const auto segment_bytes = static_cast<std::int64_t>(64 << 20) / std::min(partitions, 16);
    const PartitionSettings settings{.retention_bytes = 2 * segment_bytes, .segment_bytes = segment_bytes};
    logs_.resize(static_cast<std::size_t>(partitions));
    for (int i = 0; i < partitions; ++i) {
      const PartitionKey key{"bench", "00112233445566778899aabbccddeeff", i};
      check(engine_->open(key, {}, settings, &logs_[static_cast<std::size_t>(i)].log));
    }
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine() {
    for (Partition& partition : logs_) check(partition.log->close());
    services_.wait_idle();
    check(engine_->stop());
  }

  struct Partition {
    PartitionLog* log = nullptr;
    Offset next;
    std::uint64_t position = 0;  ///< of the last append, in its durability domain
  };

  [[nodiscard]] std::size_t partitions() const noexcept { return logs_.size(); }
  [[nodiscard]] Partition& partition(std::size_t index) noexcept { return logs_[index]; }

  /// Appends to a partition; where the engine is busy, again and again.
  void append(std::size_t index, MutableBytes batch, std::int32_t records) {
    Partition& to = logs_[index];
    stamp_batch(batch.data(), to.next, 0);
    const Offset next = to.next + records;
    AppendResult result;
    for (;; ++refused_) {
      const Status status = to.log->append(batch, to.next, next, kBatchTime, &result);
      if (status.ok()) break;
      if (status.code != ErrorCode::busy) check(status);
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    to.next = next;
    to.position = result.position;
  }
  /// Waits until everything is durable; returns at once in classes that promise nothing.
  void wait_durable() {
    for (const Partition& partition : logs_) {
      if (partition.position > 0) sink_.wait(partition.log->durability_domain(), partition.position);
    }
  }
  void retain() {
    for (const Partition& partition : logs_) check(partition.log->retain(kBatchTime));
  }
  [[nodiscard]] std::uint64_t reports() { return sink_.reports(); }
  /// Appends that were answered 'busy' and repeated.
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_; }

  static void check(const Status& status) {
    if (!status.ok()) throw std::runtime_error(status.text);
  }

 private:
  WaitingSink sink_;
  Services services_{ServiceSettings{}};
  Instance<StorageEngine> engine_;
  std::vector<Partition> logs_;
  std::uint64_t refused_ = 0;
};

}  // namespace streambus::bench
