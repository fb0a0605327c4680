#include "wire_errors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace streambus::client {
namespace {

using wire::WireError;

struct Mapping {
  WireError wire;
  ErrorCode code;
  std::string_view advice;  ///< what it means and what to do, for people
};

constexpr Mapping kMappings[] = {
    {WireError::offset_out_of_range, ErrorCode::out_of_range,
     "the offset is not in the log: retention removed it, or it was never written"},
    {WireError::corrupt_message, ErrorCode::corrupt, "the broker found a damaged batch"},
    {WireError::unknown_topic_or_partition, ErrorCode::not_found,
     "there is no such topic or partition; see 'streambus topic list'"},
    {WireError::leader_not_available, ErrorCode::offline, "the partition is not available now"},
    {WireError::not_leader_or_follower, ErrorCode::offline, "this broker does not lead the partition"},
    {WireError::request_timed_out, ErrorCode::timeout, "the broker did not finish in time"},
    {WireError::message_too_large, ErrorCode::too_large,
     "a batch is larger than the topic's max.message.bytes; send smaller batches or raise it"},
    {WireError::record_list_too_large, ErrorCode::too_large, "the batch is larger than the broker's segments"},
    {WireError::invalid_topic_exception, ErrorCode::invalid_argument,
     "not a legal topic name (1 to 249 letters, digits, '.', '_', '-')"},
    {WireError::not_enough_replicas, ErrorCode::busy, "not enough replicas"},
    {WireError::not_enough_replicas_after_append, ErrorCode::busy, "not enough replicas"},
    {WireError::kafka_storage_error, ErrorCode::offline,
     "the broker could not store it: see its log (full disk, failed device)"},
    {WireError::unsupported_version, ErrorCode::unsupported, "the broker does not speak this version of the request"},
    {WireError::topic_already_exists, ErrorCode::already_exists, "the topic exists already"},
    {WireError::invalid_partitions, ErrorCode::invalid_argument, "the number of partitions is not acceptable"},
    {WireError::invalid_replication_factor, ErrorCode::invalid_argument, "the replication factor is not acceptable"},
    {WireError::invalid_config, ErrorCode::invalid_argument, "a setting is not acceptable"},
    {WireError::invalid_request, ErrorCode::invalid_argument, "the broker does not accept the request"},
    {WireError::unsupported_for_message_format, ErrorCode::unsupported_format,
     "the broker does not store batches of this format"},
    {WireError::policy_violation, ErrorCode::invalid_argument,
     "a policy of the broker or the topic forbids it (records of a compacted topic are deleted by their keys)"},
    {WireError::out_of_order_sequence_number, ErrorCode::out_of_order_sequence, "a batch before this one is missing"},
    {WireError::duplicate_sequence_number, ErrorCode::duplicate_sequence, "the batch was written earlier"},
    {WireError::invalid_producer_epoch, ErrorCode::producer_fenced, "a newer producer took over"},
    {WireError::producer_fenced, ErrorCode::producer_fenced, "a newer producer took over"},
    {WireError::unknown_producer_id, ErrorCode::unknown_producer, "the broker does not know this producer any more"},
    {WireError::unsupported_compression_type, ErrorCode::unsupported_compression,
     "the broker has no codec for it; add a [codec.NAME] section to its configuration"},
    {WireError::fenced_leader_epoch, ErrorCode::fenced_epoch, "the leader changed"},
    {WireError::unknown_leader_epoch, ErrorCode::unknown_epoch, "the leader changed"},
    {WireError::invalid_record, ErrorCode::invalid_record, "a record is not acceptable to the topic"},
    {WireError::topic_authorization_failed, ErrorCode::permission_denied, "not authorized for the topic"},
    {WireError::cluster_authorization_failed, ErrorCode::permission_denied, "not authorized for the cluster"},
    {WireError::throttling_quota_exceeded, ErrorCode::busy, "above a quota"},
};

}  // namespace

Error wire_error(std::int16_t code, std::string_view what, std::optional<std::string_view> text) {
  const auto error = static_cast<WireError>(code);
  const auto found = std::ranges::find(kMappings, error, &Mapping::wire);
  const bool known = found != std::end(kMappings);
  const ErrorCode mapped = known ? found->code : (wire::is_retriable(error) ? ErrorCode::busy : ErrorCode::internal);
  if (text.has_value() && !text->empty()) return Error(mapped, fmt::format("{} ({})", *text, wire::name_of(error)));
  return Error(mapped, fmt::format("{}: {} ({})", what, known ? found->advice : std::string_view("the broker refused"),
                                   wire::name_of(error)));
}

}  // namespace streambus::client
