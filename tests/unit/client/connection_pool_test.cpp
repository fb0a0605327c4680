#include "connection_pool.hpp"

#include <gtest/gtest.h>

#include "bench_client.hpp"

namespace streambus::client {
namespace {

using test::ClientRig;
using test::FakeBroker;
using test::FakeNetwork;
using Action = FakeBroker::Script::Action;
using ChannelRef = ConnectionPool::ChannelRef;

constexpr const char* kTarget = "broker:9092";

ClientSettings quiet_settings() {
  ClientSettings settings;
  settings.pool.idle_timeout_ms = 0;
  settings.pool.keepalive_ms = 0;
  settings.pool.health_check_idle_ms = 0;
  return settings;
}

class PoolTest : public testing::Test {
 protected:
  /// What a lend led to, if anything yet.
  struct Lent {
    std::optional<Result<ChannelRef>> outcome;
  };
  std::shared_ptr<Lent> lend(ClientRig& rig) {
    auto lent = std::make_shared<Lent>();
    rig.pool.lend(kTarget, [lent](Result<ChannelRef> outcome) { lent->outcome = std::move(outcome); });
    rig.settle();
    return lent;
  }
  ChannelRef take(ClientRig& rig) {
    const auto lent = lend(rig);
    EXPECT_TRUE(lent->outcome && lent->outcome->has_value());
    return lent->outcome && *lent->outcome ? **lent->outcome : nullptr;
  }
};

TEST_F(PoolTest, LendsOneConnectionAgain) {
  ClientRig rig(quiet_settings());
  ChannelRef first = take(rig);
  ASSERT_TRUE(first && first->ready());
  rig.pool.give_back(first);
  EXPECT_EQ(take(rig), first);
  EXPECT_EQ(rig.network.connects, 1);
  const PoolStatistics statistics = rig.pool.statistics();
  EXPECT_EQ(statistics.lends, 2U);
  EXPECT_EQ(statistics.open, 1U);
  EXPECT_EQ(statistics.in_use, 1U);
}

TEST_F(PoolTest, BorrowersDoNotShare) {
  ClientRig rig(quiet_settings());
  const ChannelRef a = take(rig);
  const ChannelRef b = take(rig);
  EXPECT_NE(a, b);
  EXPECT_EQ(rig.pool.statistics().in_use, 2U);
}

TEST_F(PoolTest, WaitsForAConnectionAtTheBound) {
  ClientSettings settings = quiet_settings();
  settings.pool.connections_max = 1;
  ClientRig rig(settings);
  const ChannelRef first = take(rig);
  const auto second = lend(rig);
  EXPECT_FALSE(second->outcome);
  EXPECT_EQ(rig.pool.statistics().waiting, 1U);
  rig.pool.give_back(first);
  rig.settle();
  ASSERT_TRUE(second->outcome && *second->outcome);
  EXPECT_EQ(**second->outcome, first);
  EXPECT_EQ(rig.pool.statistics().waits, 2U);  // the first one waited for its connection to be made
}

TEST_F(PoolTest, TellsWhenTheWaitTookTooLong) {
  ClientSettings settings = quiet_settings();
  settings.pool.connections_max = 1;
  settings.pool.wait_timeout_ms = 200;
  ClientRig rig(settings);
  const ChannelRef first = take(rig);
  const auto second = lend(rig);
  rig.advance_ms(195);
  EXPECT_FALSE(second->outcome);
  rig.advance_ms(10);
  ASSERT_TRUE(second->outcome && !*second->outcome);
  EXPECT_EQ(second->outcome->error().code, ErrorCode::busy);
  EXPECT_NE(second->outcome->error().message.find("connections_max"), std::string::npos) << second->outcome->error().message;
  EXPECT_EQ(rig.pool.statistics().wait_timeouts, 1U);
}

TEST_F(PoolTest, BacksOffAfterFailedAttempts) {
  ClientSettings settings = quiet_settings();
  settings.pool.reconnect_backoff_ms = 100;
  settings.pool.reconnect_backoff_max_ms = 400;
  ClientRig rig(settings);
  rig.network.mode = FakeNetwork::Mode::refuse;
  const auto first = lend(rig);
  ASSERT_TRUE(first->outcome && !*first->outcome);
  EXPECT_NE(first->outcome->error().message.find(kTarget), std::string::npos);

  // The next attempt comes after 80 to 120 % of the backoff; each failure doubles that up to the maximum.
  for (const std::int64_t backoff : {100, 200, 400, 400}) {
    const int before = rig.network.connects;
    const auto next = lend(rig);
    std::int64_t waited = 0;
    for (; rig.network.connects == before && waited < 1000; waited += 5) rig.advance_ms(5);
    EXPECT_GE(waited, backoff * 8 / 10) << "backoff " << backoff;
    EXPECT_LE(waited, backoff * 12 / 10 + 5) << "backoff " << backoff;
    EXPECT_TRUE(next->outcome && !*next->outcome);
  }
  // A success forgets the failures.
  rig.network.mode = FakeNetwork::Mode::accept;
  const auto good = lend(rig);
  rig.advance_ms(500);
  ASSERT_TRUE(good->outcome && *good->outcome);
  const int before = rig.network.connects;
  take(rig);
  EXPECT_EQ(rig.network.connects, before + 1);
  EXPECT_EQ(rig.pool.statistics().connect_failures, 5U);
}

TEST_F(PoolTest, ClosesIdleConnectionsAboveTheMinimum) {
  ClientSettings settings = quiet_settings();
  settings.pool.idle_timeout_ms = 1000;
  settings.pool.connections_idle_min = 1;
  ClientRig rig(settings);
  std::vector<ChannelRef> all{take(rig), take(rig), take(rig)};
  for (ChannelRef& channel : all) rig.pool.give_back(std::move(channel));
  rig.advance_ms(980);
  EXPECT_EQ(rig.pool.statistics().open, 4U) << "three were in use, and one idle besides";
  rig.advance_ms(30);
  EXPECT_EQ(rig.pool.statistics().open, 1U);
  EXPECT_EQ(rig.pool.statistics().closed_idle, 3U);
  rig.advance_ms(3000);
  EXPECT_EQ(rig.network.connections.size(), 1U);
}

TEST_F(PoolTest, KeepsTheIdleMinimumOpen) {
  ClientSettings settings = quiet_settings();
  settings.pool.connections_idle_min = 2;
  ClientRig rig(settings);
  const ChannelRef used = take(rig);
  rig.settle();
  EXPECT_EQ(rig.pool.statistics().open, 3U) << "two idle ones besides the one in use";
  for (int lost = 1; lost <= 2; ++lost) {
    rig.network.connections.back()->cut();
    rig.settle();
    EXPECT_EQ(rig.pool.statistics().open, 3U) << "a lost one is replaced";
  }
  EXPECT_EQ(rig.pool.statistics().closed_by_peer, 2U);
}

TEST_F(PoolTest, EndsConnectionsAtTheirLifeTime) {
  ClientSettings settings = quiet_settings();
  settings.pool.life_time_ms = 1000;
  ClientRig rig(settings);
  const ChannelRef used = take(rig);
  rig.advance_ms(1500);
  EXPECT_TRUE(used->ready()) << "not while it is in use";
  rig.pool.give_back(used);
  rig.settle();
  EXPECT_TRUE(used->closed());
  rig.pool.give_back(take(rig));
  rig.advance_ms(1100);
  EXPECT_EQ(rig.pool.statistics().closed_life_time, 2U);
  EXPECT_EQ(rig.pool.statistics().open, 0U);
}

TEST_F(PoolTest, KeepsIdleConnectionsAliveAndDropsDeadOnes) {
  ClientSettings settings = quiet_settings();
  settings.pool.keepalive_ms = 500;
  settings.pool.request_timeout_ms = 300;
  ClientRig rig(settings);
  rig.pool.give_back(take(rig));
  const int before = rig.broker.requests[wire::ApiKey::api_versions];
  rig.advance_ms(510);
  EXPECT_EQ(rig.broker.requests[wire::ApiKey::api_versions], before + 1);
  EXPECT_EQ(rig.pool.statistics().open, 1U);
  rig.broker.script.push_back({wire::ApiKey::api_versions, Action::ignore});
  rig.advance_ms(500 + 310);
  EXPECT_EQ(rig.pool.statistics().open, 0U);
  EXPECT_EQ(rig.pool.statistics().closed_unhealthy, 1U);
}

TEST_F(PoolTest, ChecksWhatWasIdleForLongBeforeLending) {
  ClientSettings settings = quiet_settings();
  settings.pool.health_check_idle_ms = 1000;
  settings.pool.request_timeout_ms = 300;
  ClientRig rig(settings);
  const ChannelRef dead = take(rig);
  rig.pool.give_back(dead);
  rig.advance_ms(1100);
  rig.broker.script.push_back({wire::ApiKey::api_versions, Action::ignore});
  const auto lent = lend(rig);
  EXPECT_FALSE(lent->outcome) << "it must answer first";
  rig.advance_ms(400);
  ASSERT_TRUE(lent->outcome && *lent->outcome);
  EXPECT_NE(**lent->outcome, dead);
  EXPECT_TRUE(dead->closed());
  EXPECT_EQ(rig.pool.statistics().health_checks, 1U);
}

TEST_F(PoolTest, FailsEverythingOnATimeOut) {
  ClientSettings settings = quiet_settings();
  settings.pool.request_timeout_ms = 200;
  ClientRig rig(settings);
  const ChannelRef channel = take(rig);
  rig.broker.hold = wire::ApiKey::metadata;
  std::vector<ErrorCode> codes;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(channel->request(wire::MetadataRequest{}, [&](const Result<ResponseFrame>& outcome) {
      ASSERT_FALSE(outcome);
      codes.push_back(outcome.error().code);
    }));
  }
  rig.advance_ms(190);
  EXPECT_TRUE(codes.empty());
  rig.advance_ms(20);
  EXPECT_EQ(codes, (std::vector{ErrorCode::timeout, ErrorCode::timeout}));
  EXPECT_TRUE(channel->closed());
  EXPECT_EQ(rig.pool.statistics().request_timeouts, 1U);
}

TEST_F(PoolTest, MatchesAnswersByCorrelationId) {
  ClientSettings settings = quiet_settings();
  settings.pool.requests_in_flight_max = 3;
  ClientRig rig(settings);
  rig.broker.add_topic("t", 1);
  const ChannelRef channel = take(rig);
  rig.broker.hold = wire::ApiKey::metadata;
  std::vector<std::pair<std::string, std::string>> answers;
  for (const std::string name : {"a", "b", "c"}) {
    EXPECT_TRUE(channel->can_send());
    std::vector<wire::MetadataRequest::Topic> topics{{name}};
    wire::MetadataRequest request;
    request.topics = topics;
    ASSERT_TRUE(channel->request(request, [&answers, name](const Result<ResponseFrame>& outcome) {
      ASSERT_TRUE(outcome);
      wire::Arena arena;
      wire::MetadataResponse response;
      ASSERT_TRUE(decode_response(*outcome, arena, response));
      answers.emplace_back(name, response.topics[0].name);
    }));
  }
  rig.settle();
  EXPECT_FALSE(channel->can_send()) << "requests_in_flight_max";
  rig.broker.release(true);
  rig.settle();
  EXPECT_EQ(answers, (std::vector<std::pair<std::string, std::string>>{{"c", "c"}, {"b", "b"}, {"a", "a"}}));
  EXPECT_TRUE(channel->can_send());
}

TEST_F(PoolTest, StepsDownToOldApiVersions) {
  ClientRig rig(quiet_settings());
  rig.broker.api_versions_max = 0;
  EXPECT_TRUE(take(rig));
  EXPECT_EQ(rig.broker.requests[wire::ApiKey::api_versions], 2);
}

TEST_F(PoolTest, SaysWhenThePeerIsNoKafkaBroker) {
  ClientRig rig(quiet_settings());
  rig.broker.script.push_back({wire::ApiKey::api_versions, Action::garbage});
  const auto lent = lend(rig);
  ASSERT_TRUE(lent->outcome && !*lent->outcome);
  EXPECT_EQ(lent->outcome->error().code, ErrorCode::corrupt);
  EXPECT_NE(lent->outcome->error().message.find("Kafka broker"), std::string::npos) << lent->outcome->error().message;
}

TEST_F(PoolTest, ReceivesALargeAnswerInOnePiece) {
  ClientRig rig(quiet_settings());
  rig.broker.add_topic("t", 1);
  const std::string value(3U << 20, 'v');
  BatchBuilder builder(rig.buffers);
  ASSERT_TRUE(builder.append({.timestamp_ms = 1, .key = {}, .value = as_bytes(value), .headers = {}}));
  SharedSlice batch;
  ASSERT_TRUE(builder.finish({}, &batch).ok());
  Offset base;
  ASSERT_EQ(rig.broker.append("t", 0, batch.bytes, &base), wire::WireError::none);

  const ChannelRef channel = take(rig);
  for (const std::size_t piece : {std::size_t{1} << 20, std::size_t{10'007}}) {
    rig.broker.piece = piece;
    wire::FetchRequest::Partition partition;
    partition.partition_max_bytes = 8 << 20;
    wire::FetchRequest::Topic topic{"t", {&partition, 1}};
    wire::FetchRequest request;
    request.topics = {&topic, 1};
    bool answered = false;
    ASSERT_TRUE(channel->request(request, [&](const Result<ResponseFrame>& outcome) {
      ASSERT_TRUE(outcome);
      wire::Arena arena;
      wire::FetchResponse response;
      ASSERT_TRUE(decode_response(*outcome, arena, response));
      const Bytes records = response.responses[0].partitions[0].records.slices[0].as_memory();
      ASSERT_EQ(records.size(), batch.bytes.size());
      EXPECT_TRUE(std::ranges::equal(records.subspan(16), batch.bytes.subspan(16)));
      EXPECT_GE(records.data(), outcome->buffer->data()) << "a view of the buffer that it was received into";
      EXPECT_LE(records.data() + records.size(), outcome->buffer->data() + outcome->buffer->capacity());
      answered = true;
    }));
    rig.settle();
    EXPECT_TRUE(answered);
  }
}

TEST_F(PoolTest, ClosesWhatIsGivenBackWithRequestsUnanswered) {
  ClientRig rig(quiet_settings());
  const ChannelRef channel = take(rig);
  rig.broker.hold = wire::ApiKey::metadata;
  bool failed = false;
  ASSERT_TRUE(channel->request(wire::MetadataRequest{}, [&](const Result<ResponseFrame>& outcome) { failed = !outcome; }));
  rig.pool.give_back(channel);
  rig.settle();
  EXPECT_TRUE(failed);
  EXPECT_TRUE(channel->closed());
  EXPECT_EQ(rig.pool.statistics().open, 0U);
}

TEST_F(PoolTest, FailsWaitersWhenItCloses) {
  ClientSettings settings = quiet_settings();
  settings.pool.connections_max = 1;
  ClientRig rig(settings);
  const ChannelRef held = take(rig);
  const auto waiting = lend(rig);
  rig.pool.close();
  rig.settle();
  ASSERT_TRUE(waiting->outcome && !*waiting->outcome);
  EXPECT_EQ(waiting->outcome->error().code, ErrorCode::closed);
  EXPECT_TRUE(held->closed());
  const auto late = lend(rig);
  ASSERT_TRUE(late->outcome && !*late->outcome);
}

TEST(PoolSettingsTest, NamesTheSettingThatIsWrong) {
  PoolSettings settings;
  settings.connections_max = 2;
  settings.connections_idle_min = 3;
  const auto checked = settings.check();
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().message.find("connections_idle_min"), std::string::npos);
  EXPECT_TRUE(PoolSettings{}.check());
}

}  // namespace
}  // namespace streambus::client
