#include <gtest/gtest.h>

#include "errors.hpp"
#include "session_driver.hpp"

namespace streambus::protocol_kafka::test {
namespace {

using wire::WireError;

class ProduceTest : public ::testing::Test {
 protected:
  ProduceTest() {
    rig.broker.add_topic("t", 4);
    batch = make_batch(3);
  }
  Rig rig;
  std::vector<std::byte> batch;
};

class ProduceVersionTest : public ProduceTest, public ::testing::WithParamInterface<std::int16_t> {};

TEST_P(ProduceVersionTest, IsAppendedAndAnswered) {
  Driver client(rig);
  rig.broker.log_append_time = 1234;
  const ProduceOne produce("t", 2, batch);
  const std::int16_t version = GetParam();
  client.ask(produce.request, version);
  const auto answer = client.ask(produce.request, version);
  ASSERT_EQ(answer.message.responses.size(), 1U);
  EXPECT_EQ(answer.message.responses[0].name, "t");
  const auto& partition = answer.message.responses[0].partition_responses[0];
  EXPECT_EQ(partition.index, 2);
  EXPECT_EQ(partition.error_code, 0);
  EXPECT_EQ(partition.base_offset, 3);
  EXPECT_EQ(partition.log_append_time_ms, 1234) << "clients learn the broker's time from the answer";
  EXPECT_EQ(partition.log_start_offset, version >= 5 ? 0 : -1);
}

INSTANTIATE_TEST_SUITE_P(Served, ProduceVersionTest, ::testing::Values<std::int16_t>(3, 4, 5, 6, 7, 8, 9));

class OldProduceVersionTest : public ProduceTest, public ::testing::WithParamInterface<std::int16_t> {};

TEST_P(OldProduceVersionTest, GetsAnErrorPerPartitionNotACrash) {
  Driver client(rig);
  const ProduceOne produce("t", 2, batch);
  const auto answer = client.ask(produce.request, GetParam());
  EXPECT_EQ(answer.message.responses[0].partition_responses[0].error_code, code_of(WireError::unsupported_for_message_format));
  EXPECT_EQ(answer.message.responses[0].partition_responses[0].base_offset, -1);
  EXPECT_EQ(rig.broker.produce_calls, 0);
  EXPECT_FALSE(client.connection->close_called);
}

INSTANTIATE_TEST_SUITE_P(Advertised, OldProduceVersionTest, ::testing::Values<std::int16_t>(0, 1, 2));

TEST_F(ProduceTest, TheBrokerGetsTheBytesWhereTheyWereReceived) {
  Driver client(rig);
  // Large enough for a buffer of its own, delivered in pieces: the batch is read from the receive buffer itself.
  std::vector<std::byte> large = make_batch(100, 3000);
  const ProduceOne produce("t", 0, large);
  const std::string frame = frame_of(produce.request, 7, 1);
  std::size_t done = 0;
  const std::byte* last_space = nullptr;
  std::size_t last_bytes = 0;
  while (done < frame.size()) {
    const MutableBytes space = client.session().receive_buffer();
    const std::size_t count = std::min({space.size(), frame.size() - done, std::size_t{50'000}});
    std::memcpy(space.data(), frame.data() + done, count);
    done += count;
    last_space = space.data();
    last_bytes = count;
    client.session().received(count);
  }
  ASSERT_EQ(rig.broker.produced_at.size(), 1U);
  // The batch is the end of the frame: its last byte is the last byte that was received.
  EXPECT_EQ(rig.broker.produced_at[0] + large.size(), last_space + last_bytes);
}

TEST_F(ProduceTest, WithoutAcksThereIsNoAnswerAtAll) {
  Driver client(rig);
  const ProduceOne silent("t", 0, batch, 0);
  client.send(silent.request, 7);
  rig.broker.produce_pending = true;
  client.send(silent.request, 7);
  client.send(silent.request, 7);
  const auto id = client.send(wire::MetadataRequest{}, 9);
  EXPECT_EQ(client.next<wire::MetadataResponse>(9)->correlation_id, id) << "the only answer, and not held back";
  rig.broker.complete_all();
  client.run();
  EXPECT_FALSE(client.next_frame());
  EXPECT_EQ(rig.broker.produce_calls, 3);
  EXPECT_FALSE(client.connection->close_called);
}

TEST_F(ProduceTest, AFailureWithoutAcksClosesTheConnection) {
  Driver client(rig);
  const ProduceOne silent("nowhere", 0, batch, 0);
  client.send(silent.request, 7);
  EXPECT_TRUE(client.connection->close_called);
  EXPECT_TRUE(client.connection->sent.empty());
}

TEST_F(ProduceTest, OtherAcksAreRefused) {
  for (const std::int16_t acks : std::initializer_list<std::int16_t>{2, -2, 100}) {
    Driver client(rig);
    const ProduceOne produce("t", 0, batch, acks);
    const auto answer = client.ask(produce.request, 7);
    EXPECT_EQ(answer.message.responses[0].partition_responses[0].error_code, code_of(WireError::invalid_required_acks));
  }
  EXPECT_EQ(rig.broker.produce_calls, 0);
}

TEST_F(ProduceTest, TransactionsAreRefused) {
  Driver client(rig);
  ProduceOne produce("t", 0, batch);
  produce.request.transactional_id = "tx";
  const auto answer = client.ask(produce.request, 8);
  EXPECT_EQ(answer.message.responses[0].partition_responses[0].error_code, code_of(WireError::invalid_request));
  EXPECT_NE(answer.message.responses[0].partition_responses[0].error_message->find("transactions"), std::string_view::npos);
}

TEST_F(ProduceTest, EmptyRecordsAreRefusedAloneOthersGoOn) {
  Driver client(rig);
  rig.broker.produce_pending = true;
  wire::ProduceRequest::Partition first[] = {{0, {}}, {1, batch}};
  wire::ProduceRequest::Partition second[] = {{9, batch}, {3, batch}};
  wire::ProduceRequest::Topic topics[] = {{"t", first}, {"t", second}};
  wire::ProduceRequest request;
  request.acks = -1;
  request.timeout_ms = 1000;
  request.topic_data = topics;
  client.send(request, 9);
  EXPECT_FALSE(client.next_frame());
  EXPECT_EQ(rig.broker.complete_all(), 2U);
  client.run();
  const auto answer = client.next<wire::ProduceResponse>(9);
  ASSERT_TRUE(answer);
  const auto& responses = answer->message.responses;
  EXPECT_EQ(responses[0].partition_responses[0].error_code, code_of(WireError::invalid_record));
  EXPECT_EQ(responses[0].partition_responses[1].error_code, 0);
  EXPECT_EQ(responses[1].partition_responses[0].error_code, code_of(WireError::unknown_topic_or_partition));
  EXPECT_EQ(responses[1].partition_responses[1].error_code, 0);
  EXPECT_EQ(responses[1].partition_responses[1].index, 3);
}

TEST_F(ProduceTest, ErrorsCarryTheBrokersWords) {
  Driver client(rig);
  rig.broker.produce_error = ErrorCode::too_large;
  rig.broker.produce_error_text = "the batch has 2000000 bytes, at most 1048588 are allowed";
  const ProduceOne produce("t", 0, batch);
  const auto answer = client.ask(produce.request, 8);
  const auto& partition = answer.message.responses[0].partition_responses[0];
  EXPECT_EQ(partition.error_code, code_of(WireError::message_too_large));
  EXPECT_EQ(partition.error_message, rig.broker.produce_error_text);
}

TEST_F(ProduceTest, ATimeOutIsAnsweredAndTheLateCompletionIsHarmless) {
  Driver client(rig);
  rig.broker.produce_pending = true;
  const ProduceOne produce("t", 0, batch);
  const auto id = client.send(produce.request, 7);
  client.advance_ms(999);
  EXPECT_FALSE(client.next_frame());
  client.advance_ms(1);
  const auto answer = client.next<wire::ProduceResponse>(7);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->correlation_id, id);
  EXPECT_EQ(answer->message.responses[0].partition_responses[0].error_code, code_of(WireError::request_timed_out));
  rig.broker.complete_all();
  client.run();
  EXPECT_FALSE(client.next_frame());
  rig.broker.produce_pending = false;
  client.ask(produce.request, 7);
}

TEST_F(ProduceTest, ATimedOutAnswerWaitsForItsTurnWhileItCompletes) {
  Driver client(rig);
  rig.broker.produce_pending = true;
  ProduceOne patient("t", 0, batch);
  patient.request.timeout_ms = 10'000;
  const ProduceOne hasty("t", 1, batch);
  const auto first = client.send(patient.request, 7);
  const auto second = client.send(hasty.request, 7);
  client.advance_ms(1500);
  EXPECT_FALSE(client.next_frame());
  rig.broker.complete_all();
  client.run();
  EXPECT_EQ(client.next<wire::ProduceResponse>(7)->correlation_id, first);
  const auto answer = client.next<wire::ProduceResponse>(7);
  EXPECT_EQ(answer->correlation_id, second);
  EXPECT_EQ(answer->message.responses[0].partition_responses[0].error_code, code_of(WireError::request_timed_out));
}

TEST_F(ProduceTest, AFailureAfterTheAppendIsTold) {
  Driver client(rig);
  rig.broker.produce_pending = true;
  const ProduceOne produce("t", 0, batch);
  client.send(produce.request, 7);
  rig.broker.complete_all(ErrorCode::io_error);
  client.run();
  const auto answer = client.next<wire::ProduceResponse>(7);
  EXPECT_EQ(answer->message.responses[0].partition_responses[0].error_code, code_of(WireError::kafka_storage_error));
  EXPECT_EQ(answer->message.responses[0].partition_responses[0].base_offset, -1);
}

TEST_F(ProduceTest, ACorruptBatchIsToldPerPartition) {
  Driver client(rig);
  batch[40] ^= std::byte{1};
  const ProduceOne produce("t", 0, batch);
  const auto answer = client.ask(produce.request, 7);
  EXPECT_EQ(answer.message.responses[0].partition_responses[0].error_code, code_of(WireError::corrupt_message));
}

TEST(ErrorsTest, EveryCodeOfTheBrokerHasACodeOnTheWire) {
  for (std::int32_t code = 0; code <= static_cast<std::int32_t>(ErrorCode::internal); ++code) {
    const WireError error = wire_error(static_cast<ErrorCode>(code));
    EXPECT_EQ(error == WireError::none, code == 0) << code;
    EXPECT_NE(wire::name_of(error), "UNKNOWN");
    // What may go away by itself must look so to clients.
    if (is_retriable(static_cast<ErrorCode>(code))) {
      EXPECT_TRUE(wire::is_retriable(error)) << wire::name_of(error);
    }
  }
}

}  // namespace
}  // namespace streambus::protocol_kafka::test
