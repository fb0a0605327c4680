// Consumer and administrator through their public faces, over a fake network with a thread of its own.

#include "streambus/client/consumer.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "fake_network.hpp"
#include "streambus/client/admin.hpp"
#include "streambus/client/producer.hpp"

namespace streambus::client {
namespace {

using test::FakeBroker;
using test::FakeNetwork;
using wire::ApiKey;
using wire::WireError;
using Action = FakeBroker::Script::Action;
using Values = std::vector<std::string>;

constexpr std::int64_t kLongMs = 20'000;  // never reached where the client works

class ConsumerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(network_.start().ok());
    broker_.add_topic("t", 2);
    ClientSettings settings;
    settings.bootstrap = "broker:9092";
    settings.retry_backoff_ms = 1;
    settings.pool.reconnect_backoff_ms = 1;
    auto context = ClientContext::embed(settings, services_, network_, codecs_);
    ASSERT_TRUE(context);
    context_ = std::move(*context);
  }
  void TearDown() override {
    context_.reset();
    network_.stop();
  }

  Consumer consumer(std::vector<Assignment> assignments, ConsumerSettings settings = {}) {
    auto made = Consumer::create(context_, settings);
    EXPECT_TRUE(made);
    EXPECT_TRUE(made->assign(std::move(assignments)));
    return std::move(*made);
  }
  /// Appends a batch of records with these values at times base_time, base_time + 1, ...
  void store(const Values& values, std::size_t partition = 0, TimestampMs base_time = 1000) {
    BatchBuilder builder(services_.buffers());
    for (const std::string& value : values) {
      ASSERT_TRUE(builder.append({.timestamp_ms = base_time++, .key = as_bytes("k"), .value = as_bytes(value), .headers = {}}));
    }
    SharedSlice batch;
    ASSERT_TRUE(builder.finish({}, &batch).ok());
    Offset base;
    const std::lock_guard lock(broker_.mutex);
    ASSERT_EQ(broker_.append("t", static_cast<std::int32_t>(partition), batch.bytes, &base), WireError::none);
  }
  /// Polls until `count` records came.
  Values read(Consumer& consumer, std::size_t count) {
    Values values;
    while (values.size() < count) {
      const auto batches = consumer.poll(kLongMs);
      EXPECT_TRUE(batches) << batches.error().message;
      if (!batches || batches->empty()) break;
      for (const ConsumedBatch& batch : *batches) {
        auto cursor = batch.records();
        for (ConsumedRecord record; cursor.next(record);) {
          values.emplace_back(as_text(record.value));
          last_ = record;
        }
        EXPECT_TRUE(cursor.ok());
      }
    }
    return values;
  }

  Services services_{ServiceSettings{}};
  FakeNetwork network_;
  FakeBroker broker_{network_};
  CodecSet codecs_;
  std::shared_ptr<ClientContext> context_;
  ConsumedRecord last_;
};

TEST_F(ConsumerTest, ReadsFromTheBeginning) {
  store({"a", "b"});
  store({"c"}, 0, 2000);
  Consumer reader = consumer({{"t", 0, StartAt::beginning()}});
  EXPECT_EQ(read(reader, 3), (Values{"a", "b", "c"}));
  EXPECT_EQ(last_.offset, Offset{2});
  EXPECT_EQ(last_.timestamp_ms, 2000);
  EXPECT_EQ(as_text(last_.key), "k");
  const auto position = reader.position("t", 0);
  ASSERT_TRUE(position);
  EXPECT_EQ(position->next, Offset{3});
  EXPECT_TRUE(position->at_end());
  EXPECT_FALSE(reader.position("t", 1));
}

TEST_F(ConsumerTest, StartsInsideABatch) {
  store({"a", "b", "c", "d"});
  Consumer reader = consumer({{"t", 0, StartAt::offset({2})}});
  EXPECT_EQ(read(reader, 2), (Values{"c", "d"}));
}

TEST_F(ConsumerTest, StartsAtATimeOrTheEnd) {
  store({"a"}, 0, 1000);
  store({"b"}, 0, 2000);
  Consumer by_time = consumer({{"t", 0, StartAt::time(1500)}});
  EXPECT_EQ(read(by_time, 1), (Values{"b"}));
  Consumer late = consumer({{"t", 0, StartAt::time(9000)}});
  Consumer at_end = consumer({{"t", 0, StartAt::end()}});
  const auto known = [](Consumer& reader) {
    while (reader.position("t", 0)->next == kNoOffset) (void)reader.poll(1);
  };
  known(late);
  known(at_end);
  store({"c"}, 0, 3000);
  EXPECT_EQ(read(late, 1), (Values{"c"}));
  EXPECT_EQ(read(at_end, 1), (Values{"c"}));
}

TEST_F(ConsumerTest, SeekDropsWhatWasFetched) {
  store({"a", "b", "c"});
  Consumer reader = consumer({{"t", 0, StartAt::beginning()}});
  EXPECT_EQ(read(reader, 3).size(), 3U);
  ASSERT_TRUE(reader.seek("t", 0, StartAt::offset({1})));
  EXPECT_EQ(read(reader, 2), (Values{"b", "c"}));
  EXPECT_FALSE(reader.seek("t", 9, StartAt::beginning()));
}

TEST_F(ConsumerTest, ReadsAllAssignedPartitions) {
  store({"a"}, 0);
  store({"b"}, 1);
  Consumer reader = consumer({{"t", 0, StartAt::beginning()}, {"t", 1, StartAt::beginning()}});
  Values values = read(reader, 2);
  std::ranges::sort(values);
  EXPECT_EQ(values, (Values{"a", "b"}));
  EXPECT_FALSE(reader.assign({{"t", 0, {}}, {"t", 0, {}}}));
}

TEST_F(ConsumerTest, FollowsItsPolicyWhenTheOffsetIsGone) {
  store({"a", "b", "c"});
  {
    const std::lock_guard lock(broker_.mutex);
    broker_.log("t").start = {1};
  }
  ConsumerSettings settings;
  settings.out_of_range = OutOfRange::error;
  Consumer strict = consumer({{"t", 0, StartAt::offset({0})}}, settings);
  const auto error = strict.poll(kLongMs);
  ASSERT_FALSE(error);
  EXPECT_EQ(error.error().code, ErrorCode::out_of_range);
  EXPECT_NE(error.error().message.find("offset 0"), std::string::npos) << error.error().message;
  settings.out_of_range = OutOfRange::latest;
  Consumer latest = consumer({{"t", 0, StartAt::offset({77})}}, settings);
  while (latest.statistics().resets == 0 || latest.position("t", 0)->next != Offset{3}) (void)latest.poll(1);
  store({"d"});
  EXPECT_EQ(read(latest, 1), (Values{"d"}));
  settings.out_of_range = OutOfRange::earliest;
  Consumer earliest = consumer({{"t", 0, StartAt::offset({77})}}, settings);
  EXPECT_EQ(read(earliest, 3), (Values{"b", "c", "d"}));
}

TEST_F(ConsumerTest, StopsAtADamagedBatchAndGoesOnBehindIt) {
  store({"a"});
  store({"b"});
  store({"c"});
  {
    const std::lock_guard lock(broker_.mutex);
    broker_.log("t").batches[1].bytes.back() ^= std::byte{1};
  }
  Consumer reader = consumer({{"t", 0, StartAt::beginning()}});
  EXPECT_EQ(read(reader, 1), (Values{"a"}));
  const auto damaged = reader.poll(kLongMs);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, ErrorCode::corrupt);
  EXPECT_NE(damaged.error().message.find("t[0] at offset 1"), std::string::npos) << damaged.error().message;
  const auto still = reader.poll(0);
  ASSERT_TRUE(still) << "told once";
  EXPECT_TRUE(still->empty());
  ASSERT_TRUE(reader.seek("t", 0, StartAt::offset({2})));
  EXPECT_EQ(read(reader, 1), (Values{"c"}));
}

TEST_F(ConsumerTest, SaysThatACodecIsMissing) {
  store({"a"});
  {
    const std::lock_guard lock(broker_.mutex);
    std::vector<std::byte>& batch = broker_.log("t").batches[0].bytes;
    store_be<std::int16_t>(batch.data() + 21, 4);  // says zstd
    stamp_batch_crc(batch);
  }
  Consumer reader = consumer({{"t", 0, StartAt::beginning()}});
  const auto polled = reader.poll(kLongMs);
  ASSERT_FALSE(polled);
  EXPECT_EQ(polled.error().code, ErrorCode::unsupported_compression);
}

TEST_F(ConsumerTest, SaysThatTopicOrPartitionDoNotExist) {
  Consumer no_topic = consumer({{"nowhere", 0, StartAt::beginning()}});
  EXPECT_EQ(no_topic.poll(kLongMs).error().code, ErrorCode::not_found);
  Consumer no_partition = consumer({{"t", 5, StartAt::beginning()}});
  EXPECT_EQ(no_partition.poll(kLongMs).error().code, ErrorCode::not_found);
}

TEST_F(ConsumerTest, RetriesWhatMayPass) {
  store({"a"});
  {
    const std::lock_guard lock(broker_.mutex);
    broker_.script = {{ApiKey::list_offsets, Action::fail, WireError::not_leader_or_follower},
                      {ApiKey::fetch, Action::fail, WireError::kafka_storage_error},
                      {ApiKey::fetch, Action::cut_before, WireError::none}};
  }
  Consumer reader = consumer({{"t", 0, StartAt::beginning()}});
  EXPECT_EQ(read(reader, 1), (Values{"a"}));
  EXPECT_GE(reader.statistics().retries, 3U);
  EXPECT_FALSE(reader.trouble());
}

TEST_F(ConsumerTest, TellsOfTroubleThatLasts) {
  network_.mode = FakeNetwork::Mode::refuse;
  Consumer reader = consumer({{"t", 0, StartAt::beginning()}});
  while (!reader.trouble()) (void)reader.poll(1);
  EXPECT_NE(reader.trouble()->error.message.find("Connection refused"), std::string::npos);
}

TEST_F(ConsumerTest, FetchesAheadUpToItsBound) {
  const std::string big(1000, 'x');
  for (int i = 0; i < 50; ++i) store({big});
  ConsumerSettings settings;
  settings.fetch_bytes_max = settings.partition_fetch_bytes_max = 2500;
  settings.prefetch_bytes_max = 10'000;
  Consumer reader = consumer({{"t", 0, StartAt::beginning()}}, settings);
  Values values;
  while (values.size() < 50) {
    for (const std::string& value : read(reader, 1)) values.push_back(value);
    EXPECT_LE(reader.position("t", 0)->prefetched_bytes, 10'000U);
  }
  EXPECT_EQ(values, Values(50, big));
}

TEST_F(ConsumerTest, ViewsStayUntilTheNextPoll) {
  store({"a"});
  Consumer reader = consumer({{"t", 0, StartAt::beginning()}});
  const auto batches = reader.poll(kLongMs);
  ASSERT_TRUE(batches && batches->size() == 1);
  ConsumedRecord record;
  auto cursor = (*batches)[0].records();
  ASSERT_TRUE(cursor.next(record));
  for (int i = 0; i < 20; ++i) store({"later"});
  while (reader.statistics().batches < 2) std::this_thread::yield();
  EXPECT_EQ(as_text(record.value), "a");
}

TEST_F(ConsumerTest, WakeEndsAPoll) {
  broker_.long_poll_empty = true;
  Consumer reader = consumer({{"t", 0, StartAt::beginning()}});
  std::thread other([&] { reader.wake(); });
  const auto polled = reader.poll(INT32_MAX);
  other.join();
  ASSERT_TRUE(polled);
  EXPECT_TRUE(polled->empty());
}

TEST_F(ConsumerTest, ProducerAndConsumerShareAContext) {
  auto producer = Producer::create(context_);
  ASSERT_TRUE(producer);
  Consumer reader = consumer({{"t", 0, StartAt::beginning()}, {"t", 1, StartAt::beginning()}});
  const RecordHeader header{"h", as_bytes("1")};
  auto delivered =
      producer->send_future({.topic = "t", .key = as_bytes("key"), .value = as_bytes("v"), .headers = {&header, 1}});
  ASSERT_TRUE(producer->flush(kLongMs));
  const DeliveryReport report = delivered.get();
  ASSERT_TRUE(report.outcome);
  EXPECT_EQ(report.offset, Offset{0});
  EXPECT_EQ(read(reader, 1), (Values{"v"}));
  HeaderReader headers(last_);
  ASSERT_TRUE(headers.next());
  EXPECT_EQ(headers.key(), "h");
  EXPECT_EQ(as_text(*headers.value()), "1");
  EXPECT_FALSE(headers.next());
  EXPECT_TRUE(producer->close(kLongMs));
  EXPECT_EQ(producer->send({.topic = "t", .key = {}, .value = {}, .headers = {}}).error().code, ErrorCode::closed);
  EXPECT_GE(context_->pool_statistics().lends, 2U);
  EXPECT_EQ(producer->statistics().records_delivered, 1U);
}

TEST_F(ConsumerTest, SendFromACallbackDoesNotBlock) {
  auto producer = Producer::create(context_);
  ASSERT_TRUE(producer);
  std::promise<Result<>> inner;
  ASSERT_TRUE(producer->send({.topic = "t", .key = {}, .value = as_bytes("a"), .headers = {}}, [&](const DeliveryReport&) {
    // A topic that is not known yet would be waited for.
    inner.set_value(producer->send({.topic = "unknown", .key = {}, .value = as_bytes("b"), .headers = {}}));
  }));
  const Result<> outcome = inner.get_future().get();
  EXPECT_FALSE(outcome);
}

TEST_F(ConsumerTest, AdminDescribesAndFindsOffsets) {
  store({"a", "b"}, 1, 5000);
  Admin admin(context_);
  const auto cluster = admin.describe_cluster();
  ASSERT_TRUE(cluster);
  ASSERT_EQ(cluster->topics.size(), 1U);
  EXPECT_EQ(cluster->topics[0].partitions.size(), 2U);
  EXPECT_EQ(admin.describe_topic("nowhere").error().code, ErrorCode::not_found);
  const auto offsets = admin.list_offsets(
      {{"t", 1, StartAt::beginning()}, {"t", 1, StartAt::end()}, {"t", 7, StartAt::end()}, {"t", 0, StartAt::end()}});
  ASSERT_TRUE(offsets);
  EXPECT_EQ(*(*offsets)[0].offset, Offset{0});
  EXPECT_EQ(*(*offsets)[1].offset, Offset{2});
  EXPECT_EQ((*offsets)[2].offset.error().code, ErrorCode::not_found);
  EXPECT_EQ(*(*offsets)[3].offset, Offset{0});
}

TEST_F(ConsumerTest, AdminSaysWhatWasNotReached) {
  network_.mode = FakeNetwork::Mode::refuse;
  Admin admin(context_);
  const auto cluster = admin.describe_cluster();
  ASSERT_FALSE(cluster);
  EXPECT_EQ(cluster.error().code, ErrorCode::io_error);
  EXPECT_NE(cluster.error().message.find("broker:9092"), std::string::npos);
}

}  // namespace
}  // namespace streambus::client
