#include "admission.hpp"

#include "fixture.hpp"

namespace streambus::broker {
namespace {

using test::BatchBytes;
using test::joined;
using test::make_batch;
using test::make_produced;
using test::make_records;

constexpr TimestampMs kNow = 5'000'000;

class AdmissionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(codecs.add(lz4));
    ASSERT_TRUE(codecs.add(zstd));
  }
  Status admit(BatchBytes& batches) {
    workspace.out.reset();
    admitted = {};
    return broker::admit(rules, codecs, batches, kNow, workspace, &admitted);
  }
  /// Sets a field below the checksum and makes the checksum right again.
  template <class T>
  static BatchBytes changed(BatchBytes batch, std::size_t position, T value) {
    store_be(batch.data() + position, value);
    stamp_batch_crc(batch);
    return batch;
  }
  BufferPool pool;
  test::RunLengthCodec lz4{3, "lz4"}, zstd{4, "zstd"};
  CodecSet codecs;
  AdmissionRules rules;
  Workspace workspace{pool};
  AdmittedBatches admitted;
};

TEST_F(AdmissionTest, PassesBatchesThroughUntouched) {
  const BatchBytes original = joined(
      make_records(3), make_batch({.timestamps = {1, 9000, 2}, .value = std::string(100, 'x'), .stamp = {}, .codec = &lz4}));
  BatchBytes batches = original;
  const Status status = admit(batches);
  ASSERT_TRUE(status.ok()) << status.text;
  EXPECT_EQ(batches, original);
  EXPECT_EQ(admitted.bytes.data(), batches.data()) << "no copy";
  EXPECT_EQ(admitted.record_count, 6);
  EXPECT_EQ(admitted.max_timestamp, 9000);
  EXPECT_EQ(admitted.first.producer_id, -1);
}

TEST_F(AdmissionTest, RefusesWhatIsNoWholeBatch) {
  BatchBytes batch = make_records(2);
  for (std::size_t length = 0; length < batch.size(); ++length) {
    BatchBytes cut(batch.begin(), batch.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_FALSE(admit(cut).ok()) << length;
  }
  for (std::size_t position = 21; position < batch.size(); ++position) {
    BatchBytes damaged = batch;
    damaged[position] ^= std::byte{1};
    EXPECT_EQ(admit(damaged).code, ErrorCode::corrupt) << position;
  }
  BatchBytes old = batch;
  old[16] = std::byte{1};
  EXPECT_EQ(admit(old).code, ErrorCode::unsupported_format);
}

TEST_F(AdmissionTest, RefusesWhatClientsMayNotSend) {
  const BatchBytes batch = make_records(1);
  BatchBytes control = changed(batch, 21, std::int16_t{0x20});
  EXPECT_EQ(admit(control).code, ErrorCode::invalid_record);
  BatchBytes transactional = changed(batch, 21, std::int16_t{0x10});
  EXPECT_EQ(admit(transactional).code, ErrorCode::unsupported);
  BatchBytes stamped = changed(batch, 21, std::int16_t{0x08});
  EXPECT_EQ(admit(stamped).code, ErrorCode::invalid_record);
  BatchBytes no_sequence = make_produced(7, 0, -1);
  EXPECT_EQ(admit(no_sequence).code, ErrorCode::invalid_record);
  BatchBytes no_epoch = make_produced(7, -1, 0);
  EXPECT_EQ(admit(no_epoch).code, ErrorCode::invalid_record);
}

TEST_F(AdmissionTest, UnknownCodecIdsArePassedOnlyWhereTheyAreKafkas) {
  const BatchBytes batch = make_records(1);
  for (const int id : {1, 2, 3, 4}) {
    BatchBytes compressed = changed(batch, 21, static_cast<std::int16_t>(id));
    EXPECT_TRUE(admit(compressed).ok()) << id;
  }
  for (const int id : {5, 6, 7}) {
    BatchBytes compressed = changed(batch, 21, static_cast<std::int16_t>(id));
    EXPECT_EQ(admit(compressed).code, ErrorCode::unsupported_compression) << id;
  }
  const test::RunLengthCodec own(5, "own");
  ASSERT_TRUE(codecs.add(own));
  BatchBytes compressed = changed(batch, 21, std::int16_t{5});
  EXPECT_TRUE(admit(compressed).ok());
}

TEST_F(AdmissionTest, SizeIsBoundedToTheByte) {
  BatchBytes batch = make_records(3);
  rules.batch_bytes_max = static_cast<std::int32_t>(batch.size());
  EXPECT_TRUE(admit(batch).ok());
  rules.batch_bytes_max -= 1;
  const Status status = admit(batch);
  EXPECT_EQ(status.code, ErrorCode::too_large);
  EXPECT_NE(status.message().find(std::to_string(batch.size())), std::string_view::npos) << status.text;
}

TEST_F(AdmissionTest, LogAppendTimeRewritesTimeAndChecksum) {
  rules.log_append_time = true;
  BatchBytes batches = joined(make_batch({.timestamps = {1, 2}}), make_batch({.timestamps = {3}}));
  ASSERT_TRUE(admit(batches).ok());
  EXPECT_EQ(admitted.log_append_time, kNow);
  EXPECT_EQ(admitted.max_timestamp, kNow);
  int count = 0;
  for (MutableBytes left = batches; !left.empty(); ++count) {
    std::size_t bytes = 0;
    ASSERT_TRUE(check_batch(left, &bytes).ok());
    EXPECT_TRUE(BatchHeader(left.data()).log_append_time());
    EXPECT_EQ(BatchHeader(left.data()).max_timestamp(), kNow);
    left = left.subspan(bytes);
  }
  EXPECT_EQ(count, 2);
}

TEST_F(AdmissionTest, ReEncodesBatchesOfAnotherCodecOnly) {
  rules.compression = 3;
  const std::string value(300, 'v');
  BatchBytes batches = joined(make_batch({.timestamps = {1, 2}, .value = value, .stamp = {}, .codec = &zstd}),
                              make_batch({.timestamps = {3}, .value = value, .stamp = {}, .codec = &lz4}));
  const BatchBytes original = batches;
  const Status status = admit(batches);
  ASSERT_TRUE(status.ok()) << status.text;
  EXPECT_NE(admitted.bytes.data(), batches.data());
  EXPECT_EQ(admitted.record_count, 3);
  std::vector<TimestampMs> timestamps;
  for (MutableBytes left = admitted.bytes; !left.empty();) {
    std::size_t bytes = 0;
    ASSERT_TRUE(check_batch(left, &bytes).ok());
    const BatchHeader header(left.data());
    EXPECT_EQ(header.compression(), 3);
    Bytes body;
    ASSERT_TRUE(decompress_batch(codecs, left.first(bytes), kBodyBytesMax, workspace.scratch, &body).ok());
    RecordReader reader(body, header.record_count());
    for (RecordView record; reader.next(record);) {
      EXPECT_EQ(as_text(record.value), value);
      timestamps.push_back(header.base_timestamp() + record.timestamp_delta_ms);
    }
    EXPECT_TRUE(reader.ok());
    left = left.subspan(bytes);
  }
  EXPECT_EQ(timestamps, (std::vector<TimestampMs>{1, 2, 3}));

  BatchBytes same = make_batch({.timestamps = {1}, .value = value, .stamp = {}, .codec = &lz4});
  ASSERT_TRUE(admit(same).ok());
  EXPECT_EQ(admitted.bytes.data(), same.data()) << "in the topic's codec already";
}

TEST_F(AdmissionTest, ReEncodesToNone) {
  rules.compression = 0;
  BatchBytes batch = make_batch({.timestamps = {1}, .value = std::string(300, 'v'), .stamp = {}, .codec = &lz4});
  ASSERT_TRUE(admit(batch).ok());
  EXPECT_EQ(BatchHeader(admitted.bytes.data()).compression(), 0);
  EXPECT_GT(admitted.bytes.size(), 300U);
  rules.batch_bytes_max = 200;  // fits as it came, not as it would be stored
  EXPECT_EQ(admit(batch).code, ErrorCode::too_large);
}

TEST_F(AdmissionTest, WhatCannotBeDecodedCannotBeReEncoded) {
  rules.compression = 3;
  BatchBytes gzip = changed(make_records(1), 21, std::int16_t{1});
  EXPECT_EQ(admit(gzip).code, ErrorCode::unsupported_compression);
  BatchBytes broken = changed(make_records(1), 21, std::int16_t{4});  // says zstd, holds something else
  EXPECT_EQ(admit(broken).code, ErrorCode::corrupt);
  rules.compression = 0xfe;  // a codec that was there when the topic was made
  BatchBytes plain = make_records(1);
  EXPECT_EQ(admit(plain).code, ErrorCode::unsupported_compression);
}

TEST_F(AdmissionTest, SeveralBatchesAreOneProducersInSequence) {
  BatchBytes dense = joined(make_produced(7, 1, 0, 3), make_produced(7, 1, 3, 2));
  ASSERT_TRUE(admit(dense).ok());
  EXPECT_EQ(admitted.first.producer_id, 7);
  EXPECT_EQ(admitted.first.first_sequence, 0);
  BatchBytes gap = joined(make_produced(7, 1, 0, 3), make_produced(7, 1, 4, 2));
  EXPECT_EQ(admit(gap).code, ErrorCode::out_of_order_sequence);
  BatchBytes mixed = joined(make_produced(7, 1, 0, 3), make_produced(8, 1, 3, 2));
  EXPECT_EQ(admit(mixed).code, ErrorCode::invalid_record);
}

}  // namespace
}  // namespace streambus::broker
