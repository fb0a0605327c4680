// What compaction keeps and removes, when it runs, and what clients may change about it.

#include <map>
#include <optional>
#include <thread>

#include "batch_filter.hpp"
#include "compactor.hpp"
#include "fixture.hpp"

namespace streambus::test {
namespace {

struct Keyed {
  std::string key;
  std::optional<std::string> value = "v";
  TimestampMs timestamp = 1000;
};

BatchBytes make_keyed(const std::vector<Keyed>& records, const BatchStamp& stamp = {}, const Codec* codec = nullptr) {
  BufferPool pool;
  BatchBuilder builder(pool);
  for (const Keyed& record : records) {
    EXPECT_TRUE(builder.append({.timestamp_ms = record.timestamp,
                                .key = as_bytes(record.key),
                                .value = record.value ? std::optional(as_bytes(*record.value)) : std::nullopt,
                                .headers = {}}));
  }
  MessageBuffer out(pool);
  EXPECT_TRUE(builder.finish(stamp, codec, out).ok());
  const Bytes view = out.view();
  return {view.begin(), view.end()};
}

struct Found {
  std::string key;
  std::optional<std::string> value;
  TimestampMs timestamp = 0;
};

class CompactionTest : public BrokerTest {
 protected:
  void start_compacted(std::vector<Setting> more = {}) {
    start();
    std::vector<Setting> all{{"cleanup.policy", "compact"}, {"min.cleanable.dirty.ratio", "0"}};
    all.insert(all.end(), more.begin(), more.end());
    create("t", 1, all);
  }
  void put(const std::vector<Keyed>& records) { ASSERT_EQ(produced(make_keyed(records)), ErrorCode::ok); }
  void compact() { core->compact(); }

  /// All records by offset, as a consumer that begins at `from` gets them; checks that offsets rise.
  std::map<std::int64_t, Found> records(std::int64_t from = 0) {
    std::map<std::int64_t, Found> all;
    for (;;) {
      const Fetched fetched = fetch(from);
      EXPECT_EQ(fetched.error, ErrorCode::ok);
      if (fetched.bytes.empty()) {
        EXPECT_EQ(from, fetched.high_watermark.value) << "a consumer must not be stuck below the high watermark";
        return all;
      }
      for (Bytes left = fetched.bytes; !left.empty();) {
        std::size_t size = 0;
        const Status checked = check_stored_batch(left, &size);
        EXPECT_TRUE(checked.ok()) << checked.text;
        if (!checked.ok()) return all;
        add(left.first(size), from, all);
        left = left.subspan(size);
      }
      from = fetched.next.value;
    }
  }
  void add(Bytes bytes, std::int64_t from, std::map<std::int64_t, Found>& all) {
    const BatchHeader batch(bytes.data());
    BufferPool pool;
    MessageBuffer scratch(pool);
    Bytes body;
    ASSERT_TRUE(decompress_batch(codecs, bytes, 1 << 20, scratch, &body).ok());
    RecordReader reader(body, batch.record_count());
    for (RecordView record; reader.next(record);) {
      const std::int64_t offset = batch.base_offset().value + record.offset_delta;
      EXPECT_LE(offset, batch.last_offset().value);
      if (offset < from) continue;
      Found found{.key = std::string(as_text(record.key)), .value = {}, .timestamp = batch.base_timestamp()};
      found.timestamp += record.timestamp_delta_ms;
      if (record.has_value) found.value = std::string(as_text(record.value));
      EXPECT_TRUE(all.emplace(offset, found).second) << "offset " << offset << " twice";
    }
    EXPECT_TRUE(reader.ok());
  }
  std::string shown() {
    std::string text;
    for (const auto& [offset, record] : records()) {
      text += std::to_string(offset) + ":" + record.key + "=" + record.value.value_or("-") + " ";
    }
    return text;
  }
  Status alter(std::vector<SettingEdit> edits, bool replace_all = false, bool validate_only = false) {
    return core->alter_topic({.topic = "t", .edits = edits, .replace_all = replace_all, .validate_only = validate_only});
  }
  std::string setting(std::string_view name) {
    struct Visitor final : SettingVisitor {
      void setting(const SettingView& view) noexcept override {
        if (view.name == wanted) value = view.value;
      }
      std::string_view wanted;
      std::string value;
    } visitor;
    visitor.wanted = name;
    EXPECT_TRUE(core->visit_settings("t", visitor).ok());
    return visitor.value;
  }
};

TEST_F(CompactionTest, KeepsTheLatestRecordOfEachKeyWithItsOffsetAndTime) {
  start_compacted();
  put({{"a", "1", 1001}, {"b", "1", 1002}, {"c", "1", 1003}});
  put({{"a", "2", 1004}});
  put({{"b", "2", 1005}, {"d", "1", 1006}});
  put({{"a", "3", 1007}});
  put({{"c", "2", 1008}});  // in the active segment: not looked at
  compact();
  EXPECT_EQ(shown(), "2:c=1 4:b=2 5:d=1 6:a=3 7:c=2 ");
  EXPECT_EQ(records().at(5).timestamp, 1006);
  EXPECT_EQ(fetch(0).log_start.value, 0);
  EXPECT_EQ(records(3).begin()->first, 4) << "a gap is skipped";
  compact();
  EXPECT_EQ(storage.replacements, 1) << "there is nothing new to do";
}

TEST_F(CompactionTest, TombstonesStayForTheirTimeAndGoThen) {
  start_compacted({{"delete.retention.ms", "1000"}});
  put({{"a", "1"}, {"b", "1"}});
  put({{"a", std::nullopt}});
  put({{"x"}});
  put({{"y"}});
  put({{"tail"}});
  compact();
  EXPECT_EQ(shown(), "1:b=1 2:a=- 3:x=v 4:y=v 5:tail=v ");
  EXPECT_EQ(records().at(2).timestamp, 1000) << "the time of the record is not that of its removal";
  host.now_ms += 999;
  compact();
  EXPECT_EQ(records().count(2), 1U);
  host.now_ms += 1;
  compact();
  EXPECT_EQ(shown(), "1:b=1 3:x=v 4:y=v 5:tail=v ") << "although nothing new came";
  const int before = storage.replacements;
  host.now_ms += 1'000'000;
  compact();
  EXPECT_EQ(storage.replacements, before);
}

TEST_F(CompactionTest, ATombstoneOutlivesTheRestartInWhichItWaits) {
  start_compacted({{"delete.retention.ms", "1000"}});
  put({{"a", "1"}});
  for (int i = 0; i < 4; ++i) put({{"a", std::nullopt}});
  compact();
  EXPECT_EQ(shown(), "3:a=- 4:a=- ");
  ASSERT_NO_FATAL_FAILURE(start());
  host.now_ms += 1000;
  compact();
  EXPECT_EQ(shown(), "4:a=- ");
}

TEST_F(CompactionTest, YoungRecordsAreNotCompacted) {
  start_compacted({{"min.compaction.lag.ms", "1000"}});
  const TimestampMs now = host.now_ms;
  put({{"a", "1", now - 5000}});
  put({{"a", "2", now - 4000}});
  put({{"a", "3", now - 500}});
  put({{"a", "4", now - 400}});
  put({{"tail", "v", now}});
  compact();
  EXPECT_EQ(shown(), "1:a=2 2:a=3 3:a=4 4:tail=v ");
  host.now_ms += 700;
  compact();
  EXPECT_EQ(shown(), "3:a=4 4:tail=v ");
}

TEST_F(CompactionTest, RunsWhenEnoughIsNewOrSomethingIsTooOld) {
  start();
  create("t", 1, {{"cleanup.policy", "compact"}, {"min.cleanable.dirty.ratio", "0.5"}, {"max.compaction.lag.ms", "10000"}});
  const TimestampMs now = host.now_ms;
  const auto fill = [&](int batches, const std::string& prefix) {
    for (int i = 0; i < batches; ++i) put({{prefix + std::to_string(i), std::string(100, 'x'), now}});
  };
  fill(40, "k");
  compact();
  fill(8, "k");
  compact();
  EXPECT_EQ(records().count(0), 1U) << "8 of 48 batches are no half";
  fill(40, "n");
  compact();
  EXPECT_EQ(records().count(0), 0U);
  EXPECT_EQ(records().count(9), 1U);
  fill(8, "n");
  host.now_ms += 9'999;
  compact();
  EXPECT_EQ(records().count(48), 1U);
  host.now_ms += 1;
  compact();
  EXPECT_EQ(records().count(48), 0U) << "too old to wait for more";
  EXPECT_EQ(storage.stored(topic_id(), 0).settings.segment_ms, 10'000) << "segments end in time";
}

TEST_F(CompactionTest, MoreKeysThanFitTakeSeveralPasses) {
  settings.compaction.memory_bytes = 64 * broker::KeyOffsets::kBytesPerKey;
  storage.segment_batches = 16;
  start_compacted();
  std::map<std::string, int> latest;
  for (int i = 0; i < 640; ++i) {
    const std::string key = "key-" + std::to_string(i * 7919 % 300);
    put({{key, std::to_string(i)}});
    latest[key] = i;
  }
  put({{"tail"}});
  compact();
  const auto all = records();
  EXPECT_EQ(all.size(), latest.size() + 1);
  for (const auto& [offset, record] : all) {
    if (record.key != "tail") {
      EXPECT_EQ(record.value, std::to_string(latest.at(record.key)));
    }
  }
}

TEST_F(CompactionTest, ABatchOfMoreKeysThanFitIsToldAndNothingIsLost) {
  settings.compaction.memory_bytes = 64 * broker::KeyOffsets::kBytesPerKey;
  start_compacted();
  std::vector<Keyed> many;
  for (int i = 0; i < 200; ++i) many.push_back({"k" + std::to_string(i), "v"});
  for (int i = 0; i < 5; ++i) put(many);
  compact();
  EXPECT_TRUE(host.logged("raise it"));
  EXPECT_EQ(records().size(), 1000U);
}

TEST_F(CompactionTest, CompressedBatchesStayCompressed) {
  start_compacted();
  const std::string large(500, 'z');
  ASSERT_EQ(produced(make_keyed({{"a", large}, {"b", large}}, {}, &lz4)), ErrorCode::ok);
  ASSERT_EQ(produced(make_keyed({{"a", "2"}, {"c", large}}, {}, &zstd)), ErrorCode::ok);
  for (int i = 0; i < 3; ++i) put({{"tail"}});
  compact();
  const auto all = records();
  EXPECT_EQ(all.size(), 5U);
  EXPECT_EQ(all.at(1).value, large);
  EXPECT_EQ(fetch(0).first().compression(), lz4.id());
  EXPECT_EQ(fetch(2).first().compression(), zstd.id());
}

TEST_F(CompactionTest, BatchesOfAMissingCodecStayAsTheyAre) {
  start_compacted();
  ASSERT_EQ(produced(make_keyed({{"a", std::string(500, 'z')}}, {}, &lz4)), ErrorCode::ok);
  put({{"a", "2"}});
  put({{"a", "3"}});
  put({{"x"}});
  put({{"tail"}});
  with_lz4 = false;
  ASSERT_NO_FATAL_FAILURE(start());
  compact();
  EXPECT_TRUE(host.logged("no codec is loaded"));
  with_lz4 = true;
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(records().size(), 4U);
  EXPECT_EQ(records().count(0), 1U);
  EXPECT_EQ(records().count(1), 0U);
}

TEST_F(CompactionTest, RecordsWithoutKeysAreRefusedAndOldOnesRemoved) {
  start();
  create("t");
  ASSERT_EQ(produced(make_records(2)), ErrorCode::ok);
  ASSERT_TRUE(
      alter({{SettingChange::set, {"cleanup.policy", "compact"}}, {SettingChange::set, {"min.cleanable.dirty.ratio", "0"}}})
          .ok());
  TestWaiter waiter;
  EXPECT_EQ(produce(waiter, joined(make_keyed({{"a"}}), make_records(1))), ProduceOutcome::done);
  EXPECT_EQ(waiter.error, ErrorCode::invalid_record);
  EXPECT_NE(std::string(waiter.error_text).find("expected records with keys"), std::string::npos) << waiter.error_text;
  for (int i = 0; i < 4; ++i) put({{"a"}});
  compact();
  EXPECT_EQ(shown(), "4:a=v 5:a=v ");
}

TEST_F(CompactionTest, TheLastSequenceOfAProducerSurvives) {
  start_compacted();
  const auto send = [&](std::int64_t producer, std::int32_t sequence, const char* key) {
    return produced(make_keyed({{key}, {key}}, {.producer_id = producer, .producer_epoch = 0, .base_sequence = sequence}));
  };
  ASSERT_EQ(send(7, 0, "a"), ErrorCode::ok);
  ASSERT_EQ(send(7, 2, "a"), ErrorCode::ok);
  for (int i = 0; i < 6; ++i) put({{"a"}});
  compact();
  EXPECT_EQ(shown(), "9:a=v ");
  const Fetched first = fetch(0);
  EXPECT_EQ(first.first().record_count(), 0) << "an empty batch says what the producer sent last";
  EXPECT_EQ(first.first().base_offset().value, 2);
  EXPECT_EQ(first.first().last_offset().value, 3);
  crash();
  for (const std::string& path : files.paths()) {
    if (path.starts_with("producers/")) files.erase(path);  // only the log knows now
  }
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(send(7, 5, "a"), ErrorCode::out_of_order_sequence);
  EXPECT_EQ(send(7, 2, "a"), ErrorCode::ok) << "a duplicate is recognised";
  EXPECT_EQ(records().rbegin()->first, 9);
  EXPECT_EQ(send(7, 4, "a"), ErrorCode::ok);
}

TEST_F(CompactionTest, TheBatchBeforeTheHighWatermarkStays) {
  start_compacted({{"delete.retention.ms", "0"}});
  for (int i = 0; i < 4; ++i) put({{"a", std::nullopt}});
  compact();
  compact();
  EXPECT_EQ(records().size(), 0U) << "and records() checks that a consumer gets to the end";
  put({{"b"}});
  EXPECT_EQ(shown(), "4:b=v ");
}

TEST_F(CompactionTest, DeletedRecordsDoNotComeBack) {
  start();
  create("t", 1, {{"cleanup.policy", "compact,delete"}, {"min.cleanable.dirty.ratio", "0"}});
  ASSERT_EQ(produced(make_keyed({{"a"}, {"b"}, {"c"}}, {.producer_id = 1, .producer_epoch = 0, .base_sequence = 0})),
            ErrorCode::ok);
  for (int i = 0; i < 4; ++i) put({{"x"}});
  Offset log_start;
  ASSERT_TRUE(core->delete_records("t", 0, {1}, &log_start).ok());
  EXPECT_EQ(log_start.value, 1);
  compact();
  EXPECT_EQ(fetch(1).first().base_offset().value, 1) << "what is kept of the batch begins where the log does";
  EXPECT_EQ(fetch(1).first().base_sequence(), 1);
  const auto all = records(1);
  EXPECT_EQ(all.begin()->first, 1);
  EXPECT_EQ(all.begin()->second.key, "b");
  EXPECT_EQ(all.size(), 4U);  // b, c, and x twice: one of them in the active segment
}

TEST_F(CompactionTest, DamageIsNotWrittenAnewWithAChecksumThatHolds) {
  start_compacted();
  for (int i = 0; i < 6; ++i) put({{"a"}});
  storage.stored(topic_id(), 0).batches[1]->bytes.back() ^= std::byte{1};
  compact();
  EXPECT_EQ(storage.replacements, 0);
  EXPECT_TRUE(host.logged("checksum"));
}

TEST_F(CompactionTest, AFailureIsToldAndTriedAgain) {
  start_compacted();
  for (int i = 0; i < 6; ++i) put({{"a"}});
  storage.replace_error = static_cast<std::int32_t>(ErrorCode::no_space);
  compact();
  EXPECT_TRUE(host.logged("tried again"));
  EXPECT_EQ(records().size(), 6U);
  put({{"b"}});
  storage.replace_error = 0;
  compact();
  EXPECT_EQ(shown(), "3:a=v 4:a=v 5:a=v 6:b=v ");
}

TEST_F(CompactionTest, DeletingRecordsInterruptsACompaction) {
  start();
  create("t", 1, {{"cleanup.policy", "compact,delete"}, {"min.cleanable.dirty.ratio", "0"}});
  for (int i = 0; i < 8; ++i) put({{"a"}});
  std::thread deleting;
  storage.while_replacing = [&] {
    storage.while_replacing = nullptr;
    deleting = std::thread([&] {
      Offset log_start;
      EXPECT_TRUE(core->delete_records("t", 0, {2}, &log_start).ok());
      EXPECT_EQ(log_start.value, 2);
    });
  };
  compact();
  deleting.join();
  compact();
  EXPECT_EQ(records(2).begin()->first, 7);
}

TEST_F(CompactionTest, ProducingGoesOnWhileItRuns) {
  start_compacted();
  for (int i = 0; i < 8; ++i) put({{"a", std::to_string(i)}});
  storage.while_replacing = [&] {
    storage.while_replacing = nullptr;
    put({{"a", "during"}});
    EXPECT_EQ(fetch(0).error, ErrorCode::ok);
  };
  compact();
  EXPECT_EQ(shown(), "7:a=7 8:a=during ");
}

TEST_F(CompactionTest, ProgressIsKeptAndItsLossCostsOnlyTime) {
  start_compacted();
  for (int i = 0; i < 9; ++i) put({{"a"}});
  compact();
  EXPECT_EQ(shown(), "7:a=v 8:a=v ");
  ASSERT_NO_FATAL_FAILURE(start());
  storage.reads = 0;
  compact();
  EXPECT_EQ(storage.reads, 0) << "all of it is compacted: nothing is read";
  for (const bool damaged : {true, false}) {
    if (damaged) {
      files.content("compaction").back() ^= 1;
    } else {
      files.erase("compaction");
    }
    ASSERT_NO_FATAL_FAILURE(start());
    compact();
    EXPECT_EQ(shown(), "7:a=v 8:a=v ");
  }
}

TEST_F(CompactionTest, ALogThatLostItsTailIsCompactedAgainFromThere) {
  start_compacted();
  for (int i = 0; i < 8; ++i) put({{"a", std::to_string(i)}});
  compact();
  crash(1);
  ASSERT_NO_FATAL_FAILURE(start());
  for (int i = 0; i < 8; ++i) put({{"b", std::to_string(i)}});
  compact();
  const auto all = records();
  std::map<std::string, int> count;
  for (const auto& [offset, record] : all) ++count[record.key];
  EXPECT_LE(count["b"], 4);
}

TEST(DurableCompaction, WhatIsNotDurableIsLeftAlone) {
  struct Fixture final : DurableBrokerTest {
    void TestBody() override {}
    void run() {
      start();
      create("t", 1, {{"cleanup.policy", "compact"}, {"min.cleanable.dirty.ratio", "0"}});
      std::vector<std::unique_ptr<TestWaiter>> waiters;
      const auto send = [&](int count) {
        for (int i = 0; i < count; ++i) {
          waiters.push_back(std::make_unique<TestWaiter>());
          EXPECT_EQ(produce(*waiters.back(), make_keyed({{"a"}})), ProduceOutcome::pending);
        }
      };
      send(3);
      flush();
      send(5);
      core->compact();
      EXPECT_EQ(storage.replacements, 0);
      flush();
      core->compact();
      EXPECT_EQ(storage.replacements, 1);
    }
  } fixture;
  fixture.run();
}

// ---- settings

TEST_F(CompactionTest, OnlyWhereTheStorageCan) {
  storage.replaces = false;
  start();
  const Setting compact[] = {{"cleanup.policy", "compact,delete"}};
  const Status created = core->create_topic({.name = "t", .partition_count = 1, .settings = compact});
  EXPECT_EQ(created.code, ErrorCode::unsupported);
  EXPECT_NE(std::string(created.text).find("storage 'fake' cannot compact"), std::string::npos) << created.text;
  create("t");
  EXPECT_EQ(alter({{SettingChange::set, compact[0]}}).code, ErrorCode::unsupported);
  EXPECT_EQ(setting("cleanup.policy"), "delete");
}

TEST_F(CompactionTest, CompactionAloneLeavesRetentionOut) {
  start();
  create("t", 1, {{"retention.ms", "5000"}, {"retention.bytes", "4096"}, {"cleanup.policy", "compact"}});
  EXPECT_EQ(storage.stored(topic_id(), 0).settings.retention_ms, -1);
  EXPECT_EQ(storage.stored(topic_id(), 0).settings.retention_bytes, -1);
  ASSERT_TRUE(alter({{SettingChange::append, {"cleanup.policy", "delete"}}}).ok());
  EXPECT_EQ(setting("cleanup.policy"), "compact,delete");
  EXPECT_EQ(storage.stored(topic_id(), 0).settings.retention_ms, 5000) << "in force at once";
  ASSERT_TRUE(alter({{SettingChange::subtract, {"cleanup.policy", "compact"}}}).ok());
  EXPECT_EQ(setting("cleanup.policy"), "delete");
  EXPECT_FALSE(alter({{SettingChange::subtract, {"cleanup.policy", "delete"}}}).ok()) << "nothing would be left";
}

TEST_F(CompactionTest, EditsAreAllOrNothingAndOutliveARestart) {
  start();
  create("t", 1, {{"retention.bytes", "4096"}});
  EXPECT_EQ(alter({{SettingChange::set, {"retention.ms", "7d"}}, {SettingChange::set, {"segment.bytes", "1"}}}).code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(setting("retention.ms"), "604800000");
  EXPECT_TRUE(alter({{SettingChange::set, {"retention.ms", "1h"}}}, false, true).ok());
  EXPECT_EQ(setting("retention.ms"), "604800000") << "only validated";
  ASSERT_TRUE(alter({{SettingChange::set, {"retention.ms", "1h"}}}).ok());
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(setting("retention.ms"), "3600000");
  EXPECT_EQ(setting("retention.bytes"), "4096");
  ASSERT_TRUE(alter({{SettingChange::reset, {"retention.bytes", ""}}}).ok());
  EXPECT_EQ(setting("retention.bytes"), "-1");
  ASSERT_TRUE(alter({{SettingChange::set, {"max.message.bytes", "5000"}}}, true).ok());
  EXPECT_EQ(setting("retention.ms"), "604800000") << "replaced as a whole";
  EXPECT_EQ(setting("max.message.bytes"), "5000");
  EXPECT_EQ(produced(make_batch({.timestamps = {1}, .value = std::string(6000, 'x')})), ErrorCode::too_large)
      << "in force at once";
}

TEST_F(CompactionTest, WhatCannotBeChangedSaysSo) {
  start();
  create("t");
  const auto refused = [&](SettingChange change, const char* name, const char* value, const char* text) {
    const Status status = alter({{change, {name, value}}});
    EXPECT_EQ(status.code, ErrorCode::invalid_argument) << status.text;
    EXPECT_NE(std::string(status.text).find(text), std::string::npos) << status.text;
  };
  refused(SettingChange::set, "streambus.storage", "other", "expected one of 'fake', found 'other'");
  refused(SettingChange::set, "min.insync.replicas", "2", "min.insync.replicas");
  refused(SettingChange::set, "retention.mz", "1", "did you mean 'retention.ms'");
  refused(SettingChange::reset, "retention.mz", "", "did you mean 'retention.ms'");
  refused(SettingChange::append, "retention.ms", "1", "it is no list");
  refused(SettingChange::append, "cleanup.policy", "shred", "one or more of compact or delete");
  EXPECT_TRUE(alter({{SettingChange::set, {"streambus.storage", "fake"}}}).ok()) << "what is so already is no change";
  const SettingEdit twice[] = {{SettingChange::set, {"retention.ms", "1"}}, {SettingChange::set, {"retention.ms", "2"}}};
  EXPECT_EQ(core->alter_topic({.topic = "t", .edits = twice}).code, ErrorCode::invalid_argument);
  EXPECT_EQ(core->alter_topic({.topic = "nowhere", .edits = {}}).code, ErrorCode::not_found);
}

TEST_F(CompactionTest, DeletingRecords) {
  start();
  create("t");
  for (int i = 0; i < 6; ++i) put({{"a"}});
  Offset log_start;
  EXPECT_EQ(core->delete_records("t", 0, {7}, &log_start).code, ErrorCode::out_of_range);
  EXPECT_EQ(core->delete_records("t", 0, {-2}, &log_start).code, ErrorCode::out_of_range);
  EXPECT_EQ(core->delete_records("t", 1, {1}, &log_start).code, ErrorCode::not_found);
  ASSERT_TRUE(core->delete_records("t", 0, {4}, &log_start).ok());
  EXPECT_EQ(log_start.value, 4);
  EXPECT_EQ(fetch(3).error, ErrorCode::out_of_range);
  ASSERT_TRUE(core->delete_records("t", 0, {2}, &log_start).ok());
  EXPECT_EQ(log_start.value, 4) << "never back";
  ASSERT_TRUE(core->delete_records("t", 0, kNoOffset, &log_start).ok());
  EXPECT_EQ(log_start.value, 6);
  ASSERT_TRUE(alter({{SettingChange::set, {"cleanup.policy", "compact"}}}).ok());
  EXPECT_EQ(core->delete_records("t", 0, {6}, &log_start).code, ErrorCode::permission_denied);
}

TEST(KeyOffsets, KnowsTheLastOffsetOfEachKeyUpToItsSize) {
  broker::KeyOffsets keys;
  EXPECT_EQ(keys.find(broker::hash_key(as_bytes(std::string_view("a")))), kNoOffset);
  ASSERT_TRUE(keys.allocate(1000));
  const auto key = [](int i) {
    const std::string text = "key-" + std::to_string(i);
    return broker::hash_key(as_bytes(text));
  };
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(keys.put(key(i), {i}));
  EXPECT_FALSE(keys.put(key(1000), {1000})) << "full";
  EXPECT_TRUE(keys.put(key(5), {2000})) << "a key that is known needs no room";
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(keys.find(key(i)).value, i == 5 ? 2000 : i);
  EXPECT_EQ(keys.find(key(1000)), kNoOffset);
}

}  // namespace
}  // namespace streambus::test
