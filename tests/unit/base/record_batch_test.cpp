#include "streambus/base/record_batch.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "librdkafka_batches.hpp"
#include "streambus/base/crc32c.hpp"

namespace streambus {
namespace {

constexpr std::int32_t kMin32 = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kMax32 = std::numeric_limits<std::int32_t>::max();

class RecordBatchTest : public testing::Test {
 protected:
  template <class T>
  void patch(std::size_t position, T value) {
    store_be(batch_.data() + position, value);
  }
  template <class T>
  void patch_and_stamp(std::size_t position, T value) {
    patch(position, value);
    stamp_batch_crc(batch_);
  }
  [[nodiscard]] Status check() const {
    std::size_t bytes = 0;
    return check_batch(batch_, &bytes);
  }

  std::vector<std::byte> batch_ = test::from_hex(test::kLibrdkafkaNone);
};

TEST_F(RecordBatchTest, ReadsTheHeaderOfARealBatch) {
  std::size_t bytes = 0;
  ASSERT_TRUE(check_batch(batch_, &bytes).ok());
  EXPECT_EQ(bytes, batch_.size());
  const BatchHeader header(batch_.data());
  EXPECT_EQ(header.base_offset(), Offset{0});
  EXPECT_EQ(header.total_bytes(), batch_.size());
  EXPECT_EQ(header.magic(), 2);
  EXPECT_EQ(header.compression(), 0);
  EXPECT_EQ(header.last_offset(), Offset{3});
  EXPECT_EQ(header.next_offset(), Offset{4});
  EXPECT_EQ(header.base_timestamp(), 1'700'000'000'000);
  EXPECT_EQ(header.max_timestamp(), 1'700'000'000'014);
  EXPECT_EQ(header.producer_id(), kNoProducerId);
  EXPECT_EQ(header.producer_epoch(), -1);
  EXPECT_EQ(header.base_sequence(), -1);
  EXPECT_EQ(header.record_count(), 4);
  EXPECT_FALSE(header.transactional() || header.control() || header.log_append_time());
}

TEST_F(RecordBatchTest, WalksTheRecordsOfARealBatch) {
  RecordReader reader(Bytes(batch_).subspan(kBatchHeaderBytes), 4);
  RecordView record;
  std::vector<std::string> keys;
  std::vector<std::int64_t> deltas;
  int index = 0;
  for (; reader.next(record); ++index) {
    EXPECT_EQ(record.offset_delta, index);
    deltas.push_back(record.timestamp_delta_ms);
    keys.push_back(record.has_key ? std::string(as_text(record.key)) : "(null)");
    EXPECT_EQ(record.header_count, index == 1 ? 2 : 0);
    EXPECT_EQ(record.has_value, index != 3);
    if (record.has_value) {
      EXPECT_EQ(as_text(record.value), "value " + std::to_string(index) + ": the quick brown fox the quick brown fox ");
    }
    if (index == 1) {
      RecordHeaderReader headers(record);
      RecordHeaderView header;
      ASSERT_TRUE(headers.next(header));
      EXPECT_EQ(header.key, "trace");
      EXPECT_EQ(as_text(header.value), "abc");
      ASSERT_TRUE(headers.next(header));
      EXPECT_EQ(header.key, "null");
      EXPECT_FALSE(header.has_value);
      EXPECT_FALSE(headers.next(header));
      EXPECT_TRUE(headers.ok());
    }
  }
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(index, 4);
  EXPECT_EQ(keys, (std::vector<std::string>{"key-0", "key-1", "(null)", "key-3"}));
  EXPECT_EQ(deltas, (std::vector<std::int64_t>{0, 7, 14, -79}));
}

TEST_F(RecordBatchTest, StampingKeepsTheChecksumValid) {
  stamp_batch(batch_.data(), Offset{123'456'789'012}, 7);
  EXPECT_TRUE(check().ok());
  EXPECT_EQ(BatchHeader(batch_.data()).base_offset(), Offset{123'456'789'012});
  EXPECT_EQ(BatchHeader(batch_.data()).leader_epoch(), 7);
}

TEST_F(RecordBatchTest, EveryFlippedBitUnderTheChecksumIsFound) {
  for (std::size_t byte = 17; byte < batch_.size(); ++byte) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      batch_[byte] ^= static_cast<std::byte>(1U << bit);
      EXPECT_EQ(check().code, ErrorCode::corrupt) << byte;
      batch_[byte] ^= static_cast<std::byte>(1U << bit);
    }
  }
}

TEST_F(RecordBatchTest, EveryTruncationIsRefused) {
  for (std::size_t length = 0; length < batch_.size(); ++length) {
    const std::vector<std::byte> cut(batch_.begin(),
                                     batch_.begin() + static_cast<std::ptrdiff_t>(length));  // its end is the heap block's
    std::size_t bytes = 0;
    EXPECT_EQ(check_batch(cut, &bytes).code, ErrorCode::corrupt) << length;
  }
}

TEST_F(RecordBatchTest, FramesTheFirstOfSeveralBatches) {
  const std::size_t first = batch_.size();
  batch_.resize(first + 100, std::byte{0xee});
  std::size_t bytes = 0;
  ASSERT_TRUE(check_batch(batch_, &bytes).ok());
  EXPECT_EQ(bytes, first);
}

TEST_F(RecordBatchTest, RefusesImpossibleLengths) {
  for (const std::int32_t length : {kMin32, -1, 0, 48}) {
    patch(8, length);
    EXPECT_EQ(check().code, ErrorCode::corrupt) << length;
  }
  patch(8, kMax32);
  EXPECT_EQ(check().message(), "record batch: expected 2147483659 bytes, found 269");
}

TEST_F(RecordBatchTest, TellsOlderFormatsApart) {
  for (const int magic : {0, 1, 3, -1}) {
    patch(16, static_cast<std::int8_t>(magic));
    std::size_t bytes = 0;
    EXPECT_EQ(frame_batch(batch_, &bytes).code, ErrorCode::unsupported_format) << magic;
  }
  const std::vector<std::byte> old_message(34, std::byte{0});  // shorter than a v2 header, as a small v0 message is
  std::size_t bytes = 0;
  EXPECT_EQ(frame_batch(old_message, &bytes).message(), "record batch magic: expected 2, found 0");
}

TEST_F(RecordBatchTest, RefusesCountsThatDoNotAgree) {
  for (const std::int32_t count : {kMin32, -1, 0, 3, 5, kMax32}) {
    patch_and_stamp(57, count);
    EXPECT_EQ(check().code, ErrorCode::invalid_record) << count;
  }
  patch(57, 4);
  for (const std::int32_t delta : {kMin32, -1, 0, 2, 4, kMax32}) {
    patch_and_stamp(23, delta);
    EXPECT_EQ(check().code, ErrorCode::invalid_record) << delta;
  }
}

/// A body of one record whose content is `content`, behind its length.
std::vector<std::byte> body_of(std::initializer_list<int> content) {
  std::vector<std::byte> body{static_cast<std::byte>(2 * content.size())};
  for (const int byte : content) body.push_back(static_cast<std::byte>(byte));
  return body;
}

bool reads_whole(const std::vector<std::byte>& body, std::int32_t count = 1) {
  RecordReader reader(body, count);
  RecordView record;
  std::int32_t found = 0;
  while (reader.next(record)) {
    ++found;
    RecordHeaderReader headers(record);
    RecordHeaderView header;
    while (headers.next(header)) {
    }
    if (!headers.ok()) return false;
  }
  return reader.ok() && found == count;
}

TEST(RecordReaderTest, AcceptsTheSmallestRecord) { EXPECT_TRUE(reads_whole(body_of({0, 0, 0, 1, 1, 0}))); }

TEST(RecordReaderTest, RefusesMalformedRecords) {
  EXPECT_FALSE(reads_whole({}));
  EXPECT_FALSE(reads_whole(body_of({}))) << "an empty record";
  EXPECT_FALSE(reads_whole(body_of({0, 0, 0, 1, 1}))) << "no header count";
  EXPECT_FALSE(reads_whole(body_of({0, 0, 0, 3, 1, 0}))) << "key length -2";
  EXPECT_FALSE(reads_whole(body_of({0, 0, 0, 4, 'k', 1, 0}))) << "key length beyond the record";
  EXPECT_FALSE(reads_whole(body_of({0, 0, 0, 1, 1, 1}))) << "header count -1";
  EXPECT_FALSE(reads_whole(body_of({0, 0, 0, 1, 1, 2}))) << "a header that is not there";
  EXPECT_FALSE(reads_whole(body_of({0, 0, 0, 1, 1, 0, 7}))) << "a byte left over behind the headers";
  EXPECT_FALSE(reads_whole(body_of({0, 0, 0, 1, 1, 2, 1, 1}))) << "a header without a key";
  EXPECT_FALSE(reads_whole(body_of({0, 0, 0, 1, 1, 2, 0, 3}))) << "header value length -2";
  EXPECT_FALSE(reads_whole(body_of({0, 0, 0xfe, 0xff, 0xff, 0xff, 0x7f, 1, 1, 0}))) << "an offset delta beyond 32 bits";
  EXPECT_FALSE(reads_whole(body_of({0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f}))) << "2^31 - 1 headers";
  EXPECT_FALSE(reads_whole({std::byte{1}, std::byte{0}})) << "record length -1";
  EXPECT_FALSE(reads_whole({std::byte{0xfe}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0x0f}}))
      << "record length 2^31 - 1";
}

TEST(RecordReaderTest, RefusesBytesBehindTheLastRecordAndMissingRecords) {
  std::vector<std::byte> body = body_of({0, 0, 0, 1, 1, 0});
  EXPECT_FALSE(reads_whole(body, 2));
  EXPECT_FALSE(reads_whole(body, -1));
  body.push_back(std::byte{0});
  EXPECT_FALSE(reads_whole(body, 1));
}

TEST(RecordReaderTest, AcceptsTheExtremesOfTheFormat) {
  const std::vector<std::byte> body =
      body_of({0,    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,  // timestamp delta -2^63
               0xfe, 0xff, 0xff, 0xff, 0x0f,                                      // offset delta 2^31 - 1
               1,    1,    2,    0,    0});
  RecordReader reader(body, 1);
  RecordView record;
  ASSERT_TRUE(reader.next(record));
  EXPECT_EQ(record.timestamp_delta_ms, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(record.offset_delta, kMax32);
  EXPECT_EQ(record.header_count, 1);
}

TEST(RecordReaderTest, SurvivesEveryTruncationOfARealBody) {
  const std::vector<std::byte> batch = test::from_hex(test::kLibrdkafkaNone);
  const Bytes body = Bytes(batch).subspan(kBatchHeaderBytes);
  for (std::size_t length = 0; length < body.size(); ++length) {
    EXPECT_FALSE(reads_whole(std::vector<std::byte>(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(length)), 4))
        << length;
  }
}

}  // namespace
}  // namespace streambus
