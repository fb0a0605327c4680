// Readers, appenders and retention at the same time.

#include <atomic>
#include <thread>

#include "case_lists.hpp"
#include "storage_fixture.hpp"

namespace streambus::conformance {
namespace {

/// Runs functions on threads of their own; joins at its end.
class Threads {
 public:
  template <class Function>
  void start(Function function) {
    threads_.emplace_back(std::move(function));
  }
  void join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  ~Threads() { join(); }

 private:
  std::vector<std::thread> threads_;
};

void follow(CaseContext& context) {
  StorageFixture fixture(context, {.segment_bytes = 50'000});
  const auto batches = static_cast<std::int64_t>(context.rounds(1500, 4000, 100'000));
  PartitionLog& log = fixture.log();
  Threads readers;
  for (const std::uint64_t bytes_max : {1ULL, 3000ULL, 1'000'000ULL}) {
    readers.start([&log, batches, bytes_max] {
      for (Offset from{0}; from < Offset{batches};) {
        const LogState state = log.state();
        expect(state.start <= state.durable && state.durable <= state.end, "start <= durable <= end in every state");
        if (from == state.end) {
          std::this_thread::yield();
          continue;
        }
        const Copied copied = read_once(log, {.from = from, .limit = state.end, .bytes_max = bytes_max, .at_least_one = true});
        expect_ok(copied.status, "a read beside an append");
        expect(copied.slices > 0, "a batch below the end that state() gave");
        expect_equal("base of the first batch", copied.base(), from);
        from = copied.next;
        Offset found;
        expect_ok(log.find_time(1000, &found), "find_time beside an append");
        expect_equal("what find_time gives", found, Offset{0});
      }
    });
  }
  for (std::int64_t i = 0; i < batches; ++i)
    expect_ok(fixture.append({.body_bytes = 200 + static_cast<std::size_t>(i % 7) * 50}), "append beside reads");
  readers.join();
  fixture.expect_content();
  fixture.finish();
}

void atomic_appends(CaseContext& context) {
  StorageFixture fixture(context, {.segment_bytes = 20'000});
  const auto appends = static_cast<std::int64_t>(context.rounds(300, 1000, 20'000));
  PartitionLog& log = fixture.log();
  std::atomic<bool> done{false};
  Threads readers;
  for (int i = 0; i < 2; ++i) {
    readers.start([&] {
      while (!done) {
        const Offset end = log.state().end;
        expect_equal("remainder of an end that must be a multiple of 10, for ten batches a time", end.value % 10, 0);
        if (end.value == 0) continue;
        const std::vector<std::byte> found = read_range(log, end - 10, end, 1 << 20);
        expect_equal("bytes of the last append", found.size(), 10U * 361U);
      }
    });
  }
  for (std::int64_t i = 0; i < appends; ++i) {
    std::vector<std::byte> ten;
    for (int j = 0; j < 10; ++j) {
      const std::vector<std::byte> batch = make_batch({.base = i * 10 + j, .body_bytes = 300});
      ten.insert(ten.end(), batch.begin(), batch.end());
    }
    expect_ok(log.append(ten, {i * 10}, {i * 10 + 10}, 1000, &fixture.last), "append of ten batches");
  }
  done = true;
  readers.join();
  fixture.finish();
}

void beside_retention(CaseContext& context) {
  StorageFixture fixture(context, {.retention_bytes = 20'000, .segment_bytes = 8192});
  PartitionLog& log = fixture.log();
  std::atomic<bool> done{false};
  Threads readers;
  for (int i = 0; i < 2; ++i) {
    readers.start([&] {
      while (!done) {
        const LogState state = log.state();
        const Copied copied =
            read_once(log, {.from = state.start, .limit = state.end, .bytes_max = 10'000, .at_least_one = true});
        if (copied.status.code != ErrorCode::out_of_range) expect_ok(copied.status, "a read beside retention");
      }
    });
  }
  const std::uint64_t batches = context.rounds(400, 1000, 20'000);
  for (std::uint64_t i = 0; i < batches; ++i) {
    expect_ok(fixture.append({.body_bytes = 1000}), "append");
    if (i % 10 == 0) expect_ok(log.retain(fixture.host().wall_ms()), "retain");
  }
  done = true;
  readers.join();
  fixture.finish();
}

void partitions(CaseContext& context) {
  constexpr int kPartitions = 8;
  StorageFixture fixture(context);
  std::vector<PartitionLog*> logs(kPartitions);
  for (int i = 0; i < kPartitions; ++i)
    expect_ok(fixture.engine().open({"many", "abababababababababababababababab", i}, {i * 10}, {}, &logs[i]), "open()");
  const auto batch_of = [](int partition, int round) {
    return make_batch({.base = partition * 10 + round, .seed = static_cast<std::uint64_t>(partition)});
  };
  Threads threads;
  for (int t = 0; t < 2; ++t) {
    threads.start([&, t] {
      for (int round = 0; round < 100; ++round) {
        for (int i = t; i < kPartitions; i += 2) {
          const std::int64_t base = i * 10 + round;
          AppendResult result;
          expect_ok(logs[i]->append(batch_of(i, round), {base}, {base + 1}, 0, &result), "append");
        }
      }
    });
  }
  threads.join();
  for (int i = 0; i < kPartitions; ++i) {
    std::vector<std::byte> expected;
    for (int round = 0; round < 100; ++round) {
      const std::vector<std::byte> batch = batch_of(i, round);
      expected.insert(expected.end(), batch.begin(), batch.end());
    }
    expect_bytes(fmt::format("partition {}", i), read_range(*logs[i], {i * 10}, {i * 10 + 100}, 1 << 20), expected);
    expect_ok(logs[i]->close(), "close()");
  }
  fixture.finish();
}

constexpr Case kCases[] = {
    {"storage.concurrency.follow", "Reads run beside appends and see whole batches up to the end, each once and in order.",
     Level::basic, kNothing, &follow},
    {"storage.concurrency.atomic", "An append becomes visible as a whole: no reader ever sees a part of its batches.",
     Level::basic, kNothing, &atomic_appends},
    {"storage.concurrency.retention",
     "Reads run beside retention: they give whole batches, or out_of_range where the offset went.", Level::basic, kNothing,
     &beside_retention},
    {"storage.concurrency.partitions", "Calls on different partitions run at the same time without touching each other.",
     Level::basic, kNothing, &partitions},
};

}  // namespace

std::span<const Case> storage_concurrency_cases() { return kCases; }

}  // namespace streambus::conformance
