#include "streambus/client/settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace streambus::client {
namespace {

struct Bound {
  std::string_view name;
  std::int64_t value;
  std::int64_t min;
  std::int64_t max;
};

constexpr std::int64_t kTimeMaxMs = std::int64_t{1000} * 3600 * 24 * 365;

Result<> check_bounds(std::string_view what, std::initializer_list<Bound> bounds) {
  for (const Bound& bound : bounds) {
    if (bound.value < bound.min || bound.value > bound.max) {
      return fail(ErrorCode::invalid_argument, fmt::format("{} setting '{}' is {}; it must be from {} to {}", what, bound.name,
                                                           bound.value, bound.min, bound.max));
    }
  }
  return {};
}

}  // namespace

Result<> PoolSettings::check() const {
  STREAMBUS_TRY(
      check_bounds("connection pool", {{"connections_max", connections_max, 1, 100'000},
                                       {"connections_idle_min", connections_idle_min, 0, connections_max},
                                       {"requests_in_flight_max", requests_in_flight_max, 1, 10'000},
                                       {"connect_timeout_ms", connect_timeout_ms, 1, kTimeMaxMs},
                                       {"request_timeout_ms", request_timeout_ms, 1, kTimeMaxMs},
                                       {"idle_timeout_ms", idle_timeout_ms, 0, kTimeMaxMs},
                                       {"life_time_ms", life_time_ms, 0, kTimeMaxMs},
                                       {"keepalive_ms", keepalive_ms, 0, kTimeMaxMs},
                                       {"health_check_idle_ms", health_check_idle_ms, 0, kTimeMaxMs},
                                       {"reconnect_backoff_ms", reconnect_backoff_ms, 1, kTimeMaxMs},
                                       {"reconnect_backoff_max_ms", reconnect_backoff_max_ms, reconnect_backoff_ms, kTimeMaxMs},
                                       {"wait_timeout_ms", wait_timeout_ms, 0, kTimeMaxMs}}));
  return {};
}

Result<> ProducerSettings::check() const {
  if (idempotence && acks != Acks::all) {
    return fail(ErrorCode::invalid_argument, "an idempotent producer needs acks = all; turn idempotence off for weaker acks");
  }
  constexpr std::uint32_t kIdempotentInFlightMax = 5;
  STREAMBUS_TRY(check_bounds(
      "producer",
      {{"batch_bytes_max", batch_bytes_max, 1, 1 << 30},
       {"request_bytes_max", request_bytes_max, 1, 1 << 30},
       {"linger_ms", linger_ms, 0, kTimeMaxMs},
       {"buffer_bytes_max", static_cast<std::int64_t>(std::min<std::uint64_t>(buffer_bytes_max, INT64_MAX)), 1024, INT64_MAX},
       {"send_timeout_ms", send_timeout_ms, 0, kTimeMaxMs},
       {"delivery_timeout_ms", delivery_timeout_ms, 1, kTimeMaxMs},
       {"retries_max", retries_max, 0, INT32_MAX},
       {"in_flight_per_partition_max", in_flight_per_partition_max, 1, idempotence ? kIdempotentInFlightMax : 10'000}}));
  return {};
}

Result<> ConsumerSettings::check() const {
  STREAMBUS_TRY(check_bounds("consumer", {{"fetch_bytes_max", fetch_bytes_max, 1, 1 << 30},
                                          {"partition_fetch_bytes_max", partition_fetch_bytes_max, 1, 1 << 30},
                                          {"fetch_bytes_min", fetch_bytes_min, 0, fetch_bytes_max},
                                          {"fetch_wait_ms", fetch_wait_ms, 0, INT32_MAX}}));
  return {};
}

}  // namespace streambus::client
