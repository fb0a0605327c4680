#include "streambus/base/batch_builder.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "allocation_count.hpp"
#include "librdkafka_batches.hpp"
#include "streambus/base/buffer_pool.hpp"
#include "streambus/base/misuse.hpp"

namespace streambus {
namespace {

BufferPoolSettings pooled(std::size_t bytes_max = std::size_t{512} << 20) {
  BufferPoolSettings settings;
  settings.plain_malloc = false;
  settings.bytes_max = bytes_max;
  return settings;
}

/// The records of librdkafka_batches.hpp.
void append_known_records(BatchBuilder& builder) {
  const RecordHeader headers[] = {{"trace", as_bytes("abc")}, {"null", std::nullopt}};
  const std::int64_t start = 1'700'000'000'000;
  const auto value = [](int i) { return "value " + std::to_string(i) + ": the quick brown fox the quick brown fox "; };
  ASSERT_TRUE(builder.append({.timestamp_ms = start, .key = as_bytes("key-0"), .value = as_bytes(value(0)), .headers = {}}));
  ASSERT_TRUE(
      builder.append({.timestamp_ms = start + 7, .key = as_bytes("key-1"), .value = as_bytes(value(1)), .headers = headers}));
  ASSERT_TRUE(builder.append({.timestamp_ms = start + 14, .key = {}, .value = as_bytes(value(2)), .headers = {}}));
  ASSERT_TRUE(builder.append({.timestamp_ms = start - 79, .key = as_bytes("key-3"), .value = {}, .headers = {}}));
}

constexpr BatchStamp kKnownStamp{.leader_epoch = 0};

class BatchBuilderTest : public testing::Test {
 protected:
  BufferPool pool_{pooled()};
  BatchBuilder builder_{pool_};
  MessageBuffer out_{pool_};
};

TEST_F(BatchBuilderTest, WritesTheBytesThatLibrdkafkaWrites) {
  append_known_records(builder_);
  const std::vector<std::byte> expected = test::from_hex(test::kLibrdkafkaNone);
  EXPECT_EQ(builder_.estimated_bytes(), expected.size());
  ASSERT_TRUE(builder_.finish(kKnownStamp, out_).ok());
  EXPECT_EQ(std::vector<std::byte>(out_.view().begin(), out_.view().end()), expected);
}

TEST_F(BatchBuilderTest, FinishesInPlaceWithTheSameBytes) {
  append_known_records(builder_);
  SharedSlice batch;
  ASSERT_TRUE(builder_.finish(kKnownStamp, &batch).ok());
  EXPECT_EQ(std::vector<std::byte>(batch.bytes.begin(), batch.bytes.end()), test::from_hex(test::kLibrdkafkaNone));
  ASSERT_TRUE(builder_.append({.timestamp_ms = 1, .key = {}, .value = as_bytes("next"), .headers = {}}));
  EXPECT_EQ(std::vector<std::byte>(batch.bytes.begin(), batch.bytes.end()), test::from_hex(test::kLibrdkafkaNone))
      << "the next batch must not be built over one that is still held";
}

TEST_F(BatchBuilderTest, StampsTheProducer) {
  ASSERT_TRUE(builder_.append({.timestamp_ms = 5, .key = {}, .value = {}, .headers = {}}));
  ASSERT_TRUE(builder_
                  .finish({.base_offset = Offset{99},
                           .leader_epoch = 3,
                           .producer_id = 1'000'000'000'007,
                           .producer_epoch = 12,
                           .base_sequence = std::numeric_limits<std::int32_t>::max(),
                           .transactional = true,
                           .log_append_time = true},
                          out_)
                  .ok());
  std::size_t bytes = 0;
  ASSERT_TRUE(check_batch(out_.view(), &bytes).ok());
  const BatchHeader header(out_.view().data());
  EXPECT_EQ(header.base_offset(), Offset{99});
  EXPECT_EQ(header.leader_epoch(), 3);
  EXPECT_EQ(header.producer_id(), 1'000'000'000'007);
  EXPECT_EQ(header.producer_epoch(), 12);
  EXPECT_EQ(header.base_sequence(), std::numeric_limits<std::int32_t>::max());
  EXPECT_TRUE(header.transactional());
  EXPECT_TRUE(header.log_append_time());
  EXPECT_FALSE(header.control());
}

TEST_F(BatchBuilderTest, AppendsBatchesOneAfterAnother) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(builder_.append({.timestamp_ms = i, .key = {}, .value = as_bytes("x"), .headers = {}}));
    ASSERT_TRUE(builder_.finish({.base_offset = Offset{i}}, out_).ok());
    EXPECT_TRUE(builder_.empty());
  }
  Bytes left = out_.view();
  for (int i = 0; i < 3; ++i) {
    std::size_t bytes = 0;
    ASSERT_TRUE(check_batch(left, &bytes).ok());
    EXPECT_EQ(BatchHeader(left.data()).base_offset(), Offset{i});
    EXPECT_EQ(BatchHeader(left.data()).base_timestamp(), i);
    left = left.subspan(bytes);
  }
  EXPECT_TRUE(left.empty());
}

TEST_F(BatchBuilderTest, TellsTheExactSizeOfARecord) {
  const std::string large(70'000, 'v');
  for (const std::size_t length : {0U, 1U, 57U, 58U, 63U, 64U, 8'000U, 8'191U, 8'192U, 70'000U}) {
    const Record record{.timestamp_ms = static_cast<std::int64_t>(length) * 1'000,
                        .key = as_bytes("k"),
                        .value = as_bytes(large).first(length),
                        .headers = {}};
    const std::size_t predicted = builder_.record_bytes(record);
    const std::size_t before = builder_.estimated_bytes();
    ASSERT_TRUE(builder_.append(record));
    EXPECT_EQ(builder_.estimated_bytes() - before, predicted) << length;
  }
}

TEST_F(BatchBuilderTest, SurvivesTimestampsOfAnyDistance) {
  constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t time : {kMax, kMin, std::int64_t{0}, kMax}) {
    ASSERT_TRUE(builder_.append({.timestamp_ms = time, .key = {}, .value = {}, .headers = {}}));
  }
  ASSERT_TRUE(builder_.finish({}, out_).ok());
  const BatchHeader header(out_.view().data());
  EXPECT_EQ(header.max_timestamp(), kMax);
  RecordReader reader(out_.view().subspan(kBatchHeaderBytes), 4);
  RecordView record;
  for (const std::int64_t time : {kMax, kMin, std::int64_t{0}, kMax}) {
    ASSERT_TRUE(reader.next(record));
    EXPECT_EQ(static_cast<std::int64_t>(static_cast<std::uint64_t>(header.base_timestamp()) +
                                        static_cast<std::uint64_t>(record.timestamp_delta_ms)),
              time);
  }
}

TEST_F(BatchBuilderTest, AllocatesNothingPerRecord) {
  const auto build = [&] {
    for (int i = 0; i < 1'000; ++i)
      ASSERT_TRUE(builder_.append({.timestamp_ms = i, .key = as_bytes("key"), .value = as_bytes("value"), .headers = {}}));
    out_.reset();
    ASSERT_TRUE(builder_.finish({}, out_).ok());
  };
  build();
  const std::size_t before = test::allocations();
  build();
  EXPECT_EQ(test::allocations(), before);
}

TEST_F(BatchBuilderTest, RefusesToFinishNothing) {
  SharedSlice slice;
  EXPECT_EQ(builder_.finish({}, out_).code, ErrorCode::invalid_argument);
  EXPECT_EQ(builder_.finish({}, &slice).code, ErrorCode::invalid_argument);
  EXPECT_EQ(out_.size(), 0U);
}

TEST_F(BatchBuilderTest, RefusesARecordThatPassesTheFormatsLimit) {
  // 2 GiB of address space that is never touched: the builder must refuse by the length alone.
  const Record record{.timestamp_ms = 0,
                      .key = Bytes(static_cast<const std::byte*>(nullptr), std::size_t{1} << 31),
                      .value = {},
                      .headers = {}};
  EXPECT_FALSE(builder_.append(record));
  EXPECT_TRUE(builder_.ok()) << "not for want of memory";
  EXPECT_TRUE(builder_.empty());
}

TEST(BatchBuilderBoundTest, KeepsTheBatchWhenMemoryRunsOut) {
  BufferPool pool(pooled(std::size_t{1} << 20));
  BatchBuilder builder(pool);
  const std::string large(40'000, 'v');
  int appended = 0;
  while (builder.append({.timestamp_ms = 0, .key = {}, .value = as_bytes(large), .headers = {}})) ++appended;
  EXPECT_FALSE(builder.ok());
  EXPECT_EQ(builder.record_count(), appended);
  SharedSlice batch;
  ASSERT_TRUE(builder.finish({}, &batch).ok()) << "what was appended can be finished";
  std::size_t bytes = 0;
  EXPECT_TRUE(check_batch(batch.bytes, &bytes).ok());
  EXPECT_EQ(BatchHeader(batch.bytes.data()).record_count(), appended);
}

}  // namespace
}  // namespace streambus
