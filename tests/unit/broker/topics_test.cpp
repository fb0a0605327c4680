// Creating, listing, configuring and deleting topics; what the configuration asks for at start.

#include <algorithm>
#include <map>

#include "fixture.hpp"

namespace streambus::test {
namespace {

std::map<std::string, std::pair<std::string, SettingSource>> settings_of(broker::BrokerCore& core, std::string_view topic) {
  struct Visitor final : SettingVisitor {
    std::map<std::string, std::pair<std::string, SettingSource>> all;
    void setting(const SettingView& view) noexcept override {
      EXPECT_FALSE(view.doc.empty());
      all[std::string(view.name)] = {std::string(view.value), view.source};
    }
  } visitor;
  EXPECT_TRUE(core.visit_settings(topic, visitor).ok());
  return visitor.all;
}

std::vector<std::string> topic_names(broker::BrokerCore& core) {
  struct Visitor final : TopicVisitor {
    std::vector<std::string> names;
    void topic(const TopicView& view, std::span<const PartitionView>) noexcept override { names.emplace_back(view.name); }
  } visitor;
  core.visit_topics(visitor);
  return visitor.names;
}

class TopicsTest : public BrokerTest {
 protected:
  ErrorCode refused(TopicSpec spec, std::string_view expected_text) {
    const Status status = core->create_topic(spec);
    EXPECT_NE(status.message().find(expected_text), std::string_view::npos) << status.text;
    return status.code;
  }
};

TEST_F(TopicsTest, AreListedInNameOrder) {
  start();
  for (const char* name : {"zebra", "apple", "mango"}) create(name);
  EXPECT_EQ(topic_names(*core), (std::vector<std::string>{"apple", "mango", "zebra"}));
  ASSERT_TRUE(core->delete_topic("mango").ok());
  EXPECT_EQ(topic_names(*core), (std::vector<std::string>{"apple", "zebra"}));
}

TEST_F(TopicsTest, NamesFollowKafkasRules) {
  start();
  create("ok.Name_1-2");
  create(std::string(249, 'a'));
  for (const std::string& name : {std::string(), std::string("."), std::string(".."), std::string(250, 'a'), std::string("a/b"),
                                  std::string("a b"), std::string("caf\xc3\xa9"), std::string("a\0b", 3)}) {
    EXPECT_EQ(refused({.name = name, .partition_count = 1, .settings = {}}, "topic name: expected"),
              ErrorCode::invalid_argument);
    struct Visitor final : TopicVisitor {
      void topic(const TopicView&, std::span<const PartitionView>) noexcept override { ADD_FAILURE(); }
    } visitor;
    EXPECT_EQ(core->visit_topic(name, visitor).code, ErrorCode::invalid_argument);
  }
}

TEST_F(TopicsTest, PartitionCountsAreBoundedAndDefaulted) {
  settings.topic_defaults.partitions = 3;
  start();
  create("t", -1);
  EXPECT_EQ(partitions().size(), 3U);
  for (const PartitionId count : {0, -2, 10'001}) {
    EXPECT_EQ(refused({.name = "x", .partition_count = count, .settings = {}}, "expected 1 to 10000"),
              ErrorCode::invalid_argument);
  }
}

TEST_F(TopicsTest, ExistingOnesAndValidationCreateNothing) {
  start();
  create("t");
  EXPECT_EQ(refused({.name = "t", .partition_count = 1, .settings = {}}, "exists"), ErrorCode::already_exists);
  EXPECT_TRUE(core->create_topic({.name = "x", .partition_count = 1, .settings = {}, .validate_only = true}).ok());
  EXPECT_EQ(topic_names(*core), std::vector<std::string>{"t"});
  EXPECT_EQ(storage.keys().size(), 1U);
}

TEST_F(TopicsTest, SettingsAreCheckedAndShownWithTheirSource) {
  settings.topic_defaults.settings = {{"retention.bytes", "4096"}};
  start();
  create("t", 1, {{"retention.ms", "7d"}, {"compression.type", "lz4"}});
  const auto all = settings_of(*core, "t");
  EXPECT_EQ(all.at("retention.ms"), std::make_pair(std::string("604800000"), SettingSource::topic));
  EXPECT_EQ(all.at("compression.type"), std::make_pair(std::string("lz4"), SettingSource::topic));
  EXPECT_EQ(all.at("retention.bytes"), std::make_pair(std::string("4096"), SettingSource::broker_file));
  EXPECT_EQ(all.at("max.message.bytes"), std::make_pair(std::string("1048588"), SettingSource::builtin_default));
  EXPECT_EQ(all.at("streambus.storage"), std::make_pair(std::string("fake"), SettingSource::broker_file));
  EXPECT_EQ(all.size(), std::size(kTopicSettings));
  EXPECT_EQ(storage.stored(topic_id(), 0).settings.retention_ms, 604'800'000);
  EXPECT_EQ(storage.stored(topic_id(), 0).settings.retention_bytes, 4096);

  const auto refused_setting = [&](const char* name, const char* value, const char* text) {
    const Setting given[] = {{name, value}};
    EXPECT_EQ(refused({.name = "x", .partition_count = 1, .settings = given}, text), ErrorCode::invalid_argument);
  };
  refused_setting("retention.ms", "soon", "retention.ms");
  refused_setting("retention.mz", "1", "retention.ms");
  refused_setting("compression.type", "gzip", "'lz4', 'zstd', found 'gzip'");
  refused_setting("streambus.storage", "tape", "expected one of 'fake', found 'tape'");
  const Setting twice[] = {{"retention.ms", "1"}, {"retention.ms", "2"}};
  EXPECT_EQ(refused({.name = "x", .partition_count = 1, .settings = twice}, "given twice"), ErrorCode::invalid_argument);
}

TEST_F(TopicsTest, ATopicChoosesItsStorage) {
  second_storage = std::make_unique<FakeStorage>(Durability::page_cache);
  start();
  create("t", 1, {{"streambus.storage", "second"}});
  EXPECT_TRUE(storage.keys().empty());
  EXPECT_EQ(second_storage->keys().size(), 1U);
  EXPECT_EQ(settings_of(*core, "t").at("streambus.storage"), std::make_pair(std::string("second"), SettingSource::topic));
}

TEST_F(TopicsTest, SurviveARestart) {
  start();
  create("t", 2, {{"retention.ms", "5000"}});
  const std::string id = topic_id();
  const std::string cluster(core->identity().cluster_id);
  ASSERT_EQ(produced(make_records(4)), ErrorCode::ok);
  stop();
  start();
  EXPECT_EQ(topic_id(), id);
  EXPECT_EQ(core->identity().cluster_id, cluster);
  EXPECT_EQ(partitions().size(), 2U);
  EXPECT_EQ(storage.stored(id, 0).settings.retention_ms, 5000);
  EXPECT_EQ(fetch(0).high_watermark.value, 4);
  Offset base;
  ASSERT_EQ(produced(make_records(1), &base), ErrorCode::ok);
  EXPECT_EQ(base.value, 4);
}

TEST_F(TopicsTest, AFailedCreationLeavesNothing) {
  start();
  storage.refuse_open.insert(2);
  EXPECT_EQ(refused({.name = "t", .partition_count = 4, .settings = {}}, "segment 7 is damaged"), ErrorCode::corrupt);
  EXPECT_TRUE(storage.keys().empty());
  storage.refuse_open.clear();
  (void)files.take_operations();
  create("probe");
  const int operations = files.take_operations();
  for (int failing = 0; failing < operations; ++failing) {
    files.fail_after(failing);
    EXPECT_FALSE(core->create_topic({.name = "t", .partition_count = 1, .settings = {}}).ok()) << failing;
    files.heal();
    EXPECT_EQ(topic_names(*core), std::vector<std::string>{"probe"});
    EXPECT_EQ(storage.keys().size(), 1U);
  }
  create("t");
  EXPECT_EQ(produced(make_records(1)), ErrorCode::ok);
}

TEST_F(TopicsTest, ADeletionThatCannotBeWrittenDeletesNothing) {
  start();
  create("t");
  files.fail_after(0, EIO);
  EXPECT_EQ(core->delete_topic("t").code, ErrorCode::io_error);
  files.heal();
  EXPECT_EQ(produced(make_records(1)), ErrorCode::ok);
}

TEST_F(TopicsTest, OnePartitionThatDoesNotOpenIsOfflineAndTheOthersWork) {
  start();
  create("t", 3);
  stop();
  storage.refuse_open.insert(1);
  start();
  EXPECT_TRUE(host.logged("partition t/1 is offline: it could not be opened: segment 7 is damaged at byte 99"));
  const auto views = partitions();
  EXPECT_EQ(views[0].error, ErrorCode::ok);
  EXPECT_EQ(views[1].error, ErrorCode::offline);
  TestWaiter waiter;
  ASSERT_EQ(produce(waiter, make_records(1), 1), ProduceOutcome::done);
  EXPECT_EQ(waiter.error, ErrorCode::offline);
  EXPECT_STREQ(waiter.error_text, "segment 7 is damaged at byte 99");
  EXPECT_EQ(fetch(0, 100, -1, 1).error, ErrorCode::offline);
  EXPECT_EQ(produced(make_records(1)), ErrorCode::ok);
  storage.refuse_open.clear();
  EXPECT_TRUE(core->reopen_partition("t", 1).ok());
  ASSERT_EQ(produce(waiter, make_records(1), 1), ProduceOutcome::done);
  EXPECT_EQ(waiter.error, ErrorCode::ok);
}

TEST_F(TopicsTest, ATopicWhoseStorageIsNotConfiguredIsOffline) {
  second_storage = std::make_unique<FakeStorage>(Durability::page_cache);
  start();
  create("t", 1, {{"streambus.storage", "second"}});
  stop();
  const auto kept = std::move(second_storage);
  start();
  EXPECT_EQ(partitions()[0].error, ErrorCode::offline);
  EXPECT_EQ(produced(make_records(1)), ErrorCode::offline);
  EXPECT_TRUE(core->delete_topic("t").ok());
}

TEST_F(TopicsTest, OrphansOfInterruptedDeletionsAreRemoved) {
  start();
  create("t");
  stop();
  storage.plant(std::string(32, 'f'), 3);
  files.content("producers/" + std::string(32, 'f') + "-3.0") = "left over";
  start();
  EXPECT_EQ(storage.keys(), (std::vector<FakeStorage::Key>{{topic_id(), 0}}));
  EXPECT_FALSE(files.exists("producers/" + std::string(32, 'f') + "-3.0"));
}

TEST_F(TopicsTest, ALostListOfTopicsCostsNoData) {
  start();
  create("t");
  stop();
  files.erase("topics");
  start();
  EXPECT_EQ(storage.keys().size(), 1U);
  EXPECT_TRUE(host.logged("there was no list of topics: they are kept"));
}

TEST_F(TopicsTest, ADamagedListOfTopicsRefusesToStart) {
  start();
  create("t");
  stop();
  files.content("topics")[30] ^= 4;
  const auto started = try_start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "the list of topics 'topics' is damaged: its checksum does not hold");
  EXPECT_EQ(storage.keys().size(), 1U);
  core.reset();
}

TEST_F(TopicsTest, ConfiguredTopicsAreMadeGrownAndChanged) {
  TopicSection section{.name = "t", .storage = "", .partitions = 2, .settings = {{"retention.ms", "1000"}}};
  start({section});
  ASSERT_EQ(produced(make_records(1)), ErrorCode::ok);
  EXPECT_EQ(settings_of(*core, "t").at("retention.ms").first, "1000");
  const std::string id = topic_id();

  section.partitions = 4;
  section.settings["retention.ms"] = "2000";
  section.settings["max.message.bytes"] = "150";
  start({section});
  EXPECT_EQ(topic_id(), id);
  EXPECT_EQ(partitions().size(), 4U);
  EXPECT_EQ(fetch(0).high_watermark.value, 1);
  EXPECT_EQ(storage.stored(id, 0).settings.retention_ms, 2000);
  EXPECT_EQ(produced(make_batch({.timestamps = {1}, .value = std::string(300, 'x')})), ErrorCode::too_large);
  TestWaiter waiter;
  ASSERT_EQ(produce(waiter, make_records(1), 3), ProduceOutcome::done);
  EXPECT_EQ(waiter.error, ErrorCode::ok);

  section.partitions = 1;
  section.storage = "elsewhere";
  start({section});
  EXPECT_EQ(partitions().size(), 4U);
  EXPECT_TRUE(host.logged("has 4 partitions and keeps them; the configuration asks for 1"));
  EXPECT_TRUE(host.logged("is kept by storage 'fake' and stays there; the configuration asks for 'elsewhere'"));
  stop();
  start();
  EXPECT_EQ(settings_of(*core, "t").at("retention.ms").first, "2000") << "changes are kept";
}

TEST_F(TopicsTest, AConfiguredTopicThatIsWrongRefusesToStart) {
  const auto started = try_start({{.name = "t", .storage = "", .partitions = 1, .settings = {{"compression.type", "gzip"}}}});
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("compression.type"), std::string::npos);
}

TEST_F(TopicsTest, ACodecThatIsGoneIsSaid) {
  start();
  create("t", 1, {{"compression.type", "lz4"}});
  stop();
  with_lz4 = false;
  start();
  EXPECT_TRUE(host.logged("whose codec is not in the configuration"));
  EXPECT_EQ(produced(make_records(1)), ErrorCode::unsupported_compression);
}

TEST_F(TopicsTest, MaintenanceAsksEveryHealthyPartition) {
  start();
  create("t", 2);
  core->maintain();
  EXPECT_EQ(storage.stored(topic_id(), 0).retained.load(), 1);
  EXPECT_EQ(storage.stored(topic_id(), 1).retained.load(), 1);
}

TEST_F(TopicsTest, TheMaintenanceThreadRunsAndStops) {
  settings.maintenance_interval_ms = 1;
  start();
  create("t");
  core->start_maintenance();
  while (storage.stored(topic_id(), 0).retained.load() < 2) std::this_thread::yield();
  core->stop();
}

TEST_F(TopicsTest, AThousandPartitionsOpen) {
  start();
  create("t", 1000);
  stop();
  start();
  EXPECT_EQ(partitions().size(), 1000U);
  TestWaiter waiter;
  ASSERT_EQ(produce(waiter, make_records(1), 999), ProduceOutcome::done);
  EXPECT_EQ(waiter.error, ErrorCode::ok);
}

}  // namespace
}  // namespace streambus::test
