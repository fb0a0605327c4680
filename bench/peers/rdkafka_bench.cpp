// One librdkafka client for every broker of the Kafka protocol: produces, consumes or ping-pongs and prints one JSON line.
// The same program against each broker in one interleaved run is what makes the comparison fair (see compare.py).

#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "streambus/harness/histogram.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using streambus::harness::Histogram;

struct Settings {
  std::string bootstrap = "127.0.0.1:9092";
  std::string topic = "bench";
  std::string mode = "produce";
  std::string codec = "none";
  std::string acks = "all";
  std::uint64_t total_bytes = 512ULL << 20;
  std::uint64_t message_bytes = 1024;
  int rounds = 5000;
  int producers = 16;
  double linger_ms = 5;
  int pid = 0;
  bool random_payload = false;
};

[[noreturn]] void die(const std::string& text) { throw std::runtime_error(text); }

/// User and system CPU seconds of a process so far; 0 without one.
double cpu_seconds(int pid) {
  if (pid == 0) return 0;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto close = text.rfind(')');
  if (close == std::string::npos) die("no process " + std::to_string(pid));
  unsigned long long user = 0;
  unsigned long long system = 0;
  std::sscanf(text.c_str() + close + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system);
  return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

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

std::vector<char> make_payload(const Settings& settings) {
  std::vector<char> payload(settings.message_bytes);
  std::uint64_t state = 88172645463325252ULL;
  for (auto& byte : payload) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    byte = settings.random_payload ? static_cast<char>(state) : static_cast<char>('a' + state % 16);
  }
  return payload;
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
  const std::uint64_t count = std::max<std::uint64_t>(1, settings.total_bytes / settings.message_bytes);
  const double cpu = cpu_seconds(settings.pid);
  const auto start = Clock::now();
  for (std::uint64_t i = 0; i < count; ++i) {
    while (rd_kafka_produce(topic.get(), 0, RD_KAFKA_MSG_F_COPY, payload.data(), payload.size(), nullptr, 0, nullptr) != 0) {
      if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) die(rd_kafka_err2str(rd_kafka_last_error()));
      rd_kafka_poll(handle.get(), 10);
    }
    if (i % 1024 == 0) rd_kafka_poll(handle.get(), 0);
  }
  if (rd_kafka_flush(handle.get(), 120'000) != RD_KAFKA_RESP_ERR_NO_ERROR) die("not all messages were delivered within 120 s");
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (delivery.failed != 0 || delivery.ok != count) die(std::to_string(delivery.failed) + " messages failed");
  const double bytes = static_cast<double>(count * settings.message_bytes);
  return {{"mb_s", bytes / seconds / 1e6},
          {"msg_s", static_cast<double>(count) / seconds},
          {"broker_cpu_s_per_gb", (cpu_seconds(settings.pid) - cpu) / (bytes / 1e9)}};
}

nlohmann::json consume(const Settings& settings) {
  const Handle handle = make(RD_KAFKA_CONSUMER, settings,
                             {{"fetch.message.max.bytes", "4194304"},
                              {"fetch.max.bytes", "67108864"},
                              {"queued.max.messages.kbytes", "262144"},
                              {"check.crcs", "false"},
                              {"enable.partition.eof", "true"}});
  const Topic topic(rd_kafka_topic_new(handle.get(), settings.topic.c_str(), nullptr));
  const std::uint64_t wanted = settings.total_bytes / settings.message_bytes;
  const double cpu = cpu_seconds(settings.pid);
  const auto start = Clock::now();
  if (rd_kafka_consume_start(topic.get(), 0, RD_KAFKA_OFFSET_BEGINNING) != 0) die("cannot start to consume");
  std::uint64_t count = 0;
  double bytes = 0;
  std::vector<rd_kafka_message_t*> messages(10'000);
  bool end = false;
  const auto deadline = start + std::chrono::seconds(120);
  while (count < wanted && !end) {
    // Never more than what is to come: the call waits for as many as it is asked for.
    const ssize_t got =
        rd_kafka_consume_batch(topic.get(), 0, 1000, messages.data(), std::min<std::uint64_t>(messages.size(), wanted - count));
    if (got < 0 || Clock::now() > deadline) die("consume stalled at " + std::to_string(count) + " messages");
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
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  rd_kafka_consume_stop(topic.get(), 0);
  if (count < wanted) die("expected " + std::to_string(wanted) + " messages, found " + std::to_string(count));
  return {{"mb_s", bytes / seconds / 1e6},
          {"msg_s", static_cast<double>(count) / seconds},
          {"broker_cpu_s_per_gb", (cpu_seconds(settings.pid) - cpu) / (bytes / 1e9)}};
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
  constexpr int kWarmup = 200;
  auto deadline = Clock::now() + std::chrono::hours(1);
  for (int i = -kWarmup; rounds == 0 || i < rounds; ++i) {
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

nlohmann::json one_at_a_time(const Settings& settings) {
  const Histogram histogram = ping(settings, settings.rounds, 0);
  return {{"p50_us", static_cast<double>(histogram.value_at(0.5)) / 1e3},
          {"p99_us", static_cast<double>(histogram.value_at(0.99)) / 1e3},
          {"mean_us", histogram.mean() / 1e3}};
}

nlohmann::json many(const Settings& settings) {
  constexpr double kSeconds = 4;
  std::vector<Histogram> histograms(static_cast<std::size_t>(settings.producers));
  std::vector<std::thread> threads;
  std::atomic<bool> failed{false};
  for (auto& histogram : histograms) {
    threads.emplace_back([&] {
      try {
        histogram = ping(settings, 0, kSeconds);
      } catch (const std::exception&) {
        failed = true;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  if (failed) die("a producer failed");
  Histogram all;
  for (const auto& histogram : histograms) all.merge(histogram);
  return {{"acks_s", static_cast<double>(all.count()) / kSeconds},
          {"p50_us", static_cast<double>(all.value_at(0.5)) / 1e3},
          {"p99_us", static_cast<double>(all.value_at(0.99)) / 1e3}};
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app{"A librdkafka client that measures any broker of the Kafka protocol"};
  app.add_option("-b,--bootstrap", settings.bootstrap, "HOST:PORT");
  app.add_option("--topic", settings.topic, "Topic, partition 0");
  app.add_option("--mode", settings.mode, "What to do")->check(CLI::IsMember({"produce", "consume", "ping", "many"}));
  app.add_option("--bytes", settings.total_bytes, "Payload bytes in all (produce, consume)");
  app.add_option("--message-size", settings.message_bytes, "Payload bytes of a message");
  app.add_option("--codec", settings.codec, "none, lz4, zstd, gzip, snappy");
  app.add_option("--acks", settings.acks, "0, 1 or all");
  app.add_option("--rounds", settings.rounds, "Messages (ping)");
  app.add_option("--producers", settings.producers, "Producers (many)");
  app.add_option("--linger-ms", settings.linger_ms, "linger.ms (produce)");
  app.add_option("--pid", settings.pid, "Broker process whose CPU time is counted");
  app.add_flag("--random", settings.random_payload, "Random bytes instead of text");
  CLI11_PARSE(app, argc, argv);
  // The client must not be what is measured: keep its freed memory instead of faulting it in again.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, INT_MAX);
  try {
    nlohmann::json result = settings.mode == "produce"   ? produce(settings)
                            : settings.mode == "consume" ? consume(settings)
                            : settings.mode == "ping"    ? one_at_a_time(settings)
                                                         : many(settings);
    result["mode"] = settings.mode;
    result["message_bytes"] = settings.message_bytes;
    std::printf("%s\n", result.dump().c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rdkafka_bench: %s: %s\n", settings.bootstrap.c_str(), error.what());
    return 1;
  }
}
