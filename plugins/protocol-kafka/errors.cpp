#include "errors.hpp"

namespace streambus::protocol_kafka {

wire::WireError wire_error(ErrorCode code) noexcept {
  using wire::WireError;
  switch (code) {
    case ErrorCode::ok:
      return WireError::none;
    case ErrorCode::invalid_argument:
      return WireError::invalid_request;
    case ErrorCode::not_found:
      return WireError::unknown_topic_or_partition;
    case ErrorCode::already_exists:
      return WireError::topic_already_exists;
    case ErrorCode::out_of_range:
      return WireError::offset_out_of_range;
    case ErrorCode::corrupt:
      return WireError::corrupt_message;
    case ErrorCode::invalid_record:
      return WireError::invalid_record;
    case ErrorCode::unsupported:
      return WireError::invalid_request;
    case ErrorCode::unsupported_format:
      return WireError::unsupported_for_message_format;
    case ErrorCode::unsupported_compression:
      return WireError::unsupported_compression_type;
    case ErrorCode::too_large:
      return WireError::message_too_large;
    // What clients know as "the disk of this partition", and retry: producers and consumers both expect it.
    case ErrorCode::io_error:
    case ErrorCode::no_space:
    case ErrorCode::busy:
    case ErrorCode::offline:
    case ErrorCode::permission_denied:
      return WireError::kafka_storage_error;
    // The outcome is unknown: an idempotent producer sends the same batch again, which is recognised if it was stored.
    case ErrorCode::timeout:
    case ErrorCode::cancelled:
      return WireError::request_timed_out;
    case ErrorCode::closed:
      return WireError::not_leader_or_follower;
    case ErrorCode::out_of_order_sequence:
      return WireError::out_of_order_sequence_number;
    case ErrorCode::duplicate_sequence:
      return WireError::duplicate_sequence_number;
    case ErrorCode::producer_fenced:
      return WireError::invalid_producer_epoch;
    case ErrorCode::unknown_producer:
      return WireError::unknown_producer_id;
    case ErrorCode::fenced_epoch:
      return WireError::fenced_leader_epoch;
    case ErrorCode::unknown_epoch:
      return WireError::unknown_leader_epoch;
    case ErrorCode::incompatible:
    case ErrorCode::internal:
      return WireError::unknown_server_error;
  }
  return WireError::unknown_server_error;
}

}  // namespace streambus::protocol_kafka
