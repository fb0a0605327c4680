#include "topic_store.hpp"

#include <gtest/gtest.h>

#include <set>

#include "memory_files.hpp"
#include "meta_file.hpp"

namespace streambus::broker {
namespace {

constexpr MetaFormat kFormat{.magic = "SBTESTED", .version = 3, .what = "test file"};

StoredTopic make_topic() {
  return {.id = std::string(32, 'a'),
          .storage = "wal",
          .migrating_to = "memory",
          .settings = {{"retention.ms", "5"}, {"compression.type", "lz4"}},
          .partitions = {{{0, {0}}}, {{0, {0}}, {3, {77}}}}};
}

class TopicStoreTest : public ::testing::Test {
 protected:
  test::MemoryFiles files;
};

TEST_F(TopicStoreTest, StartsEmptyWithAnIdentity) {
  TopicStore store(files);
  ASSERT_TRUE(store.load());
  EXPECT_TRUE(store.created());
  EXPECT_EQ(store.state().cluster_id.size(), 22U);
  EXPECT_TRUE(store.state().topics.empty());
  TopicStore again(files);
  ASSERT_TRUE(again.load());
  EXPECT_FALSE(again.created());
  EXPECT_EQ(again.state().cluster_id, store.state().cluster_id);
  test::MemoryFiles elsewhere;
  TopicStore other(elsewhere);
  ASSERT_TRUE(other.load());
  EXPECT_NE(other.state().cluster_id, store.state().cluster_id);
}

TEST_F(TopicStoreTest, KeepsEverything) {
  TopicStore store(files);
  ASSERT_TRUE(store.load());
  StoredState next = store.state();
  next.next_producer_id = 4000;
  next.topics["orders"] = make_topic();
  next.topics["empty"] = {
      .id = std::string(32, 'b'), .storage = "memory", .migrating_to = {}, .settings = {}, .partitions = {{{0, {0}}}}};
  ASSERT_TRUE(store.commit(next));
  TopicStore again(files);
  ASSERT_TRUE(again.load());
  const StoredTopic& topic = again.state().topics.at("orders");
  const StoredTopic expected = make_topic();
  EXPECT_EQ(again.state().next_producer_id, 4000);
  EXPECT_EQ(again.state().topics.size(), 2U);
  EXPECT_EQ(topic.id, expected.id);
  EXPECT_EQ(topic.storage, expected.storage);
  EXPECT_EQ(topic.migrating_to, expected.migrating_to);
  EXPECT_EQ(topic.settings, expected.settings);
  EXPECT_EQ(topic.partitions, expected.partitions);
}

TEST_F(TopicStoreTest, ReadsVersion1) {
  MetaWriter old;
  old.text("dHao_7ld-gMbMVqaU61_Gw");
  old.write(std::int64_t{1000});
  old.write(std::uint32_t{1});
  old.text("orders");
  old.text(std::string(32, 'a'));
  old.text("wal");
  old.write(std::uint32_t{0});
  old.write(std::uint32_t{0});
  ASSERT_TRUE(write_meta_file(files, "topics", {.magic = "SBTOPICS", .version = 1, .what = "list of topics"}, old.bytes(),
                              MetaWrite::durable));
  TopicStore store(files);
  const auto loaded = store.load();
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(store.state().topics.at("orders").storage, "wal");
  EXPECT_EQ(store.state().topics.at("orders").migrating_to, "");
}

TEST_F(TopicStoreTest, EveryCutAndEveryFlippedBitIsFound) {
  TopicStore store(files);
  ASSERT_TRUE(store.load());
  StoredState next = store.state();
  next.topics["orders"] = make_topic();
  ASSERT_TRUE(store.commit(next));
  const std::string whole = files.content("topics");
  const auto refused = [&](const std::string& content) {
    files.content("topics") = content;
    const auto loaded = TopicStore(files).load();
    return !loaded && (loaded.error().code == ErrorCode::corrupt);
  };
  for (std::size_t length = 0; length < whole.size(); ++length) ASSERT_TRUE(refused(whole.substr(0, length))) << length;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    ASSERT_TRUE(refused(damaged)) << "bit " << bit;
  }
  EXPECT_TRUE(refused(whole + '\0'));
}

TEST_F(TopicStoreTest, AFailureAtAnyOperationLeavesTheOldStateOrTheNew) {
  TopicStore first(files);
  ASSERT_TRUE(first.load());
  (void)files.take_operations();
  StoredState next = first.state();
  next.topics["old"] = make_topic();
  ASSERT_TRUE(first.commit(next));
  const int operations = files.take_operations();
  ASSERT_GT(operations, 4) << "write, fsync, rename, fsync of the directory";
  for (int failing = 0; failing < operations; ++failing) {
    TopicStore store(files);
    ASSERT_TRUE(store.load());
    next = store.state();
    const bool had_new = next.topics.contains("new");
    next.topics["new"] = make_topic();
    files.fail_after(failing);
    const auto committed = store.commit(next);
    files.heal();
    ASSERT_FALSE(committed) << failing;
    EXPECT_EQ(committed.error().code, ErrorCode::no_space);
    EXPECT_EQ(store.state().topics.contains("new"), had_new) << "memory stays as it was";
    TopicStore again(files);
    ASSERT_TRUE(again.load()) << failing;
    EXPECT_TRUE(again.state().topics.contains("old"));
  }
}

TEST_F(TopicStoreTest, IsMadeDurableBeforeItReplacesTheOldOne) {
  ASSERT_TRUE(TopicStore(files).load());
  EXPECT_EQ(files.paths(), std::vector<std::string>{"topics"}) << "no temporary file is left";
}

TEST_F(TopicStoreTest, TopicIdsAreDistinctHexadecimal) {
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    const auto id = make_topic_id();
    ASSERT_TRUE(id);
    EXPECT_EQ(id->size(), 32U);
    EXPECT_EQ(id->find_first_not_of("0123456789abcdef"), std::string::npos);
    EXPECT_TRUE(ids.insert(*id).second);
  }
}

TEST_F(TopicStoreTest, OlderVersionsAreReadAndNewerOnesRefusedByName) {
  MetaFormat older = kFormat;
  older.version = 2;
  const std::string payload = "payload";
  ASSERT_TRUE(write_meta_file(files, "f", older, as_bytes(payload), MetaWrite::durable));
  const auto read = read_meta_file(files, "f", kFormat);
  ASSERT_TRUE(read && *read);
  EXPECT_EQ((*read)->version, 2U);
  EXPECT_EQ(as_text((*read)->payload), payload);

  MetaFormat newer = kFormat;
  newer.version = 4;
  ASSERT_TRUE(write_meta_file(files, "f", newer, as_bytes(payload), MetaWrite::durable));
  const auto refused = read_meta_file(files, "f", kFormat);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  EXPECT_EQ(refused.error().message,
            "the test file 'f' has format version 4, this program reads up to 3: use the newer program that wrote it");
}

TEST_F(TopicStoreTest, WritingInPlaceCutsALongerFile) {
  const std::string longer(500, 'x'), shorter = "short";
  ASSERT_TRUE(write_meta_file(files, "f", kFormat, as_bytes(longer), MetaWrite::in_place));
  ASSERT_TRUE(write_meta_file(files, "f", kFormat, as_bytes(shorter), MetaWrite::in_place));
  const auto read = read_meta_file(files, "f", kFormat);
  ASSERT_TRUE(read && *read);
  EXPECT_EQ(as_text((*read)->payload), shorter);
}

}  // namespace
}  // namespace streambus::broker
