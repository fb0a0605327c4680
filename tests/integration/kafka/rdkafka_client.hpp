#pragma once
// librdkafka as a test uses it: numbered records in, numbered records out.

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace streambus::test {

using Settings = std::map<std::string, std::string>;

/// The value of record number `number`: the number, then padding that depends on it.
[[nodiscard]] std::string value_of(std::uint64_t number, std::size_t bytes);

/// Produces records 0, 1, 2, ... into partition 0 of a topic, with the keys 0 to `keys` - 1 in turn where there are any. send()
/// on one thread; counters from any.
class NumberedProducer {
 public:
  NumberedProducer(const std::string& bootstrap, const std::string& topic, const Settings& settings,
                   std::size_t value_bytes = 100, std::uint64_t keys = 0);
  ~NumberedProducer();
  NumberedProducer(const NumberedProducer&) = delete;
  NumberedProducer& operator=(const NumberedProducer&) = delete;

  /// Queues the next record, waiting while librdkafka's queue is full. False after a fatal error of the producer.
  bool send();
  /// Serves callbacks.
  void poll(int timeout_ms) { rd_kafka_poll(handle_, timeout_ms); }
  /// Waits until every record was acknowledged or given up. False when the time was too short.
  bool flush(int timeout_ms) { return rd_kafka_flush(handle_, timeout_ms) == RD_KAFKA_RESP_ERR_NO_ERROR; }

  [[nodiscard]] std::uint64_t sent() const noexcept { return next_; }
  [[nodiscard]] std::uint64_t acknowledged() const noexcept { return acknowledged_; }
  [[nodiscard]] std::uint64_t failed() const noexcept { return failed_; }
  /// Offsets by number: -1 where the broker's answer named none, -2 where there was no acknowledgement.
  [[nodiscard]] const std::vector<std::int64_t>& offsets() const noexcept { return offsets_; }
  [[nodiscard]] std::string fatal_error() const;

 private:
  static void delivered(rd_kafka_t* handle, const rd_kafka_message_t* message, void* opaque);

  rd_kafka_t* handle_ = nullptr;
  std::string topic_;
  std::size_t value_bytes_;
  std::uint64_t keys_;
  std::uint64_t next_ = 0;
  std::atomic<std::uint64_t> acknowledged_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::vector<std::int64_t> offsets_;
};

/// Administrative calls; each waits for its answer.
class AdminClient {
 public:
  explicit AdminClient(const std::string& bootstrap);
  ~AdminClient() { rd_kafka_destroy(handle_); }
  AdminClient(const AdminClient&) = delete;
  AdminClient& operator=(const AdminClient&) = delete;

  /// Replaces all settings of a topic.
  rd_kafka_resp_err_t alter(const std::string& topic, const Settings& settings);
  [[nodiscard]] std::string setting(const std::string& topic, const std::string& name);
  /// Of partition 0.
  rd_kafka_resp_err_t delete_records(const std::string& topic, std::int64_t before, std::int64_t* start);
  /// The first and the next offset of partition 0.
  [[nodiscard]] std::pair<std::int64_t, std::int64_t> watermarks(const std::string& topic);

 private:
  rd_kafka_t* handle_ = nullptr;
};

struct ConsumedRecord {
  std::uint64_t number = 0;
  std::int64_t offset = -1;
};

/// Reads partition 0 of a topic from offset 0 to its present end. Values that are not as value_of() makes them are failures.
[[nodiscard]] std::vector<ConsumedRecord> consume_all(const std::string& bootstrap, const std::string& topic,
                                                      const Settings& settings = {});

}  // namespace streambus::test
