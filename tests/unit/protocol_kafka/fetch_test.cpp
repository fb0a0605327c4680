#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "errors.hpp"
#include "session_driver.hpp"

namespace streambus::protocol_kafka::test {
namespace {

using wire::WireError;

class FetchTest : public ::testing::Test {
 protected:
  FetchTest() {
    rig.broker.add_topic("t", 3);
    batch = make_batch(3, 100);
  }
  Rig rig;
  std::vector<std::byte> batch;
};

class FetchVersionTest : public FetchTest, public ::testing::WithParamInterface<std::int16_t> {};

TEST_P(FetchVersionTest, ReturnsWholeBatches) {
  Driver client(rig);
  rig.broker.append("t", 1, batch);
  rig.broker.append("t", 1, batch);
  FetchTopic fetch("t", 3, 0);
  fetch.partitions[1].fetch_offset = 4;  // inside the second batch
  const auto answer = client.ask(fetch.request, GetParam());
  ASSERT_EQ(answer.message.responses.size(), 1U);
  ASSERT_EQ(answer.message.responses[0].partitions.size(), 3U);
  const auto& partition = answer.message.responses[0].partitions[1];
  EXPECT_EQ(partition.partition_index, 1);
  EXPECT_EQ(partition.high_watermark, 6);
  EXPECT_EQ(partition.last_stable_offset, 6);
  ASSERT_EQ(partition.records.bytes, batch.size());
  std::size_t bytes = 0;
  EXPECT_TRUE(check_batch(partition.records.slices[0].as_memory(), &bytes).ok());
  EXPECT_EQ(answer.message.responses[0].partitions[0].records.bytes, 0U);
  EXPECT_EQ(answer.message.session_id, 0);
}

INSTANTIATE_TEST_SUITE_P(Served, FetchVersionTest, ::testing::Values<std::int16_t>(4, 5, 6, 7, 8, 9, 10, 11, 12));

TEST_F(FetchTest, BatchesAreSentFromWhereTheEngineKeepsThem) {
  Driver client(rig);
  rig.broker.append("t", 0, batch);
  FetchTopic seen("t", 1, 0);
  client.connection->hold_output = true;
  client.ask(seen.request, 11);
  FetchCall call;
  call.topic = "t";
  call.from = Offset{0};
  call.bytes_max = 1 << 20;
  rig.broker.fetch(call);
  bool found = false;
  for (const Slice& slice : client.connection->sent_slices) found |= slice.data == call.data.slices[0].data;
  EXPECT_TRUE(found) << "the stored bytes were copied";
  call.data.pin->release();
  EXPECT_EQ(rig.broker.pins_held, 1) << "the pin is held until the peer has the bytes";
  client.send_all();
  EXPECT_EQ(rig.broker.pins_held, 0);
}

TEST_F(FetchTest, WaitsForDataAndIsWokenByIt) {
  Driver client(rig);
  FetchTopic fetch("t", 3, 500);
  const auto id = client.send(fetch.request, 11);
  EXPECT_FALSE(client.next_frame());
  EXPECT_EQ(rig.broker.watch_count(), 3U);
  rig.broker.append("t", 2, batch);
  client.run();
  const auto answer = client.next<wire::FetchResponse>(11);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->correlation_id, id);
  EXPECT_EQ(answer->message.responses[0].partitions[2].records.bytes, batch.size());
  EXPECT_EQ(rig.broker.watch_count(), 0U);
}

TEST_F(FetchTest, EndsEmptyAtTheDeadline) {
  Driver client(rig);
  FetchTopic fetch("t", 3, 500);
  client.send(fetch.request, 11);
  client.advance_ms(499);
  EXPECT_FALSE(client.next_frame());
  client.advance_ms(1);
  const auto answer = client.next<wire::FetchResponse>(11);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->message.responses[0].partitions[0].records.bytes, 0U);
  EXPECT_EQ(answer->message.responses[0].partitions[0].high_watermark, 0);
  EXPECT_EQ(rig.broker.watch_count(), 0U);
}

TEST_F(FetchTest, WaitsForMinBytesAndReturnsWhatThereIsAtTheDeadline) {
  Driver client(rig);
  FetchTopic fetch("t", 3, 500, static_cast<std::int32_t>(3 * batch.size()));
  client.send(fetch.request, 11);
  rig.broker.append("t", 0, batch);
  client.run();
  rig.broker.append("t", 1, batch);
  client.run();
  EXPECT_FALSE(client.next_frame());
  EXPECT_EQ(rig.broker.pins_held, 0) << "nothing is pinned while waiting";
  rig.broker.append("t", 0, batch);
  client.run();
  EXPECT_EQ(client.next<wire::FetchResponse>(11)->message.responses[0].partitions[0].records.bytes, 2 * batch.size());

  fetch.request.min_bytes = 1 << 19;
  client.send(fetch.request, 11);
  EXPECT_FALSE(client.next_frame());
  client.advance_ms(500);
  EXPECT_EQ(client.next<wire::FetchResponse>(11)->message.responses[0].partitions[1].records.bytes, batch.size());
}

TEST_F(FetchTest, DataThatComesBetweenReadAndWatchIsFound) {
  Driver client(rig);
  FetchTopic fetch("t", 3, 500, static_cast<std::int32_t>(2 * batch.size()));
  // Enough: answered at once.
  rig.broker.before_watch = [this] {
    rig.broker.append("t", 1, batch);
    rig.broker.append("t", 1, batch);
  };
  client.send(fetch.request, 11);
  const auto answer = client.next<wire::FetchResponse>(11);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->message.responses[0].partitions[1].records.bytes, 2 * batch.size());
  EXPECT_EQ(rig.broker.watch_count(), 0U);

  // Not enough: read again, then waited for more.
  rig.broker.before_watch = [this] { rig.broker.append("t", 2, batch); };
  fetch.partitions[1].fetch_offset = 6;
  client.send(fetch.request, 11);
  EXPECT_FALSE(client.next_frame());
  EXPECT_EQ(rig.broker.watch_count(), 3U);
  rig.broker.append("t", 0, batch);
  client.run();
  EXPECT_TRUE(client.next_frame());
}

TEST_F(FetchTest, ADeadlineAndAWakeUpTogetherGiveOneAnswer) {
  Driver client(rig);
  FetchTopic fetch("t", 3, 500);
  client.send(fetch.request, 11);
  rig.broker.append("t", 0, batch);  // the wake-up is posted, not run
  client.advance_ms(600);
  client.run();
  EXPECT_TRUE(client.next_frame());
  EXPECT_FALSE(client.next_frame());
}

TEST_F(FetchTest, ALongPollHoldsBackLaterRequestsOfItsConnectionOnly) {
  Driver client(rig);
  Driver other(rig);
  FetchTopic fetch("t", 3, 500);
  client.send(fetch.request, 11);
  const std::string later = frame_of(wire::MetadataRequest{}, 9, 77);
  client.deliver(later);
  EXPECT_FALSE(client.next_frame());
  EXPECT_EQ(rig.host.metric_value("protocol_requests_total"), 1) << "the later request was started";
  other.ask(wire::MetadataRequest{}, 9);
  rig.broker.append("t", 0, batch);
  client.run();
  EXPECT_TRUE(client.next<wire::FetchResponse>(11));
  EXPECT_EQ(client.next<wire::MetadataResponse>(9)->correlation_id, 77);
}

TEST_F(FetchTest, TheFirstBatchMayExceedTheLimitsLaterOnesNot) {
  Driver client(rig);
  rig.broker.append("t", 0, batch);
  rig.broker.append("t", 0, batch);
  rig.broker.append("t", 1, batch);
  FetchTopic fetch("t", 3, 0);
  fetch.request.max_bytes = 10;
  const auto answer = client.ask(fetch.request, 11);
  EXPECT_EQ(answer.message.responses[0].partitions[0].records.bytes, batch.size());
  EXPECT_EQ(answer.message.responses[0].partitions[1].records.bytes, 0U);
}

TEST_F(FetchTest, NoPartitionStarvesWhenTheResponseIsCut) {
  Driver client(rig);
  for (int i = 0; i < 50; ++i) {
    for (PartitionId p = 0; p < 3; ++p) rig.broker.append("t", p, batch);
  }
  FetchTopic fetch("t", 3, 0);
  fetch.request.max_bytes = static_cast<std::int32_t>(batch.size() + batch.size() / 2);  // one batch, and no second one
  std::int64_t bytes[3] = {};
  for (int i = 0; i < 30; ++i) {
    const auto answer = client.ask(fetch.request, 11);
    for (std::size_t p = 0; p < 3; ++p)
      bytes[p] += static_cast<std::int64_t>(answer.message.responses[0].partitions[p].records.bytes);
  }
  for (const std::int64_t got : bytes) EXPECT_EQ(got, static_cast<std::int64_t>(10 * batch.size()));
}

TEST_F(FetchTest, PartitionLimitsHold) {
  Driver client(rig);
  for (int i = 0; i < 4; ++i) rig.broker.append("t", 0, batch);
  FetchTopic fetch("t", 1, 0);
  fetch.partitions[0].partition_max_bytes = static_cast<std::int32_t>(2 * batch.size());
  const auto answer = client.ask(fetch.request, 11);
  EXPECT_EQ(answer.message.responses[0].partitions[0].records.bytes, 2 * batch.size());
}

TEST_F(FetchTest, ErrorsAreAnsweredAtOnce) {
  Driver client(rig);
  struct Case {
    const char* topic;
    std::int64_t offset;
    std::int32_t epoch;
    WireError error;
  };
  for (const Case& c : {Case{"t", 99, -1, WireError::offset_out_of_range}, Case{"t", -1, -1, WireError::offset_out_of_range},
                        Case{"t", 0, 2, WireError::fenced_leader_epoch}, Case{"t", 0, 4, WireError::unknown_leader_epoch},
                        Case{"nowhere", 0, -1, WireError::unknown_topic_or_partition}}) {
    FetchTopic fetch(c.topic, 1, 60'000);
    fetch.partitions[0].fetch_offset = c.offset;
    fetch.partitions[0].current_leader_epoch = c.epoch;
    const auto answer = client.ask(fetch.request, 11);
    EXPECT_EQ(answer.message.responses[0].partitions[0].error_code, code_of(c.error)) << wire::name_of(c.error);
  }
}

TEST_F(FetchTest, SessionsAreDeclinedAndUnknownOnesNamed) {
  Driver client(rig);
  FetchTopic fetch("t", 1, 0);
  fetch.request.session_epoch = 0;  // "make me a session"
  EXPECT_EQ(client.ask(fetch.request, 11).message.session_id, 0);
  fetch.request.session_id = 1234;
  fetch.request.session_epoch = 5;
  const auto answer = client.ask(fetch.request, 11);
  EXPECT_EQ(answer.message.error_code, code_of(WireError::fetch_session_id_not_found));
  EXPECT_TRUE(answer.message.responses.empty());
  fetch.request.session_epoch = -1;  // closing one is a full fetch
  EXPECT_EQ(client.ask(fetch.request, 11).message.responses.size(), 1U);
}

TEST_F(FetchTest, AbortedTransactionsAreListedForReadCommittedOnly) {
  Driver client(rig);
  FetchTopic fetch("t", 1, 0);
  EXPECT_FALSE(client.ask(fetch.request, 11).message.responses[0].partitions[0].aborted_transactions);
  fetch.request.isolation_level = 1;
  const auto answer = client.ask(fetch.request, 11);
  ASSERT_TRUE(answer.message.responses[0].partitions[0].aborted_transactions);
  EXPECT_TRUE(answer.message.responses[0].partitions[0].aborted_transactions->empty());
}

TEST_F(FetchTest, AFetchWithoutPartitionsReturnsAtOnce) {
  Driver client(rig);
  wire::FetchRequest request;
  request.max_wait_ms = 60'000;
  request.min_bytes = 1;
  EXPECT_TRUE(client.ask(request, 11).message.responses.empty());
}

TEST_F(FetchTest, ATopicDeletedWhileWatchedEndsThePoll) {
  Driver client(rig);
  FetchTopic fetch("t", 3, 500);
  client.send(fetch.request, 11);
  ASSERT_TRUE(rig.broker.delete_topic("t").ok());
  client.advance_ms(500);
  const auto answer = client.next<wire::FetchResponse>(11);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->message.responses[0].partitions[0].error_code, code_of(WireError::unknown_topic_or_partition));
}

TEST_F(FetchTest, DataFromOtherThreadsIsNeverMissed) {
  Driver client(rig);
  constexpr std::int64_t kBatches = 500;
  std::thread producer([&] {
    for (std::int64_t i = 0; i < kBatches; ++i) {
      rig.broker.append("t", static_cast<PartitionId>(i % 3), batch);
      if (i % 7 == 0) std::this_thread::yield();
    }
  });
  FetchTopic fetch("t", 3, 3'600'000);  // the clock stands still: only data ends a poll
  std::int64_t got = 0;
  while (got < kBatches) {
    client.send(fetch.request, 11);
    std::optional<Received<wire::FetchResponse>> answer;
    while (!(answer = client.next<wire::FetchResponse>(11))) client.connection->run_posts();
    for (std::size_t p = 0; p < 3; ++p) {
      const auto batches = static_cast<std::int64_t>(answer->message.responses[0].partitions[p].records.bytes / batch.size());
      got += batches;
      fetch.partitions[p].fetch_offset += 3 * batches;
    }
  }
  producer.join();
  EXPECT_EQ(got, kBatches);
  EXPECT_EQ(rig.broker.pins_held, 0);
}

}  // namespace
}  // namespace streambus::protocol_kafka::test
