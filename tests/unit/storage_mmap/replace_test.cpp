// Replacement of batches, as compaction uses it.

#include <atomic>
#include <thread>

#include "mmap_fixture.hpp"

namespace streambus::storage_mmap {
namespace {

constexpr PartitionSettings kSmall{.segment_bytes = 2048};
constexpr int kBatches = 24;

/// Gives a row of batches, one at a time.
class Row final : public BatchSource {
 public:
  explicit Row(std::vector<std::vector<std::byte>> batches, Status end = {}) : batches_(std::move(batches)), end_(end) {}
  Status next(Bytes* batches) noexcept override {
    *batches = {};
    if (at_ == batches_.size()) return end_;
    *batches = batches_[at_++];
    return {};
  }

 private:
  std::vector<std::vector<std::byte>> batches_;
  Status end_;
  std::size_t at_ = 0;
};

class MmapReplace : public MmapTest {
 protected:
  static std::vector<std::byte> batch(std::int64_t base) { return make_batch({.base = base, .body_bytes = 300}); }
  static std::vector<std::vector<std::byte>> some(std::int64_t from, std::int64_t to, std::int64_t step) {
    std::vector<std::vector<std::byte>> all;
    for (std::int64_t base = from; base < to; base += step) all.push_back(batch(base));
    return all;
  }
  static std::vector<std::byte> joined(const std::vector<std::vector<std::byte>>& batches) {
    std::vector<std::byte> all;
    for (const std::vector<std::byte>& one : batches) all.insert(all.end(), one.begin(), one.end());
    return all;
  }
  void fill() {
    start();
    open(kSmall);
    for (int i = 0; i < kBatches; ++i) append(i, {.body_bytes = 300});
    work();
  }
};

TEST_F(MmapReplace, SegmentEndsAreThoseOfSealedSegments) {
  fill();
  EXPECT_EQ(log_->segment_end({0}).value, 5);
  EXPECT_EQ(log_->segment_end({4}).value, 5);
  EXPECT_EQ(log_->segment_end({5}).value, 10);
  EXPECT_EQ(log_->segment_end({kBatches - 1}), kNoOffset) << "appended to";
}

TEST_F(MmapReplace, KeepsOffsetsTimesAndEnds) {
  fill();
  Row kept(some(1, 15, 3));  // 1 4 7 10 13
  const LogState before = log_->state();
  const Status status = log_->replace({0}, {15}, kept);
  ASSERT_TRUE(status.ok()) << status.text;
  std::vector<std::byte> expected = joined(some(1, 15, 3));
  const std::vector<std::byte> rest = joined(some(15, kBatches, 1));
  expected.insert(expected.end(), rest.begin(), rest.end());
  const auto check = [&] {
    EXPECT_EQ(log_->state().start, before.start);
    EXPECT_EQ(log_->state().end, before.end);
    EXPECT_EQ(log_->state().bytes, expected.size());
    for (const std::uint64_t bytes_max : {1ULL, 400ULL, 100'000ULL}) EXPECT_EQ(content(bytes_max), expected);
    for (const auto& [from, base] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 1}, {2, 4}, {5, 7}, {13, 13}, {14, 15}}) {
      const ReadResult result = read(from, 400);
      ASSERT_EQ(result.slice_count, 1U) << from;
      EXPECT_EQ(BatchHeader(bytes_of(result).data()).base_offset().value, base) << from;
      result.pin->release();
    }
    Offset found;
    ASSERT_TRUE(log_->find_time(1000, &found).ok());
    EXPECT_EQ(found.value, 1);
  };
  check();
  append(kBatches, {.body_bytes = 300});
  const std::vector<std::byte> last = batch(kBatches);
  expected.insert(expected.end(), last.begin(), last.end());
  work();
  EXPECT_EQ(content(), expected);
  crash();
  restart();
  open(kSmall);
  EXPECT_EQ(content(), expected);
  close_and_stop();
  case_.options = {{"verify_on_open", "true"}};
  restart();
  open(kSmall);
  EXPECT_EQ(content(), expected);
}

TEST_F(MmapReplace, MayLeaveNothingAndMayBeDoneAgain) {
  fill();
  Row nothing({});
  ASSERT_TRUE(log_->replace({5}, {10}, nothing).ok());
  std::vector<std::byte> expected = joined(some(0, 5, 1));
  const std::vector<std::byte> rest = joined(some(10, kBatches, 1));
  expected.insert(expected.end(), rest.begin(), rest.end());
  EXPECT_EQ(content(), expected);
  const ReadResult over = read(7, 400);
  EXPECT_EQ(BatchHeader(bytes_of(over).data()).base_offset().value, 10);
  over.pin->release();
  crash();
  restart();
  open(kSmall);
  EXPECT_EQ(content(), expected);
  EXPECT_EQ(log_->segment_end({6}).value, 10) << "still a segment, with nothing in it";
  Row again(some(2, 3, 1));
  ASSERT_TRUE(log_->replace({0}, {10}, again).ok());
  expected = joined(some(2, 3, 1));
  expected.insert(expected.end(), rest.begin(), rest.end());
  EXPECT_EQ(content(), expected);
  ASSERT_TRUE(log_->apply({.retention_bytes = 1, .segment_bytes = 2048}).ok());
  ASSERT_TRUE(log_->retain(host().wall_ms()).ok());
  EXPECT_EQ(log_->state().start.value, 20);
}

TEST_F(MmapReplace, OneTooLongForASegmentBecomesSeveral) {
  start();
  open({.segment_bytes = 20'000});
  for (int i = 0; i < 60; ++i) append(i, {.body_bytes = 300});
  work();
  ASSERT_TRUE(log_->apply(kSmall).ok());
  const Offset end = log_->segment_end({0});
  Row all(some(0, end.value, 1));
  ASSERT_TRUE(log_->replace({0}, end, all).ok());
  EXPECT_GT(log_->state().segments, 5U);
  EXPECT_EQ(content(), appended_);
  close_and_stop();
  restart();
  open(kSmall);
  EXPECT_EQ(content(), appended_);
}

TEST_F(MmapReplace, RefusesWhatDoesNotFitAndChangesNothing) {
  fill();
  const std::vector<std::string> before = files_.paths();
  std::vector<std::byte> broken = batch(6);
  broken.back() ^= std::byte{1};
  const auto refuse = [&](std::int64_t from, std::int64_t to, std::vector<std::vector<std::byte>> batches) {
    Row row(std::move(batches));
    EXPECT_EQ(log_->replace({from}, {to}, row).code, ErrorCode::invalid_argument) << from << " " << to;
  };
  refuse(5, 9, {});
  refuse(6, 10, {});
  refuse(5, kBatches, {});
  refuse(10, 5, {});
  refuse(5, 10, some(9, 11, 1));
  refuse(5, 10, {batch(7), batch(6)});
  refuse(5, 10, {broken});
  refuse(5, 10, {std::vector<std::byte>(100)});
  Row fails(some(5, 7, 1), {ErrorCode::cancelled, "stopping"});
  EXPECT_EQ(log_->replace({5}, {10}, fails).code, ErrorCode::cancelled);
  EXPECT_EQ(content(), appended_);
  EXPECT_EQ(files_.paths(), before) << "nothing is left of the attempts";
}

TEST_F(MmapReplace, HeldSlicesStay) {
  fill();
  const ReadResult held = read(0);
  const std::vector<std::byte> bytes = bytes_of(held);
  Row nothing({});
  ASSERT_TRUE(log_->replace({0}, {5}, nothing).ok());
  EXPECT_FALSE(files_.exists(segment(0)));
  EXPECT_EQ(bytes_of(held), bytes);
  held.pin->release();
}

/// Old or new, and nothing between, whatever happens at whichever operation.
class MmapReplaceFaults : public MmapReplace {
 protected:
  template <class After>
  void at_every_operation(const test::FaultPlan& pattern, After after) {
    const std::vector<std::byte> old_content = joined(some(0, kBatches, 1));
    std::vector<std::byte> new_content = joined(some(1, 15, 3));
    const std::vector<std::byte> rest = joined(some(15, kBatches, 1));
    new_content.insert(new_content.end(), rest.begin(), rest.end());
    int news = 0;
    for (std::uint64_t at = 1;; ++at) {
      ASSERT_LT(at, 500U);
      FaultFileSystem files;
      EngineUnderTest under_test(case_, files, StorageHost::Workers::test);
      ASSERT_TRUE(under_test.start().ok());
      ASSERT_TRUE(under_test.engine().open(kKey, {}, kSmall, &log_).ok());
      for (int i = 0; i < kBatches; ++i) append(i, {.body_bytes = 300});
      (void)under_test.host().run_work();
      test::FaultPlan plan = pattern;
      plan.at = at;
      files.plan(plan);
      Row kept(some(1, 15, 3));
      const Status status = log_->replace({0}, {15}, kept);
      const bool fired = files.fired();
      (void)std::exchange(log_, nullptr)->close();
      under_test.destroy();
      files.heal();
      after(files, at);
      ASSERT_TRUE(under_test.start().ok());
      const Status opened = under_test.engine().open(kKey, {}, kSmall, &log_);
      ASSERT_TRUE(opened.ok()) << "operation " << at << ": " << opened.text;
      const std::vector<std::byte> found = content();
      ASSERT_TRUE(found == old_content || found == new_content) << "operation " << at;
      news += found == new_content ? 1 : 0;
      if (status.ok()) {
        EXPECT_EQ(found, new_content) << "operation " << at;
      }
      EXPECT_EQ(log_->state().end.value, kBatches);
      ASSERT_TRUE(std::exchange(log_, nullptr)->close().ok());
      if (!fired) break;
    }
    EXPECT_GT(news, 1);
  }
  MmapReplaceFaults() { case_ = {"mmap", &streambus_plugin_storage_mmap, {}}; }
};

TEST_F(MmapReplaceFaults, Killed) {
  at_every_operation({.kinds = test::kChanges, .halt = true, .torn_permille = 500}, [](FaultFileSystem&, std::uint64_t) {});
}

TEST_F(MmapReplaceFaults, PowerCut) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    at_every_operation({.kinds = test::kChanges, .halt = true, .torn_permille = 500},
                       [seed](FaultFileSystem& files, std::uint64_t at) {
                         files.cut_power(seed == 0 ? PowerCut::nothing : PowerCut::any, seed * 1000 + at);
                       });
  }
}

TEST_F(MmapReplaceFaults, EveryOperationFailsOnce) {
  for (const int error : {EIO, ENOSPC, EMFILE}) {
    at_every_operation({.errno_value = error, .torn_permille = 500}, [](FaultFileSystem&, std::uint64_t) {});
    at_every_operation({.errno_value = error},
                       [](FaultFileSystem& files, std::uint64_t at) { files.cut_power(PowerCut::any, at); });
  }
}

TEST_F(MmapReplaceFaults, ReadersAndTheAppenderGoOn) {
  FaultFileSystem files;
  EngineUnderTest under_test(case_, files);
  ASSERT_TRUE(under_test.start().ok());
  ASSERT_TRUE(under_test.engine().open(kKey, {}, kSmall, &log_).ok());
  for (int i = 0; i < 200; ++i) append(i, {.body_bytes = 300});
  std::atomic<bool> done{false};
  std::atomic<int> problems{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      while (!done.load()) {
        std::int64_t last = -1;
        for (Offset from{0}; from < Offset{200};) {
          ReadResult result;
          if (!log_->read({.from = from, .limit = {200}, .bytes_max = 1500, .at_least_one = true}, &result).ok()) {
            ++problems;
            return;
          }
          if (result.slice_count == 0) break;
          const std::vector<std::byte> bytes = bytes_of(result);
          result.pin->release();
          for (std::size_t at = 0; at < bytes.size(); at += 361) {
            const std::int64_t base = BatchHeader(bytes.data() + at).base_offset().value;
            if (base <= last || Bytes(bytes).subspan(at, 361).size() != 361 ||
                !std::ranges::equal(Bytes(bytes).subspan(at, 361), Bytes(batch(base))))
              ++problems;
            last = base;
          }
          from = result.next;
        }
        Offset found;
        if (!log_->find_time(1000, &found).ok() || found == kNoOffset) ++problems;
      }
    });
  }
  threads.emplace_back([&] {
    for (int round = 1; round <= 20; ++round) {
      Row kept(some(0, 100, round));
      if (!log_->replace({0}, {100}, kept).ok()) ++problems;
    }
    done = true;
  });
  for (int i = 200; i < 600; ++i) append(i, {.body_bytes = 300});
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(problems.load(), 0);
  ASSERT_TRUE(std::exchange(log_, nullptr)->close().ok());
}

}  // namespace
}  // namespace streambus::storage_mmap
