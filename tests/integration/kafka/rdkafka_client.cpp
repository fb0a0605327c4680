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
                                   std::size_t value_bytes, std::uint64_t keys)
    : topic_(topic), value_bytes_(value_bytes), keys_(keys) {
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
    const std::string key = keys_ == 0 ? std::string() : std::to_string(next_ % keys_);
    rd_kafka_vu_t fields[6] = {};
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
    fields[5].vtype = RD_KAFKA_VTYPE_KEY;
    fields[5].u.mem = {const_cast<char*>(key.data()), key.size()};
    rd_kafka_error_t* const error = rd_kafka_produceva(handle_, fields, std::size(fields) - (keys_ == 0 ? 1 : 0));
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

AdminClient::AdminClient(const std::string& bootstrap) {
  char text[256];
  handle_ = rd_kafka_new(RD_KAFKA_PRODUCER, make_conf(bootstrap, {}), text, sizeof text);
  EXPECT_NE(handle_, nullptr) << text;
}

rd_kafka_resp_err_t AdminClient::alter(const std::string& topic, const Settings& settings) {
  rd_kafka_ConfigResource_t* resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str());
  for (const auto& [key, value] : settings) rd_kafka_ConfigResource_set_config(resource, key.c_str(), value.c_str());
  rd_kafka_queue_t* const queue = rd_kafka_queue_new(handle_);
  rd_kafka_AlterConfigs(handle_, &resource, 1, nullptr, queue);
  rd_kafka_event_t* const event = rd_kafka_queue_poll(queue, 60'000);
  rd_kafka_resp_err_t error = rd_kafka_event_error(event);
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
    std::size_t count = 0;
    const auto* const rows = rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(event), &count);
    EXPECT_EQ(count, 1U);
    if (count == 1) error = rd_kafka_ConfigResource_error(rows[0]);
  }
  rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  rd_kafka_ConfigResource_destroy(resource);
  return error;
}

std::string AdminClient::setting(const std::string& topic, const std::string& name) {
  rd_kafka_ConfigResource_t* resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str());
  rd_kafka_queue_t* const queue = rd_kafka_queue_new(handle_);
  rd_kafka_DescribeConfigs(handle_, &resource, 1, nullptr, queue);
  rd_kafka_event_t* const event = rd_kafka_queue_poll(queue, 60'000);
  std::string value;
  EXPECT_EQ(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR) << rd_kafka_event_error_string(event);
  std::size_t count = 0;
  const auto* const rows = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t entries = 0;
    const auto* const configs = rd_kafka_ConfigResource_configs(rows[i], &entries);
    for (std::size_t j = 0; j < entries; ++j) {
      if (name == rd_kafka_ConfigEntry_name(configs[j])) value = rd_kafka_ConfigEntry_value(configs[j]);
    }
  }
  rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  rd_kafka_ConfigResource_destroy(resource);
  return value;
}

rd_kafka_resp_err_t AdminClient::delete_records(const std::string& topic, std::int64_t before, std::int64_t* start) {
  rd_kafka_topic_partition_list_t* const offsets = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(offsets, topic.c_str(), 0)->offset = before;
  rd_kafka_DeleteRecords_t* wanted = rd_kafka_DeleteRecords_new(offsets);
  rd_kafka_queue_t* const queue = rd_kafka_queue_new(handle_);
  rd_kafka_DeleteRecords(handle_, &wanted, 1, nullptr, queue);
  rd_kafka_event_t* const event = rd_kafka_queue_poll(queue, 60'000);
  rd_kafka_resp_err_t error = rd_kafka_event_error(event);
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
    const auto* const rows = rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event));
    EXPECT_EQ(rows->cnt, 1);
    error = rows->elems[0].err;
    *start = rows->elems[0].offset;
  }
  rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  rd_kafka_DeleteRecords_destroy(wanted);
  rd_kafka_topic_partition_list_destroy(offsets);
  return error;
}

std::pair<std::int64_t, std::int64_t> AdminClient::watermarks(const std::string& topic) {
  std::int64_t low = -1;
  std::int64_t high = -1;
  const auto error = rd_kafka_query_watermark_offsets(handle_, topic.c_str(), 0, &low, &high, 60'000);
  EXPECT_EQ(error, RD_KAFKA_RESP_ERR_NO_ERROR) << rd_kafka_err2str(error);
  return {low, high};
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
