// librdkafka against a running broker.
#include <gtest/gtest.h>

#include "broker_process.hpp"
#include "rdkafka_client.hpp"
#include "verify.hpp"

namespace streambus::test {
namespace {

class CodecTest : public ::testing::TestWithParam<const char*> {};

TEST_P(CodecTest, RoundTripWithAllAcks) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.start());
  NumberedProducer producer(broker.address(), "t", {{"compression.codec", GetParam()}, {"acks", "all"}, {"linger.ms", "5"}},
                            200);
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(producer.send());
  ASSERT_TRUE(producer.flush(60'000));
  expect_exactly_once(producer, consume_all(broker.address(), "t"));
  EXPECT_EQ(broker.stop(), 0);
}

INSTANTIATE_TEST_SUITE_P(Codecs, CodecTest, ::testing::Values("none", "gzip", "snappy", "lz4", "zstd"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST(ClientsTest, AnIdempotentProducerGoesOnAfterACleanRestart) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.start());
  NumberedProducer producer(broker.address(), "t", {{"enable.idempotence", "true"}, {"linger.ms", "2"}});
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 3'000; ++i) ASSERT_TRUE(producer.send());
    if (round == 1) producer.poll(5);
    ASSERT_TRUE(round == 1 || producer.flush(60'000));
    ASSERT_EQ(broker.stop(), 0) << "round " << round;
    ASSERT_NO_FATAL_FAILURE(broker.start());
  }
  ASSERT_TRUE(producer.flush(60'000));
  expect_exactly_once(producer, consume_all(broker.address(), "t"));
}

TEST(ClientsTest, FewAcksWork) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.start());
  for (const char* const acks : {"0", "1"}) {
    const std::string topic = std::string("acks-") + acks;
    {
      NumberedProducer first(broker.address(), topic, {{"acks", "1"}});  // makes the topic
      ASSERT_TRUE(first.send());
      ASSERT_TRUE(first.flush(60'000));
    }
    NumberedProducer producer(broker.address(), topic, {{"acks", acks}});
    for (int i = 0; i < 2'000; ++i) ASSERT_TRUE(producer.send());
    ASSERT_TRUE(producer.flush(60'000));
    // Without answers the records may still be on their way.
    std::vector<ConsumedRecord> records;
    for (int i = 0; i < 50 && records.size() < 2'001; ++i) records = consume_all(broker.address(), topic);
    EXPECT_EQ(records.size(), 2'001U) << "acks=" << acks;
  }
}

TEST(ClientsTest, LargeRecordsPass) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.start());
  NumberedProducer producer(broker.address(), "t", {{"linger.ms", "0"}}, 900'000);
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(producer.send());
  ASSERT_TRUE(producer.flush(60'000));
  expect_exactly_once(producer, consume_all(broker.address(), "t"));
  // One batch per fetch, each larger than the limits: the first one is always returned.
  expect_exactly_once(producer, consume_all(broker.address(), "t", {{"fetch.message.max.bytes", "1000"}}));
}

TEST(ClientsTest, TheMemoryEngineServesTheSameClients) {
  BrokerProcess::Setup setup;
  setup.more = "[storage.mem]\nplugin = \"storage-memory\"\n[[topic]]\nname = \"t\"\nstorage = \"mem\"\n";
  BrokerProcess broker(setup);
  ASSERT_NO_FATAL_FAILURE(broker.start());
  NumberedProducer producer(broker.address(), "t", {{"enable.idempotence", "true"}, {"compression.codec", "lz4"}});
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(producer.send());
  ASSERT_TRUE(producer.flush(60'000));
  expect_exactly_once(producer, consume_all(broker.address(), "t"));
}

}  // namespace
}  // namespace streambus::test
