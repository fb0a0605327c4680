// The memory engine at its bound: what is refused, what is evicted, and when memory is used again.

#include <gtest/gtest.h>

#include "chunk.hpp"
#include "copy.hpp"
#include "streambus/conformance/engine_under_test.hpp"
#include "streambus/conformance/fault_file_system.hpp"
#include "streambus/conformance/storage_batches.hpp"

extern "C" const streambus::PluginDescriptor streambus_plugin_storage_memory;

namespace streambus::storage_memory {
namespace {

using test::EngineCase;
using test::EngineUnderTest;
using test::make_batch;

TEST(ChunkPoolTest, ChunksAreUsedAgainWhileWarmAndOnlyWhenNobodyHoldsThem) {
  const Ref<ChunkPool> pool = ChunkPool::make(8 << 20);
  Ref<Chunk> chunk = pool->acquire(1 << 20);
  ASSERT_TRUE(chunk);
  const std::byte* const memory = chunk->data();
  EXPECT_EQ(pool->lent_bytes(), 2U << 20);
  Ref<Chunk> reader = chunk;
  chunk.reset();
  EXPECT_NE(pool->acquire(1 << 20)->data(), memory) << "a reader holds it";
  reader.reset();
  EXPECT_EQ(pool->lent_bytes(), 0U);
  EXPECT_EQ(pool->acquire(1 << 20)->data(), memory);
}

TEST(CopyTest, EveryLengthAndAlignmentArrivesAndNothingBesides) {
  constexpr std::size_t kLarge = std::size_t{128} << 10;
  std::vector<std::byte> from(kLarge + 4096);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(1 + i % 251);
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{1}, kLarge - 1, kLarge, kLarge + 1, kLarge + 63, kLarge + 64, kLarge + 1000}) {
    for (const std::size_t offset : {0U, 1U, 17U, 63U}) {
      std::vector<std::byte> to(bytes + 256);
      copy_past_cache(to.data() + offset, Bytes(from).subspan(offset, bytes));
      ASSERT_TRUE(std::equal(from.begin() + static_cast<std::ptrdiff_t>(offset),
                             from.begin() + static_cast<std::ptrdiff_t>(offset + bytes),
                             to.begin() + static_cast<std::ptrdiff_t>(offset)))
          << bytes << " bytes at " << offset;
      EXPECT_EQ(std::ranges::count(to, std::byte{0}), static_cast<std::ptrdiff_t>(256)) << bytes << " bytes at " << offset;
    }
  }
}

TEST(ChunkPoolTest, TheBoundCountsMemoryOfAllSizes) {
  const Ref<ChunkPool> pool = ChunkPool::make(4 << 20);
  std::vector<Ref<Chunk>> chunks;
  for (int i = 0; i < 64; ++i) chunks.push_back(pool->acquire(65536));
  ASSERT_TRUE(chunks.back());
  EXPECT_FALSE(pool->acquire(1));
  chunks.clear();
  EXPECT_TRUE(pool->acquire(4 << 20)) << "what was kept in other sizes makes room";
  EXPECT_FALSE(pool->acquire((4 << 20) + 1));
}

TEST(ChunkPoolTest, ChunksOutliveThePool) {
  Ref<ChunkPool> pool = ChunkPool::make(4 << 20);
  Ref<Chunk> chunk = pool->acquire(100);
  pool.reset();
  chunk->data()[99] = std::byte{1};
  chunk.reset();  // the last reference to the pool's memory
}

class MemoryTest : public testing::Test {
 protected:
  void start(const char* when_full, const char* capacity = "4MiB") {
    case_ = {"memory", &streambus_plugin_storage_memory, {{"capacity", capacity}, {"when_full", when_full}}};
    under_test_ = std::make_unique<EngineUnderTest>(case_, files_);
    ASSERT_TRUE(under_test_->start().ok());
  }
  void TearDown() override {
    for (PartitionLog* const log : logs_) EXPECT_TRUE(log->close().ok());
  }
  PartitionLog& open(PartitionId partition) {
    PartitionLog* log = nullptr;
    EXPECT_TRUE(under_test_->engine().open({"t", test::kTopicId, partition}, {}, {}, &log).ok());
    logs_.push_back(log);
    return *log;
  }
  static Status append(PartitionLog& log, std::size_t body_bytes) {
    const Offset base = log.state().end;
    AppendResult result;
    return log.append(make_batch({.base = base.value, .body_bytes = body_bytes}), base, base + 1, 0, &result);
  }

  test::FaultFileSystem files_;
  EngineCase case_;
  std::unique_ptr<EngineUnderTest> under_test_;
  std::vector<PartitionLog*> logs_;
};

TEST_F(MemoryTest, RejectsWhenFullAndGoesOnAfterADeletion) {
  start("reject");
  PartitionLog& log = open(0);
  int count = 0;
  Status status;
  while ((status = append(log, 100'000)).ok()) ++count;
  EXPECT_EQ(status.code, ErrorCode::no_space);
  EXPECT_TRUE(is_retriable(status.code));
  EXPECT_NE(std::string(status.text).find("evict"), std::string::npos) << status.text;
  EXPECT_GT(count, 30);
  EXPECT_EQ(log.state().start.value, 0) << "nothing that was taken goes by itself";
  EXPECT_EQ(log.state().end.value, count);
  ASSERT_TRUE(log.delete_before(log.state().end).ok());
  EXPECT_TRUE(append(log, 100'000).ok());
}

TEST_F(MemoryTest, EvictsTheOldestOfAllPartitions) {
  start("evict");
  PartitionLog& first = open(0);
  PartitionLog& second = open(1);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(first, 50'000).ok());
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(append(second, 100'000).ok());
  EXPECT_EQ(first.state().start, first.state().end) << "older than all of the other's";
  EXPECT_GT(second.state().start.value, 150);
  EXPECT_EQ(second.state().end.value, 200);
  Status status;
  const std::vector<std::byte> newest = test::read_all(second, {199}, {200}, 1 << 20, &status);
  EXPECT_EQ(newest, make_batch({.base = 199, .body_bytes = 100'000}));
  EXPECT_GT(under_test_->host().metric_value("storage_evicted_bytes_total"), 10'000'000);
  EXPECT_TRUE(append(first, 50'000).ok());
}

TEST_F(MemoryTest, HeldSlicesCountAndStayWhole) {
  start("evict");
  PartitionLog& log = open(0);
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(append(log, 100'000).ok());
  std::vector<ReadResult> held;
  for (Offset from = log.state().start; from < log.state().end;) {
    ReadResult result;
    ASSERT_TRUE(log.read({.from = from, .limit = log.state().end, .bytes_max = 8 << 20}, &result).ok());
    from = result.next;
    held.push_back(result);
  }
  Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) status = append(log, 100'000);
  EXPECT_EQ(status.code, ErrorCode::no_space) << "memory that readers hold is not taken from them";
  for (const ReadResult& result : held) {
    const std::vector<std::byte> bytes = test::bytes_of(result);
    for (std::size_t position = 0; position < bytes.size();) {
      std::size_t total = 0;
      ASSERT_TRUE(check_batch(Bytes(bytes).subspan(position), &total).ok());
      position += total;
    }
    result.pin->release();
  }
  EXPECT_TRUE(append(log, 100'000).ok());
}

TEST_F(MemoryTest, BatchesAboveTheCapacityAreTooLarge) {
  start("evict");
  EXPECT_EQ(append(open(0), 5 << 20).code, ErrorCode::too_large);
}

TEST_F(MemoryTest, SmallPartitionsTakeLittle) {
  start("reject");
  for (PartitionId i = 0; i < 500; ++i) ASSERT_TRUE(append(open(i), 100).ok()) << i;
  EXPECT_LE(under_test_->host().metric_value("storage_memory_bytes"), 500 * 4096);
}

}  // namespace
}  // namespace streambus::storage_memory
