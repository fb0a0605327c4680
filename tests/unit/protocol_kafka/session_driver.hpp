#pragma once
// A client's end of one session, without sockets: the test's thread is the connection's.

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "endpoint.hpp"
#include "exchange.hpp"
#include "fake_broker.hpp"
#include "fake_connection.hpp"
#include "fake_host.hpp"
#include "frame_reader.hpp"
#include "streambus/base/batch_builder.hpp"
#include "streambus/wire/frame.hpp"

namespace streambus::protocol_kafka::test {

using streambus::test::FakeBroker;
using streambus::test::FakeConnection;
using streambus::test::FakeHost;

/// Options as the host would hand them over.
class FakeOptions final : public Options {
 public:
  [[nodiscard]] bool boolean(std::string_view) const noexcept override { return false; }
  [[nodiscard]] std::int64_t integer(std::string_view) const noexcept override { return requests_in_flight_max; }
  [[nodiscard]] double real(std::string_view) const noexcept override { return 0; }
  [[nodiscard]] std::string_view text(std::string_view) const noexcept override { return {}; }
  [[nodiscard]] std::uint64_t size(std::string_view key) const noexcept override {
    if (key == "frame_bytes_max") return frame_bytes_max;
    if (key == "request_bytes_in_flight_max") return request_bytes_in_flight_max;
    if (key == "response_bytes_queued_max") return response_bytes_queued_max;
    return fetch_bytes_max;
  }
  [[nodiscard]] std::int64_t duration_ns(std::string_view) const noexcept override { return 0; }
  [[nodiscard]] bool is_set(std::string_view) const noexcept override { return false; }

  std::int64_t requests_in_flight_max = 64;
  std::uint64_t frame_bytes_max = std::uint64_t{101} << 20;
  std::uint64_t request_bytes_in_flight_max = std::uint64_t{64} << 20;
  std::uint64_t response_bytes_queued_max = std::uint64_t{4} << 20;
  std::uint64_t fetch_bytes_max = std::uint64_t{55} << 20;
};

/// An uncompressed batch of `records` records with values of `value_bytes` bytes.
inline std::vector<std::byte> make_batch(int records, std::size_t value_bytes = 10) {
  BufferPool pool;
  BatchBuilder builder(pool);
  const std::string value(value_bytes, 'v');
  for (int i = 0; i < records; ++i)
    EXPECT_TRUE(builder.append({.timestamp_ms = 1000 + i, .key = {}, .value = as_bytes(value), .headers = {}}));
  MessageBuffer out(pool);
  EXPECT_TRUE(builder.finish(BatchStamp{}, out).ok());
  return {out.view().begin(), out.view().end()};
}

/// A request frame, with its length.
template <class M>
std::string frame_of(const M& message, std::int16_t version, std::int32_t correlation_id) {
  BufferPool pool;
  MessageBuffer buffer(pool);
  wire::Arena arena;
  wire::Encoder encoder(buffer, arena);
  wire::encode_request(message, version, correlation_id, "test-client", encoder);
  EXPECT_TRUE(encoder.ok());
  std::string bytes;
  for (const Slice& slice : encoder.slices()) bytes.append(reinterpret_cast<const char*>(slice.data), slice.bytes);
  return bytes;
}

/// A frame from raw contents; the length is put before it.
inline std::string raw_frame(std::string_view body) {
  std::string frame(4, '\0');
  store_be(reinterpret_cast<std::byte*>(frame.data()), static_cast<std::int32_t>(body.size()));
  return frame.append(body);
}

/// A decoded response with what its views need.
template <class M>
struct Received {
  std::shared_ptr<std::string> frame;
  std::shared_ptr<wire::Arena> arena;
  std::int32_t correlation_id = -1;
  M message;
};

/// The broker's side of a listener.
struct Rig {
  explicit Rig(const FakeOptions& options = {}, const BufferPoolSettings& pool = {})
      : host(pool), endpoint(host, broker, {"main", "127.0.0.1:9092", "broker.example", 19092}, Settings(options)) {}
  FakeHost host;
  FakeBroker broker;
  Endpoint endpoint;
};

class Driver {
 public:
  explicit Driver(Rig& rig) : rig_(rig), session_(rig.endpoint.create_session()) {
    connection = new FakeConnection(&connection_alive);
    connection->add_ref();  // the session's
    session_->opened(*connection);
  }
  ~Driver() {
    if (session_ != nullptr) close();
    connection->release();
  }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  /// Delivers bytes as a transport would; returns how many the session took.
  std::size_t deliver(std::string_view bytes, std::size_t chunk_bytes = std::size_t{1} << 30) {
    std::size_t done = 0;
    while (done < bytes.size() && !connection->close_called) {
      const MutableBytes space = session_->receive_buffer();
      if (space.empty()) break;
      const std::size_t count = std::min({space.size(), bytes.size() - done, chunk_bytes});
      std::memcpy(space.data(), bytes.data() + done, count);
      done += count;
      session_->received(count);
    }
    return done;
  }
  template <class M>
  std::int32_t send(const M& request, std::int16_t version) {
    const std::int32_t id = next_id_++;
    const std::string frame = frame_of(request, version, id);
    EXPECT_EQ(deliver(frame), frame.size());
    return id;
  }

  /// The bytes of the next whole response, without the length; nothing where none came.
  std::optional<std::string> next_frame() {
    if (connection->sent.size() - read_ < 4) return std::nullopt;
    const auto length = load_be<std::int32_t>(reinterpret_cast<const std::byte*>(connection->sent.data() + read_));
    if (connection->sent.size() - read_ - 4 < static_cast<std::size_t>(length)) return std::nullopt;
    std::string frame = connection->sent.substr(read_ + 4, static_cast<std::size_t>(length));
    read_ += 4 + static_cast<std::size_t>(length);
    return frame;
  }
  template <class M>
  std::optional<Received<M>> next(std::int16_t version) {
    std::optional<std::string> frame = next_frame();
    if (!frame) return std::nullopt;
    Received<M> received{std::make_shared<std::string>(std::move(*frame)), std::make_shared<wire::Arena>(), -1, {}};
    ByteReader in(as_bytes(*received.frame));
    wire::ResponseHeader header;
    EXPECT_TRUE(wire::decode(in, M::kKey, version, header));
    received.correlation_id = header.correlation_id;
    EXPECT_TRUE(wire::decode(in, version, *received.arena, received.message)) << "undecodable response";
    EXPECT_EQ(in.remaining(), 0U);
    return received;
  }
  /// Sends and returns the answer that must come at once, background work included.
  template <class M>
  Received<typename M::Response> ask(const M& request, std::int16_t version) {
    const std::int32_t id = send(request, version);
    run();
    auto answer = next<typename M::Response>(version);
    EXPECT_TRUE(answer.has_value()) << "no answer";
    if (!answer) return {};
    EXPECT_EQ(answer->correlation_id, id);
    return *answer;
  }

  /// Background work and posts until nothing is left.
  void run() {
    while (rig_.host.run_work() + connection->run_posts() != 0) {
    }
  }
  void advance_ms(std::int64_t ms) {
    rig_.host.now_ns += ms * 1'000'000;
    if (connection->deadline_ns <= rig_.host.now_ns.load()) {
      connection->deadline_ns = kNever;
      session_->deadline();
    }
  }
  void send_all() {
    connection->send_all();
    session_->writable();
  }
  void drain() { session_->drain(); }
  void close(const Status& reason = {}) { std::exchange(session_, nullptr)->closed(reason); }
  [[nodiscard]] Session& session() { return *session_; }

  FakeConnection* connection;
  bool connection_alive = false;

 private:
  Rig& rig_;
  Session* session_;
  std::int32_t next_id_ = 100;
  std::size_t read_ = 0;
};

/// A produce request for one partition.
struct ProduceOne {
  ProduceOne(std::string_view topic, std::int32_t partition, std::vector<std::byte>& batch, std::int16_t acks = -1) {
    partitions[0].index = partition;
    partitions[0].records = batch;
    topics[0].name = topic;
    topics[0].partition_data = partitions;
    request.topic_data = topics;
    request.acks = acks;
    request.timeout_ms = 1000;
  }
  ProduceOne(const ProduceOne&) = delete;
  ProduceOne& operator=(const ProduceOne&) = delete;
  wire::ProduceRequest::Partition partitions[1];
  wire::ProduceRequest::Topic topics[1];
  wire::ProduceRequest request;
};

/// A fetch of one topic, partitions from offset 0 on.
struct FetchTopic {
  FetchTopic(std::string_view topic, std::size_t partition_count, std::int32_t max_wait_ms, std::int32_t min_bytes = 1)
      : partitions(partition_count) {
    for (std::size_t i = 0; i < partition_count; ++i) {
      partitions[i].partition = static_cast<std::int32_t>(i);
      partitions[i].partition_max_bytes = 1 << 20;
    }
    topics[0].topic = topic;
    topics[0].partitions = partitions;
    request.topics = topics;
    request.max_wait_ms = max_wait_ms;
    request.min_bytes = min_bytes;
    request.max_bytes = 10 << 20;
  }
  FetchTopic(const FetchTopic&) = delete;
  FetchTopic& operator=(const FetchTopic&) = delete;
  std::vector<wire::FetchRequest::Partition> partitions;
  wire::FetchRequest::Topic topics[1];
  wire::FetchRequest request;
};

}  // namespace streambus::protocol_kafka::test
