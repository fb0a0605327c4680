// Reads from storage engines, against bare pread() loops over files of the same bytes that take turns with them in the same
// run.
//
// storage/read/ENGINE/ORDER/BATCH/PARTITIONS   sequential: from the start on, up to 1 MiB a read; random: one batch a read,
// anywhere
//
// Every byte is copied out: a slice in memory with memcpy(), a range of a file with pread(). What is read lies in the page
// cache, or in the engine's own. One iteration reads kBurstBytes or kBurstReads, then the bare loop does. Counters:
//   reads_per_second
//   ratio   bytes per second of the engine over those of the bare loop, median of the bursts
//   p50_us, p99_us  of a single read with its copy
//   allocs  operator new per read on the reading thread
// TMPDIR decides on which disk the files lie.

#include <benchmark/benchmark.h>

#include <random>

#include "allocations.hpp"
#include "storage_rig.hpp"

namespace streambus::bench {
namespace {

constexpr std::uint64_t kStoredBytes = std::uint64_t{128} << 20;  ///< of all partitions
constexpr std::uint64_t kReadBytes = std::uint64_t{1} << 20;      ///< a sequential read
constexpr std::uint64_t kBurstBytes = std::uint64_t{32} << 20;
constexpr int kBurstReads = 1024;  ///< random

struct Shape {
  const char* name;
  std::size_t batch_bytes;
  std::int32_t records;
};

void read_file(int fd, std::uint64_t position, MutableBytes into) {
  if (::pread(fd, into.data(), into.size(), static_cast<off_t>(position)) != static_cast<ssize_t>(into.size())) std::abort();
}

/// The partitions of an engine, full, and files of the same sizes beside them.
class Stored {
 public:
  Stored(const std::string& engine, const PluginOptions& options, const Shape& shape, int partitions)
      : shape_(shape),
        engine_(engine, options, directory_.path() / "data", partitions),
        batches_(static_cast<std::int64_t>(kStoredBytes / shape.batch_bytes) / partitions),
        buffer_(std::max<std::size_t>(kReadBytes, shape.batch_bytes)) {
    std::vector<std::byte> batch = batch_of(shape.batch_bytes, shape.records);
    for (int i = 0; i < partitions; ++i) {
      fds_.push_back(::open((directory_.path() / ("bare" + std::to_string(i))).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
      if (fds_.back() < 0) std::abort();
      for (std::int64_t n = 0; n < batches_; ++n) {
        engine_.append(static_cast<std::size_t>(i), batch, shape.records);
        if (::write(fds_.back(), batch.data(), batch.size()) != static_cast<ssize_t>(batch.size())) std::abort();
      }
    }
    engine_.wait_durable();
  }
  Stored(const Stored&) = delete;
  Stored& operator=(const Stored&) = delete;
  ~Stored() {
    for (const int fd : fds_) ::close(fd);
  }

  /// Where a read begins, and how many bytes it takes. Sequential reads go round through each partition in turn.
  struct Place {
    std::size_t partition;
    std::int64_t batch;
  };
  [[nodiscard]] Place any(std::mt19937_64& random) const {
    return {random() % fds_.size(), static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(batches_))};
  }
  /// Behind `place`, `bytes` on.
  [[nodiscard]] Place behind(Place place, std::uint64_t bytes) const {
    place.batch += static_cast<std::int64_t>(bytes / shape_.batch_bytes);
    if (place.batch < batches_) return place;
    return {(place.partition + 1) % fds_.size(), 0};
  }

  std::uint64_t read(const Place& from, std::uint64_t bytes_max) {
    Engine::Partition& partition = engine_.partition(from.partition);
    ReadResult result;
    Engine::check(partition.log->read(
        {.from = {from.batch * shape_.records}, .limit = partition.next, .bytes_max = bytes_max, .at_least_one = true},
        &result));
    std::size_t at = 0;
    for (std::uint32_t i = 0; i < result.slice_count; ++i) {
      const Slice& slice = result.slices[i];
      const MutableBytes into = MutableBytes(buffer_).subspan(at, static_cast<std::size_t>(slice.bytes));
      if (slice.is_file()) {
        read_file(slice.fd, slice.file_position, into);
      } else {
        std::memcpy(into.data(), slice.data, into.size());
      }
      at += into.size();
    }
    if (result.pin != nullptr) result.pin->release();
    if (at == 0) throw std::runtime_error("a read gave nothing");
    return at;
  }
  std::uint64_t read_bare(const Place& from, std::uint64_t bytes_max) {
    const std::uint64_t left = static_cast<std::uint64_t>(batches_ - from.batch) * shape_.batch_bytes;
    const std::uint64_t whole = std::max<std::uint64_t>(bytes_max / shape_.batch_bytes, 1) * shape_.batch_bytes;
    const std::uint64_t bytes = std::min(left, whole);
    read_file(fds_[from.partition], static_cast<std::uint64_t>(from.batch) * shape_.batch_bytes,
              MutableBytes(buffer_).first(static_cast<std::size_t>(bytes)));
    return bytes;
  }

 private:
  const Shape shape_;
  const ScratchDirectory directory_;
  Engine engine_;
  const std::int64_t batches_;  ///< per partition
  std::vector<std::byte> buffer_;
  std::vector<int> fds_;
};

struct Burst {
  double seconds = 0;
  std::uint64_t bytes = 0;
  std::uint64_t reads = 0;
  [[nodiscard]] double rate() const { return static_cast<double>(bytes) / seconds; }
};

/// One burst of `read`, from `place` on.
template <class Read>
Burst burst(const Stored& stored, bool sequential, std::mt19937_64& random, Stored::Place* place, Read read) {
  Burst done;
  const Clock::time_point start = Clock::now();
  if (sequential) {
    while (done.bytes < kBurstBytes) {
      const std::uint64_t bytes = read(*place, kReadBytes);
      *place = stored.behind(*place, bytes);
      done.bytes += bytes;
      ++done.reads;
    }
  } else {
    for (; done.reads < kBurstReads; ++done.reads) done.bytes += read(stored.any(random), 1);
  }
  done.seconds = seconds_since(start);
  return done;
}

void read(benchmark::State& state, const std::string& engine, const PluginOptions& options, const Shape& shape, bool sequential,
          int partitions) {
  try {
    Stored stored(engine, options, shape, partitions);
    std::mt19937_64 random(1);
    Stored::Place place{};
    Stored::Place bare_place{};
    std::vector<float> latencies_us;
    std::vector<double> ratios;
    const auto timed_read = [&](const Stored::Place& from, std::uint64_t bytes_max) {
      const Clock::time_point before = Clock::now();
      const std::uint64_t bytes = stored.read(from, bytes_max);
      latencies_us.push_back(std::chrono::duration<float, std::micro>(Clock::now() - before).count());
      return bytes;
    };
    const auto bare_read = [&](const Stored::Place& from, std::uint64_t bytes_max) {
      return stored.read_bare(from, bytes_max);
    };
    latencies_us.reserve(std::size_t{65536} * 4);
    (void)burst(stored, sequential, random, &place, timed_read);
    (void)burst(stored, sequential, random, &bare_place, bare_read);
    latencies_us.clear();
    std::uint64_t allocated = 0;
    Burst all;
    for (auto _ : state) {
      const std::uint64_t allocations_before = allocations();
      const Burst one = burst(stored, sequential, random, &place, timed_read);
      allocated += allocations() - allocations_before;
      const Burst bare = burst(stored, sequential, random, &bare_place, bare_read);
      ratios.push_back(one.rate() / bare.rate());
      all.bytes += one.bytes;
      all.reads += one.reads;
      state.SetIterationTime(one.seconds);
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(all.bytes));
    std::sort(latencies_us.begin(), latencies_us.end());
    const auto reads = static_cast<double>(all.reads);
    state.counters["reads_per_second"] = benchmark::Counter(reads, benchmark::Counter::kIsRate);
    state.counters["ratio"] = median(ratios);
    state.counters["p50_us"] = latencies_us[latencies_us.size() / 2];
    state.counters["p99_us"] = latencies_us[latencies_us.size() * 99 / 100];
    state.counters["allocs"] = static_cast<double>(allocated) / reads;
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
}

const int registered = [] {
  static constexpr Shape kShapes[] = {{"1KiB", 1024, 1}, {"64KiB", 65536, 64}};
  for (const char* engine : {"wal", "mmap", "memory"}) {
    const bool volatile_engine = std::string(engine) == "memory";
    const PluginOptions options = {volatile_engine ? std::pair("capacity", "512MiB") : std::pair("durability", "pagecache")};
    for (const bool sequential : {true, false}) {
      for (const Shape& shape : kShapes) {
        for (const int partitions : {1, 64}) {
          const std::string name = std::string("storage/read/") + engine + (sequential ? "/sequential/" : "/random/") +
                                   shape.name + "/" + std::to_string(partitions);
          benchmark::RegisterBenchmark(name.c_str(),
                                       [=, &shape, plugin = std::string("storage-") + engine](benchmark::State& state) {
                                         read(state, plugin, options, shape, sequential, partitions);
                                       })
              ->UseManualTime()
              ->Iterations(24)
              ->Unit(benchmark::kMillisecond);
        }
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace streambus::bench
