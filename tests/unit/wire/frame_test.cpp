#include "streambus/wire/frame.hpp"

#include <gtest/gtest.h>

#include <set>

#include "walkers_for_tests.hpp"

namespace streambus::wire::test {
namespace {

template <class M>
std::string request_frame(Workbench& bench, const M& message, std::int16_t version, std::optional<std::string_view> client) {
  bench.buffer.reset();
  Encoder encoder(bench.buffer, bench.arena);
  encode_request(message, version, 7, client, encoder);
  return flat(encoder);
}

template <class M>
std::string response_frame(Workbench& bench, const M& message, std::int16_t version) {
  bench.buffer.reset();
  Encoder encoder(bench.buffer, bench.arena);
  encode_response(message, version, 7, encoder);
  return flat(encoder);
}

TEST(Frame, Requests) {
  Workbench bench;
  EXPECT_EQ(request_frame(bench, ApiVersionsRequest{}, 0, "me"), hex("0000000c 0012 0000 00000007 0002 6d65"));
  EXPECT_EQ(request_frame(bench, ApiVersionsRequest{}, 0, std::nullopt), hex("0000000a 0012 0000 00000007 ffff"));
  EXPECT_EQ(request_frame(bench, ApiVersionsRequest{"a", "b"}, 3, "me"),
            hex("00000012 0012 0003 00000007 0002 6d65 00 02 61 02 62 00"))
      << "the client's name stays a classic string in the flexible header";
  const std::string long_name(40000, 'x');
  EXPECT_EQ(request_frame(bench, ApiVersionsRequest{}, 0, long_name), "");
}

TEST(Frame, Responses) {
  Workbench bench;
  EXPECT_EQ(response_frame(bench, InitProducerIdResponse{}, 1), hex("00000014 00000007 00000000 0000 ffffffffffffffff 0000"));
  EXPECT_EQ(response_frame(bench, InitProducerIdResponse{}, 2),
            hex("00000016 00000007 00 00000000 0000 ffffffffffffffff 0000 00"));
}

TEST(Frame, TheHeaderOfAnApiVersionsResponseIsTheOldestInEveryVersion) {
  Workbench bench;
  EXPECT_EQ(response_frame(bench, ApiVersionsResponse{}, 3), hex("0000000c 00000007 0000 01 00000000 00"));
  const std::string body = hex("00000007 0000");
  ByteReader in(as_bytes(body));
  ResponseHeader header;
  ASSERT_TRUE(decode(in, ApiKey::api_versions, 3, header));
  EXPECT_EQ(header.correlation_id, 7);
  EXPECT_EQ(in.remaining(), 2u);
}

TEST(Frame, HeadersAreReadBack) {
  Workbench bench;
  for_each_message([&]<class M>() {
    for (int version = M::kMinVersion; version <= M::kMaxVersion; ++version) {
      const auto v = static_cast<std::int16_t>(version);
      RandomSource source(1);
      const M message = filled<M>(v, bench.arena, source);
      bench.buffer.reset();
      Encoder encoder(bench.buffer, bench.arena);
      if constexpr (Request<M>) {
        encode_request(message, v, -5, "client", encoder);
      } else {
        encode_response(message, v, -5, encoder);
      }
      const std::string frame = flat(encoder);
      ByteReader in(as_bytes(frame));
      const auto length = in.read<std::int32_t>();
      EXPECT_EQ(length, static_cast<std::int32_t>(in.remaining()));
      if constexpr (Request<M>) {
        RequestHeader header;
        ASSERT_TRUE(decode(in, header));
        EXPECT_EQ(header.api_key, static_cast<std::int16_t>(M::kKey));
        EXPECT_EQ(header.api_version, v);
        EXPECT_EQ(header.correlation_id, -5);
        EXPECT_EQ(header.client_id, "client");
      } else {
        ResponseHeader header;
        ASSERT_TRUE(decode(in, M::kKey, v, header));
        EXPECT_EQ(header.correlation_id, -5);
      }
      M decoded;
      ASSERT_TRUE(decode(in, v, bench.arena, decoded));
      EXPECT_EQ(in.remaining(), 0u);
    }
  });
}

TEST(Frame, RequestHeadersOfAnyKeyAreReadOrRefused) {
  struct Case {
    const char* what;
    std::string bytes;
    bool good;
  };
  const Case cases[] = {
      {"unknown key", hex("7fff 0000 00000001 ffff"), true},
      {"negative key and version", hex("8000 8000 00000001 ffff"), true},
      {"newer version, flexible", hex("0012 0009 00000001 ffff 00"), true},
      {"newer version without tags", hex("0012 0009 00000001 ffff"), false},
      {"tags to skip", hex("0012 0003 00000001 0001 61 02 00 01 aa 07 00"), true},
      {"client name longer than the frame", hex("0012 0000 00000001 0003 6162"), false},
      {"negative length of the client name", hex("0012 0000 00000001 fffe"), false},
      {"cut", hex("0012 0000 0000"), false},
      {"nothing", "", false},
  };
  for (const Case& c : cases) {
    ByteReader in(as_bytes(c.bytes));
    RequestHeader header;
    EXPECT_EQ(decode(in, header), c.good) << c.what;
  }
}

TEST(Frame, TableOfApis) {
  std::set<std::int16_t> keys;
  for (const ApiInfo& api : kApis) {
    keys.insert(static_cast<std::int16_t>(api.key));
    EXPECT_LE(api.min_known, api.min_advertised);
    EXPECT_LE(api.min_advertised, api.min_served) << api.name;
    EXPECT_LE(api.min_served, api.max) << api.name;
    EXPECT_EQ(find_api(static_cast<std::int16_t>(api.key)), &api);
  }
  EXPECT_EQ(keys.size(), kApis.size());
  EXPECT_EQ(find_api(9999), nullptr);
  EXPECT_EQ(find_api(-1), nullptr);
  const ApiInfo& produce = *find_api(0);
  EXPECT_EQ(produce.min_advertised, 0) << "librdkafka compresses only where the minimum reads 0";
  EXPECT_EQ(produce.min_served, 3);
  EXPECT_FALSE(is_flexible(0, 8));
  EXPECT_TRUE(is_flexible(0, 9));
  EXPECT_FALSE(is_flexible(9999, 9));
}

TEST(Frame, ErrorsHaveKafkasNumbersAndNames) {
  EXPECT_EQ(static_cast<int>(WireError::unsupported_version), 35);
  EXPECT_EQ(static_cast<int>(WireError::unsupported_for_message_format), 43);
  EXPECT_EQ(static_cast<int>(WireError::unknown_server_error), -1);
  EXPECT_EQ(name_of(WireError::offset_out_of_range), "OFFSET_OUT_OF_RANGE");
  EXPECT_EQ(name_of(static_cast<WireError>(9999)), "UNKNOWN");
  EXPECT_TRUE(is_retriable(WireError::unknown_topic_or_partition));
  EXPECT_FALSE(is_retriable(WireError::message_too_large));
  EXPECT_FALSE(is_retriable(static_cast<WireError>(9999)));
}

}  // namespace
}  // namespace streambus::wire::test
