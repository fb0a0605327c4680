// Whatever a client sends: no crash, one line in the log, the connection closed, the memory given back.
#include <gtest/gtest.h>

#include <random>

#include "session_driver.hpp"

namespace streambus::protocol_kafka::test {
namespace {

std::string header(std::int16_t key, std::int16_t version, std::string_view rest) {
  std::string body(8, '\0');
  store_be(reinterpret_cast<std::byte*>(body.data()), key);
  store_be(reinterpret_cast<std::byte*>(body.data() + 2), version);
  return raw_frame(body.append(rest));
}

struct BadFrame {
  const char* name;
  std::string bytes;
  const char* says;
};

std::vector<BadFrame> bad_frames() {
  const std::string no_client_id("\xff\xff", 2);
  return {
      {"negative_length", std::string("\xff\xff\xff\xf0", 4), "negative frame length"},
      {"huge_length", std::string("\x7f\xff\xff\xff", 4), "frame_bytes_max"},
      {"tls_hello", std::string("\x16\x03\x01\x02\x00\x01\x00", 7), "TLS"},
      {"http", "GET / HTTP/1.1\r\n\r\n", "HTTP"},
      {"empty_frame", raw_frame(""), "does not decode"},
      {"one_byte", raw_frame("x"), "does not decode"},
      {"half_a_header", raw_frame(std::string(6, '\0')), "does not decode"},
      {"client_id_beyond_the_frame", header(3, 1, std::string("\x7f\xff", 2)), "does not decode"},
      {"unknown_key", header(9999, 0, no_client_id), "API key 9999"},
      {"negative_key", header(-5, 0, no_client_id), "API key -5"},
      {"key_known_but_not_served", header(37, 0, no_client_id), "CreatePartitions"},
      {"version_above", header(3, 77, no_client_id + std::string(1, '\0')), "Metadata request, version 77"},
      {"version_below", header(1, 2, no_client_id), "Fetch request, version 2"},
      {"negative_version", header(0, -1, no_client_id), "Produce request, version -1"},
      {"produce_without_a_body", header(0, 7, no_client_id), "does not decode"},
      {"produce_with_a_huge_count", header(0, 7, no_client_id + std::string("\xff\xff\0\1\0\0\0\1\x7f\xff\xff\xff", 12)),
       "does not decode"},
      {"fetch_cut_in_the_middle", header(1, 11, no_client_id + std::string(10, '\0')), "does not decode"},
      {"metadata_with_a_negative_count", header(3, 4, no_client_id + std::string("\xff\xff\xff\xf0\0", 5)), "does not decode"},
      {"create_topics_cut", header(19, 2, no_client_id + std::string("\0\0\0\1\0\5ab", 8)), "does not decode"},
      {"list_offsets_cut", header(2, 1, no_client_id + std::string("\0\0\0\0\0\0\0\x09", 8)), "does not decode"},
      {"flexible_with_a_bad_tag", header(3, 9, no_client_id + std::string("\1\x7f\x7f", 3)), "does not decode"},
  };
}

class BadFrameTest : public ::testing::TestWithParam<BadFrame> {};

TEST_P(BadFrameTest, ClosesWithOneLine) {
  Rig rig;
  {
    Driver client(rig);
    client.deliver(GetParam().bytes);
    client.run();
    EXPECT_TRUE(client.connection->close_called);
    EXPECT_TRUE(client.connection->sent.empty());
    EXPECT_TRUE(client.session().receive_buffer().empty()) << "nothing is read from a closing connection";
  }
  const std::vector<std::string> lines = rig.host.log_lines();
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_NE(lines[0].find(GetParam().says), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("10.0.0.1:5555"), std::string::npos) << lines[0];
  EXPECT_EQ(rig.host.fake_buffers().lent_bytes(), 0U);
  EXPECT_EQ(rig.host.metric_value("protocol_bad_requests_total"), 1);
  EXPECT_EQ(rig.broker.produce_calls, 0);
}

INSTANTIATE_TEST_SUITE_P(Table, BadFrameTest, ::testing::ValuesIn(bad_frames()),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

TEST(BadFramesTest, EarlierAnswersStillLeave) {
  Rig rig;
  Driver client(rig);
  client.deliver(frame_of(wire::MetadataRequest{}, 9, 5) + header(9999, 0, std::string("\xff\xff", 2)));
  EXPECT_TRUE(client.connection->close_called);
  EXPECT_TRUE(client.connection->close_flushed);
  EXPECT_EQ(client.next<wire::MetadataResponse>(9)->correlation_id, 5);
}

TEST(BadFramesTest, HalfARequestThenSilenceIsHarmless) {
  Rig rig;
  {
    Driver client(rig);
    const std::string frame = frame_of(wire::MetadataRequest{}, 9, 5);
    client.deliver(std::string_view(frame).substr(0, frame.size() / 2));
    EXPECT_FALSE(client.connection->close_called);
    EXPECT_EQ(rig.host.fake_buffers().lent_bytes(), FrameReader::kSmallBytes);
  }
  EXPECT_EQ(rig.host.fake_buffers().lent_bytes(), 0U);
}

TEST(BadFramesTest, ComplaintsAreRateLimitedAndCounted) {
  Rig rig;
  for (int i = 0; i < 1000; ++i) {
    Driver client(rig);
    client.deliver(std::string("\xff\xff\xff\xff", 4));
  }
  EXPECT_EQ(rig.host.log_lines().size(), 5U);
  rig.host.now_ns += 2'000'000'000;
  Driver client(rig);
  client.deliver(std::string("\xff\xff\xff\xff", 4));
  EXPECT_NE(rig.host.log_lines().back().find("995 more"), std::string::npos) << rig.host.log_lines().back();
}

/// Valid requests with a few bytes changed, and plain noise: the sanitizers watch.
TEST(BadFramesTest, MutatedAndRandomFramesNeverCrash) {
  Rig rig;
  rig.broker.add_topic("topic", 2);
  std::vector<std::byte> batch = make_batch(2);
  const ProduceOne produce("topic", 0, batch);
  const FetchTopic fetch("topic", 2, 10);
  wire::MetadataRequest::Topic named[] = {{"topic"}, {"other"}};
  wire::MetadataRequest metadata;
  metadata.topics = named;
  const std::string seeds[] = {
      frame_of(produce.request, 3, 1),
      frame_of(produce.request, 9, 2),
      frame_of(fetch.request, 4, 3),
      frame_of(fetch.request, 12, 4),
      frame_of(metadata, 0, 5),
      frame_of(metadata, 9, 6),
      frame_of(wire::ApiVersionsRequest{}, 3, 7),
      frame_of(wire::FindCoordinatorRequest{}, 4, 8),
      frame_of(wire::InitProducerIdRequest{}, 4, 9),
      frame_of(wire::CreateTopicsRequest{}, 6, 10),
  };
  std::mt19937 random(20240601);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = seeds[random() % std::size(seeds)];
    const unsigned changes = 1 + random() % 4;
    // Lengths stay, so that the bodies are reached.
    for (unsigned n = 0; n < changes; ++n) bytes[4 + random() % (bytes.size() - 4)] = static_cast<char>(random());
    if (i % 10 == 0) {
      for (char& c : bytes) c = static_cast<char>(random());
    }
    Driver client(rig);
    client.deliver(bytes, 1 + random() % 64);
    client.run();
    client.advance_ms(20);
    client.run();
  }
  EXPECT_EQ(rig.host.fake_buffers().lent_bytes(), 0U);
  EXPECT_EQ(rig.broker.pins_held, 0);
}

}  // namespace
}  // namespace streambus::protocol_kafka::test
