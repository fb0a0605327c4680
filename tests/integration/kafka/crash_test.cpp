// kill -9 while librdkafka produces, at default durability. STREAMBUS_KILL_CYCLES sets how often (default 100; 5 with a
// sanitizer).
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "broker_process.hpp"
#include "rdkafka_client.hpp"
#include "verify.hpp"

namespace streambus::test {
namespace {

int kill_cycles() {
  const char* const text = std::getenv("STREAMBUS_KILL_CYCLES");
  return text == nullptr ? STREAMBUS_KILL_CYCLES_DEFAULT : std::max(1, std::atoi(text));
}

/// Produces while the broker is killed and started again, over and over.
void run_cycles(BrokerProcess& broker, NumberedProducer& producer) {
  std::mt19937 random(1);
  for (int cycle = 0; cycle < kill_cycles(); ++cycle) {
    // Killed at any moment, but not before this life of the broker has acknowledged something.
    const std::uint64_t before = producer.acknowledged();
    const auto earliest = std::chrono::steady_clock::now() + std::chrono::milliseconds(20 + random() % 150);
    const auto latest = earliest + std::chrono::seconds(60);
    while (producer.acknowledged() == before || std::chrono::steady_clock::now() < earliest) {
      ASSERT_TRUE(producer.send()) << "refused, or the queue stayed full (is the broker gone?) " << producer.fatal_error();
      ASSERT_LT(std::chrono::steady_clock::now(), latest) << "nothing was acknowledged in cycle " << cycle;
    }
    broker.kill();
    ASSERT_NO_FATAL_FAILURE(broker.start()) << "cycle " << cycle;
  }
  ASSERT_TRUE(producer.flush(60'000));
}

TEST(CrashTest, AcknowledgedRecordsSurviveInOrderAndOnce) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.start());
  NumberedProducer producer(broker.address(), "t",
                            {{"enable.idempotence", "true"},
                             {"linger.ms", "1"},
                             {"message.timeout.ms", "0"},
                             {"batch.num.messages", "50"},
                             {"queue.buffering.max.messages", "2000"}});
  ASSERT_NO_FATAL_FAILURE(run_cycles(broker, producer));
  expect_exactly_once(producer, consume_all(broker.address(), "t"));
}

TEST(CrashTest, AcknowledgedRecordsSurviveWithoutIdempotence) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.start());
  NumberedProducer producer(broker.address(), "t",
                            {{"acks", "all"},
                             {"max.in.flight", "1"},
                             {"linger.ms", "1"},
                             {"message.timeout.ms", "0"},
                             {"compression.codec", "lz4"},
                             {"retries", "1000000"},
                             {"batch.num.messages", "50"},
                             {"queue.buffering.max.messages", "2000"}});
  ASSERT_NO_FATAL_FAILURE(run_cycles(broker, producer));
  expect_at_least_once(producer, consume_all(broker.address(), "t"));
}

}  // namespace
}  // namespace streambus::test
