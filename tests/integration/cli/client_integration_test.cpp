// A broker and its clients in one process: StreamBus as a library, over inproc, with both storages and codecs.

#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "streambus/broker/runtime.hpp"
#include "streambus/client/admin.hpp"
#include "streambus/client/consumer.hpp"
#include "streambus/client/producer.hpp"

namespace streambus::client {
namespace {

constexpr std::int64_t kLongMs = 60'000;  // never reached where it works

class InprocTest : public testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / ("streambus-client-" + std::to_string(getpid()));
    std::filesystem::remove_all(directory_);
    const std::string name = std::string("client-test-") + std::to_string(getpid());
    const std::filesystem::path plugins = std::filesystem::path(STREAMBUS_TEST_BUILD_DIR) / "lib/streambus/plugins";
    ConfigSource source;
    source.name = "test.toml";
    source.plugin_dirs = {plugins};
    source.text =
        "[broker]\ndata_dir = \"" + directory_.string() + "\"\n[listener.main]\ntransport = \"inproc\"\naddress = \"" + name +
        "\"\n[storage.wal]\nplugin = \"storage-wal\"\n[storage.memory]\nplugin = \"storage-memory\"\n"
        "[codec.lz4]\nplugin = \"codec-lz4\"\n[codec.zstd]\nplugin = \"codec-zstd\"\n[topic_defaults]\nstorage = \"wal\"\n";
    ConfigOutcome outcome = load_config(source);
    for (const Diagnostic& diagnostic : outcome.diagnostics) EXPECT_FALSE(diagnostic.is_error) << diagnostic.text;
    ASSERT_TRUE(outcome.config);
    auto runtime = Runtime::start(std::move(outcome));
    ASSERT_TRUE(runtime) << runtime.error().message;
    runtime_ = std::move(*runtime);
    ClientSettings settings;
    settings.bootstrap = "inproc:" + name;
    ClientContext::HostSettings host;
    host.plugin_dirs = {plugins};
    auto context = ClientContext::create(settings, host);
    ASSERT_TRUE(context) << context.error().message;
    context_ = std::move(*context);
  }
  void TearDown() override {
    context_.reset();
    runtime_.reset();
    std::filesystem::remove_all(directory_);
  }

  std::filesystem::path directory_;
  std::unique_ptr<Runtime> runtime_;
  std::shared_ptr<ClientContext> context_;
};

TEST_P(InprocTest, EveryRecordArrivesInOrder) {
  const auto [storage, codec] = GetParam();
  Admin admin(context_);
  ASSERT_TRUE(admin.create_topic({.name = "t", .partitions = 3, .settings = {{"streambus.storage", storage}}}));
  ProducerSettings settings;
  settings.compression = codec;
  settings.batch_bytes_max = 64 << 10;
  auto producer = Producer::create(context_, settings);
  ASSERT_TRUE(producer) << producer.error().message;

  constexpr int kThreads = 3;  // one per partition, so that the order of each is known
  constexpr int kRecords = 20'000;
  std::vector<std::thread> threads;
  for (int partition = 0; partition < kThreads; ++partition) {
    threads.emplace_back([&, partition] {
      for (int i = 0; i < kRecords; ++i) {
        const std::string value = "record number " + std::to_string(i);
        ASSERT_TRUE(producer->send({.topic = "t", .partition = partition, .key = {}, .value = as_bytes(value), .headers = {}}));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(producer->close(kLongMs));
  EXPECT_EQ(producer->statistics().records_delivered, static_cast<std::uint64_t>(kThreads) * kRecords);
  EXPECT_EQ(producer->statistics().records_failed, 0U);

  auto consumer = Consumer::create(context_);
  ASSERT_TRUE(consumer);
  ASSERT_TRUE(consumer->assign({{"t", 0, {}}, {"t", 1, {}}, {"t", 2, {}}}));
  std::vector<int> next(kThreads, 0);
  int total = 0;
  while (total < kThreads * kRecords) {
    const auto batches = consumer->poll(kLongMs);
    ASSERT_TRUE(batches) << batches.error().message;
    ASSERT_FALSE(batches->empty()) << "after " << total;
    for (const ConsumedBatch& batch : *batches) {
      auto cursor = batch.records();
      for (ConsumedRecord record; cursor.next(record); ++total) {
        int& expected = next[static_cast<std::size_t>(batch.partition())];
        ASSERT_EQ(record.offset, Offset{expected});
        ASSERT_EQ(as_text(record.value), "record number " + std::to_string(expected));
        ++expected;
      }
      ASSERT_TRUE(cursor.ok());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(StoragesAndCodecs, InprocTest,
                         testing::Combine(testing::Values("wal", "memory"), testing::Values("none", "lz4", "zstd")),
                         [](const auto& test) { return std::string(std::get<0>(test.param)) + "_" + std::get<1>(test.param); });

}  // namespace
}  // namespace streambus::client
