// Compaction, retention and changes of settings under librdkafka: while it produces, and with the broker killed meanwhile.
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "broker_process.hpp"
#include "rdkafka_client.hpp"

namespace streambus::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kKeys = 300;
constexpr const char* kEager =
    "[[topic]]\nname = \"t\"\n\"cleanup.policy\" = \"compact\"\n\"segment.bytes\" = \"64KiB\"\n\"segment.ms\" = 100\n"
    "\"min.cleanable.dirty.ratio\" = 0.01\n\"delete.retention.ms\" = 0\n";

/// A broker that compacts and retains all the time.
BrokerProcess::Setup eager(const std::string& more) {
  BrokerProcess::Setup setup;
  setup.broker = "compaction_check_interval = \"20ms\"\nretention_check_interval = \"50ms\"\n";
  setup.more = more;
  return setup;
}

/// Offsets rise, and the last record of each key is there.
void expect_latest(const NumberedProducer& producer, const std::vector<ConsumedRecord>& records) {
  std::map<std::uint64_t, std::uint64_t> latest;
  std::int64_t last_offset = -1;
  for (const ConsumedRecord& record : records) {
    ASSERT_GT(record.offset, last_offset);
    last_offset = record.offset;
    ASSERT_LT(record.number, producer.sent());
    const std::int64_t told = producer.offsets()[record.number];
    ASSERT_TRUE(told == -1 || told == record.offset) << "record " << record.number;
    latest[record.number % kKeys] = record.number;
  }
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    const std::uint64_t expected = (producer.sent() - 1 - key) / kKeys * kKeys + key;
    ASSERT_TRUE(latest.contains(key)) << "key " << key << " is gone";
    ASSERT_EQ(latest[key], expected) << "key " << key;
  }
}

TEST(CompactionTest, EveryKeyKeepsItsLastValueThroughKills) {
  BrokerProcess broker(eager(kEager));
  ASSERT_NO_FATAL_FAILURE(broker.start());
  NumberedProducer producer(broker.address(), "t",
                            {{"enable.idempotence", "true"},
                             {"linger.ms", "1"},
                             {"message.timeout.ms", "0"},
                             {"compression.codec", "lz4"},
                             {"batch.num.messages", "50"},
                             {"queue.buffering.max.messages", "2000"}},
                            100, kKeys);
  std::mt19937 random(3);
  for (int cycle = 0; cycle < 12; ++cycle) {
    const std::uint64_t before = producer.acknowledged();
    const auto earliest = Clock::now() + std::chrono::milliseconds(100 + random() % 200);
    while (producer.acknowledged() == before || Clock::now() < earliest) {
      ASSERT_TRUE(producer.send()) << producer.fatal_error();
      ASSERT_LT(Clock::now(), earliest + std::chrono::seconds(60)) << "nothing was acknowledged in cycle " << cycle;
    }
    broker.kill();
    ASSERT_NO_FATAL_FAILURE(broker.start()) << "cycle " << cycle;
  }
  while (producer.sent() < 4 * kKeys) ASSERT_TRUE(producer.send());
  ASSERT_TRUE(producer.flush(60'000));
  ASSERT_EQ(producer.failed(), 0U);
  // In the end nothing else is left: segments end by time, and all of it is compacted.
  std::vector<ConsumedRecord> records;
  const auto deadline = Clock::now() + std::chrono::seconds(120);
  do {
    records = consume_all(broker.address(), "t");
    ASSERT_NO_FATAL_FAILURE(expect_latest(producer, records));
  } while (records.size() > kKeys && Clock::now() < deadline);
  EXPECT_EQ(records.size(), kKeys) << "of " << producer.sent();
}

TEST(CompactionTest, ReadersAndProducersGoOnBesideIt) {
  BrokerProcess broker(eager(kEager));
  ASSERT_NO_FATAL_FAILURE(broker.start());
  NumberedProducer producer(broker.address(), "t", {{"linger.ms", "1"}, {"batch.num.messages", "100"}}, 100, kKeys);
  std::thread reader([&] {
    for (int i = 0; i < 5; ++i) {
      std::int64_t last_offset = -1;
      for (const ConsumedRecord& record : consume_all(broker.address(), "t")) {
        EXPECT_GT(record.offset, last_offset);
        last_offset = record.offset;
      }
    }
  });
  for (int i = 0; i < 60'000; ++i) ASSERT_TRUE(producer.send()) << producer.fatal_error();
  ASSERT_TRUE(producer.flush(60'000));
  reader.join();
  EXPECT_EQ(producer.failed(), 0U);
  ASSERT_NO_FATAL_FAILURE(expect_latest(producer, consume_all(broker.address(), "t")));
  EXPECT_EQ(broker.stop(), 0);
  ASSERT_NO_FATAL_FAILURE(broker.start());
  ASSERT_NO_FATAL_FAILURE(expect_latest(producer, consume_all(broker.address(), "t")));
}

TEST(CompactionTest, RetentionWhileProducing) {
  BrokerProcess broker(eager("[[topic]]\nname = \"t\"\n\"segment.bytes\" = \"64KiB\"\n\"retention.bytes\" = \"256KiB\"\n"));
  ASSERT_NO_FATAL_FAILURE(broker.start());
  NumberedProducer producer(broker.address(), "t", {{"linger.ms", "1"}, {"batch.num.messages", "100"}}, 100);
  for (int i = 0; i < 30'000; ++i) ASSERT_TRUE(producer.send()) << producer.fatal_error();
  ASSERT_TRUE(producer.flush(60'000));
  EXPECT_EQ(producer.failed(), 0U);
  AdminClient admin(broker.address());
  const auto deadline = Clock::now() + std::chrono::seconds(60);
  while (admin.watermarks("t").first < 20'000 && Clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto [low, high] = admin.watermarks("t");
  EXPECT_EQ(high, 30'000);
  EXPECT_GE(low, 20'000);
  const auto records = consume_all(broker.address(), "t", {{"auto.offset.reset", "earliest"}});
  ASSERT_FALSE(records.empty());
  // Retention may go on in between.
  EXPECT_GE(records.front().offset, low);
  EXPECT_LE(records.front().offset, admin.watermarks("t").first);
  EXPECT_EQ(records.back().number, 29'999U);
}

TEST(CompactionTest, SettingsAndRecordsChangeThroughTheAdminApi) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.start());
  AdminClient admin(broker.address());
  {
    NumberedProducer producer(broker.address(), "t", {});
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(producer.send());
    ASSERT_TRUE(producer.flush(60'000));
  }
  std::int64_t start = -1;
  EXPECT_EQ(admin.delete_records("t", 40, &start), RD_KAFKA_RESP_ERR_NO_ERROR);
  EXPECT_EQ(start, 40);
  EXPECT_EQ(admin.watermarks("t").first, 40);
  EXPECT_EQ(admin.delete_records("t", 101, &start), RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE);
  EXPECT_EQ(admin.alter("t", {{"retention.ms", "soon"}}), RD_KAFKA_RESP_ERR_INVALID_CONFIG);
  EXPECT_EQ(admin.alter("t", {{"cleanup.policy", "compact"}}), RD_KAFKA_RESP_ERR_NO_ERROR);
  EXPECT_EQ(admin.setting("t", "cleanup.policy"), "compact");
  EXPECT_EQ(admin.delete_records("t", 50, &start), RD_KAFKA_RESP_ERR_POLICY_VIOLATION);
  NumberedProducer keyless(broker.address(), "t", {});
  ASSERT_TRUE(keyless.send());
  ASSERT_TRUE(keyless.flush(60'000));
  EXPECT_EQ(keyless.failed(), 1U) << "records without a key are refused at once";
  broker.kill();
  ASSERT_NO_FATAL_FAILURE(broker.start());
  EXPECT_EQ(admin.setting("t", "cleanup.policy"), "compact");
  EXPECT_EQ(admin.watermarks("t").first, 40);
}

}  // namespace
}  // namespace streambus::test
