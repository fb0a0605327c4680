#include <gtest/gtest.h>

#include "errors.hpp"
#include "protocol.hpp"
#include "session_driver.hpp"

namespace streambus::protocol_kafka::test {
namespace {

using wire::WireError;

class AdminTest : public ::testing::Test {
 protected:
  AdminTest() { rig.broker.add_topic("alpha", 3); }
  Rig rig;
};

// ApiVersions

TEST_F(AdminTest, ApiVersionsListsWhatIsServed) {
  for (std::int16_t version = 0; version <= 3; ++version) {
    Driver client(rig);
    const auto answer = client.ask(wire::ApiVersionsRequest{}, version);
    EXPECT_EQ(answer.message.error_code, 0);
    std::map<int, std::pair<int, int>> ranges;
    for (const auto& range : answer.message.api_keys) ranges[range.api_key] = {range.min_version, range.max_version};
    const std::map<int, std::pair<int, int>> expected{{0, {0, 9}},  {1, {4, 12}}, {2, {1, 7}},  {3, {0, 9}},  {10, {0, 4}},
                                                      {18, {0, 3}}, {19, {2, 6}}, {20, {1, 5}}, {21, {0, 2}}, {22, {0, 4}},
                                                      {23, {2, 4}}, {32, {1, 4}}, {33, {0, 2}}, {35, {1, 4}}, {44, {0, 1}}};
    EXPECT_EQ(ranges, expected);
  }
}

TEST_F(AdminTest, AnUnknownApiVersionsVersionGetsTheListInVersion0) {
  Driver client(rig);
  std::string body("\0\x12\0\x63\0\0\0\x2a", 8);
  client.deliver(raw_frame(body + std::string("\xff\xff\x7f\x7f\x7f\x7f\x7f\x7f", 8)));
  const auto answer = client.next<wire::ApiVersionsResponse>(0);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->correlation_id, 42);
  EXPECT_EQ(answer->message.error_code, code_of(WireError::unsupported_version));
  EXPECT_EQ(answer->message.api_keys.size(), 15U);
  EXPECT_FALSE(client.connection->close_called);
}

TEST_F(AdminTest, ApiVersionsDoesNotLookAtTheBody) {
  Driver client(rig);
  client.deliver(raw_frame(std::string("\0\x12\0\x03\0\0\0\x2a", 8) + "\xff\xff" + std::string(1, '\0') + "garbage"));
  EXPECT_TRUE(client.next<wire::ApiVersionsResponse>(3));
}

// Metadata

wire::MetadataRequest named(std::span<wire::MetadataRequest::Topic> topics) {
  wire::MetadataRequest request;
  request.topics = topics;
  return request;
}

TEST_F(AdminTest, MetadataTellsTheAdvertisedAddressAndEveryTopic) {
  rig.broker.add_topic("beta", 1);
  for (std::int16_t version = 0; version <= 9; ++version) {
    Driver client(rig);
    const auto answer = version == 0 ? client.ask(named({}), 0) : client.ask(wire::MetadataRequest{}, version);
    ASSERT_EQ(answer.message.brokers.size(), 1U);
    EXPECT_EQ(answer.message.brokers[0].node_id, 7);
    EXPECT_EQ(answer.message.brokers[0].host, "broker.example");
    EXPECT_EQ(answer.message.brokers[0].port, 19092);
    if (version >= 1) {
      EXPECT_EQ(answer.message.controller_id, 7);
    }
    if (version >= 2) {
      EXPECT_EQ(answer.message.cluster_id, "fake-cluster-id-000000");
    }
    ASSERT_EQ(answer.message.topics.size(), 2U) << "version " << version;
    EXPECT_EQ(answer.message.topics[0].name, "alpha");
    ASSERT_EQ(answer.message.topics[0].partitions.size(), 3U);
    const auto& partition = answer.message.topics[0].partitions[2];
    EXPECT_EQ(partition.partition_index, 2);
    EXPECT_EQ(partition.leader_id, 7);
    if (version >= 7) {
      EXPECT_EQ(partition.leader_epoch, 3);
    }
    ASSERT_EQ(partition.replica_nodes.size(), 1U);
    EXPECT_EQ(partition.replica_nodes[0], 7);
    EXPECT_EQ(partition.isr_nodes[0], 7);
  }
}

TEST_F(AdminTest, AnEmptyListMeansNoneFromVersion1On) {
  Driver client(rig);
  EXPECT_TRUE(client.ask(named({}), 1).message.topics.empty());
  EXPECT_EQ(client.ask(named({}), 9).message.brokers.size(), 1U);
}

TEST_F(AdminTest, NamingAnUnknownTopicCreatesItWhereAllowed) {
  Driver client(rig);
  wire::MetadataRequest::Topic topics[] = {{"new"}};
  wire::MetadataRequest request = named(topics);
  request.allow_auto_topic_creation = false;
  EXPECT_EQ(client.ask(request, 9).message.topics[0].error_code, code_of(WireError::unknown_topic_or_partition));
  rig.broker.auto_create = false;
  request.allow_auto_topic_creation = true;
  EXPECT_EQ(client.ask(request, 9).message.topics[0].error_code, code_of(WireError::unknown_topic_or_partition));
  rig.broker.auto_create = true;
  const auto created = client.ask(request, 9);
  EXPECT_EQ(created.message.topics[0].error_code, 0);
  EXPECT_EQ(created.message.topics[0].name, "new");
  EXPECT_EQ(created.message.topics[0].partitions.size(), 2U);
}

TEST_F(AdminTest, CreationRunsInTheBackgroundAndKeepsTheOrder) {
  Driver client(rig);
  wire::MetadataRequest::Topic topics[] = {{"new"}};
  const auto first = client.send(named(topics), 9);
  const std::string later = frame_of(wire::ApiVersionsRequest{}, 3, 1);
  client.deliver(later);
  EXPECT_FALSE(client.next_frame()) << "creating a topic blocks: not on the connection's thread";
  client.run();
  EXPECT_EQ(client.next<wire::MetadataResponse>(9)->correlation_id, first);
  EXPECT_EQ(client.next<wire::ApiVersionsResponse>(3)->correlation_id, 1);
}

TEST_F(AdminTest, InvalidTopicNamesAreNamedSo) {
  Driver client(rig);
  const std::string too_long(250, 'a');
  wire::MetadataRequest::Topic topics[] = {{""}, {"."}, {".."}, {"with space"}, {"caf\xc3\xa9"}, {too_long}, {"alpha"}};
  const auto answer = client.ask(named(topics), 9);
  ASSERT_EQ(answer.message.topics.size(), 7U);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(answer.message.topics[i].error_code, code_of(WireError::invalid_topic_exception)) << i;
  }
  EXPECT_EQ(answer.message.topics[6].error_code, 0);
}

// CreateTopics, DeleteTopics

wire::CreateTopicsRequest::Topic topic_spec(std::string_view name, std::int32_t partitions = 3, std::int16_t replicas = 1) {
  wire::CreateTopicsRequest::Topic topic;
  topic.name = name;
  topic.num_partitions = partitions;
  topic.replication_factor = replicas;
  return topic;
}

TEST_F(AdminTest, CreateTopicsCreatesAndDescribes) {
  for (std::int16_t version = 2; version <= 6; ++version) {
    Driver client(rig);
    const std::string name = "made-" + std::to_string(version);
    wire::CreateTopicsRequest::Config configs[] = {{"retention.ms", "1000"}, {"segment.bytes", std::nullopt}};
    wire::CreateTopicsRequest::Topic topics[] = {topic_spec(name, 5)};
    topics[0].configs = configs;
    wire::CreateTopicsRequest request;
    request.topics = topics;
    const auto answer = client.ask(request, version);
    ASSERT_EQ(answer.message.topics.size(), 1U);
    EXPECT_EQ(answer.message.topics[0].error_code, 0);
    EXPECT_EQ(answer.message.topics[0].name, name);
    if (version >= 5) {
      EXPECT_EQ(answer.message.topics[0].num_partitions, 5);
      EXPECT_EQ(answer.message.topics[0].replication_factor, 1);
      ASSERT_TRUE(answer.message.topics[0].configs);
      EXPECT_EQ(answer.message.topics[0].configs->size(), 3U);
    }
  }
  ASSERT_EQ(rig.broker.created_settings.size(), 5U) << "a null value is the default, not a setting";
  EXPECT_EQ(rig.broker.created_settings[0], (std::pair<std::string, std::string>{"retention.ms", "1000"}));
}

TEST_F(AdminTest, CreateTopicsSaysWhatIsWrong) {
  Driver client(rig);
  wire::CreateTopicsRequest::Config bad[] = {{"bad.setting", "x"}};
  std::int32_t here[] = {7};
  std::int32_t elsewhere[] = {8};
  wire::CreateTopicsRequest::Assignment local[] = {{1, here}, {0, here}};
  wire::CreateTopicsRequest::Assignment remote[] = {{0, elsewhere}};
  wire::CreateTopicsRequest::Assignment twice[] = {{0, here}, {0, here}};
  wire::CreateTopicsRequest::Topic topics[] = {
      topic_spec("alpha"),       topic_spec("bad name"),        topic_spec("p0", 0),          topic_spec("p-2", -2),
      topic_spec("r3", 1, 3),    topic_spec("r0", 1, 0),        topic_spec("setting"),        topic_spec("double"),
      topic_spec("double"),      topic_spec("local", -1, -1),   topic_spec("remote", -1, -1), topic_spec("twice", -1, -1),
      topic_spec("mixed", 2, 1), topic_spec("defaults", -1, -1)};
  topics[6].configs = bad;
  topics[9].assignments = local;
  topics[10].assignments = remote;
  topics[11].assignments = twice;
  topics[12].assignments = local;
  wire::CreateTopicsRequest request;
  request.topics = topics;
  const WireError expected[] = {WireError::topic_already_exists,
                                WireError::invalid_topic_exception,
                                WireError::invalid_partitions,
                                WireError::invalid_partitions,
                                WireError::invalid_replication_factor,
                                WireError::invalid_replication_factor,
                                WireError::invalid_config,
                                WireError::invalid_request,
                                WireError::invalid_request,
                                WireError::none,
                                WireError::invalid_replica_assignment,
                                WireError::invalid_replica_assignment,
                                WireError::invalid_request,
                                WireError::none};
  const auto answer = client.ask(request, 6);
  ASSERT_EQ(answer.message.topics.size(), std::size(expected));
  for (std::size_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(answer.message.topics[i].error_code, code_of(expected[i])) << topics[i].name;
    EXPECT_EQ(answer.message.topics[i].error_message.has_value(), expected[i] != WireError::none) << topics[i].name;
  }
  EXPECT_EQ(answer.message.topics[9].num_partitions, 2);
}

TEST_F(AdminTest, ValidateOnlyCreatesNothing) {
  Driver client(rig);
  wire::CreateTopicsRequest::Topic topics[] = {topic_spec("dry")};
  wire::CreateTopicsRequest request;
  request.topics = topics;
  request.validate_only = true;
  EXPECT_EQ(client.ask(request, 6).message.topics[0].error_code, 0);
  // Java's admin client ends in a null pointer where it gets partitions and null for the settings.
  topics[0].num_partitions = 2;
  const auto answer = client.ask(request, 5);
  EXPECT_EQ(answer.message.topics[0].num_partitions, 2);
  EXPECT_TRUE(answer.message.topics[0].configs.has_value());
  wire::MetadataRequest::Topic asked[] = {{"dry"}};
  wire::MetadataRequest metadata = named(asked);
  metadata.allow_auto_topic_creation = false;
  EXPECT_EQ(client.ask(metadata, 9).message.topics[0].error_code, code_of(WireError::unknown_topic_or_partition));
}

TEST_F(AdminTest, DeleteTopicsDeletes) {
  Driver client(rig);
  std::string_view names[] = {"alpha", "nowhere"};
  wire::DeleteTopicsRequest request;
  request.topic_names = names;
  const auto answer = client.ask(request, 5);
  ASSERT_EQ(answer.message.responses.size(), 2U);
  EXPECT_EQ(answer.message.responses[0].error_code, 0);
  EXPECT_EQ(answer.message.responses[1].error_code, code_of(WireError::unknown_topic_or_partition));
  EXPECT_TRUE(client.ask(wire::MetadataRequest{}, 9).message.topics.empty());
}

// ListOffsets

TEST_F(AdminTest, ListOffsetsFindsEndsAndTimes) {
  const std::vector<std::byte> batch = make_batch(4);
  rig.broker.append("alpha", 0, batch);
  for (std::int16_t version = 1; version <= 7; ++version) {
    Driver client(rig);
    wire::ListOffsetsRequest::Partition partitions[] = {{0, -1, -1}, {0, -1, -2}, {0, -1, 2000},
                                                        {9, -1, -1}, {0, -1, -7}, {0, -1, -3}};
    wire::ListOffsetsRequest::Topic topics[] = {{"alpha", partitions}};
    wire::ListOffsetsRequest request;
    request.topics = topics;
    const auto answer = client.ask(request, version);
    const auto& found = answer.message.topics[0].partitions;
    EXPECT_EQ(found[0].offset, 4);
    EXPECT_EQ(found[0].timestamp, -1);
    EXPECT_EQ(found[1].offset, 0);
    EXPECT_EQ(found[2].offset, 2);
    EXPECT_EQ(found[2].timestamp, 2000);
    EXPECT_EQ(found[3].error_code, code_of(WireError::unknown_topic_or_partition));
    EXPECT_EQ(found[3].offset, -1);
    EXPECT_EQ(found[4].error_code, code_of(WireError::unsupported_version));
    EXPECT_EQ(found[5].error_code, version >= 7 ? 0 : code_of(WireError::unsupported_version));
    if (version >= 4) {
      EXPECT_EQ(found[0].leader_epoch, 3);
    }
  }
}

TEST_F(AdminTest, TheEndsAreFoundWithoutAWorker) {
  Driver client(rig);
  wire::ListOffsetsRequest::Partition partitions[] = {{0, -1, -1}, {0, -1, -2}};
  wire::ListOffsetsRequest::Topic topics[] = {{"alpha", partitions}};
  wire::ListOffsetsRequest request;
  request.topics = topics;
  client.send(request, 5);
  EXPECT_TRUE(client.next_frame());
}

// DescribeConfigs

TEST_F(AdminTest, DescribeConfigsListsEverySetting) {
  for (std::int16_t version = 1; version <= 4; ++version) {
    Driver client(rig);
    wire::DescribeConfigsRequest::Resource resources[] = {{2, "alpha", std::nullopt}};
    wire::DescribeConfigsRequest request;
    request.resources = resources;
    request.include_synonyms = true;
    request.include_documentation = true;
    const auto answer = client.ask(request, version);
    const auto& result = answer.message.results[0];
    EXPECT_EQ(result.error_code, 0);
    EXPECT_EQ(result.resource_name, "alpha");
    ASSERT_EQ(result.configs.size(), 3U);
    EXPECT_EQ(result.configs[0].name, "retention.ms");
    EXPECT_EQ(result.configs[0].value, "604800000");
    EXPECT_EQ(result.configs[0].config_source, 5);
    EXPECT_EQ(result.configs[1].config_source, 1);
    EXPECT_EQ(result.configs[2].config_source, 4);
    EXPECT_TRUE(result.configs[2].read_only);
    EXPECT_EQ(result.configs[0].synonyms.size(), 1U);
    if (version >= 3) {
      EXPECT_EQ(result.configs[0].config_type, 5);
      EXPECT_EQ(result.configs[0].documentation, "How long records are kept");
    }
  }
}

TEST_F(AdminTest, DescribeConfigsFiltersAndRefuses) {
  Driver client(rig);
  std::string_view keys[] = {"compression.type", "no.such.key"};
  wire::DescribeConfigsRequest::Resource resources[] = {{2, "alpha", std::span<std::string_view>(keys)},
                                                        {2, "nowhere", std::nullopt},
                                                        {2, "bad name", std::nullopt},
                                                        {4, "7", std::nullopt},
                                                        {4, "8", std::nullopt},
                                                        {9, "x", std::nullopt}};
  wire::DescribeConfigsRequest request;
  request.resources = resources;
  const auto answer = client.ask(request, 4);
  const auto& results = answer.message.results;
  ASSERT_EQ(results.size(), 6U);
  ASSERT_EQ(results[0].configs.size(), 1U);
  EXPECT_EQ(results[0].configs[0].name, "compression.type");
  EXPECT_EQ(results[1].error_code, code_of(WireError::unknown_topic_or_partition));
  EXPECT_EQ(results[2].error_code, code_of(WireError::invalid_topic_exception));
  EXPECT_EQ(results[3].error_code, 0);
  EXPECT_EQ(results[3].configs[1].value, "PLAINTEXT://broker.example:19092");
  EXPECT_EQ(results[4].error_code, code_of(WireError::invalid_request));
  EXPECT_EQ(results[5].error_code, code_of(WireError::invalid_request));
}

// FindCoordinator, InitProducerId, OffsetForLeaderEpoch

TEST_F(AdminTest, FindCoordinatorIsThisNodeForGroups) {
  for (std::int16_t version = 1; version <= 3; ++version) {
    Driver client(rig);
    wire::FindCoordinatorRequest request;
    request.key = "group";
    const auto answer = client.ask(request, version);
    EXPECT_EQ(answer.message.error_code, 0);
    EXPECT_EQ(answer.message.node_id, 7);
    EXPECT_EQ(answer.message.host, "broker.example");
    EXPECT_EQ(answer.message.port, 19092);
  }
  Driver client(rig);
  std::string_view keys[] = {"a", "b"};
  wire::FindCoordinatorRequest request;
  request.coordinator_keys = keys;
  const auto answer = client.ask(request, 4);
  ASSERT_EQ(answer.message.coordinators.size(), 2U);
  EXPECT_EQ(answer.message.coordinators[1].key, "b");
  EXPECT_EQ(answer.message.coordinators[1].node_id, 7);
}

TEST_F(AdminTest, FindCoordinatorRefusesGroupsToClientsThatDoNotLookAtVersions) {
  Driver client(rig);
  wire::FindCoordinatorRequest request;
  request.key = "group";
  const auto answer = client.ask(request, 0);
  EXPECT_EQ(answer.message.error_code, code_of(WireError::invalid_request));
  EXPECT_EQ(answer.message.node_id, -1);
}

TEST_F(AdminTest, FindCoordinatorRefusesTransactionsForGood) {
  for (std::int16_t version = 1; version <= 3; ++version) {
    Driver client(rig);
    wire::FindCoordinatorRequest request;
    request.key = "tx";
    request.key_type = 1;
    const auto answer = client.ask(request, version);
    EXPECT_EQ(answer.message.error_code,
              code_of(version < 3 ? WireError::transactional_id_authorization_failed : WireError::invalid_request));
    EXPECT_NE(answer.message.error_message->find("transactions"), std::string_view::npos);
    EXPECT_EQ(answer.message.node_id, -1);
  }
}

TEST_F(AdminTest, InitProducerIdGivesFreshIds) {
  for (std::int16_t version = 0; version <= 4; ++version) {
    Driver client(rig);
    const auto first = client.ask(wire::InitProducerIdRequest{}, version);
    wire::InitProducerIdRequest again;
    again.producer_id = first.message.producer_id;
    again.producer_epoch = first.message.producer_epoch;
    const auto second = client.ask(again, version);
    EXPECT_EQ(first.message.error_code, 0);
    EXPECT_EQ(first.message.producer_epoch, 0);
    EXPECT_EQ(second.message.producer_id, first.message.producer_id + 1);
    EXPECT_EQ(second.message.producer_epoch, 0);
  }
}

TEST_F(AdminTest, InitProducerIdRefusesTransactions) {
  Driver client(rig);
  wire::InitProducerIdRequest request;
  request.transactional_id = "tx";
  const auto answer = client.ask(request, 4);
  EXPECT_EQ(answer.message.error_code, code_of(WireError::invalid_request));
  EXPECT_EQ(answer.message.producer_id, -1);
}

TEST_F(AdminTest, OffsetForLeaderEpochTellsTheEnd) {
  const std::vector<std::byte> batch = make_batch(4);
  rig.broker.append("alpha", 0, batch);
  for (std::int16_t version = 2; version <= 4; ++version) {
    Driver client(rig);
    wire::OffsetForLeaderEpochRequest::Partition partitions[] = {{0, 3, 3}, {0, 1, 3}, {9, -1, 3}};
    wire::OffsetForLeaderEpochRequest::Topic topics[] = {{"alpha", partitions}};
    wire::OffsetForLeaderEpochRequest request;
    request.topics = topics;
    const auto answer = client.ask(request, version);
    const auto& ends = answer.message.topics[0].partitions;
    EXPECT_EQ(ends[0].error_code, 0);
    EXPECT_EQ(ends[0].end_offset, 4);
    EXPECT_EQ(ends[0].leader_epoch, 3);
    EXPECT_EQ(ends[1].error_code, code_of(WireError::fenced_leader_epoch));
    EXPECT_EQ(ends[1].end_offset, -1);
    EXPECT_EQ(ends[2].error_code, code_of(WireError::unknown_topic_or_partition));
  }
}

// AlterConfigs, IncrementalAlterConfigs, DeleteRecords, DescribeLogDirs

TEST_F(AdminTest, AlterConfigsReplacesAllSettings) {
  for (std::int16_t version = 0; version <= 2; ++version) {
    Driver client(rig);
    wire::AlterConfigsRequest::Config configs[] = {{"retention.ms", "1000"}, {"segment.bytes", std::nullopt}};
    wire::AlterConfigsRequest::Config bad[] = {{"bad.setting", "x"}};
    wire::AlterConfigsRequest::Resource resources[] = {{2, "alpha", configs}, {2, "nowhere", {}}, {2, "no name", {}},
                                                       {4, "7", {}},          {2, "beta", {}},    {2, "beta", {}}};
    rig.broker.alterations.clear();
    wire::AlterConfigsRequest request;
    request.resources = resources;
    const auto answer = client.ask(request, version);
    const auto& rows = answer.message.responses;
    ASSERT_EQ(rows.size(), 6U);
    EXPECT_EQ(rows[0].error_code, 0);
    EXPECT_EQ(rows[0].resource_type, 2);
    EXPECT_EQ(rows[0].resource_name, "alpha");
    EXPECT_FALSE(rows[0].error_message);
    EXPECT_EQ(rows[1].error_code, code_of(WireError::unknown_topic_or_partition));
    EXPECT_EQ(rows[2].error_code, code_of(WireError::invalid_topic_exception));
    EXPECT_EQ(rows[3].error_code, code_of(WireError::invalid_request));
    EXPECT_EQ(rows[4].error_code, code_of(WireError::invalid_request)) << "named twice";
    EXPECT_EQ(rig.broker.alterations, std::vector<std::string>{"alpha: replace retention.ms=1000 segment.bytes!"});
    resources[0].configs = bad;
    request.resources = {resources, 1};
    request.validate_only = true;
    const auto refused = client.ask(request, version);
    EXPECT_EQ(refused.message.responses[0].error_code, code_of(WireError::invalid_config));
    EXPECT_EQ(refused.message.responses[0].error_message, "unknown setting 'bad.setting'");
  }
}

TEST_F(AdminTest, IncrementalAlterConfigsEditsSingleSettings) {
  for (std::int16_t version = 0; version <= 1; ++version) {
    Driver client(rig);
    wire::IncrementalAlterConfigsRequest::Config configs[] = {{"retention.ms", 0, "1000"},
                                                              {"segment.bytes", 1, std::nullopt},
                                                              {"cleanup.policy", 2, "compact"},
                                                              {"other.list", 3, "delete"}};
    wire::IncrementalAlterConfigsRequest::Config unknown[] = {{"retention.ms", 4, "1"}};
    wire::IncrementalAlterConfigsRequest::Resource resources[] = {{2, "alpha", configs}, {2, "beta", unknown}};
    rig.broker.alterations.clear();
    wire::IncrementalAlterConfigsRequest request;
    request.resources = resources;
    request.validate_only = version == 1;
    const auto answer = client.ask(request, version);
    EXPECT_EQ(answer.message.responses[0].error_code, 0);
    EXPECT_EQ(answer.message.responses[1].error_code, code_of(WireError::invalid_request));
    ASSERT_EQ(rig.broker.alterations.size(), 1U);
    EXPECT_EQ(rig.broker.alterations[0], std::string("alpha: edit") + (version == 1 ? " (validate)" : "") +
                                             " retention.ms=1000 segment.bytes! cleanup.policy+compact other.list-delete");
  }
}

TEST_F(AdminTest, DeleteRecordsTellsTheNewStart) {
  for (std::int16_t version = 0; version <= 2; ++version) {
    Driver client(rig);
    wire::DeleteRecordsRequest::Partition partitions[] = {{0, 42}, {1, -1}, {2, 101}, {2, 99}, {9, 1}};
    wire::DeleteRecordsRequest::Topic topics[] = {{"alpha", partitions}};
    wire::DeleteRecordsRequest request;
    request.topics = topics;
    const auto answer = client.ask(request, version);
    const auto& rows = answer.message.topics[0].partitions;
    ASSERT_EQ(rows.size(), 5U);
    EXPECT_EQ(rows[0].error_code, 0);
    EXPECT_EQ(rows[0].low_watermark, 42);
    EXPECT_EQ(rows[1].low_watermark, 100);
    EXPECT_EQ(rows[2].error_code, code_of(WireError::offset_out_of_range));
    EXPECT_EQ(rows[2].low_watermark, -1);
    EXPECT_EQ(rows[3].error_code, code_of(WireError::policy_violation));
    EXPECT_EQ(rows[4].error_code, code_of(WireError::unknown_topic_or_partition));
  }
}

TEST_F(AdminTest, DescribeLogDirsTellsSizesByStorage) {
  for (std::int16_t version = 1; version <= 4; ++version) {
    Driver client(rig);
    const auto all = client.ask(wire::DescribeLogDirsRequest{}, version);
    ASSERT_EQ(all.message.results.size(), 2U);
    EXPECT_EQ(all.message.results[0].log_dir, "even");
    ASSERT_EQ(all.message.results[0].topics.size(), 1U);
    ASSERT_EQ(all.message.results[0].topics[0].partitions.size(), 2U);
    EXPECT_EQ(all.message.results[0].topics[0].partitions[1].partition_index, 2);
    EXPECT_EQ(all.message.results[0].topics[0].partitions[1].partition_size, 1002);
    std::int32_t partitions[] = {1, 7};
    wire::DescribeLogDirsRequest::Topic topics[] = {{"alpha", partitions}, {"nowhere", partitions}};
    wire::DescribeLogDirsRequest request;
    request.topics = topics;
    const auto some = client.ask(request, version);
    ASSERT_EQ(some.message.results.size(), 1U);
    EXPECT_EQ(some.message.results[0].log_dir, "odd");
    ASSERT_EQ(some.message.results[0].topics[0].partitions.size(), 1U);
  }
}

// The plugin's object

TEST_F(AdminTest, AListenerWithoutAnAdvertisedAddressIsRefused) {
  KafkaProtocol protocol(rig.host, FakeOptions());
  SessionFactory* factory = nullptr;
  EXPECT_EQ(protocol.open_factory(rig.broker, {"main", "127.0.0.1:9092", "", 9092}, &factory).code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(protocol.open_factory(rig.broker, {"main", "127.0.0.1:9092", "localhost", 0}, &factory).code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(factory, nullptr);
  ASSERT_TRUE(protocol.open_factory(rig.broker, {"main", "127.0.0.1:9092", "localhost", 9092}, &factory).ok());
  protocol.close_factory(factory);
  ASSERT_TRUE(protocol.open_factory(rig.broker, {"main", "inside", "inside", 0}, &factory).ok()) << "a transport without ports";
  protocol.close_factory(factory);
}

}  // namespace
}  // namespace streambus::protocol_kafka::test
