// One librdkafka client for every broker of the Kafka protocol: produces, consumes or ping-pongs and prints one JSON line.
// The same program against each broker in one interleaved run is what makes the comparison fair (see compare.py).

#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <thread>

#include "bench_client.hpp"

namespace streambus::bench {
namespace {

using harness::Histogram;

using Conf = std::vector<std::pair<const char*, std::string>>;

struct Destroy {
  void operator()(rd_kafka_t* handle) const { rd_kafka_destroy(handle); }
  void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
};
using Handle = std::unique_ptr<rd_kafka_t, Destroy>;
using Topic = std::unique_ptr<rd_kafka_topic_t, Destroy>;

Handle make(rd_kafka_type_t type, const Settings& settings, const Conf& extra,
            void (*delivered)(rd_kafka_t*, const rd_kafka_message_t*, void*) = nullptr, void* opaque = nullptr) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char error[256];
  const auto set = [&](const char* key, const std::string& value) {
    if (rd_kafka_conf_set(conf, key, value.c_str(), error, sizeof error) != RD_KAFKA_CONF_OK) die(error);
  };
  set("bootstrap.servers", settings.bootstrap);
  for (const auto& [key, value] : extra) set(key, value);
  if (delivered != nullptr) rd_kafka_conf_set_dr_msg_cb(conf, delivered);
  rd_kafka_conf_set_opaque(conf, opaque);
  rd_kafka_t* handle = rd_kafka_new(type, conf, error, sizeof error);
  if (handle == nullptr) die(error);
  return Handle(handle);
}

struct Delivery {
  std::atomic<std::uint64_t> ok{0};
  std::atomic<std::uint64_t> failed{0};
};

void count_delivery(rd_kafka_t* /*handle*/, const rd_kafka_message_t* message, void* opaque) {
  auto& delivery = *static_cast<Delivery*>(opaque);
  ++(message->err == RD_KAFKA_RESP_ERR_NO_ERROR ? delivery.ok : delivery.failed);
}

nlohmann::json produce(const Settings& settings) {
  Delivery delivery;
  const Handle handle = make(RD_KAFKA_PRODUCER, settings,
                             {{"acks", settings.acks},
                              {"linger.ms", std::to_string(settings.linger_ms)},
                              {"batch.size", "1000000"},
                              {"batch.num.messages", "100000"},
                              {"queue.buffering.max.messages", "1000000"},
                              {"queue.buffering.max.kbytes", "1048576"},
                              {"compression.type", settings.codec}},
                             count_delivery, &delivery);
  const Topic topic(rd_kafka_topic_new(handle.get(), settings.topic.c_str(), nullptr));
  auto payload = make_payload(settings);
  const std::uint64_t count = settings.messages();
  const Transfer transfer(settings);
  for (std::uint64_t i = 0; i < count; ++i) {
    while (rd_kafka_produce(topic.get(), 0, RD_KAFKA_MSG_F_COPY, payload.data(), payload.size(), nullptr, 0, nullptr) != 0) {
      if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) die(rd_kafka_err2str(rd_kafka_last_error()));
      rd_kafka_poll(handle.get(), 10);
    }
    if (i % 1024 == 0) rd_kafka_poll(handle.get(), 0);
  }
  if (rd_kafka_flush(handle.get(), 120'000) != RD_KAFKA_RESP_ERR_NO_ERROR) die("not all messages were delivered within 120 s");
  if (delivery.failed != 0 || delivery.ok != count) die(std::to_string(delivery.failed) + " messages failed");
  return transfer.result(count, static_cast<double>(count * settings.message_bytes));
}

nlohmann::json consume(const Settings& settings) {
  const Handle handle = make(RD_KAFKA_CONSUMER, settings,
                             {{"fetch.message.max.bytes", "4194304"},
                              {"fetch.max.bytes", "67108864"},
                              {"queued.max.messages.kbytes", "262144"},
                              {"check.crcs", "false"},
                              {"enable.partition.eof", "true"}});
  const Topic topic(rd_kafka_topic_new(handle.get(), settings.topic.c_str(), nullptr));
  const std::uint64_t wanted = settings.messages();
  const Transfer transfer(settings);
  if (rd_kafka_consume_start(topic.get(), 0, RD_KAFKA_OFFSET_BEGINNING) != 0) die("cannot start to consume");
  std::uint64_t count = 0;
  double bytes = 0;
  std::vector<rd_kafka_message_t*> messages(10'000);
  bool end = false;
  auto last = Clock::now();
  while (count < wanted && !end) {
    // Never more than what is to come: the call waits for as many as it is asked for.
    const ssize_t got =
        rd_kafka_consume_batch(topic.get(), 0, 1000, messages.data(), std::min<std::uint64_t>(messages.size(), wanted - count));
    if (got > 0) last = Clock::now();
    if (got < 0 || Clock::now() - last > kStall) die("consume stalled at " + std::to_string(count) + " messages");
    for (ssize_t i = 0; i < got; ++i) {
      rd_kafka_message_t* message = messages[static_cast<std::size_t>(i)];
      if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        ++count;
        bytes += static_cast<double>(message->len);
      } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        end = true;
      } else {
        die(rd_kafka_message_errstr(message));
      }
      rd_kafka_message_destroy(message);
    }
  }
  const nlohmann::json result = transfer.result(count, bytes);
  rd_kafka_consume_stop(topic.get(), 0);
  if (count < wanted) die("expected " + std::to_string(wanted) + " messages, found " + std::to_string(count));
  return result;
}

struct OneAtATime {
  bool done = false;
  bool ok = false;
};

void note_delivery(rd_kafka_t* /*handle*/, const rd_kafka_message_t* message, void* /*opaque*/) {
  auto& state = *static_cast<OneAtATime*>(message->_private);
  state.done = true;
  state.ok = message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/// One producer, one message at a time, each waiting for its ack; `seconds` bounds it when rounds is 0.
Histogram ping(const Settings& settings, int rounds, double seconds) {
  const Handle handle = make(
      RD_KAFKA_PRODUCER, settings,
      {{"acks", settings.acks}, {"linger.ms", "0"}, {"compression.type", settings.codec}, {"socket.nagle.disable", "true"}},
      note_delivery);
  const Topic topic(rd_kafka_topic_new(handle.get(), settings.topic.c_str(), nullptr));
  auto payload = make_payload(settings);
  Histogram histogram;
  auto deadline = Clock::now() + std::chrono::hours(1);
  for (int i = -kWarmupMessages; rounds == 0 || i < rounds; ++i) {
    if (i == 0 && rounds == 0) deadline = Clock::now() + std::chrono::microseconds(static_cast<std::int64_t>(seconds * 1e6));
    OneAtATime state;
    const auto start = Clock::now();
    if (start > deadline) break;
    if (rd_kafka_produce(topic.get(), 0, RD_KAFKA_MSG_F_COPY, payload.data(), payload.size(), nullptr, 0, &state) != 0) {
      die(rd_kafka_err2str(rd_kafka_last_error()));
    }
    while (!state.done) rd_kafka_poll(handle.get(), 1000);
    if (!state.ok) die("a message failed");
    if (i >= 0) histogram.record(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
  }
  return histogram;
}

nlohmann::json one_at_a_time(const Settings& settings) { return latencies(ping(settings, settings.rounds, 0)); }

nlohmann::json many(const Settings& settings) {
  std::vector<Histogram> histograms(static_cast<std::size_t>(settings.producers));
  std::vector<std::thread> threads;
  std::atomic<bool> failed{false};
  for (auto& histogram : histograms) {
    threads.emplace_back([&] {
      try {
        histogram = ping(settings, 0, kManyTime.count());
      } catch (const std::exception&) {
        failed = true;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  if (failed) die("a producer failed");
  Histogram all;
  for (const auto& histogram : histograms) all.merge(histogram);
  return acknowledgements(all);
}

}  // namespace
}  // namespace streambus::bench

int main(int argc, char** argv) {
  using namespace streambus::bench;
  return run_client(argc, argv, "rdkafka_bench",
                    {{"produce", produce}, {"consume", consume}, {"ping", one_at_a_time}, {"many", many}});
}
