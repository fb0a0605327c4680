#pragma once
// A broker and the network before it, for tests of the client: connections are made, cut and held by the test, requests are
// decoded and answered by a model of partitions that checks sequences as a broker does.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "streambus/base/batch_builder.hpp"
#include "streambus/base/buffer_pool.hpp"
#include "streambus/base/message_buffer.hpp"
#include "streambus/base/record_batch.hpp"
#include "streambus/plugin/transport.hpp"
#include "streambus/wire/frame.hpp"

namespace streambus::test {

class FakeNetwork;

class FakeConnection final : public Connection {
 public:
  FakeConnection(FakeNetwork& network, Session& session, std::string address)
      : network_(network), session_(&session), address_(std::move(address)) {}

  void write(std::span<const Slice> slices, Pin* keep) noexcept override;
  [[nodiscard]] std::uint64_t queued_bytes() const noexcept override { return 0; }
  void pause_reading() noexcept override {}
  void resume_reading() noexcept override;
  void set_deadline(std::int64_t) noexcept override {}
  void close(bool flush) noexcept override;
  void post(void (*fn)(void*) noexcept, void* context) noexcept override;
  [[nodiscard]] std::string_view peer() const noexcept override { return address_; }

  /// The peer's bytes, in pieces of at most `piece` bytes.
  void deliver(std::vector<std::byte> bytes, std::size_t piece = SIZE_MAX);
  /// The peer goes away.
  void cut();
  [[nodiscard]] bool open() const noexcept { return session_ != nullptr; }
  [[nodiscard]] const std::string& address() const noexcept { return address_; }

 private:
  friend class FakeNetwork;
  void dispose() noexcept override { delete this; }

  FakeNetwork& network_;
  Session* session_;
  const std::string address_;
  std::vector<std::byte> received_;  ///< by the peer: requests not complete yet
};
using FakeConnectionRef = Ref<FakeConnection>;

/// Runs by pump() on the test's thread, or by a thread of its own.
class FakeNetwork final : public Transport {
 public:
  enum class Mode { accept, refuse, hang };
  using RequestHandler = std::function<void(FakeConnection&, Bytes)>;

  ~FakeNetwork() override { stop(); }

  // Transport
  Status start() noexcept override {
    thread_ = std::thread([this] {
      std::unique_lock lock(mutex_);
      while (!stopping_ || !events_.empty()) {
        if (events_.empty()) {
          changed_.wait(lock);
          continue;
        }
        run_one(lock);
      }
    });
    return {};
  }
  Status listen(std::string_view, SessionFactory&, Listener**) noexcept override { return {ErrorCode::unsupported, "fake"}; }
  Status connect(std::string_view address, std::int64_t, Session& session) noexcept override {
    ++connects;
    post([this, address = std::string(address), session = &session] {
      if (mode == Mode::hang) return;
      if (mode == Mode::refuse) {
        session->closed(Status(ErrorCode::io_error, "cannot connect to " + address + ": Connection refused"));
        return;
      }
      auto* const connection = new FakeConnection(*this, *session, address);
      connections.push_back(FakeConnectionRef::share(connection));
      session->opened(*connection);
    });
    return {};
  }
  void stop() noexcept override {
    if (!thread_.joinable()) return;
    post([this] {
      for (const FakeConnectionRef& connection : std::vector(connections)) connection->cut();
    });
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void post(std::function<void()> event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    changed_.notify_all();
  }
  /// Runs what is queued; false when nothing was.
  bool pump() {
    std::unique_lock lock(mutex_);
    bool ran = false;
    while (!events_.empty()) {
      run_one(lock);
      ran = true;
    }
    return ran;
  }

  Mode mode = Mode::accept;
  RequestHandler on_request;
  std::vector<FakeConnectionRef> connections;  ///< open ones
  std::atomic<int> connects{0};
  std::vector<Pin*> held;  ///< what write() was given while `hold_sent` was set
  bool hold_sent = false;
  std::vector<const std::byte*> slice_starts;  ///< of all slices written

 private:
  friend class FakeConnection;
  void run_one(std::unique_lock<std::mutex>& lock) {
    const auto event = std::move(events_.front());
    events_.pop_front();
    lock.unlock();
    event();
    lock.lock();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> events_;
  std::thread thread_;
  bool stopping_ = false;
};

inline void FakeConnection::write(std::span<const Slice> slices, Pin* keep) noexcept {
  for (const Slice& slice : slices) {
    network_.slice_starts.push_back(slice.data);
    const Bytes bytes = slice.as_memory();
    received_.insert(received_.end(), bytes.begin(), bytes.end());
  }
  if (network_.hold_sent && keep != nullptr) {
    keep->add_ref();
    network_.held.push_back(keep);
  }
  while (received_.size() >= 4) {
    const std::size_t total = 4 + static_cast<std::size_t>(load_be<std::int32_t>(received_.data()));
    if (received_.size() < total) break;
    const std::vector<std::byte> frame(received_.begin() + 4, received_.begin() + static_cast<std::ptrdiff_t>(total));
    received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(total));
    network_.post([this, self = FakeConnectionRef::share(this), frame] {
      if (open()) network_.on_request(*this, frame);
    });
  }
}

inline void FakeConnection::resume_reading() noexcept {}

inline void FakeConnection::close(bool) noexcept {
  network_.post([self = FakeConnectionRef::share(this)] { self->cut(); });
}

inline void FakeConnection::post(void (*fn)(void*) noexcept, void* context) noexcept {
  network_.post([fn, context] { fn(context); });
}

inline void FakeConnection::cut() {
  if (session_ == nullptr) return;
  Session* const session = std::exchange(session_, nullptr);
  std::erase_if(network_.connections, [this](const FakeConnectionRef& one) { return one.get() == this; });
  session->closed(Status());
}

inline void FakeConnection::deliver(std::vector<std::byte> bytes, std::size_t piece) {
  network_.post([self = FakeConnectionRef::share(this), bytes = std::move(bytes), piece] {
    for (std::size_t done = 0; done < bytes.size() && self->session_ != nullptr;) {
      const MutableBytes to = self->session_->receive_buffer();
      if (to.empty()) return;
      const std::size_t count = std::min({to.size(), bytes.size() - done, piece});
      std::memcpy(to.data(), bytes.data() + done, count);
      done += count;
      self->session_->received(count);
    }
  });
}

/// A broker with topics in memory. Runs on the network's thread; `mutex` guards the model where the test has another.
class FakeBroker {
 public:
  struct StoredBatch {
    Offset base;
    std::vector<std::byte> bytes;
  };
  struct Log {
    Offset start{0};
    Offset end{0};
    std::vector<StoredBatch> batches;
    struct Producer {
      std::int32_t next_sequence = 0;
      std::deque<std::pair<std::int32_t, Offset>> last;  ///< first sequence and base offset of the last five
    };
    std::map<std::int64_t, Producer> producers;
  };

  explicit FakeBroker(FakeNetwork& network) {
    network.on_request = [this](FakeConnection& connection, Bytes frame) { handle(connection, frame); };
  }

  /// What to do with the next request of an API, instead of or before answering it. First match is used up.
  struct Script {
    wire::ApiKey key;
    enum class Action { fail, cut_before, cut_after, ignore, garbage } action;
    wire::WireError error = wire::WireError::none;
  };

  void add_topic(const std::string& name, std::int32_t partitions) {
    topics[name].resize(static_cast<std::size_t>(partitions));
  }
  [[nodiscard]] Log& log(const std::string& topic, std::size_t partition = 0) { return topics.at(topic).at(partition); }

  /// The values of all records of a partition, in order.
  [[nodiscard]] std::vector<std::string> values(const std::string& topic, std::size_t partition = 0) {
    const std::lock_guard lock(mutex);
    std::vector<std::string> values;
    for (const StoredBatch& batch : log(topic, partition).batches) {
      const BatchHeader header(batch.bytes.data());
      RecordReader reader(Bytes(batch.bytes).subspan(kBatchHeaderBytes), header.record_count());
      for (RecordView record; reader.next(record);) values.emplace_back(as_text(record.value));
      EXPECT_TRUE(reader.ok());
    }
    return values;
  }

  wire::WireError append(const std::string& topic, std::int32_t partition, Bytes batch, Offset* base) {
    const auto found = topics.find(topic);
    if (found == topics.end() || static_cast<std::size_t>(partition) >= found->second.size())
      return wire::WireError::unknown_topic_or_partition;
    Log& to = found->second[static_cast<std::size_t>(partition)];
    std::size_t total = 0;
    if (!check_batch(batch, &total).ok() || total != batch.size()) return wire::WireError::corrupt_message;
    const BatchHeader header(batch.data());
    if (header.producer_id() != kNoProducerId) {
      auto [producer, fresh] = to.producers.try_emplace(header.producer_id());
      for (const auto& [sequence, at] : producer->second.last) {
        if (sequence == header.base_sequence()) {
          *base = at;
          return wire::WireError::none;
        }
      }
      if (header.base_sequence() != producer->second.next_sequence) return wire::WireError::out_of_order_sequence_number;
      producer->second.next_sequence += header.record_count();
      producer->second.last.emplace_back(header.base_sequence(), to.end);
      if (producer->second.last.size() > 5) producer->second.last.pop_front();
    }
    std::vector<std::byte> bytes(batch.begin(), batch.end());
    stamp_batch(bytes.data(), to.end, 0);
    *base = to.end;
    to.batches.push_back({to.end, std::move(bytes)});
    to.end = to.end + header.record_count();
    return wire::WireError::none;
  }

  /// Answers what was held by `hold`, the latest first where `backwards`.
  void release(bool backwards = false) {
    hold.reset();
    std::vector<std::function<void()>> answers = std::exchange(held_answers, {});
    if (backwards) std::reverse(answers.begin(), answers.end());
    for (const auto& answer : answers) answer();
  }

  std::mutex mutex;
  std::map<std::string, std::vector<Log>> topics;
  std::deque<Script> script;
  std::map<wire::ApiKey, int> requests;              ///< counted
  std::vector<FakeConnection*> produce_connections;  ///< of each produce request
  std::size_t produce_batches_in_request_max = 0;
  std::optional<wire::ApiKey> hold;  ///< requests of this API are processed, their answers kept back
  std::vector<std::function<void()>> held_answers;
  std::int16_t api_versions_max = wire::ApiVersionsRequest::kMaxVersion;
  std::map<std::int32_t, std::string> brokers{{0, "broker"}};  ///< node -> host, all at port 9092
  std::int32_t leader = 0;
  bool long_poll_empty = false;  ///< an empty fetch is answered at once otherwise
  std::size_t piece = SIZE_MAX;  ///< size of the pieces in which answers arrive
  std::int64_t next_producer_id = 1000;

 private:
  template <class M>
  void answer(FakeConnection& connection, const wire::RequestHeader& header, const M& message) {
    MessageBuffer buffer(pool_);
    wire::Arena arena;
    wire::Encoder encoder(buffer, arena);
    wire::encode_response(message, header.api_version, header.correlation_id, encoder);
    std::vector<std::byte> bytes;
    for (const Slice& slice : encoder.slices()) {
      const Bytes part = slice.as_memory();
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
    ASSERT_TRUE(encoder.ok());
    const auto deliver = [this, to = FakeConnectionRef::share(&connection), bytes = std::move(bytes)] {
      to->deliver(bytes, piece);
    };
    if (hold == static_cast<wire::ApiKey>(header.api_key)) {
      held_answers.push_back(deliver);
    } else {
      deliver();
    }
  }

  void handle(FakeConnection& connection, Bytes frame) {
    const std::lock_guard lock(mutex);
    ByteReader reader(frame);
    wire::RequestHeader header;
    ASSERT_TRUE(wire::decode(reader, header));
    const auto key = static_cast<wire::ApiKey>(header.api_key);
    ++requests[key];
    Script now{key, Script::Action::fail, wire::WireError::none};
    const auto scripted = std::ranges::find(script, key, &Script::key);
    if (scripted != script.end()) {
      now = *scripted;
      script.erase(scripted);
    }
    if (now.action == Script::Action::ignore) return;
    if (now.action == Script::Action::garbage) {
      const std::string_view text = "HTTP/1.1 400 Bad Request\r\n\r\n";
      connection.deliver({as_bytes(text).begin(), as_bytes(text).end()});
      return;
    }
    if (now.action == Script::Action::cut_before) {
      connection.cut();
      return;
    }
    switch (key) {
      case wire::ApiKey::api_versions:
        return api_versions(connection, header);
      case wire::ApiKey::metadata:
        return metadata(connection, header, reader);
      case wire::ApiKey::produce:
        return produce(connection, header, reader, now);
      case wire::ApiKey::fetch:
        return fetch(connection, header, reader, now);
      case wire::ApiKey::list_offsets:
        return list_offsets(connection, header, reader, now);
      case wire::ApiKey::init_producer_id: {
        wire::InitProducerIdResponse response;
        response.error_code = static_cast<std::int16_t>(now.error);
        response.producer_id = next_producer_id++;
        return answer(connection, header, response);
      }
      default:
        FAIL() << "request of an API that the fake broker does not have: " << header.api_key;
    }
  }

  void api_versions(FakeConnection& connection, wire::RequestHeader header) {
    wire::ApiVersionsResponse response;
    std::vector<wire::ApiVersionsResponse::ApiRange> ranges;
    for (const wire::ApiInfo& api : wire::kApis) {
      ranges.push_back({static_cast<std::int16_t>(api.key), api.min_known, api.max});
    }
    response.api_keys = ranges;
    if (header.api_version > api_versions_max) {
      response.error_code = static_cast<std::int16_t>(wire::WireError::unsupported_version);
      header.api_version = 0;
    }
    answer(connection, header, response);
  }

  void metadata(FakeConnection& connection, const wire::RequestHeader& header, ByteReader& reader) {
    wire::Arena arena;
    wire::MetadataRequest request;
    ASSERT_TRUE(wire::decode(reader, header.api_version, arena, request));
    wire::MetadataResponse response;
    std::vector<wire::MetadataResponse::Broker> list;
    for (const auto& [node, host] : brokers) list.push_back({node, host, 9092, {}});
    response.brokers = list;
    std::vector<std::string> names;
    if (request.topics) {
      for (const auto& topic : *request.topics) names.emplace_back(topic.name);
    } else {
      for (const auto& [name, logs] : topics) names.push_back(name);
    }
    std::vector<wire::MetadataResponse::Topic> found(names.size());
    std::deque<std::vector<wire::MetadataResponse::Partition>> partitions;
    for (std::size_t i = 0; i < names.size(); ++i) {
      found[i].name = names[i];
      const auto topic = topics.find(names[i]);
      if (topic == topics.end()) {
        found[i].error_code = static_cast<std::int16_t>(wire::WireError::unknown_topic_or_partition);
        continue;
      }
      auto& of = partitions.emplace_back(topic->second.size());
      for (std::size_t p = 0; p < of.size(); ++p) {
        of[p].partition_index = static_cast<std::int32_t>(p);
        of[p].leader_id = leader;
      }
      found[i].partitions = of;
    }
    response.topics = found;
    answer(connection, header, response);
  }

  void produce(FakeConnection& connection, const wire::RequestHeader& header, ByteReader& reader, const Script& now) {
    wire::Arena arena;
    wire::ProduceRequest request;
    ASSERT_TRUE(wire::decode(reader, header.api_version, arena, request));
    produce_connections.push_back(&connection);
    wire::ProduceResponse response;
    std::vector<wire::ProduceResponse::Topic> topics_out;
    std::deque<std::vector<wire::ProduceResponse::Partition>> partitions;
    std::size_t batches = 0;
    for (const auto& topic : request.topic_data) {
      auto& out = partitions.emplace_back();
      for (const auto& partition : topic.partition_data) {
        ++batches;
        Offset base = kNoOffset;
        wire::WireError error = now.error;
        if (error == wire::WireError::none) error = append(std::string(topic.name), partition.index, partition.records, &base);
        out.push_back({});
        out.back().index = partition.index;
        out.back().error_code = static_cast<std::int16_t>(error);
        out.back().base_offset = base.value;
      }
      topics_out.push_back({topic.name, out});
    }
    produce_batches_in_request_max = std::max(produce_batches_in_request_max, batches);
    response.responses = topics_out;
    if (now.action == Script::Action::cut_after) {
      connection.cut();
    } else if (request.acks != 0) {
      answer(connection, header, response);
    }
  }

  void fetch(FakeConnection& connection, const wire::RequestHeader& header, ByteReader& reader, const Script& now) {
    wire::Arena arena;
    wire::FetchRequest request;
    ASSERT_TRUE(wire::decode(reader, header.api_version, arena, request));
    wire::FetchResponse response;
    std::vector<wire::FetchResponse::Topic> topics_out;
    std::deque<std::vector<wire::FetchResponse::Partition>> partitions;
    std::deque<std::vector<Slice>> slices;
    bool any = false;
    for (const auto& topic : request.topics) {
      auto& out = partitions.emplace_back();
      for (const auto& partition : topic.partitions) {
        out.push_back({});
        auto& answer_of = out.back();
        answer_of.partition_index = partition.partition;
        answer_of.error_code = static_cast<std::int16_t>(now.error);
        if (now.error != wire::WireError::none) {
          any = true;
          continue;
        }
        const Log& from = topics.at(std::string(topic.topic)).at(static_cast<std::size_t>(partition.partition));
        answer_of.high_watermark = answer_of.last_stable_offset = from.end.value;
        answer_of.log_start_offset = from.start.value;
        if (partition.fetch_offset < from.start.value || partition.fetch_offset > from.end.value) {
          answer_of.error_code = static_cast<std::int16_t>(wire::WireError::offset_out_of_range);
          any = true;
          continue;
        }
        auto& parts = slices.emplace_back();
        std::uint64_t bytes = 0;
        for (const StoredBatch& batch : from.batches) {
          if (BatchHeader(batch.bytes.data()).next_offset().value <= partition.fetch_offset) continue;
          if (bytes > 0 && bytes + batch.bytes.size() > static_cast<std::uint64_t>(partition.partition_max_bytes)) break;
          parts.push_back(Slice::memory(batch.bytes));
          bytes += batch.bytes.size();
        }
        any = any || bytes > 0;
        answer_of.records = {parts, bytes};
      }
      topics_out.push_back({topic.topic, out});
    }
    response.responses = topics_out;
    if (any || !long_poll_empty) answer(connection, header, response);
  }

  void list_offsets(FakeConnection& connection, const wire::RequestHeader& header, ByteReader& reader, const Script& now) {
    wire::Arena arena;
    wire::ListOffsetsRequest request;
    ASSERT_TRUE(wire::decode(reader, header.api_version, arena, request));
    wire::ListOffsetsResponse response;
    std::vector<wire::ListOffsetsResponse::Topic> topics_out;
    std::deque<std::vector<wire::ListOffsetsResponse::Partition>> partitions;
    for (const auto& topic : request.topics) {
      auto& out = partitions.emplace_back();
      for (const auto& partition : topic.partitions) {
        const Log& of = topics.at(std::string(topic.name)).at(static_cast<std::size_t>(partition.partition_index));
        out.push_back({});
        out.back().partition_index = partition.partition_index;
        out.back().error_code = static_cast<std::int16_t>(now.error);
        out.back().offset = partition.timestamp == -2 ? of.start.value : partition.timestamp == -1 ? of.end.value : -1;
        for (const StoredBatch& batch : of.batches) {
          if (partition.timestamp < 0 || BatchHeader(batch.bytes.data()).max_timestamp() < partition.timestamp) continue;
          out.back().offset = batch.base.value;
          break;
        }
      }
      topics_out.push_back({topic.name, out});
    }
    response.topics = topics_out;
    answer(connection, header, response);
  }

  BufferPool pool_;
};

}  // namespace streambus::test
