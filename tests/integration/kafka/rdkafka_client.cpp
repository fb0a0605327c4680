#include "rdkafka_client.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <iterator>

namespace streambus::test {
namespace {

rd_kafka_conf_t* make_conf(const std::string& bootstrap, const Settings& settings) {
  rd_kafka_conf_t* const conf = rd_kafka_conf_new();
  Settings all{{"bootstrap.servers", bootstrap},
               {"reconnect.backoff.ms", "20"},
               {"reconnect.backoff.max.ms", "100"},
               {"log_level", "0"}};
  for (const auto& [key, value] : settings) all[key] = value;
  char text[256];
  for (const auto& [key, value] : all) {
    EXPECT_EQ(rd_kafka_conf_set(conf, key.c_str(), value.c_str(), text, sizeof text), RD_KAFKA_CONF_OK) << text;
  }
  return conf;
}

std::uint64_t number_of(const rd_kafka_message_t& message) {
  const std::string_view value(static_cast<const char*>(message.payload), message.len);
  const std::uint64_t number = std::strtoull(std::string(value.substr(0, value.find(' '))).c_str(), nullptr, 10);
  EXPECT_EQ(value, value_of(number, message.len));
  return number;
}

}  // namespace

std::string value_of(std::uint64_t number, std::size_t bytes) {
  std::string value = std::to_string(number) + " ";
  std::uint64_t mixed = number;
  while (value.size() < bytes) {
    mixed = mixed * 6364136223846793005ULL + 1442695040888963407ULL;
    value.push_back(static_cast<char>('a' + (mixed >> 33) % 26));
  }
  return value;
}

NumberedProducer::NumberedProducer(const std::string& bootstrap, const std::string& topic, const Settings& settings,
                                   std::size_t value_bytes)
    : topic_(topic), value_bytes_(value_bytes) {
  rd_kafka_conf_t* const conf = make_conf(bootstrap, settings);
  rd_kafka_conf_set_opaque(conf, this);
  rd_kafka_conf_set_dr_msg_cb(conf, &NumberedProducer::delivered);
  char text[256];
  handle_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
  EXPECT_NE(handle_, nullptr) << text;
}

NumberedProducer::~NumberedProducer() {
  rd_kafka_purge(handle_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  rd_kafka_flush(handle_, 1000);
  rd_kafka_destroy(handle_);
}

bool NumberedProducer::send() {
  constexpr auto kPatience = std::chrono::seconds(60);  // a broker that died by itself must not stop the test for good
  const auto latest = std::chrono::steady_clock::now() + kPatience;
  std::string value = value_of(next_, value_bytes_);
  while (true) {
    rd_kafka_vu_t fields[5] = {};
    fields[0].vtype = RD_KAFKA_VTYPE_TOPIC;
    fields[0].u.cstr = topic_.c_str();
    fields[1].vtype = RD_KAFKA_VTYPE_PARTITION;
    fields[1].u.i32 = 0;
    fields[2].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    fields[2].u.i = RD_KAFKA_MSG_F_COPY;
    fields[3].vtype = RD_KAFKA_VTYPE_VALUE;
    fields[3].u.mem = {value.data(), value.size()};
    fields[4].vtype = RD_KAFKA_VTYPE_OPAQUE;
    fields[4].u.ptr = reinterpret_cast<void*>(next_);  // NOLINT(performance-no-int-to-ptr): a number, given back as it is
    rd_kafka_error_t* const error = rd_kafka_produceva(handle_, fields, std::size(fields));
    if (error == nullptr) break;
    const rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL || std::chrono::steady_clock::now() > latest) return false;
    rd_kafka_poll(handle_, 5);
  }
  ++next_;
  rd_kafka_poll(handle_, 0);
  return true;
}

void NumberedProducer::delivered(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
  auto& self = *static_cast<NumberedProducer*>(opaque);
  const auto number = reinterpret_cast<std::uintptr_t>(message->_private);
  if (self.offsets_.size() <= number) self.offsets_.resize(number + 1, -2);
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
    EXPECT_EQ(self.offsets_[number], -2) << "record " << number << " was acknowledged twice";
    self.offsets_[number] = message->offset < 0 ? -1 : message->offset;
    ++self.acknowledged_;
  } else {
    ++self.failed_;
  }
}

std::string NumberedProducer::fatal_error() const {
  char text[256] = "";
  return rd_kafka_fatal_error(handle_, text, sizeof text) == RD_KAFKA_RESP_ERR_NO_ERROR ? "" : text;
}

std::vector<ConsumedRecord> consume_all(const std::string& bootstrap, const std::string& topic, const Settings& settings) {
  Settings all{
      {"group.id", "reader"}, {"enable.auto.commit", "false"}, {"enable.partition.eof", "true"}, {"check.crcs", "true"}};
  for (const auto& [key, value] : settings) all[key] = value;
  char text[256];
  rd_kafka_t* const handle = rd_kafka_new(RD_KAFKA_CONSUMER, make_conf(bootstrap, all), text, sizeof text);
  EXPECT_NE(handle, nullptr) << text;
  rd_kafka_topic_partition_list_t* const partitions = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(partitions, topic.c_str(), 0)->offset = 0;
  EXPECT_EQ(rd_kafka_assign(handle, partitions), RD_KAFKA_RESP_ERR_NO_ERROR);
  rd_kafka_topic_partition_list_destroy(partitions);

  std::vector<ConsumedRecord> records;
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  bool at_end = false;
  while (!at_end && std::chrono::steady_clock::now() < deadline) {
    rd_kafka_message_t* const message = rd_kafka_consumer_poll(handle, 100);
    if (message == nullptr) continue;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      records.push_back({number_of(*message), message->offset});
      deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      at_end = true;
    } else {
      ADD_FAILURE() << "consumer: " << rd_kafka_message_errstr(message);
    }
    rd_kafka_message_destroy(message);
  }
  EXPECT_TRUE(at_end) << "the end of the partition was not reached; " << records.size() << " records so far";
  rd_kafka_consumer_close(handle);
  rd_kafka_destroy(handle);
  return records;
}

}  // namespace streambus::test
