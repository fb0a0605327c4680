#pragma once
// A broker over a fake storage engine, fake codecs and files in memory, that can be stopped, crashed and started again.

#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "broker_core.hpp"
#include "fake_host.hpp"
#include "fake_storage.hpp"
#include "memory_files.hpp"
#include "run_length_codec.hpp"
#include "streambus/base/batch_builder.hpp"

namespace streambus::test {

/// A host whose clocks and files are the test's.
class BrokerHost final : public Host {
 public:
  explicit BrokerHost(MemoryFiles& files) : files_(files) {}
  [[nodiscard]] std::string_view instance_name() const noexcept override { return "broker"; }
  [[nodiscard]] bool log_enabled(LogLevel level) const noexcept override { return host_.log_enabled(level); }
  void log(LogLevel level, std::string_view text) noexcept override { host_.log(level, text); }
  [[nodiscard]] Metric& metric(MetricKind kind, std::string_view name, std::string_view help) noexcept override {
    return host_.metric(kind, name, help);
  }
  [[nodiscard]] std::int64_t monotonic_ns() noexcept override { return host_.monotonic_ns(); }
  [[nodiscard]] TimestampMs wall_ms() noexcept override { return now_ms.load(); }
  [[nodiscard]] BufferSource& buffers() noexcept override { return host_.buffers(); }
  void post(WorkClass work, void (*fn)(void*) noexcept, void* context) noexcept override { host_.post(work, fn, context); }
  [[nodiscard]] FileSystem& files() noexcept override { return files_; }
  [[nodiscard]] DurabilitySink& durability() noexcept override { return host_.durability(); }

  [[nodiscard]] FakeHost& fake() noexcept { return host_; }
  [[nodiscard]] bool logged(std::string_view part) {
    for (const std::string& line : host_.log_lines()) {
      if (line.find(part) != std::string::npos) return true;
    }
    return false;
  }
  std::atomic<TimestampMs> now_ms{1'700'000'000'000};

 private:
  FakeHost host_;
  MemoryFiles& files_;
};

/// A produce whose completion can be waited for.
class TestWaiter final : public ProduceWaiter {
 public:
  void completed() noexcept override {
    const std::lock_guard lock(mutex_);
    ++completions;
    wake_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return completions > 0; });
  }
  [[nodiscard]] bool is_completed() {
    const std::lock_guard lock(mutex_);
    return completions > 0;
  }
  int completions = 0;

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
};

class TestWatch final : public FetchWatch {
 public:
  void data_available() noexcept override { ++wakes; }
  std::atomic<int> wakes{0};
};

using BatchBytes = std::vector<std::byte>;

struct BatchOptions {
  std::vector<TimestampMs> timestamps{1000};  ///< one record each
  std::string value = "value";
  BatchStamp stamp = {};
  const Codec* codec = nullptr;
};

/// A batch of one record per timestamp.
inline BatchBytes make_batch(const BatchOptions& options = {}) {
  BufferPool pool;
  BatchBuilder builder(pool);
  for (const TimestampMs timestamp : options.timestamps) {
    EXPECT_TRUE(builder.append({.timestamp_ms = timestamp, .key = {}, .value = as_bytes(options.value), .headers = {}}));
  }
  MessageBuffer out(pool);
  EXPECT_TRUE(builder.finish(options.stamp, options.codec, out).ok());
  const Bytes view = out.view();
  return {view.begin(), view.end()};
}
inline BatchBytes make_records(int count) {
  return make_batch({.timestamps = std::vector<TimestampMs>(static_cast<std::size_t>(count), 1000)});
}
inline BatchBytes make_produced(std::int64_t producer, std::int16_t epoch, std::int32_t sequence, int count = 1) {
  return make_batch({.timestamps = std::vector<TimestampMs>(static_cast<std::size_t>(count), 1000),
                     .stamp = {.producer_id = producer, .producer_epoch = epoch, .base_sequence = sequence}});
}
inline BatchBytes joined(BatchBytes first, const BatchBytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// The answer of a fetch with its bytes copied.
struct Fetched {
  ErrorCode error = ErrorCode::ok;
  Offset high_watermark;
  Offset log_start;
  Offset next;
  BatchBytes bytes;
  [[nodiscard]] BatchHeader first() const { return BatchHeader(bytes.data()); }
};

class BrokerTest : public ::testing::Test {
 protected:
  explicit BrokerTest(Durability durability = Durability::page_cache) : storage(durability) {}
  ~BrokerTest() override { stop(); }

  void start(const std::vector<TopicSection>& topics = {}) {
    const auto started = try_start(topics);
    ASSERT_TRUE(started) << started.error().message;
  }
  Result<> try_start(const std::vector<TopicSection>& topics = {}) {
    stop();
    domains = std::make_unique<broker::DomainTable>(host);
    storage.attach(*domains);
    codecs = {};
    if (with_lz4) {
      EXPECT_TRUE(codecs.add(lz4));
    }
    EXPECT_TRUE(codecs.add(zstd));
    std::map<std::string, StorageEngine*, std::less<>> engines{{"fake", &storage}};
    if (second_storage) {
      second_storage->attach(*domains);
      engines.emplace("second", second_storage.get());
    }
    settings.topic_defaults.storage = "fake";
    core = std::make_unique<broker::BrokerCore>(host, *domains, codecs, std::move(engines), settings);
    return core->start(topics);
  }
  void stop() {
    if (core) core->stop();
    host.fake().run_work();
    core.reset();
  }
  /// kill -9, and the last `lost` batches of each partition gone.
  void crash(std::size_t lost = 0) {
    auto left = files.save();
    stop();
    files.restore(std::move(left));
    storage.crash(lost);
  }

  void create(const std::string& topic, PartitionId partitions = 1, std::vector<Setting> topic_settings = {}) {
    const Status status =
        core->create_topic({.name = topic, .partition_count = partitions, .settings = topic_settings, .validate_only = false});
    ASSERT_TRUE(status.ok()) << status.text;
  }
  ProduceOutcome produce(TestWaiter& waiter, BatchBytes batches, PartitionId partition = 0, std::string_view topic = "t") {
    return core->produce({.topic = topic, .partition = partition, .batches = batches}, waiter);
  }
  /// Produces where the answer comes at once; returns the error.
  ErrorCode produced(BatchBytes batches, Offset* base = nullptr) {
    TestWaiter waiter;
    EXPECT_EQ(produce(waiter, std::move(batches)), ProduceOutcome::done);
    if (base != nullptr) *base = waiter.base_offset;
    return waiter.error;
  }
  Fetched fetch(std::int64_t from, std::uint64_t bytes_max = 1 << 20, LeaderEpoch epoch = -1, PartitionId partition = 0) {
    FetchCall call;
    call.topic = "t";
    call.partition = partition;
    call.from = {from};
    call.bytes_max = bytes_max;
    call.current_epoch = epoch;
    core->fetch(call);
    Fetched fetched{call.error, call.high_watermark, call.log_start, call.data.next, {}};
    for (std::uint32_t i = 0; i < call.data.slice_count; ++i) append(call.data.slices[i], fetched.bytes);
    if (call.data.pin != nullptr) call.data.pin->release();
    return fetched;
  }
  static void append(const Slice& slice, BatchBytes& out) {
    const std::size_t before = out.size();
    out.resize(before + slice.bytes);
    if (!slice.is_file()) {
      std::memcpy(out.data() + before, slice.data, slice.bytes);
    } else {
      EXPECT_EQ(::pread(slice.fd, out.data() + before, slice.bytes, static_cast<off_t>(slice.file_position)),
                static_cast<ssize_t>(slice.bytes));
    }
  }
  OffsetCall find(TimestampMs timestamp) {
    OffsetCall call;
    call.topic = "t";
    call.timestamp = timestamp;
    core->find_offset(call);
    return call;
  }
  std::string topic_id(const std::string& topic = "t") {
    struct Visitor final : TopicVisitor {
      std::string id;
      void topic(const TopicView& view, std::span<const PartitionView>) noexcept override { id = view.topic_id; }
    } visitor;
    EXPECT_TRUE(core->visit_topic(topic, visitor).ok());
    return visitor.id;
  }
  std::vector<PartitionView> partitions(const std::string& topic = "t") {
    struct Visitor final : TopicVisitor {
      std::vector<PartitionView> views;
      void topic(const TopicView&, std::span<const PartitionView> found) noexcept override {
        views.assign(found.begin(), found.end());
      }
    } visitor;
    EXPECT_TRUE(core->visit_topic(topic, visitor).ok());
    return visitor.views;
  }

  MemoryFiles files;
  BrokerHost host{files};
  RunLengthCodec lz4{3, "lz4"};
  RunLengthCodec zstd{4, "zstd"};
  bool with_lz4 = true;
  FakeStorage storage;
  std::unique_ptr<FakeStorage> second_storage;
  CodecSet codecs;
  broker::BrokerSettings settings;
  std::unique_ptr<broker::DomainTable> domains;
  std::unique_ptr<broker::BrokerCore> core;
};

class DurableBrokerTest : public BrokerTest {
 protected:
  DurableBrokerTest() : BrokerTest(Durability::fsync_batch) {}
  void flush(PartitionId partition = 0) { storage.flush(topic_id(), partition); }
};

}  // namespace streambus::test
