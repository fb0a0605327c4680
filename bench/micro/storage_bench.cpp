// Storage engines alone, against bare loops of the same shape that take turns with them in the same run.
//
// storage/ENGINE/64KiB  appends of 1 KB records in 64 KB batches
// storage/ENGINE/1KiB   appends of single batches of 1 KB
//
// One iteration is a burst of appends, then a burst of the bare loop. ENGINE: wal_pagecache and memory, against write();
// wal_fsync_batch, whose burst ends when all of it is durable, against write() with one fdatasync at the end; mmap_pagecache
// and mmap_fsync_batch against memcpy() into a mapping of a file that grows likewise and was prepared outside of the measured
// time, the latter with one msync of the burst at the end. Counters:
//   appends_per_second
//   ratio      bytes per second of the engine over those of the bare loop, median of the bursts
//   p50_us, p99_us  of a single append call
//   allocs     operator new per append on the appending thread
//   syncs      fdatasync calls per burst
// TMPDIR decides on which disk the files lie.

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "allocations.hpp"
#include "streambus/base/record_batch.hpp"
#include "streambus/host/plugin_registry.hpp"
#include "streambus/host/services.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

/// Lets a burst wait until what it appended is durable.
class WaitingSink final : public DurabilitySink {
 public:
  std::uint32_t open_domain() noexcept override { return 1; }
  void close_domain(std::uint32_t) noexcept override {}
  void durable_advanced(std::uint32_t, std::uint64_t position) noexcept override {
    const std::lock_guard lock(mutex_);
    position_ = position;
    ++reports_;
    changed_.notify_all();
  }
  void domain_failed(std::uint32_t, const Status& status) noexcept override {
    std::fprintf(stderr, "storage benchmark: %s\n", status.text);
    std::abort();
  }
  void wait(std::uint64_t position) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return position_ >= position; });
  }
  [[nodiscard]] std::uint64_t reports() {
    const std::lock_guard lock(mutex_);
    return reports_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t position_ = 0;
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

std::vector<std::byte> batch_of(std::size_t bytes, std::int32_t records) {
  std::vector<std::byte> batch(bytes, std::byte{'x'});
  store_be(batch.data() + 8, static_cast<std::int32_t>(bytes - kBatchLengthPrefixBytes));
  store_be(batch.data() + 16, std::int8_t{2});
  store_be(batch.data() + 23, records - 1);
  store_be(batch.data() + 35, std::int64_t{1'700'000'000'000});
  store_be(batch.data() + 57, records);
  stamp_batch_crc(batch);
  return batch;
}

struct Shape {
  std::size_t batch_bytes;
  std::int32_t records;
  int appends;  ///< per burst
};

/// What the engine is compared with.
class Bare {
 public:
  Bare() = default;
  Bare(const Bare&) = delete;
  Bare& operator=(const Bare&) = delete;
  virtual ~Bare() = default;
  /// Seconds for a burst.
  virtual double burst(Bytes batch, int count) = 0;
};

/// The bare loop: the same bytes into a file that grows likewise.
class BareLoop final : public Bare {
 public:
  BareLoop(const std::filesystem::path& directory, bool sync) : sync_(sync) {
    fd_ = ::open((directory / "bare").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd_ < 0) std::abort();
  }
  ~BareLoop() override { ::close(fd_); }

  double burst(Bytes batch, int count) override {
    if (written_ > (std::uint64_t{256} << 20)) {
      if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0) std::abort();
      written_ = 0;
    }
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < count; ++i) {
      if (::write(fd_, batch.data(), batch.size()) != static_cast<ssize_t>(batch.size())) std::abort();
    }
    if (sync_ && ::fdatasync(fd_) != 0) std::abort();
    written_ += batch.size() * static_cast<std::size_t>(count);
    return seconds_since(start);
  }

 private:
  const bool sync_;
  int fd_;
  std::uint64_t written_ = 0;
};

/// The bare loop of mapped files: room reserved for a burst, mapped, populated, and the same bytes copied into it.
class BareMapping final : public Bare {
 public:
  BareMapping(const std::filesystem::path& directory, bool sync) : sync_(sync) {
    fd_ = ::open((directory / "bare").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd_ < 0) std::abort();
  }
  ~BareMapping() override { ::close(fd_); }

  double burst(Bytes batch, int count) override {
    const std::size_t bytes = batch.size() * static_cast<std::size_t>(count);
    if (end_ > (std::uint64_t{256} << 20)) {
      if (::ftruncate(fd_, 0) != 0) std::abort();
      end_ = 0;
    }
    const Clock::time_point start = Clock::now();
    if (::fallocate(fd_, 0, static_cast<off_t>(end_), static_cast<off_t>(bytes)) != 0) std::abort();
    void* const mapping = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, static_cast<off_t>(end_));
    if (mapping == MAP_FAILED) std::abort();
    auto* const pages = static_cast<std::byte*>(mapping);
    (void)::madvise(mapping, bytes, MADV_POPULATE_WRITE);  // without it the copy meets the pages one by one
    for (int i = 0; i < count; ++i) std::memcpy(pages + batch.size() * static_cast<std::size_t>(i), batch.data(), batch.size());
    if (sync_ && ::msync(mapping, bytes, MS_SYNC) != 0) std::abort();
    const double elapsed = seconds_since(start);
    ::munmap(mapping, bytes);
    end_ += bytes;
    return elapsed;
  }

 private:
  const bool sync_;
  int fd_;
  std::uint64_t end_ = 0;
};

/// An engine with one open partition, through the real host services.
class Engine {
 public:
  Engine(const std::string& plugin_name, const std::vector<std::pair<std::string, std::string>>& options,
         std::filesystem::path data) {
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
    const PartitionKey key{"bench", "00112233445566778899aabbccddeeff", 0};
    check(engine_->open(key, {}, {.retention_bytes = 128 << 20, .segment_bytes = 64 << 20}, &log_));
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine() {
    check(log_->close());
    services_.wait_idle();
    check(engine_->stop());
  }

  /// Appends and, where the class asks for it, waits until all is durable.
  double burst(MutableBytes batch, const Shape& shape, std::vector<float>& latencies_us) {
    AppendResult result;
    const Clock::time_point start = Clock::now();
    Clock::time_point before = start;
    for (int i = 0; i < shape.appends; ++i) {
      stamp_batch(batch.data(), next_, 0);
      const Offset next = next_ + shape.records;
      check(log_->append(batch, next_, next, 1'700'000'000'000, &result));
      next_ = next;
      const Clock::time_point now = Clock::now();
      latencies_us.push_back(std::chrono::duration<float, std::micro>(now - before).count());
      before = now;
    }
    if (result.position > 0) sink_.wait(result.position);
    const double elapsed = seconds_since(start);
    check(log_->retain(1'700'000'000'000));
    return elapsed;
  }
  [[nodiscard]] std::uint64_t reports() { return sink_.reports(); }

 private:
  static void check(const Status& status) {
    if (!status.ok()) throw std::runtime_error(status.text);
  }

  WaitingSink sink_;
  Services services_{ServiceSettings{}};
  Instance<StorageEngine> engine_;
  PartitionLog* log_ = nullptr;
  Offset next_;
};

void append(benchmark::State& state, const std::string& plugin, std::vector<std::pair<std::string, std::string>> options,
            bool sync, bool mapped, Shape shape) {
  try {
    const ScratchDirectory directory;
    Engine engine(plugin, options, directory.path() / "data");
    std::unique_ptr<Bare> bare;
    if (mapped) {
      bare = std::make_unique<BareMapping>(directory.path(), sync);
    } else {
      bare = std::make_unique<BareLoop>(directory.path(), sync);
    }
    std::vector<std::byte> batch = batch_of(shape.batch_bytes, shape.records);
    std::vector<float> latencies_us;
    std::vector<double> ratios;
    latencies_us.reserve(static_cast<std::size_t>(shape.appends) * (state.max_iterations + 2));
    (void)engine.burst(batch, shape, latencies_us);  // the first segment, the first chunks
    (void)bare->burst(batch, shape.appends);
    latencies_us.clear();
    std::uint64_t allocated = 0;
    const std::uint64_t reports_before = engine.reports();
    for (auto _ : state) {
      const std::uint64_t allocations_before = allocations();
      const double engine_seconds = engine.burst(batch, shape, latencies_us);
      allocated += allocations() - allocations_before;
      const double bare_seconds = bare->burst(batch, shape.appends);
      ratios.push_back(bare_seconds / engine_seconds);
      state.SetIterationTime(engine_seconds);
    }
    const auto appends = static_cast<double>(state.iterations()) * shape.appends;
    state.SetBytesProcessed(static_cast<std::int64_t>(appends) * static_cast<std::int64_t>(shape.batch_bytes));
    std::sort(latencies_us.begin(), latencies_us.end());
    state.counters["appends_per_second"] = benchmark::Counter(appends, benchmark::Counter::kIsRate);
    state.counters["ratio"] = median(ratios);
    state.counters["p50_us"] = latencies_us[latencies_us.size() / 2];
    state.counters["p99_us"] = latencies_us[latencies_us.size() * 99 / 100];
    state.counters["allocs"] = static_cast<double>(allocated) / appends;
    state.counters["syncs"] = static_cast<double>(engine.reports() - reports_before) / static_cast<double>(state.iterations());
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
}

const int registered = [] {
  struct Case {
    const char* name;
    const char* plugin;
    std::vector<std::pair<std::string, std::string>> options;
    bool sync;
    bool mapped = false;  ///< compared with a bare mapping, not with write()
  };
  const std::vector<Case> cases = {
      {"wal_pagecache", "storage-wal", {{"durability", "pagecache"}}, false},
      {"wal_fsync_batch", "storage-wal", {{"durability", "fsync-batch"}}, true},
      {"mmap_pagecache", "storage-mmap", {{"durability", "pagecache"}}, false, true},
      {"mmap_fsync_batch", "storage-mmap", {{"durability", "fsync-batch"}}, true, true},
      {"memory", "storage-memory", {{"capacity", "256MiB"}, {"when_full", "evict"}}, false},
  };
  for (const Case& one : cases) {
    for (const auto& [name, shape] : {std::pair{"64KiB", Shape{65536, 64, 512}}, std::pair{"1KiB", Shape{1024, 1, 8192}}}) {
      benchmark::RegisterBenchmark((std::string("storage/") + one.name + "/" + name).c_str(),
                                   [one, shape = shape](benchmark::State& state) {
                                     append(state, one.plugin, one.options, one.sync, one.mapped, shape);
                                   })
          ->UseManualTime()
          ->Iterations(24)
          ->Unit(benchmark::kMillisecond);
    }
  }
  return 0;
}();

}  // namespace
}  // namespace streambus::bench
