#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "errors.hpp"
#include "session_driver.hpp"

namespace streambus::protocol_kafka::test {
namespace {

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() {
    rig.broker.add_topic("t", 4);
    batch = make_batch(3);
  }
  Rig rig;
  std::vector<std::byte> batch;
};

TEST_F(SessionTest, AnswersLeaveInTheOrderOfRequests) {
  Driver client(rig);
  rig.broker.produce_pending = true;
  const ProduceOne produce("t", 0, batch);
  const auto first = client.send(produce.request, 7);
  const auto second = client.send(wire::MetadataRequest{}, 9);
  const auto third = client.send(produce.request, 7);
  EXPECT_EQ(rig.broker.produce_calls, 2) << "the second produce does not wait for the first one's durability";
  EXPECT_FALSE(client.next_frame()) << "nothing may overtake the first";
  rig.broker.complete_all();
  client.run();
  EXPECT_EQ(client.next<wire::ProduceResponse>(7)->correlation_id, first);
  EXPECT_EQ(client.next<wire::MetadataResponse>(9)->correlation_id, second);
  const auto last = client.next<wire::ProduceResponse>(7);
  EXPECT_EQ(last->correlation_id, third);
  EXPECT_EQ(last->message.responses[0].partition_responses[0].base_offset, 3);
}

TEST_F(SessionTest, AnswersThatAreReadyTogetherLeaveInOneWrite) {
  Driver client(rig);
  const ProduceOne produce("t", 0, batch);
  std::string pipelined;
  for (int i = 0; i < 10; ++i) pipelined += frame_of(produce.request, 7, i);
  ASSERT_EQ(client.deliver(pipelined), pipelined.size());
  EXPECT_EQ(client.connection->writes, 1U);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(client.next<wire::ProduceResponse>(7)->correlation_id, i);
  // The same where they become durable together.
  rig.broker.produce_pending = true;
  ASSERT_EQ(client.deliver(pipelined), pipelined.size());
  EXPECT_EQ(client.connection->writes, 1U);
  rig.broker.complete_all();
  client.run();
  EXPECT_EQ(client.connection->writes, 2U);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(client.next<wire::ProduceResponse>(7)->correlation_id, i);
}

TEST_F(SessionTest, RequestsInFlightAreBounded) {
  FakeOptions options;
  options.requests_in_flight_max = 3;
  Rig bounded(options);
  bounded.broker.add_topic("t", 1);
  bounded.broker.produce_pending = true;
  Driver client(bounded);
  const ProduceOne produce("t", 0, batch);
  std::string pipelined;
  for (int i = 0; i < 8; ++i) pipelined += frame_of(produce.request, 7, i);
  const std::size_t taken = client.deliver(pipelined);
  EXPECT_EQ(bounded.broker.produce_calls, 3);
  EXPECT_TRUE(client.session().receive_buffer().empty()) << "a full connection is not read";
  bounded.broker.complete_all();
  client.run();
  EXPECT_GE(bounded.broker.produce_calls, 6);
  EXPECT_GE(client.connection->resumed, 0U);
  client.deliver(pipelined.substr(taken));
  while (bounded.broker.complete_all() != 0) client.run();
  for (int i = 0; i < 8; ++i) EXPECT_EQ(client.next<wire::ProduceResponse>(7)->correlation_id, i);
}

TEST_F(SessionTest, BytesInFlightAreBoundedButOneAlwaysPasses) {
  FakeOptions options;
  options.request_bytes_in_flight_max = 1;
  Rig bounded(options);
  bounded.broker.add_topic("t", 1);
  bounded.broker.produce_pending = true;
  Driver client(bounded);
  const ProduceOne produce("t", 0, batch);
  client.deliver(frame_of(produce.request, 7, 1) + frame_of(produce.request, 7, 2));
  EXPECT_EQ(bounded.broker.produce_calls, 1);
  bounded.broker.complete_all();
  client.run();
  EXPECT_EQ(bounded.broker.produce_calls, 2);
  bounded.broker.complete_all();
  client.run();
}

TEST_F(SessionTest, NoRequestIsStartedWhileTheOutputIsFull) {
  FakeOptions options;
  options.response_bytes_queued_max = 100;
  Rig bounded(options);
  bounded.broker.add_topic("t", 50);
  Driver client(bounded);
  client.connection->hold_output = true;
  client.deliver(frame_of(wire::MetadataRequest{}, 9, 1) + frame_of(wire::MetadataRequest{}, 9, 2) +
                 frame_of(wire::MetadataRequest{}, 9, 3));
  EXPECT_TRUE(client.next_frame());
  EXPECT_FALSE(client.next_frame());
  EXPECT_TRUE(client.session().receive_buffer().empty());
  client.send_all();
  EXPECT_TRUE(client.next_frame());
  EXPECT_FALSE(client.next_frame());
  client.send_all();
  EXPECT_TRUE(client.next_frame());
  EXPECT_EQ(client.connection->resumed, 1U);
}

TEST_F(SessionTest, AnExhaustedPoolPausesReadingAndIsTriedAgain) {
  Driver client(rig);
  rig.host.fake_buffers().exhausted = true;
  EXPECT_TRUE(client.session().receive_buffer().empty());
  client.advance_ms(20);
  EXPECT_EQ(client.connection->resumed, 1U);
  EXPECT_TRUE(client.session().receive_buffer().empty());
  rig.host.fake_buffers().exhausted = false;
  client.advance_ms(20);
  EXPECT_EQ(client.connection->resumed, 2U);
  client.ask(wire::MetadataRequest{}, 9);
}

TEST_F(SessionTest, AnAnswerIsSentEvenWhenThePoolIsExhausted) {
  Driver client(rig);
  rig.broker.produce_pending = true;
  const ProduceOne produce("t", 0, batch);
  client.send(produce.request, 7);
  rig.host.fake_buffers().exhausted = true;
  rig.broker.complete_all();
  client.run();
  EXPECT_TRUE(client.next<wire::ProduceResponse>(7));
}

TEST_F(SessionTest, AnIdleConnectionHoldsNoBuffer) {
  Driver client(rig);
  const ProduceOne produce("t", 0, batch);
  for (int i = 0; i < 20; ++i) client.ask(produce.request, 7);
  FetchTopic fetch("t", 4, 0);
  client.ask(fetch.request, 11);
  EXPECT_EQ(rig.host.fake_buffers().lent_bytes(), 0U);
  EXPECT_EQ(rig.broker.pins_held, 0);
}

TEST_F(SessionTest, APendingProduceHoldsNoReceiveBuffer) {
  Driver client(rig);
  rig.broker.produce_pending = true;
  const ProduceOne produce("t", 0, batch);
  client.send(produce.request, 7);
  EXPECT_EQ(rig.host.fake_buffers().lent_bytes(), 0U);
  rig.broker.complete_all();
  client.run();
  const auto answer = client.next<wire::ProduceResponse>(7);
  EXPECT_EQ(answer->message.responses[0].name, "t") << "the name outlives the frame";
}

TEST_F(SessionTest, DrainAnswersWhatIsInProgressAndTakesNothingNew) {
  Driver client(rig);
  rig.broker.produce_pending = true;
  const ProduceOne produce("t", 0, batch);
  client.send(produce.request, 7);
  client.drain();
  EXPECT_FALSE(client.connection->close_called);
  EXPECT_TRUE(client.session().receive_buffer().empty());
  rig.broker.complete_all();
  client.run();
  EXPECT_TRUE(client.next<wire::ProduceResponse>(7));
  EXPECT_TRUE(client.connection->close_called);
  EXPECT_TRUE(client.connection->close_flushed);
}

TEST_F(SessionTest, DrainClosesAnIdleConnectionAtOnce) {
  Driver client(rig);
  client.drain();
  EXPECT_TRUE(client.connection->close_called);
}

TEST_F(SessionTest, DrainEndsALongPollWithAnEmptyAnswer) {
  Driver client(rig);
  const FetchTopic fetch("t", 4, 60'000);
  client.send(fetch.request, 11);
  EXPECT_FALSE(client.next_frame());
  client.drain();
  const auto answer = client.next<wire::FetchResponse>(11);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->message.responses[0].partitions[0].records.bytes, 0U);
  EXPECT_TRUE(client.connection->close_called);
  EXPECT_EQ(rig.broker.watch_count(), 0U);
}

TEST_F(SessionTest, AConnectionThatGoesAwayLeavesNothingBehind) {
  bool alive = false;
  {
    Driver client(rig);
    rig.broker.produce_pending = true;
    const ProduceOne produce("t", 0, batch);
    const ProduceOne silent("t", 1, batch, 0);
    client.send(produce.request, 7);
    client.send(silent.request, 7);
    client.send(produce.request, 7);
    client.send(wire::DeleteTopicsRequest{}, 5);
    client.close({ErrorCode::io_error, "connection reset"});
    rig.broker.complete_all();
    rig.host.run_work();
    client.connection->run_posts();
    alive = client.connection_alive;
  }
  EXPECT_TRUE(alive);
  EXPECT_EQ(rig.host.metric_value("protocol_open_connections"), 0);
  EXPECT_EQ(rig.host.fake_buffers().lent_bytes(), 0U);
}

TEST_F(SessionTest, ALongPollThatGoesAwayIsUnwatched) {
  {
    Driver client(rig);
    const FetchTopic fetch("t", 4, 60'000);
    client.send(fetch.request, 11);
    EXPECT_EQ(rig.broker.watch_count(), 4U);
    // Woken, but the connection is gone before the wake-up runs.
    rig.broker.append("t", 1, batch);
    client.close();
    EXPECT_EQ(rig.broker.watch_count(), 0U);
    client.connection->run_posts();
  }
  EXPECT_EQ(rig.broker.pins_held, 0);
}

TEST_F(SessionTest, CompletionsFromOtherThreadsAreAnsweredOnTheConnectionsThread) {
  Driver client(rig);
  rig.broker.produce_pending = true;
  std::atomic<bool> stop{false};
  std::thread flusher([&] {
    while (!stop) {
      rig.broker.complete_all();
      std::this_thread::yield();
    }
  });
  std::thread other([&] {
    while (!stop) rig.broker.complete_all();
  });
  constexpr int kRequests = 2000;
  const ProduceOne produce("t", 0, batch);
  int answered = 0;
  for (int i = 0; i < kRequests; ++i) {
    const std::string frame = frame_of(produce.request, 7, i);
    std::size_t done = 0;
    while (done < frame.size()) {
      done += client.deliver(std::string_view(frame).substr(done));
      client.connection->run_posts();
    }
    while (const auto answer = client.next<wire::ProduceResponse>(7)) EXPECT_EQ(answer->correlation_id, answered++);
  }
  while (answered < kRequests) {
    client.connection->run_posts();
    while (const auto answer = client.next<wire::ProduceResponse>(7)) EXPECT_EQ(answer->correlation_id, answered++);
  }
  stop = true;
  flusher.join();
  other.join();
}

TEST_F(SessionTest, AConnectionMayGoWhileOtherThreadsComplete) {
  rig.broker.produce_pending = true;
  std::atomic<bool> stop{false};
  std::thread flusher([&] {
    while (!stop) rig.broker.complete_all();
  });
  const ProduceOne produce("t", 0, batch);
  const FetchTopic fetch("t", 4, 60'000, 1 << 30);
  for (int i = 0; i < 200; ++i) {
    Driver client(rig);
    for (int n = 0; n < 5; ++n) client.send(produce.request, 7);
    client.send(fetch.request, 11);
    client.close();
    // What still refers to the session comes back through its connection; then the session gives up its reference.
    while (!client.connection->unique()) client.connection->run_posts();
  }
  stop = true;
  flusher.join();
  EXPECT_EQ(rig.broker.pins_held, 0);
}

TEST_F(SessionTest, DeadlinesAreSetRarely) {
  Driver client(rig);
  rig.broker.produce_pending = true;
  const ProduceOne produce("t", 0, batch);
  for (int i = 0; i < 100; ++i) {
    client.send(produce.request, 7);
    rig.broker.complete_all();
    client.run();
  }
  EXPECT_EQ(client.connection->deadlines_set, 1U);
}

}  // namespace
}  // namespace streambus::protocol_kafka::test
