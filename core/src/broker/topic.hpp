#pragma once

#include <string>
#include <vector>

#include "partition.hpp"
#include "topic_store.hpp"

namespace streambus::broker {

/// A topic that is served. Reference-counted; changed only under the broker's topics lock.
struct Topic final : Pin {
  std::string name;
  StoredTopic stored;
  std::vector<Ref<Partition>> partitions;
  std::string migration;  ///< how far a move to another storage is, for people; empty: none

 private:
  void dispose() noexcept override { delete this; }
};

/// Longest legal name, and the counts above which a topic is refused: each partition costs memory and files.
inline constexpr std::size_t kTopicNameMax = 249;
inline constexpr std::int32_t kTopicPartitionsMax = 10'000;
inline constexpr std::size_t kBrokerPartitionsMax = 200'000;

/// Kafka's rules: 1 to 249 of [a-zA-Z0-9._-], not "." or "..". Errors: invalid_argument.
[[nodiscard]] Result<> check_topic_name(std::string_view name);

}  // namespace streambus::broker
