// Appends to storage engines, against bare loops of the same I/O that take turns with them in the same run.
//
// storage/append/ENGINE/CLASS/BATCH/PARTITIONS   batches of 100 B, 1 KiB (one record each) and 64 KiB (64 records), to 1
// partition or
//                                                to 64 in turn
//
// One iteration is a burst of appends, then a burst of the bare loop. The bare loop is write() into as many files, with one
// fdatasync of each at the end for fsync-batch, whose burst ends when all of it is durable; for storage-mmap it is memcpy()
// into mappings of files that grow likewise and were prepared in the measured time, with one msync of each at the end.
// Counters:
//   appends_per_second
//   ratio      bytes per second of the engine over those of the bare loop, median of the bursts
//   p50_us, p99_us  of a single append call
//   allocs     operator new per append on the appending thread
//   refused    appends answered 'busy' (the engine's background work does not keep up) and repeated after 100 us
//   reports    reports of durability per burst
// TMPDIR decides on which disk the files lie.

#include <benchmark/benchmark.h>

#include "allocations.hpp"
#include "storage_rig.hpp"

namespace streambus::bench {
namespace {

constexpr std::uint64_t kBareBytesMax = std::uint64_t{256} << 20;  ///< of all its files; then they begin anew

struct Shape {
  const char* name;
  std::size_t batch_bytes;
  std::int32_t records;
  int appends;  ///< per burst
};

/// What the engine is compared with.
class Bare {
 public:
  Bare(const std::filesystem::path& directory, int files, int flags, bool sync) : sync_(sync) {
    for (int i = 0; i < files; ++i) {
      fds_.push_back(::open((directory / ("bare" + std::to_string(i))).c_str(), flags | O_CREAT | O_CLOEXEC, 0600));
      if (fds_.back() < 0) std::abort();
    }
  }
  Bare(const Bare&) = delete;
  Bare& operator=(const Bare&) = delete;
  virtual ~Bare() {
    for (const int fd : fds_) ::close(fd);
  }

  /// Seconds for a burst of `count` batches, to the files in turn.
  double burst(Bytes batch, int count) {
    const std::size_t bytes = batch.size() * static_cast<std::size_t>(count) / fds_.size();
    if ((end_ + bytes) * fds_.size() > kBareBytesMax) {
      for (const int fd : fds_) {
        if (::ftruncate(fd, 0) != 0 || ::lseek(fd, 0, SEEK_SET) != 0) std::abort();
      }
      end_ = 0;
    }
    const Clock::time_point start = Clock::now();
    run(batch, count, bytes);
    const double elapsed = seconds_since(start);
    end_ += bytes;
    return elapsed;
  }

 protected:
  virtual void run(Bytes batch, int count, std::size_t bytes_per_file) = 0;

  const bool sync_;
  std::vector<int> fds_;
  std::uint64_t end_ = 0;  ///< of each file
};

class BareWrites final : public Bare {
 public:
  BareWrites(const std::filesystem::path& directory, int files, bool sync) : Bare(directory, files, O_WRONLY, sync) {}

 private:
  void run(Bytes batch, int count, std::size_t) override {
    for (int i = 0; i < count; ++i) {
      const int fd = fds_[static_cast<std::size_t>(i) % fds_.size()];
      if (::write(fd, batch.data(), batch.size()) != static_cast<ssize_t>(batch.size())) std::abort();
    }
    for (const int fd : fds_) {
      if (sync_ && ::fdatasync(fd) != 0) std::abort();
    }
  }
};

/// Room reserved for a burst, mapped, populated, and the same bytes copied into it.
class BareMappings final : public Bare {
 public:
  BareMappings(const std::filesystem::path& directory, int files, bool sync) : Bare(directory, files, O_RDWR, sync) {}

 private:
  void run(Bytes batch, int count, std::size_t bytes) override {
    constexpr std::uint64_t kPage = 4096;
    const std::uint64_t from = end_ / kPage * kPage;
    const std::size_t mapped = static_cast<std::size_t>(end_ - from) + bytes;
    std::vector<std::byte*> pages;
    for (const int fd : fds_) {
      if (::fallocate(fd, 0, static_cast<off_t>(end_), static_cast<off_t>(bytes)) != 0) std::abort();
      void* const mapping = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(from));
      if (mapping == MAP_FAILED) std::abort();
      (void)::madvise(mapping, mapped, MADV_POPULATE_WRITE);  // without it the copy meets the pages one by one
      pages.push_back(static_cast<std::byte*>(mapping));
    }
    for (int i = 0; i < count; ++i) {
      const auto file = static_cast<std::size_t>(i) % fds_.size();
      const std::size_t at = static_cast<std::size_t>(end_ - from) + static_cast<std::size_t>(i) / fds_.size() * batch.size();
      std::memcpy(pages[file] + at, batch.data(), batch.size());
    }
    for (std::byte* const mapping : pages) {
      if (sync_ && ::msync(mapping, mapped, MS_SYNC) != 0) std::abort();
      ::munmap(mapping, mapped);
    }
  }
};

/// A burst of appends to the partitions in turn, until durable where the class asks for it. Seconds.
double burst(Engine& engine, MutableBytes batch, const Shape& shape, std::vector<float>& latencies_us) {
  const Clock::time_point start = Clock::now();
  Clock::time_point before = start;
  for (int i = 0; i < shape.appends; ++i) {
    engine.append(static_cast<std::size_t>(i) % engine.partitions(), batch, shape.records);
    const Clock::time_point now = Clock::now();
    latencies_us.push_back(std::chrono::duration<float, std::micro>(now - before).count());
    before = now;
  }
  engine.wait_durable();
  const double elapsed = seconds_since(start);
  engine.retain();
  return elapsed;
}

struct Case {
  const char* engine;
  const char* durability;
  PluginOptions options;
  bool mapped = false;  ///< compared with bare mappings, not with write()
};

void append(benchmark::State& state, const Case& one, const Shape& shape, int partitions) {
  try {
    const ScratchDirectory directory;
    PluginOptions options = one.options;
    const std::string durability = one.durability;
    if (durability != "memory") options.emplace_back("durability", durability);
    Engine engine(std::string("storage-") + one.engine, options, directory.path() / "data", partitions);
    std::unique_ptr<Bare> bare;
    if (one.mapped) {
      bare = std::make_unique<BareMappings>(directory.path(), partitions, durability == "fsync-batch");
    } else {
      bare = std::make_unique<BareWrites>(directory.path(), partitions, durability == "fsync-batch");
    }
    std::vector<std::byte> batch = batch_of(shape.batch_bytes, shape.records);
    std::vector<float> latencies_us;
    std::vector<double> ratios;
    latencies_us.reserve(static_cast<std::size_t>(shape.appends) * (state.max_iterations + 2));
    (void)burst(engine, batch, shape, latencies_us);  // the first segment, the first chunks
    (void)bare->burst(batch, shape.appends);
    latencies_us.clear();
    std::uint64_t allocated = 0;
    const std::uint64_t reports_before = engine.reports();
    for (auto _ : state) {
      const std::uint64_t allocations_before = allocations();
      const double engine_seconds = burst(engine, batch, shape, latencies_us);
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
    state.counters["refused"] = static_cast<double>(engine.refused());
    state.counters["reports"] =
        static_cast<double>(engine.reports() - reports_before) / static_cast<double>(state.iterations());
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
}

const int registered = [] {
  static const std::vector<Case> cases = {
      {"wal", "pagecache", {}},
      {"wal", "fsync-interval", {}},
      {"wal", "fsync-batch", {}},
      {"mmap", "pagecache", {}, true},
      {"mmap", "fsync-interval", {}, true},
      {"mmap", "fsync-batch", {}, true},
      {"memory", "memory", {{"capacity", "256MiB"}, {"when_full", "evict"}}},
  };
  static constexpr Shape kShapes[] = {{"100B", 100, 1, 8192}, {"1KiB", 1024, 1, 8192}, {"64KiB", 65536, 64, 512}};
  for (const Case& one : cases) {
    for (const Shape& shape : kShapes) {
      for (const int partitions : {1, 64}) {
        const std::string name = std::string("storage/append/") + one.engine + "/" + one.durability + "/" + shape.name + "/" +
                                 std::to_string(partitions);
        benchmark::RegisterBenchmark(
            name.c_str(), [&one, &shape, partitions](benchmark::State& state) { append(state, one, shape, partitions); })
            ->UseManualTime()
            ->Iterations(24)
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace streambus::bench
