// A request in steady state costs no allocation of the protocol: buffers, arenas, exchanges and bursts are reused.
#include <gtest/gtest.h>

#include "allocation_count.hpp"
#include "session_driver.hpp"

namespace streambus::protocol_kafka::test {
namespace {

using streambus::test::allocations;

/// A broker that allocates nothing: one partition, one stored batch.
class QuietBroker final : public Broker {
 public:
  explicit QuietBroker(Bytes batch) : batch_(batch) {}
  ~QuietBroker() = default;

  [[nodiscard]] BrokerIdentity identity() const noexcept override { return {7, "id"}; }
  void visit_topics(TopicVisitor&) noexcept override {}
  Status visit_topic(std::string_view, TopicVisitor&) noexcept override { return {}; }
  [[nodiscard]] bool auto_create_topics() const noexcept override { return false; }
  Status create_topic(const TopicSpec&) noexcept override { return {}; }
  Status delete_topic(std::string_view) noexcept override { return {}; }
  Status visit_settings(std::string_view, SettingVisitor&) noexcept override { return {}; }
  ProduceOutcome produce(const ProduceCall&, ProduceWaiter& waiter) noexcept override {
    waiter.base_offset = Offset{0};
    if (!pending) return ProduceOutcome::done;
    waiter.next = std::exchange(waiters, &waiter);
    return ProduceOutcome::pending;
  }
  void fetch(FetchCall& call) noexcept override {
    call.high_watermark = call.last_stable = Offset{3};
    call.data.slices[0] = Slice::memory(batch_);
    call.data.slice_count = 1;
    call.data.bytes = batch_.size();
    call.data.next = Offset{3};
    pin_.add_ref();
    call.data.pin = &pin_;
  }
  bool watch(std::string_view, PartitionId, FetchWatch&) noexcept override { return false; }
  void unwatch(FetchWatch&) noexcept override {}
  void find_offset(OffsetCall&) noexcept override {}
  Status epoch_end(std::string_view, PartitionId, LeaderEpoch, LeaderEpoch, LeaderEpoch*, Offset*) noexcept override {
    return {};
  }
  Status new_producer_id(std::int64_t*) noexcept override { return {}; }
  Status alter_topic(const TopicEdit&) noexcept override { return {}; }
  Status delete_records(std::string_view, PartitionId, Offset, Offset*) noexcept override { return {}; }
  void visit_usage(UsageVisitor&) noexcept override {}

  void complete() {
    while (waiters != nullptr) std::exchange(waiters, waiters->next)->completed();
  }
  bool pending = false;
  ProduceWaiter* waiters = nullptr;

 private:
  class NullPin final : public Pin {
    void dispose() noexcept override {}
  };
  Bytes batch_;
  NullPin pin_;
};

/// A connection that throws away what is written and allocates nothing.
class QuietConnection final : public Connection {
 public:
  void write(std::span<const Slice> slices, Pin*) noexcept override {
    for (const Slice& slice : slices) written += slice.bytes;
  }
  [[nodiscard]] std::uint64_t queued_bytes() const noexcept override { return 0; }
  void pause_reading() noexcept override {}
  void resume_reading() noexcept override {}
  void set_deadline(std::int64_t) noexcept override {}
  void close(bool) noexcept override { closed = true; }
  void post(void (*fn)(void*) noexcept, void* context) noexcept override {
    posted = fn;
    posted_context = context;
  }
  [[nodiscard]] std::string_view peer() const noexcept override { return "quiet"; }
  void run_post() {
    if (posted != nullptr) std::exchange(posted, nullptr)(posted_context);
  }

  std::uint64_t written = 0;
  bool closed = false;
  void (*posted)(void*) noexcept = nullptr;
  void* posted_context = nullptr;

 private:
  void dispose() noexcept override {}
};

class AllocationTest : public ::testing::Test {
 protected:
  AllocationTest()
      : batch_(make_batch(3, 1000)), broker(batch_), endpoint(host, broker, {"main", "a:1", "a", 1}, Settings(FakeOptions())) {
    session = endpoint.create_session();
    session->opened(connection);
  }
  ~AllocationTest() override { session->closed({}); }

  void deliver(std::string_view bytes) {
    while (!bytes.empty()) {
      const MutableBytes space = session->receive_buffer();
      const std::size_t count = std::min(space.size(), bytes.size());
      std::memcpy(space.data(), bytes.data(), count);
      bytes.remove_prefix(count);
      session->received(count);
    }
  }
  /// Allocations of 100 rounds of `pipelined` requests, after a warm-up.
  std::size_t count(const std::string& frame, int pipelined) {
    std::string bytes;
    for (int i = 0; i < pipelined; ++i) bytes += frame;
    std::size_t before = 0;
    for (int round = 0; round < 120; ++round) {
      if (round == 20) before = allocations();
      deliver(bytes);
      broker.complete();
      connection.run_post();
    }
    EXPECT_FALSE(connection.closed);
    EXPECT_GT(connection.written, 0U);
    return allocations() - before;
  }

  std::vector<std::byte> batch_;
  FakeHost host;
  QuietBroker broker;
  QuietConnection connection;
  Endpoint endpoint;
  Session* session;
};

TEST_F(AllocationTest, ProduceAndFetchAllocateNothingInSteadyState) {
  if (!streambus::test::kCountsAllocations) GTEST_SKIP() << "allocations are not counted under a sanitizer";
  ASSERT_GT(allocations(), 0U) << "nothing is counted";
  const ProduceOne produce("topic", 0, batch_);
  const FetchTopic fetch("topic", 4, 0);
  for (const int pipelined : {1, 5}) {
    EXPECT_EQ(count(frame_of(produce.request, 7, 1), pipelined), 0U) << pipelined << " produce requests at once";
    EXPECT_EQ(count(frame_of(fetch.request, 11, 1), pipelined), 0U) << pipelined << " fetch requests at once";
    broker.pending = true;
    EXPECT_EQ(count(frame_of(produce.request, 7, 1), pipelined), 0U) << pipelined << " pending produce requests at once";
    broker.pending = false;
  }
}

}  // namespace
}  // namespace streambus::protocol_kafka::test
