#include "producer_table.hpp"

#include <gtest/gtest.h>

#include "meta_file.hpp"

namespace streambus::broker {
namespace {

constexpr std::int32_t kSequenceMax = 0x7fffffff;

class ProducerTableTest : public ::testing::Test {
 protected:
  ProducerTable::Verdict check(std::int32_t sequence, std::int32_t count = 1, std::int16_t epoch = 0, std::int64_t id = 7) {
    return table.check({id, epoch, sequence, count});
  }
  void append(std::int32_t sequence, std::int32_t count = 1, std::int16_t epoch = 0, std::int64_t id = 7,
              std::int64_t now = 0) {
    const ProducerStamp stamp{id, epoch, sequence, count};
    ASSERT_EQ(table.check(stamp).error, ErrorCode::ok);
    table.record(stamp, {sequence, stamp.last_sequence(), {next}, {next + count - 1}, 99}, now);
    next += count;
  }
  ProducerTable table;
  std::int64_t next = 0;
};

TEST_F(ProducerTableTest, AnUnknownProducerBeginsAtZero) {
  EXPECT_EQ(check(0).error, ErrorCode::ok);
  EXPECT_EQ(check(5).error, ErrorCode::unknown_producer);
}

TEST_F(ProducerTableTest, SequencesAreDense) {
  append(0, 10);
  EXPECT_EQ(check(10).error, ErrorCode::ok);
  EXPECT_EQ(check(11).error, ErrorCode::out_of_order_sequence);
  EXPECT_EQ(check(11).expected_sequence, 10);
  EXPECT_EQ(check(9, 2).error, ErrorCode::out_of_order_sequence) << "half old, half new";
}

TEST_F(ProducerTableTest, TheLastFiveBatchesAreFoundAgain) {
  for (std::int32_t i = 0; i < 7; ++i) append(i * 10, 10);
  for (std::int32_t i = 2; i < 7; ++i) {
    const auto verdict = check(i * 10, 10);
    ASSERT_NE(verdict.duplicate, nullptr) << i;
    EXPECT_EQ(verdict.duplicate->first.value, i * 10);
    EXPECT_EQ(verdict.duplicate->last.value, i * 10 + 9);
  }
  EXPECT_EQ(check(10, 10).error, ErrorCode::duplicate_sequence) << "appended, but too long ago to say where";
  EXPECT_EQ(check(20, 5).duplicate, nullptr) << "not the same batch";
}

TEST_F(ProducerTableTest, AnOlderEpochIsFencedAndANewerOneBeginsAtZero) {
  append(0, 5, 3);
  EXPECT_EQ(check(5, 1, 2).error, ErrorCode::producer_fenced);
  EXPECT_EQ(check(5, 1, 4).error, ErrorCode::out_of_order_sequence);
  append(0, 2, 4);
  EXPECT_EQ(check(5, 1, 3).error, ErrorCode::producer_fenced);
  EXPECT_EQ(check(2, 1, 4).error, ErrorCode::ok);
  EXPECT_NE(check(0, 2, 4).duplicate, nullptr);
  EXPECT_EQ(check(0, 5, 4).duplicate, nullptr) << "a batch of the older epoch is not remembered as this one's";
}

TEST_F(ProducerTableTest, SequencesWrap) {
  EXPECT_EQ(advance_sequence(kSequenceMax, 1), 0);
  EXPECT_EQ(advance_sequence(kSequenceMax - 1, 5), 3);
  const ProducerStamp stamp{7, 0, 0, 1};
  table.record(stamp, {kSequenceMax - 1, kSequenceMax - 1, {0}, {0}, 0}, 0);
  append(kSequenceMax, 3);  // ends at sequence 1
  EXPECT_NE(check(kSequenceMax, 3).duplicate, nullptr);
  EXPECT_EQ(check(2).error, ErrorCode::ok);
  EXPECT_EQ(check(3).error, ErrorCode::out_of_order_sequence);
  EXPECT_EQ(check(kSequenceMax - 5).error, ErrorCode::duplicate_sequence);
}

TEST_F(ProducerTableTest, SurvivesEncoding) {
  for (std::int32_t i = 0; i < 7; ++i) append(i, 1, 2);
  append(0, 3, 0, 8);
  MetaWriter out;
  table.encode(out);
  ByteReader in(out.bytes());
  table = {};
  ASSERT_TRUE(table.decode(in, 0));
  EXPECT_EQ(table.size(), 2U);
  EXPECT_EQ(check(7, 1, 2).error, ErrorCode::ok);
  EXPECT_EQ(check(8, 1, 2).error, ErrorCode::out_of_order_sequence);
  ASSERT_NE(check(2, 1, 2).duplicate, nullptr);
  EXPECT_EQ(check(2, 1, 2).duplicate->first.value, 2);
  EXPECT_EQ(check(2, 1, 2).duplicate->max_timestamp, 99);
  EXPECT_EQ(check(1, 1, 2).error, ErrorCode::duplicate_sequence);
  EXPECT_EQ(check(3, 1, 0, 8).error, ErrorCode::ok);
}

TEST_F(ProducerTableTest, ACutEncodingIsRefusedAtEveryLength) {
  append(0);
  append(1);
  MetaWriter out;
  table.encode(out);
  for (std::size_t length = 0; length < out.bytes().size(); ++length) {
    ByteReader in(out.bytes().first(length));
    ProducerTable other;
    EXPECT_FALSE(other.decode(in, 0)) << length;
  }
}

TEST_F(ProducerTableTest, IdleProducersExpire) {
  append(0, 1, 0, 1, 100);
  append(0, 1, 0, 2, 200);
  table.expire(150);
  EXPECT_EQ(table.size(), 1U);
  EXPECT_EQ(check(1, 1, 0, 2).error, ErrorCode::ok);
  EXPECT_EQ(check(1, 1, 0, 1).error, ErrorCode::unknown_producer);
}

TEST_F(ProducerTableTest, IsBounded) {
  for (std::int64_t id = 0; id < static_cast<std::int64_t>(ProducerTable::kProducersMax) + 10; ++id) {
    ASSERT_TRUE(table.prepare(id));
    table.record({id, 0, 0, 1}, {0, 0, {id}, {id}, 0}, id);
  }
  EXPECT_LE(table.size(), ProducerTable::kProducersMax);
  EXPECT_GE(table.size(), ProducerTable::kProducersMax / 2);
  EXPECT_EQ(check(1, 1, 0, ProducerTable::kProducersMax + 9).error, ErrorCode::ok) << "the newest stay";
  EXPECT_EQ(check(1, 1, 0, 0).error, ErrorCode::unknown_producer) << "the longest idle go";
}

TEST_F(ProducerTableTest, APreparedProducerThatAppendedNothingLeavesNoTrace) {
  ASSERT_TRUE(table.prepare(5));
  EXPECT_EQ(check(3, 1, 0, 5).error, ErrorCode::unknown_producer);
  table.discard_unused(5);
  EXPECT_EQ(table.size(), 0U);
  append(0);
  table.discard_unused(7);
  EXPECT_EQ(table.size(), 1U);
}

}  // namespace
}  // namespace streambus::broker
