#include "api_table.hpp"

namespace streambus::protocol_kafka {
namespace {

struct Entry {
  wire::ApiKey key;
  Handler handler;
};

constexpr Entry kHandlers[] = {
    {wire::ApiKey::produce, handle_produce},
    {wire::ApiKey::fetch, handle_fetch},
    {wire::ApiKey::list_offsets, handle_list_offsets},
    {wire::ApiKey::metadata, handle_metadata},
    {wire::ApiKey::find_coordinator, handle_find_coordinator},
    {wire::ApiKey::api_versions, handle_api_versions},
    {wire::ApiKey::create_topics, handle_create_topics},
    {wire::ApiKey::delete_topics, handle_delete_topics},
    {wire::ApiKey::init_producer_id, handle_init_producer_id},
    {wire::ApiKey::offset_for_leader_epoch, handle_offset_for_leader_epoch},
    {wire::ApiKey::describe_configs, handle_describe_configs},
    {wire::ApiKey::delete_records, handle_delete_records},
    {wire::ApiKey::alter_configs, handle_alter_configs},
    {wire::ApiKey::describe_log_dirs, handle_describe_log_dirs},
    {wire::ApiKey::incremental_alter_configs, handle_incremental_alter_configs},
};

constexpr Handler handler_of(wire::ApiKey key) noexcept {
  for (const Entry& entry : kHandlers) {
    if (entry.key == key) return entry.handler;
  }
  return nullptr;
}

consteval bool every_served_api_has_a_handler() {
  for (const wire::ApiInfo& api : wire::kApis) {
    if (api.served != (handler_of(api.key) != nullptr)) return false;
  }
  return true;
}
static_assert(every_served_api_has_a_handler(), "what ApiVersions advertises and what is handled must be the same");

}  // namespace

Handler find_handler(std::int16_t key, std::int16_t version) noexcept {
  // Any version of ApiVersions is answered: clients find the one to use from the error.
  if (key == static_cast<std::int16_t>(wire::ApiKey::api_versions)) return handle_api_versions;
  const wire::ApiInfo* const api = wire::find_api(key);
  if (api == nullptr || !api->served || version < api->min_advertised || version > api->max) return nullptr;
  return handler_of(api->key);
}

}  // namespace streambus::protocol_kafka
