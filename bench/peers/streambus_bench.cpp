// StreamBus' own client as a benchmark: the modes of rdkafka_bench, and a steady producer, against any broker of the Kafka
// protocol.

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <semaphore>
#include <thread>

#include "bench_client.hpp"
#include "streambus/client/consumer.hpp"
#include "streambus/client/producer.hpp"

namespace streambus::bench {
namespace {

using harness::Histogram;

template <class T>
T must(Result<T> result) {
  if (!result) die(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

std::shared_ptr<client::ClientContext> connect(const Settings& settings) {
  client::ClientSettings client;
  client.bootstrap = settings.bootstrap;
  return must(client::ClientContext::create(client));
}

client::ProducerSettings producer_settings(const Settings& settings) {
  client::ProducerSettings producer;
  producer.acks = settings.acks == "0" ? client::Acks::none : (settings.acks == "1" ? client::Acks::leader : client::Acks::all);
  producer.idempotence = false;  // as the other client's default
  producer.retries_max = 0;
  producer.compression = settings.codec;
  return producer;
}

client::ProducerRecord record_of(const Settings& settings, const std::vector<char>& payload) {
  client::ProducerRecord record;
  record.topic = settings.topic;
  record.partition = 0;
  record.value = std::as_bytes(std::span(payload));
  return record;
}

nlohmann::json produce(const Settings& settings) {
  auto options = producer_settings(settings);
  options.linger_ms = settings.linger_ms;
  client::Producer producer = must(client::Producer::create(connect(settings), options));
  const auto payload = make_payload(settings);
  const auto record = record_of(settings, payload);
  const std::uint64_t count = settings.messages();
  const Transfer transfer(settings);
  for (std::uint64_t i = 0; i < count; ++i) must(producer.send(record));
  must(producer.flush(120'000));
  const nlohmann::json result = transfer.result(count, static_cast<double>(count * settings.message_bytes));
  const auto statistics = producer.statistics();
  if (statistics.records_delivered != count) die(std::to_string(statistics.records_failed) + " messages failed");
  return result;
}

nlohmann::json consume(const Settings& settings) {
  client::ConsumerSettings options;
  options.check_crc = false;  // as the other client's default
  client::Consumer consumer = must(client::Consumer::create(connect(settings), options));
  const std::uint64_t wanted = settings.messages();
  const Transfer transfer(settings);
  must(consumer.assign({{settings.topic, 0, client::StartAt::beginning()}}));
  std::uint64_t count = 0;
  double bytes = 0;
  auto last = Clock::now();
  while (count < wanted) {
    const auto batches = must(consumer.poll(1000));
    for (const client::ConsumedBatch& batch : batches) {
      auto cursor = batch.records();
      for (client::ConsumedRecord record; cursor.next(record); ++count) bytes += static_cast<double>(record.value.size());
    }
    if (!batches.empty()) last = Clock::now();
    if (Clock::now() - last > kStall) die("consume stalled at " + std::to_string(count) + " messages");
  }
  return transfer.result(count, bytes);
}

/// A producer that sends its next message when the one before is acknowledged.
class OneAtATime {
 public:
  OneAtATime(const Settings& settings, const std::shared_ptr<client::ClientContext>& context)
      : payload_(make_payload(settings)), record_(record_of(settings, payload_)) {
    auto options = producer_settings(settings);
    options.linger_ms = 0;
    producer_.emplace(must(client::Producer::create(context, options)));
  }

  /// Sends `warmup` messages that are not counted, then until `rounds` are (0: until the time is up). Ends in finished().
  void start(int warmup, int rounds, std::chrono::nanoseconds duration) {
    warmup_ = warmup;
    rounds_ = rounds;
    duration_ = duration;
    send();
  }
  /// Waits for the last message. Throws what went wrong.
  const Histogram& finish() {
    finished_.acquire();
    if (!error_.empty()) die(error_);
    return histogram_;
  }

 private:
  void send() {
    sent_ = Clock::now();
    if (auto accepted = producer_->send(record_, [this](const client::DeliveryReport& report) { acknowledged(report); });
        !accepted)
      fail(accepted.error().message);
  }
  void acknowledged(const client::DeliveryReport& report) {
    const auto now = Clock::now();
    if (!report.outcome) return fail(report.outcome.error().message);
    if (warmup_ > 0) {
      if (--warmup_ == 0) end_ = now + duration_;
    } else {
      histogram_.record(std::chrono::duration_cast<std::chrono::nanoseconds>(now - sent_).count());
      if (rounds_ > 0 ? histogram_.count() >= static_cast<std::uint64_t>(rounds_) : now > end_) return finished_.release();
    }
    send();
  }
  void fail(std::string text) {
    error_ = std::move(text);
    finished_.release();
  }

  const std::vector<char> payload_;
  const client::ProducerRecord record_;
  std::optional<client::Producer> producer_;
  int warmup_ = 0;
  int rounds_ = 0;
  std::chrono::nanoseconds duration_{0};
  Clock::time_point sent_;
  Clock::time_point end_;
  Histogram histogram_;
  std::string error_;
  std::binary_semaphore finished_{0};
};

nlohmann::json ping(const Settings& settings) {
  OneAtATime producer(settings, connect(settings));
  producer.start(kWarmupMessages, settings.rounds, {});
  return latencies(producer.finish());
}

nlohmann::json many(const Settings& settings) {
  const auto context = connect(settings);
  std::vector<std::unique_ptr<OneAtATime>> producers;
  for (int i = 0; i < settings.producers; ++i) producers.push_back(std::make_unique<OneAtATime>(settings, context));
  for (const auto& producer : producers)
    producer->start(kWarmupMessages, 0, std::chrono::duration_cast<std::chrono::nanoseconds>(kManyTime));
  Histogram all;
  for (const auto& producer : producers) all.merge(producer->finish());
  return acknowledgements(all);
}

/// Sends at a rate, whatever the answers do, and counts each latency from when the message was due: a stall is seen in full.
nlohmann::json steady(const Settings& settings) {
  constexpr std::uint64_t kSampled = 16;  // one message in so many has its answer looked at
  constexpr auto kTick = std::chrono::milliseconds(1);
  auto options = producer_settings(settings);
  options.linger_ms = settings.linger_ms;
  client::Producer producer = must(client::Producer::create(connect(settings), options));
  const auto payload = make_payload(settings);
  auto record = record_of(settings, payload);
  const double per_second = settings.rate_mb_s * 1e6 / static_cast<double>(settings.message_bytes);
  const auto total = static_cast<std::uint64_t>(per_second * settings.seconds);
  Histogram histogram;  // of the client's thread until it is closed
  std::string error;
  const auto start = Clock::now();
  const auto due_at = [&](std::uint64_t message) {
    return start + std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(message) / per_second * 1e9));
  };
  for (std::uint64_t i = 0; i < total;) {
    std::this_thread::sleep_until(due_at(i));
    for (const auto until = Clock::now() + kTick; i < total && due_at(i) < until; ++i) {
      const std::string key = std::to_string(settings.keys == 0 ? 0 : i * 2654435761U % settings.keys);
      if (settings.keys != 0) record.key = std::as_bytes(std::span(key));
      if (i % kSampled != 0) {
        must(producer.send(record));
        continue;
      }
      must(producer.send(record, [&histogram, &error, due = due_at(i)](const client::DeliveryReport& report) {
        if (!report.outcome) error = report.outcome.error().message;
        histogram.record(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - due).count());
      }));
    }
  }
  must(producer.flush(120'000));
  if (!error.empty()) die(error);
  nlohmann::json result = latencies(histogram);
  result["p999_us"] = static_cast<double>(histogram.value_at(0.999)) / 1e3;
  result["max_us"] = static_cast<double>(histogram.max()) / 1e3;
  result["mb_s"] =
      static_cast<double>(total * settings.message_bytes) / std::chrono::duration<double>(Clock::now() - start).count() / 1e6;
  return result;
}

}  // namespace
}  // namespace streambus::bench

int main(int argc, char** argv) {
  using namespace streambus::bench;
  return run_client(argc, argv, "streambus_bench",
                    {{"produce", produce}, {"consume", consume}, {"ping", ping}, {"many", many}, {"steady", steady}});
}
