// What partitions take up. Kafka's log directories are our storages: one result for each that keeps a partition asked for.

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "api_table.hpp"
#include "endpoint.hpp"
#include "errors.hpp"
#include "session.hpp"

namespace streambus::protocol_kafka {
namespace {

using Request = wire::DescribeLogDirsRequest;
using Response = wire::DescribeLogDirsResponse;

bool is_asked(const Request& request, const PartitionUsage& usage) noexcept {
  return !request.topics || std::ranges::any_of(*request.topics, [&usage](const Request::Topic& topic) {
    return topic.topic == usage.topic && std::ranges::find(topic.partitions, usage.partition) != topic.partitions.end();
  });
}

/// Collects by storage and topic.
class Usage final : public UsageVisitor {
 public:
  explicit Usage(const Request& request) noexcept : request_(request) {}

  void usage(const PartitionUsage& usage) noexcept override {
    try {
      if (!is_asked(request_, usage)) return;
      by_storage[std::string(usage.storage)][std::string(usage.topic)].push_back(
          {usage.partition, static_cast<std::int64_t>(usage.bytes), 0, false});
    } catch (...) {
      complete = false;
    }
  }
  std::map<std::string, std::map<std::string, std::vector<Response::Partition>>> by_storage;
  bool complete = true;

 private:
  const Request& request_;
};

/// Copies what was collected to the arena. False: out of memory.
bool fill(wire::Arena& arena, const Usage& usage, Response& response) noexcept {
  response.results = arena.array<Response::Result>(usage.by_storage.size());
  if (response.results.size() != usage.by_storage.size()) return false;
  auto* result = response.results.data();
  for (const auto& [storage, topics] : usage.by_storage) {
    result->log_dir = arena.copy(storage);
    const std::span<Response::Topic> rows = arena.array<Response::Topic>(topics.size());
    if (rows.size() != topics.size()) return false;
    auto* row = rows.data();
    for (const auto& [name, partitions] : topics) {
      const std::span<Response::Partition> copies = arena.array<Response::Partition>(partitions.size());
      if (copies.size() != partitions.size()) return false;
      std::ranges::copy(partitions, copies.begin());
      *row++ = {arena.copy(name), copies};
    }
    (result++)->topics = rows;
  }
  return true;
}

Handled describe_log_dirs(Exchange& exchange) noexcept {
  auto* const response = exchange.make<Response>();
  if (response == nullptr) return Handled::out_of_memory;
  Usage usage(*static_cast<const Request*>(exchange.state));
  exchange.session->endpoint().broker().visit_usage(usage);
  if (!usage.complete || !fill(exchange.arena, usage, *response)) return Handled::out_of_memory;
  return exchange.answer(*response);
}

}  // namespace

Handled handle_describe_log_dirs(Exchange& exchange) noexcept {
  auto* const request = exchange.make<Request>();
  if (request == nullptr) return Handled::out_of_memory;
  if (!exchange.decode(*request)) return Handled::malformed;
  exchange.state = request;
  return exchange.run_in_background(describe_log_dirs);
}

}  // namespace streambus::protocol_kafka
