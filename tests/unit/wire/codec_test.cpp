// What the walkers must refuse or respect, case by case.

#include <gtest/gtest.h>

#include "walkers_for_tests.hpp"

namespace streambus::wire::test {
namespace {

class Codec : public testing::Test {
 protected:
  Workbench bench_;
};

TEST_F(Codec, CountsBeyondTheFrameTakeNoMemory) {
  struct Case {
    const char* what;
    std::int16_t version;
    std::string bytes;
  };
  const Case cases[] = {
      {"topics", 3, hex("ffff ffff 00000000 7fffffff 0001 74 00000000")},
      {"topics, one more than can be there", 3, hex("ffff ffff 00000000 00000002 0001 74 00000000")},
      {"negative", 3, hex("ffff ffff 00000000 fffffffe 0001 74 00000000")},
      {"null where there is none", 3, hex("ffff ffff 00000000 ffffffff")},
      {"compact topics", 9, hex("00 ffff 00000000 ffffffff07 02 74 01 00 00")},
      {"compact topics over 32 bits", 9, hex("00 ffff 00000000 ffffffffffff07 02 74 01 00 00")},
      {"endless varint", 9, hex("00 ffff 00000000 ffffffffffffffffffffffff")},
      {"null compact topics", 9, hex("00 ffff 00000000 00 00")},
  };
  for (const Case& c : cases) {
    ProduceRequest request;
    EXPECT_FALSE(bench_.decodes(c.bytes, c.version, request)) << c.what;
    EXPECT_EQ(bench_.arena.held_bytes(), 0u) << c.what;
  }
}

TEST_F(Codec, ArraysOfPlainValuesAreBoundedToo) {
  DeleteTopicsRequest request;
  EXPECT_FALSE(bench_.decodes(hex("00000004 0001 61 0001 62 00000000"), 1, request)) << "texts";
  FetchRequest fetch;
  EXPECT_FALSE(bench_.decodes(
      hex("ffffffff 00000000 00000000 00000000 00 00000000 00000000 00000000 00000001 0001 61 00000003 00000001"), 7, fetch))
      << "integers";
}

TEST_F(Codec, AFrameCannotTakeMoreThanTheArenaAllows) {
  Arena small(ArenaLimits{.block_bytes = 256, .keep_bytes = 1024, .bytes_max = 2048});
  std::string many = hex("00000100");  // 256 empty names take 512 bytes on the wire and 4096 as views
  many.append(512, '\0').append(4, '\0');
  DeleteTopicsRequest request;
  ByteReader in(as_bytes(many));
  EXPECT_FALSE(decode(in, 1, small, request));
  EXPECT_LE(small.held_bytes(), 2048u);
  ByteReader again(as_bytes(many));
  EXPECT_TRUE(decode(again, 1, bench_.arena, request));
  EXPECT_EQ(request.topic_names.size(), 256u);
}

TEST_F(Codec, NullOnlyWhereTheVersionHasIt) {
  MetadataRequest request;
  EXPECT_FALSE(bench_.decodes(hex("ffffffff"), 0, request));
  ASSERT_TRUE(bench_.decodes(hex("ffffffff"), 1, request));
  EXPECT_FALSE(request.topics.has_value());
  ASSERT_TRUE(bench_.decodes(hex("00000000"), 1, request));
  EXPECT_TRUE(request.topics.has_value() && request.topics->empty());

  EXPECT_FALSE(bench_.encodes(MetadataRequest{}, 0));
  EXPECT_EQ(bench_.bytes_of(MetadataRequest{}, 1), hex("ffffffff"));
  EXPECT_EQ(bench_.bytes_of(MetadataRequest{.topics = std::span<MetadataRequest::Topic>{}}, 0), hex("00000000"));

  FindCoordinatorRequest coordinator;
  EXPECT_FALSE(bench_.decodes(hex("ffff"), 0, coordinator)) << "a text that cannot be null";
}

TEST_F(Codec, NullBatchesReadAsEmptyAndAreNeverWritten) {
  ProduceRequest request;
  const std::string bytes = hex("ffff ffff 00000000 00000001 0001 74 00000001 00000000 ffffffff");
  ASSERT_TRUE(bench_.decodes(bytes, 3, request));
  EXPECT_TRUE(request.topic_data[0].partition_data[0].records.empty());
  EXPECT_EQ(bench_.bytes_of(request, 3), hex("ffff ffff 00000000 00000001 0001 74 00000001 00000000 00000000"));
}

TEST_F(Codec, BatchesOfARequestAreWritableInTheFrame) {
  std::string frame = hex("ffff ffff 00000000 00000001 0001 74 00000001 00000000 00000003 616263");
  ProduceRequest request;
  ASSERT_TRUE(bench_.decodes(frame, 3, request));
  request.topic_data[0].partition_data[0].records[0] = std::byte{'X'};
  EXPECT_TRUE(frame.ends_with("Xbc"));
}

TEST_F(Codec, UnknownTagsAreSkippedKnownOnesMustFit) {
  const std::string head = hex("00000000 0000 00000000 01");  // an empty Fetch response, up to its tags
  FetchResponse response;
  EXPECT_TRUE(bench_.decodes(head + hex("00"), 12, response));
  EXPECT_TRUE(bench_.decodes(head + hex("02 05 02 aabb ff01 00"), 12, response)) << "tags 5 and 255";
  EXPECT_FALSE(bench_.decodes(head + hex("02 05 02 aabb"), 12, response)) << "one of two missing";
  EXPECT_FALSE(bench_.decodes(head + hex("01 05 7f aabb"), 12, response)) << "longer than the frame";

  const std::string fetch = hex("ffffffff 00000000 00000000 00000000 00 00000000 ffffffff 01 01 01");
  FetchRequest request;
  const std::string tagged = fetch + hex("01 00 03 03 6162");
  ASSERT_TRUE(bench_.decodes(tagged, 12, request));
  EXPECT_EQ(request.cluster_id, "ab");
  EXPECT_FALSE(bench_.decodes(fetch + hex("01 00 04 03 6162 00"), 12, request)) << "bytes left in the value";
  EXPECT_FALSE(bench_.decodes(fetch + hex("01 00 02 03 6162"), 12, request)) << "value cut short";
}

TEST_F(Codec, TextsTooLongForAClassicStringMakeTheEncoderBad) {
  const std::string text(32768, 'x');
  FindCoordinatorRequest request{.key = text};
  EXPECT_FALSE(bench_.encodes(request, 2));
  EXPECT_TRUE(bench_.encodes(request, 3)) << "compact lengths have room";
  request.key = std::string_view(text).substr(1);
  EXPECT_TRUE(bench_.encodes(request, 2));
}

TEST_F(Codec, RecordsMustAddUp) {
  Slice slice = Slice::memory(as_bytes("abc"));
  FetchResponse::Partition partition{.records = {{&slice, 1}, 4}};
  FetchResponse::Topic topic{.topic = "t", .partitions = {&partition, 1}};
  const FetchResponse response{.responses = {&topic, 1}};
  EXPECT_FALSE(bench_.encodes(response, 4));
  partition.records.bytes = 3;
  EXPECT_TRUE(bench_.encodes(response, 4));
}

TEST_F(Codec, BatchesStayWhereTheyAre) {
  const std::string first = "first";
  Slice slices[] = {Slice::memory(as_bytes(first)), Slice::file(9, 4096, 100)};
  FetchResponse::Partition partitions[] = {{.partition_index = 0, .records = {{slices, 2}, 105}}, {.partition_index = 1}};
  FetchResponse::Topic topic{.topic = "t", .partitions = partitions};
  const FetchResponse response{.responses = {&topic, 1}};
  Encoder encoder(bench_.buffer, bench_.arena);
  encode_response(response, 4, 1, encoder);
  const std::span<const Slice> sent = encoder.slices();
  ASSERT_EQ(sent.size(), 4u);
  EXPECT_EQ(static_cast<const void*>(sent[1].data), first.data());
  EXPECT_TRUE(sent[2].is_file());
  EXPECT_EQ(sent[2].file_position, 4096u);
  EXPECT_EQ(load_be<std::int32_t>(sent[0].data + sent[0].bytes - 4), 105) << "the length in front of the batches";
  EXPECT_EQ(load_be<std::int32_t>(sent[0].data), static_cast<std::int32_t>(encoder.total_bytes() - 4));
  std::uint64_t total = 0;
  for (const Slice& slice : sent) total += slice.bytes;
  EXPECT_EQ(total, encoder.total_bytes());
}

TEST_F(Codec, SeveralMessagesInOneBuffer) {
  Slice slice = Slice::memory(as_bytes("abc"));
  FetchResponse::Partition partition{.records = {{&slice, 1}, 3}};
  FetchResponse::Topic topic{.topic = "t", .partitions = {&partition, 1}};
  const FetchResponse response{.responses = {&topic, 1}};
  const std::string one = bench_.bytes_of(response, 4);
  bench_.buffer.reset();
  Encoder encoder(bench_.buffer, bench_.arena);
  std::string expected;
  for (int i = 0; i < 300; ++i) {  // the buffer and the list of slices grow meanwhile
    encode(response, 4, encoder);
    expected += one;
  }
  EXPECT_EQ(flat(encoder), expected);
}

TEST_F(Codec, ABadEncoderYieldsNothing) {
  Encoder encoder(bench_.buffer, bench_.arena);
  encode(ApiVersionsResponse{}, 0, encoder);
  EXPECT_EQ(encoder.slices().size(), 1u);
  encode(MetadataRequest{}, 0, encoder);  // null in a version without null
  EXPECT_FALSE(encoder.ok());
  EXPECT_TRUE(encoder.slices().empty());
  encode(ApiVersionsResponse{}, 0, encoder);
  EXPECT_FALSE(encoder.ok()) << "for good";
}

TEST_F(Codec, MemoryRunningOutMakesTheEncoderBad) {
  BufferPool tiny({.tiers = {{4096, 1}}, .bytes_max = 4096});
  MessageBuffer buffer(tiny);
  const std::string text(20000, 'x');
  Encoder encoder(buffer, bench_.arena);
  encode_request(FindCoordinatorRequest{.key = text}, 0, 1, std::nullopt, encoder);
  EXPECT_FALSE(encoder.ok());
}

TEST_F(Codec, SteadyStateTakesNoMemory) {
  std::size_t held = 0;
  for (int round = 0; round < 10; ++round) {
    bench_.arena.reset();
    RandomSource source(7);
    const auto message = filled<MetadataResponse>(9, bench_.arena, source);
    MetadataResponse decoded;
    const std::string bytes = bench_.bytes_of(message, 9);
    ASSERT_TRUE(bench_.decodes(bytes, 9, decoded));
    if (round == 0) held = bench_.arena.held_bytes();
    EXPECT_EQ(bench_.arena.held_bytes(), held);
  }
  const BufferPoolStatistics statistics = bench_.pool.statistics();
  std::uint64_t misses = statistics.oversize.misses;
  for (const BufferTierStatistics& tier : statistics.tiers) misses += tier.misses;
  EXPECT_LE(misses, 2u);
}

}  // namespace
}  // namespace streambus::wire::test
