#include "streambus/broker/runtime.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "streambus/base/batch_builder.hpp"
#include "streambus/base/buffer_pool.hpp"

namespace streambus {
namespace {

namespace fs = std::filesystem;

class Waiter final : public ProduceWaiter {
 public:
  void completed() noexcept override {
    const std::lock_guard lock(mutex_);
    done_ = true;
    wake_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return done_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
};

using BatchBytes = std::vector<std::byte>;

BatchBytes make_batch(std::string_view value, std::int64_t producer = kNoProducerId, std::int32_t sequence = -1) {
  BufferPool pool;
  BatchBuilder builder(pool);
  EXPECT_TRUE(builder.append({.timestamp_ms = 1000, .key = {}, .value = as_bytes(value), .headers = {}}));
  MessageBuffer out(pool);
  const auto epoch = static_cast<std::int16_t>(producer < 0 ? -1 : 0);
  EXPECT_TRUE(builder.finish({.producer_id = producer, .producer_epoch = epoch, .base_sequence = sequence}, out).ok());
  return {out.view().begin(), out.view().end()};
}

/// Produces and waits for the answer; returns the base offset, or minus the error code.
std::int64_t produce(Broker& broker, std::string_view topic, BatchBytes batch) {
  Waiter waiter;
  if (broker.produce({.topic = topic, .partition = 0, .batches = batch}, waiter) == ProduceOutcome::pending) waiter.wait();
  return waiter.error == ErrorCode::ok ? waiter.base_offset.value : -static_cast<std::int64_t>(waiter.error);
}

/// Every value of a partition, from its start on.
std::vector<std::string> read_all(Broker& broker, std::string_view topic) {
  std::vector<std::string> values;
  for (Offset from{0};;) {
    FetchCall call;
    call.topic = topic;
    call.from = from;
    call.bytes_max = 1 << 20;
    broker.fetch(call);
    EXPECT_EQ(call.error, ErrorCode::ok);
    BatchBytes bytes;
    for (std::uint32_t i = 0; i < call.data.slice_count; ++i) {
      const Slice& slice = call.data.slices[i];
      const std::size_t before = bytes.size();
      bytes.resize(before + slice.bytes);
      if (slice.is_file()) {
        EXPECT_EQ(::pread(slice.fd, bytes.data() + before, slice.bytes, static_cast<off_t>(slice.file_position)),
                  static_cast<ssize_t>(slice.bytes));
      } else {
        std::memcpy(bytes.data() + before, slice.data, slice.bytes);
      }
    }
    if (call.data.pin != nullptr) call.data.pin->release();
    if (bytes.empty()) return values;
    for (Bytes left = bytes; !left.empty();) {
      std::size_t size = 0;
      EXPECT_TRUE(check_batch(left, &size).ok());
      EXPECT_EQ(BatchHeader(left.data()).base_offset().value, static_cast<std::int64_t>(values.size()));
      RecordReader reader(left.subspan(kBatchHeaderBytes, size - kBatchHeaderBytes), BatchHeader(left.data()).record_count());
      for (RecordView record; reader.next(record);) values.emplace_back(as_text(record.value));
      left = left.subspan(size);
    }
    from = call.data.next;
  }
}

class RuntimeTest : public ::testing::Test {
 protected:
  RuntimeTest() : directory_(fs::temp_directory_path() / ("streambus-runtime-" + std::to_string(::getpid()))) {
    fs::remove_all(directory_);
  }
  ~RuntimeTest() override { fs::remove_all(directory_); }

  Result<std::unique_ptr<Runtime>> start(const std::string& durability = "fsync-batch", const std::string& more = "") {
    ConfigSource source;
    source.name = "test.toml";
    source.text = "[broker]\ndata_dir = \"" + directory_.string() +
                  "\"\n[listener.main]\ntransport = \"inproc\"\naddress = \"runtime-test\"\n"
                  "[storage.wal]\nplugin = \"storage-wal\"\ndurability = \"" +
                  durability +
                  "\"\n[storage.scratch]\nplugin = \"storage-memory\"\n[topic_defaults]\nstorage = \"wal\"\n"
                  "[[topic]]\nname = \"kept\"\n[[topic]]\nname = \"fleeting\"\nstorage = \"scratch\"\n" +
                  more;
    source.plugin_dirs = {fs::path(STREAMBUS_TEST_BUILD_DIR) / "lib/streambus/plugins"};
    return Runtime::start(load_config(source));
  }
  std::unique_ptr<Runtime> started(const std::string& durability = "fsync-batch") {
    auto runtime = start(durability);
    EXPECT_TRUE(runtime) << runtime.error().message;
    return runtime ? std::move(*runtime) : nullptr;
  }
  fs::path directory_;
};

TEST_F(RuntimeTest, ProducesFetchesAndKeepsWhatItKept) {
  {
    const auto runtime = started();
    ASSERT_TRUE(runtime);
    EXPECT_EQ(runtime->listeners().size(), 1U);
    EXPECT_EQ(runtime->plugin_summary().size(), 4U);
    for (const char* topic : {"kept", "fleeting"}) {
      EXPECT_EQ(produce(runtime->broker(), topic, make_batch("one")), 0);
      EXPECT_EQ(produce(runtime->broker(), topic, make_batch("two")), 1);
      EXPECT_EQ(read_all(runtime->broker(), topic), (std::vector<std::string>{"one", "two"}));
    }
    runtime->stop();
    runtime->stop();
  }
  const auto runtime = started();
  ASSERT_TRUE(runtime);
  EXPECT_EQ(read_all(runtime->broker(), "kept"), (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(read_all(runtime->broker(), "fleeting"), std::vector<std::string>{});
  OffsetCall call;
  call.topic = "kept";
  call.timestamp = 500;
  runtime->broker().find_offset(call);
  EXPECT_EQ(call.offset.value, 0);
  EXPECT_EQ(call.found_timestamp, 1000);
}

TEST_F(RuntimeTest, OneDataDirectoryHasOneBroker) {
  const auto runtime = started();
  ASSERT_TRUE(runtime);
  const auto second = start();
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find(std::to_string(::getpid())), std::string::npos) << second.error().message;
}

TEST_F(RuntimeTest, AFailedStartLeavesNothingRunning) {
  const auto failed = start("fsync-batch", "[[topic]]\nname = \"bad\"\n\"compression.type\" = \"lz4\"\n");
  ASSERT_FALSE(failed);
  const auto runtime = started();
  ASSERT_TRUE(runtime) << "the lock, the listener and the storage are free again";
}

TEST_F(RuntimeTest, ManyProducersOneAtATimeAreAllAnswered) {
  const auto runtime = started();
  ASSERT_TRUE(runtime);
  constexpr int kThreads = 8, kEach = 50;
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&] {
        for (int i = 0; i < kEach; ++i) EXPECT_GE(produce(runtime->broker(), "kept", make_batch("x")), 0);
      });
    }
  }
  EXPECT_EQ(read_all(runtime->broker(), "kept").size(), std::size_t{kThreads * kEach});
}

/// Starts a broker in a child that is killed in the middle of producing. Returns the last value that was acknowledged.
std::int32_t produce_until_killed(const std::function<std::unique_ptr<Runtime>()>& start, std::int32_t first,
                                  std::int32_t acks) {
  int pipe_ends[2];
  EXPECT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto runtime = start();
    for (std::int32_t i = first; runtime; ++i) {
      if (produce(runtime->broker(), "kept", make_batch(std::to_string(i), 7, i)) < 0) break;
      if (::write(pipe_ends[1], &i, sizeof i) != sizeof i) break;
    }
    ::_exit(1);
  }
  ::close(pipe_ends[1]);
  std::int32_t acknowledged = first - 1;
  for (std::int32_t i = 0; i < acks && ::read(pipe_ends[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged; ++i) {
  }
  ::kill(child, SIGKILL);
  while (::read(pipe_ends[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged) {
  }
  ::close(pipe_ends[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended by itself";
  return acknowledged;
}

TEST_F(RuntimeTest, KilledInTheMiddleItLosesNothingAndKnowsItsProducers) {
  for (const char* durability : {"fsync-batch", "pagecache"}) {
    fs::remove_all(directory_);
    std::int32_t next = 0;
    for (int cycle = 0; cycle < 3; ++cycle) {
      const std::int32_t acknowledged = produce_until_killed([&] { return started(durability); }, next, 40);
      const auto runtime = started(durability);
      ASSERT_TRUE(runtime);
      const std::vector<std::string> values = read_all(runtime->broker(), "kept");
      ASSERT_GT(values.size(), static_cast<std::size_t>(acknowledged)) << durability;
      for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], std::to_string(i));
      const auto last = static_cast<std::int32_t>(values.size()) - 1;
      EXPECT_EQ(produce(runtime->broker(), "kept", make_batch(std::to_string(last), 7, last)), last) << "a duplicate is known";
      EXPECT_EQ(produce(runtime->broker(), "kept", make_batch("gap", 7, last + 2)),
                -static_cast<std::int64_t>(ErrorCode::out_of_order_sequence));
      next = last + 1;
    }
  }
}

}  // namespace
}  // namespace streambus
