// Connections cut at random while an idempotent producer writes: no loss, no duplicate.
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "broker_process.hpp"
#include "cutting_proxy.hpp"
#include "rdkafka_client.hpp"
#include "verify.hpp"

namespace streambus::test {
namespace {

TEST(CutsTest, AnIdempotentProducerLosesAndDoublesNothing) {
  constexpr int kCuts = 100;
  CuttingProxy proxy;
  BrokerProcess::Setup setup;
  setup.advertised_port = proxy.port();
  BrokerProcess broker(setup);
  proxy.forward_to(broker.port());
  ASSERT_NO_FATAL_FAILURE(broker.start());

  const std::string bootstrap = "127.0.0.1:" + std::to_string(proxy.port());
  NumberedProducer producer(bootstrap, "t",
                            {{"enable.idempotence", "true"},
                             {"linger.ms", "1"},
                             {"message.timeout.ms", "0"},
                             {"batch.num.messages", "100"},
                             {"queue.buffering.max.messages", "1000"}});
  std::mt19937 random(2);
  int cuts = 0;
  const auto latest = std::chrono::steady_clock::now() + std::chrono::seconds(300);
  while (cuts < kCuts) {
    ASSERT_LT(std::chrono::steady_clock::now(), latest) << "after " << cuts << " cuts";
    // Let it come up again and acknowledge something, then cut: between two moments, or in the middle of a request.
    const std::uint64_t before = producer.acknowledged();
    const std::uint64_t wanted = before + 1 + random() % 2000;
    while (producer.acknowledged() < wanted && std::chrono::steady_clock::now() < latest) {
      ASSERT_TRUE(producer.send()) << producer.fatal_error();
    }
    const bool inside = random() % 2 == 0;
    const std::size_t count = inside ? proxy.cut_all_after(1 + random() % 20'000) : proxy.cut_all();
    cuts += count != 0 ? 1 : 0;
  }
  ASSERT_TRUE(producer.flush(60'000));
  expect_exactly_once(producer, consume_all(bootstrap, "t"));
  EXPECT_EQ(broker.stop(), 0);
}

}  // namespace
}  // namespace streambus::test
