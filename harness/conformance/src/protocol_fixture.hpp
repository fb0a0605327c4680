#pragma once
// A broker that has nothing, and a connection that goes nowhere: enough to see whether a protocol survives its input.

#include <atomic>
#include <deque>
#include <limits>
#include <mutex>

#include "plugin_object.hpp"
#include "streambus/plugin/protocol.hpp"

namespace streambus::conformance {

/// Knows no topic, stores nothing.
class EmptyBroker final : public Broker {
 public:
  [[nodiscard]] BrokerIdentity identity() const noexcept override {
    return {.node_id = 1, .cluster_id = "AAAAAAAAAAAAAAAAAAAAAA"};
  }
  void visit_topics(TopicVisitor&) noexcept override {}
  Status visit_topic(std::string_view, TopicVisitor&) noexcept override { return nothing(); }
  [[nodiscard]] bool auto_create_topics() const noexcept override { return false; }
  Status create_topic(const TopicSpec&) noexcept override { return {ErrorCode::unsupported, "this broker has no topics"}; }
  Status delete_topic(std::string_view) noexcept override { return nothing(); }
  Status visit_settings(std::string_view, SettingVisitor&) noexcept override { return nothing(); }
  ProduceOutcome produce(const ProduceCall&, ProduceWaiter& waiter) noexcept override {
    waiter.error = ErrorCode::not_found;
    return ProduceOutcome::done;
  }
  void fetch(FetchCall& call) noexcept override { call.error = ErrorCode::not_found; }
  bool watch(std::string_view, PartitionId, FetchWatch&) noexcept override { return false; }
  void unwatch(FetchWatch&) noexcept override {}
  void find_offset(OffsetCall& call) noexcept override { call.error = ErrorCode::not_found; }
  Status epoch_end(std::string_view, PartitionId, LeaderEpoch, LeaderEpoch, LeaderEpoch*, Offset*) noexcept override {
    return nothing();
  }
  Status new_producer_id(std::int64_t* id) noexcept override {
    *id = next_id_++;
    return {};
  }
  Status alter_topic(const TopicEdit&) noexcept override { return nothing(); }
  Status delete_records(std::string_view, PartitionId, Offset, Offset*) noexcept override { return nothing(); }
  void visit_usage(UsageVisitor&) noexcept override {}

 private:
  static Status nothing() noexcept { return {ErrorCode::not_found, "this broker has no topics"}; }
  std::atomic<std::int64_t> next_id_{1};
};

/// Takes everything at once. The case's thread is the connection's thread.
class BlackHole final : public Connection {
 public:
  explicit BlackHole(std::atomic<int>& alive) : alive_(alive) { ++alive_; }

  void write(std::span<const Slice> slices, Pin*) noexcept override {
    for (const Slice& slice : slices) written += slice.bytes;
  }
  [[nodiscard]] std::uint64_t queued_bytes() const noexcept override { return 0; }
  void pause_reading() noexcept override { paused = true; }
  void resume_reading() noexcept override { paused = false; }
  void set_deadline(std::int64_t monotonic_ns) noexcept override { deadline_ns = monotonic_ns; }
  void close(bool) noexcept override { closing = true; }
  void post(void (*fn)(void*) noexcept, void* context) noexcept override {
    const std::lock_guard lock(mutex_);
    posts_.emplace_back(fn, context);
  }
  [[nodiscard]] std::string_view peer() const noexcept override { return "192.0.2.1:5555"; }

  /// Runs what was posted.
  void run_posts() {
    for (;;) {
      std::pair<void (*)(void*) noexcept, void*> next;
      {
        const std::lock_guard lock(mutex_);
        if (posts_.empty()) return;
        next = posts_.front();
        posts_.pop_front();
      }
      next.first(next.second);
    }
  }

  std::uint64_t written = 0;
  bool paused = false;
  bool closing = false;
  std::int64_t deadline_ns = std::numeric_limits<std::int64_t>::max();

 private:
  void dispose() noexcept override {
    --alive_;
    delete this;
  }
  std::atomic<int>& alive_;
  std::mutex mutex_;
  std::deque<std::pair<void (*)(void*) noexcept, void*>> posts_;
};

/// A protocol with one open factory.
class ProtocolFixture {
 public:
  explicit ProtocolFixture(CaseContext& context) : object_(context.plugin, context.options) {
    expect_ok(object_.created(), "create()");
    expect_ok(object_->open_factory(broker_, info_, &factory_), "open_factory()");
    expect(factory_ != nullptr, "a factory when open_factory() says ok, found none");
  }
  /// Every connection must have been given back by now. The last call.
  void finish() {
    object_.host().wait_idle();
    object_->close_factory(factory_);
    expect_equal("connections that sessions still hold after closed()", connections_.load(), 0);
  }

  /// One connection from opened() to closed(), fed with the bytes in pieces of at most `piece`.
  void converse(Bytes bytes, std::size_t piece) {
    Session* const session = factory_->create_session();
    if (session == nullptr) return;  // refused: the factory has logged why
    auto* const connection = new BlackHole(connections_);
    connection->add_ref();  // one for the session, one for this function
    session->opened(*connection);
    int idle = 0;
    while (!bytes.empty() && !connection->closing && idle < 100) {
      settle(*connection);
      const MutableBytes buffer = connection->paused ? MutableBytes{} : session->receive_buffer();
      if (buffer.empty()) {
        ++idle;
        continue;
      }
      idle = 0;
      const std::size_t count = std::min({piece, bytes.size(), buffer.size()});
      std::copy_n(bytes.begin(), count, buffer.begin());
      session->received(count);
      bytes = bytes.subspan(count);
    }
    settle(*connection);
    if (!connection->closing) session->writable();
    if (!connection->closing && connection->deadline_ns != std::numeric_limits<std::int64_t>::max()) session->deadline();
    if (!connection->closing) session->drain();
    settle(*connection);
    session->closed({});
    settle(*connection);
    connection->release();
  }

 private:
  void settle(BlackHole& connection) {
    object_.host().wait_idle();
    connection.run_posts();
  }

  EmptyBroker broker_;
  const ListenerInfo info_{
      .name = "main", .address = "127.0.0.1:9092", .advertised_host = "127.0.0.1", .advertised_port = 9092};
  std::atomic<int> connections_{0};
  PluginObject<Protocol> object_;
  SessionFactory* factory_ = nullptr;
};

}  // namespace streambus::conformance
