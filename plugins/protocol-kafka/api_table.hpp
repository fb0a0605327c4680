#pragma once

#include <cstdint>

#include "exchange.hpp"

namespace streambus::protocol_kafka {

using Handler = Handled (*)(Exchange&) noexcept;

/// The handler of a request of this key and version; null where there is none.
[[nodiscard]] Handler find_handler(std::int16_t key, std::int16_t version) noexcept;

// One file each. All run on the connection's thread and do not block.
Handled handle_alter_configs(Exchange& exchange) noexcept;
Handled handle_api_versions(Exchange& exchange) noexcept;
Handled handle_create_topics(Exchange& exchange) noexcept;
Handled handle_delete_records(Exchange& exchange) noexcept;
Handled handle_delete_topics(Exchange& exchange) noexcept;
Handled handle_describe_configs(Exchange& exchange) noexcept;
Handled handle_describe_log_dirs(Exchange& exchange) noexcept;
Handled handle_fetch(Exchange& exchange) noexcept;
Handled handle_find_coordinator(Exchange& exchange) noexcept;
Handled handle_incremental_alter_configs(Exchange& exchange) noexcept;
Handled handle_init_producer_id(Exchange& exchange) noexcept;
Handled handle_list_offsets(Exchange& exchange) noexcept;
Handled handle_metadata(Exchange& exchange) noexcept;
Handled handle_offset_for_leader_epoch(Exchange& exchange) noexcept;
Handled handle_produce(Exchange& exchange) noexcept;

}  // namespace streambus::protocol_kafka
