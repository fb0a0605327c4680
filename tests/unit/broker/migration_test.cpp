// Moving topics between storages.

#include <gmock/gmock.h>

#include <thread>

#include "fixture.hpp"

namespace streambus::test {
namespace {

using ::testing::HasSubstr;

class Migration : public BrokerTest {
 protected:
  Migration() {
    second_storage = std::make_unique<FakeStorage>(Durability::page_cache);
    second_storage->file_slices = true;
  }
  Status move_to(std::string_view to, bool replace_all = false) {
    const SettingEdit edit{.setting = {"streambus.storage", to}};
    return core->alter_topic({.topic = "t", .edits = {&edit, 1}, .replace_all = replace_all});
  }
  void moved_to(std::string_view to) {
    const Status status = move_to(to);
    ASSERT_TRUE(status.ok()) << status.text;
    core->migrate();
    ASSERT_EQ(setting("streambus.storage"), to) << setting("streambus.migration");
    EXPECT_EQ(setting("streambus.migration"), "");
  }
  std::string setting(std::string_view name) {
    struct Visitor final : SettingVisitor {
      std::string_view wanted;
      std::string value;
      void setting(const SettingView& view) noexcept override {
        if (view.name == wanted) value = view.value;
      }
    } visitor;
    visitor.wanted = name;
    EXPECT_TRUE(core->visit_settings("t", visitor).ok());
    return visitor.value;
  }
  void produce_some(int batches) {
    for (int i = 0; i < batches; ++i) ASSERT_EQ(produced(make_records(3)), ErrorCode::ok);
  }
};

TEST_F(Migration, BytesAndOffsetsStayAndTheOldStorageForgets) {
  start();
  create("t", 2);
  produce_some(5);
  TestWaiter waiter;
  ASSERT_EQ(produce(waiter, make_records(7), 1), ProduceOutcome::done);
  const BatchBytes before = fetch(0).bytes;
  const BatchBytes before_second = fetch(0, 1 << 20, -1, 1).bytes;
  ASSERT_NO_FATAL_FAILURE(moved_to("second"));
  EXPECT_TRUE(storage.keys().empty());
  EXPECT_EQ(second_storage->keys().size(), 2U);
  EXPECT_EQ(fetch(0).bytes, before);
  EXPECT_EQ(fetch(0, 1 << 20, -1, 1).bytes, before_second);
  Offset base;
  ASSERT_EQ(produced(make_records(1), &base), ErrorCode::ok);
  EXPECT_EQ(base.value, 15);
  start();  // as the stored list says, not the configuration
  EXPECT_EQ(setting("streambus.storage"), "second");
  EXPECT_EQ(fetch(0).high_watermark.value, 16);
  EXPECT_EQ(partitions()[0].leader_epoch, 0) << "nothing that was read has changed";
}

TEST_F(Migration, ProducersGoOnWithTheirSequences) {
  start();
  create("t");
  for (int i = 0; i < 3; ++i) ASSERT_EQ(produced(make_produced(5, 0, i)), ErrorCode::ok);
  ASSERT_NO_FATAL_FAILURE(moved_to("second"));
  Offset base;
  EXPECT_EQ(produced(make_produced(5, 0, 2), &base), ErrorCode::ok);
  EXPECT_EQ(base.value, 2) << "a batch that is sent again is recognised";
  EXPECT_EQ(produced(make_produced(5, 0, 7)), ErrorCode::out_of_order_sequence);
  EXPECT_EQ(produced(make_produced(5, 0, 3)), ErrorCode::ok);
  EXPECT_EQ(fetch(0).high_watermark.value, 4);
}

TEST_F(Migration, AFailureLeavesTheTopicWhereItIsAndAnotherAttemptGoesOn) {
  start();
  create("t");
  produce_some(4);
  second_storage->append_error = static_cast<std::int32_t>(ErrorCode::no_space);
  ASSERT_TRUE(move_to("second").ok());
  core->migrate();
  EXPECT_EQ(setting("streambus.storage"), "fake");
  EXPECT_THAT(setting("streambus.migration"), HasSubstr("to second: failed"));
  ASSERT_EQ(produced(make_records(1)), ErrorCode::ok);
  second_storage->append_error = 0;
  ASSERT_NO_FATAL_FAILURE(moved_to("second"));
  EXPECT_EQ(fetch(0).high_watermark.value, 13);
}

TEST_F(Migration, GoesOnBehindWhatWasCopiedBeforeACrash) {
  start();
  create("t");
  produce_some(4);
  const std::string id = topic_id();
  ASSERT_TRUE(move_to("second").ok());
  // What an attempt left that did not come to its end.
  PartitionLog* copy = nullptr;
  ASSERT_TRUE(second_storage->open({"t", id, 0}, {0}, {}, &copy).ok());
  AppendResult ignored;
  const BatchBytes all = fetch(0).bytes;
  const BatchHeader first(all.data());
  ASSERT_TRUE(
      copy->append(Bytes(all).first(first.total_bytes()), first.base_offset(), first.next_offset(), 1000, &ignored).ok());
  ASSERT_TRUE(copy->close().ok());
  second_storage->appends = 0;
  crash();
  start();
  EXPECT_EQ(second_storage->keys().size(), 1U) << "no orphan: the topic is on its way";
  EXPECT_THAT(setting("streambus.migration"), HasSubstr("to second"));
  core->migrate();
  EXPECT_EQ(setting("streambus.storage"), "second");
  EXPECT_EQ(second_storage->appends.load(), 3) << "the first batch was there";
  EXPECT_EQ(fetch(0).bytes, all);
}

TEST_F(Migration, ACopyThatDoesNotFitIsBegunAgain) {
  start();
  create("t");
  produce_some(4);
  const BatchBytes all = fetch(0).bytes;
  PartitionLog* copy = nullptr;
  ASSERT_TRUE(second_storage->open({"t", topic_id(), 0}, {500}, {}, &copy).ok());
  ASSERT_TRUE(copy->close().ok());
  ASSERT_NO_FATAL_FAILURE(moved_to("second"));
  EXPECT_EQ(fetch(0).bytes, all);
}

TEST_F(Migration, ADamagedCopyIsNoticed) {
  start();
  create("t");
  produce_some(4);
  ASSERT_TRUE(move_to("second").ok());
  const std::string id = topic_id();
  const BatchBytes all = fetch(0).bytes;
  const BatchHeader first(all.data());
  BatchBytes other(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(first.total_bytes()));
  other.back() ^= std::byte{1};
  PartitionLog* copy = nullptr;
  ASSERT_TRUE(second_storage->open({"t", id, 0}, {0}, {}, &copy).ok());
  AppendResult ignored;
  ASSERT_TRUE(copy->append(other, first.base_offset(), first.next_offset(), 1000, &ignored).ok());
  ASSERT_TRUE(copy->close().ok());
  core->migrate();
  EXPECT_EQ(setting("streambus.storage"), "fake");
  EXPECT_THAT(setting("streambus.migration"), HasSubstr("differs from the original at offset 0"));
}

TEST_F(Migration, ADamagedOriginalIsNotCopied) {
  start();
  create("t");
  produce_some(4);
  storage.stored(topic_id(), 0).batches[1]->bytes.back() ^= std::byte{1};
  ASSERT_TRUE(move_to("second").ok());
  core->migrate();
  EXPECT_EQ(setting("streambus.storage"), "fake");
  EXPECT_THAT(setting("streambus.migration"), HasSubstr("checksum at offset 3"));
  EXPECT_EQ(produced(make_records(1)), ErrorCode::ok);
}

TEST_F(Migration, TheWishForThePresentStorageEndsIt) {
  start();
  create("t");
  produce_some(2);
  ASSERT_TRUE(move_to("second").ok());
  EXPECT_THAT(setting("streambus.migration"), HasSubstr("waiting"));
  ASSERT_TRUE(move_to("fake", true).ok()) << "who replaces all settings repeats the present one";
  EXPECT_THAT(setting("streambus.migration"), HasSubstr("waiting"));
  ASSERT_TRUE(move_to("fake").ok());
  EXPECT_EQ(setting("streambus.migration"), "");
  core->migrate();
  EXPECT_EQ(setting("streambus.storage"), "fake");
  EXPECT_TRUE(second_storage->keys().empty());
}

TEST_F(Migration, DeletedMeanwhileNothingStays) {
  start();
  create("t");
  produce_some(2);
  ASSERT_TRUE(move_to("second").ok());
  ASSERT_TRUE(core->delete_topic("t").ok());
  core->migrate();
  EXPECT_TRUE(storage.keys().empty());
  EXPECT_TRUE(second_storage->keys().empty());
}

TEST_F(Migration, WhatACrashLeftInTheOldStorageIsRemoved) {
  start();
  create("t");
  produce_some(2);
  const std::string id = topic_id();
  ASSERT_NO_FATAL_FAILURE(moved_to("second"));
  storage.plant(id, 0);  // as if the process had ended before it was removed
  start();
  EXPECT_TRUE(storage.keys().empty());
  EXPECT_EQ(fetch(0).high_watermark.value, 6);
}

TEST_F(Migration, StartBehindDeletedRecordsStays) {
  start();
  create("t");
  produce_some(4);
  Offset log_start;
  ASSERT_TRUE(core->delete_records("t", 0, {4}, &log_start).ok());  // inside the second batch
  ASSERT_NO_FATAL_FAILURE(moved_to("second"));
  EXPECT_EQ(fetch(4).log_start.value, 4);
  EXPECT_EQ(fetch(3).error, ErrorCode::out_of_range);
  EXPECT_EQ(fetch(4).first().base_offset().value, 3);
}

TEST_F(Migration, AStorageThatIsNotThereIsRefused) {
  start();
  create("t");
  const Status status = move_to("third");
  EXPECT_EQ(status.code, ErrorCode::invalid_argument);
  EXPECT_THAT(std::string(status.text), HasSubstr("expected one of 'fake', 'second', found 'third'"));
}

TEST_F(Migration, ProducersAndConsumersGoOnMeanwhile) {
  start();
  core->start_maintenance();
  create("t");
  produce_some(50);
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> acknowledged{150};
  std::thread producer([&] {
    while (!stop) {
      Offset base;
      const ErrorCode error = produced(make_records(1), &base);
      if (error == ErrorCode::ok) {
        EXPECT_EQ(base.value, acknowledged.load());
        ++acknowledged;
      } else {
        EXPECT_EQ(error, ErrorCode::offline) << "nothing but what clients retry";
      }
    }
  });
  for (const char* const to : {"second", "fake", "second"}) {
    ASSERT_TRUE(move_to(to).ok());
    std::int64_t next = 0;
    for (int i = 0; i < 2000 && setting("streambus.storage") != to; ++i) {
      const Fetched fetched = fetch(next);
      if (fetched.error == ErrorCode::ok) {
        if (!fetched.bytes.empty()) {
          EXPECT_EQ(fetched.first().base_offset().value, next);
        }
        next = fetched.next.value;
      } else {
        EXPECT_EQ(fetched.error, ErrorCode::offline);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(setting("streambus.storage"), to) << setting("streambus.migration");
  }
  stop = true;
  producer.join();
  EXPECT_EQ(fetch(0).high_watermark.value, acknowledged.load());
}

}  // namespace
}  // namespace streambus::test
