#pragma once
// What can be tuned. Every default suits a local broker and a busy network alike; times in milliseconds, sizes in bytes.

#include <cstdint>
#include <functional>
#include <string>

#include "streambus/base/error.hpp"

namespace streambus::client {

/// The connection pool that all producers, consumers and administrators of a ClientContext share. Per broker.
struct PoolSettings {
  std::uint32_t connections_idle_min = 0;    ///< idle connections kept open once a broker was used
  std::uint32_t connections_max = 32;        ///< bound on connections to one broker, in use or idle
  std::uint32_t requests_in_flight_max = 8;  ///< bound on unanswered requests of one connection
  std::int64_t connect_timeout_ms = 5'000;
  std::int64_t request_timeout_ms = 30'000;  ///< an unanswered request closes its connection
  std::int64_t idle_timeout_ms = 300'000;    ///< an idle connection above the minimum is closed; 0: never
  std::int64_t life_time_ms = 0;             ///< an older connection is closed when it is given back; 0: no limit
  std::int64_t keepalive_ms = 60'000;        ///< an idle connection is sent a small request that often; 0: never
  std::int64_t health_check_idle_ms =
      30'000;                              ///< a connection idle for longer must answer a request before it is lent; 0: never
  std::int64_t reconnect_backoff_ms = 50;  ///< wait after a failed attempt; doubles up to the maximum, +-20 % at random
  std::int64_t reconnect_backoff_max_ms = 1'000;
  std::int64_t wait_timeout_ms = 10'000;  ///< how long a caller waits when every connection is in use

  /// What is wrong with the settings, if anything (invalid_argument).
  [[nodiscard]] Result<> check() const;
};

/// Counters of the pool since the context was made. `open`, `in_use` and `waiting` are of this moment.
struct PoolStatistics {
  std::uint64_t connects = 0;  ///< attempts
  std::uint64_t connect_failures = 0;
  std::uint64_t closed_by_peer = 0;
  std::uint64_t closed_idle = 0;
  std::uint64_t closed_life_time = 0;
  std::uint64_t closed_unhealthy = 0;  ///< a keepalive or health check was not answered
  std::uint64_t health_checks = 0;
  std::uint64_t request_timeouts = 0;
  std::uint64_t requests = 0;
  std::uint64_t lends = 0;
  std::uint64_t waits = 0;  ///< lends that had to wait for a connection
  std::uint64_t wait_timeouts = 0;
  std::uint32_t open = 0;
  std::uint32_t in_use = 0;
  std::uint32_t waiting = 0;
};

struct ClientSettings {
  std::string client_id = "streambus";
  std::string bootstrap = "127.0.0.1:9092";  ///< HOST:PORT, several separated by commas, or TRANSPORT:TARGET
  std::int64_t metadata_max_age_ms = 300'000;
  std::int64_t retry_backoff_ms = 100;  ///< between attempts of a request that may be repeated; doubles up to the maximum
  std::int64_t retry_backoff_max_ms = 1'000;
  PoolSettings pool;
};

/// When the broker answers a produce request. On one StreamBus node leader and all are the same.
enum class Acks : std::int16_t { none = 0, leader = 1, all = -1 };

struct ProducerSettings {
  Acks acks = Acks::all;
  /// No loss, no duplicate, order kept over retries: needs acks = all.
  bool idempotence = true;
  std::string compression = "none";                          ///< a codec's word ("lz4"), from a plugin; "none"
  std::uint32_t batch_bytes_max = (1U << 20) - 256;          ///< a batch is sent when the next record would not fit
  std::uint32_t request_bytes_max = 4U << 20;                ///< bound on the batches of one request
  std::int64_t linger_ms = 5;                                ///< how long a batch waits for more records
  std::uint64_t buffer_bytes_max = std::uint64_t{64} << 20;  ///< bound on records accepted and not reported yet
  std::int64_t send_timeout_ms = 60'000;       ///< how long send() waits for room in the buffer or for metadata; 0: never
  std::int64_t delivery_timeout_ms = 120'000;  ///< a record not acknowledged by then is reported as failed
  std::int32_t retries_max = INT32_MAX;        ///< within the delivery time-out
  /// Unanswered batches of one partition. Without idempotence it is 1 unless retries_max is 0: else a retry could change
  /// the order. With idempotence at most 5: what a broker remembers.
  std::uint32_t in_flight_per_partition_max = 5;

  [[nodiscard]] Result<> check() const;
};

/// What a consumer does when its offset is not there any more, or not yet.
enum class OutOfRange : std::uint8_t { earliest, latest, error };

struct ConsumerSettings {
  std::uint32_t fetch_bytes_max = 8U << 20;                    ///< of one response
  std::uint32_t partition_fetch_bytes_max = 4U << 20;          ///< of one partition in one response
  std::uint32_t fetch_bytes_min = 1;                           ///< the broker waits for that much
  std::int64_t fetch_wait_ms = 500;                            ///< but at most that long
  std::uint64_t prefetch_bytes_max = std::uint64_t{32} << 20;  ///< bound on fetched data not polled yet
  std::uint64_t poll_bytes_max = 8U << 20;                     ///< bound on what one poll() returns, whole responses apart
  std::uint64_t batch_bytes_max = std::uint64_t{256} << 20;    ///< largest batch after decompression
  OutOfRange out_of_range = OutOfRange::earliest;
  bool check_crc = true;
  bool read_committed = false;

  [[nodiscard]] Result<> check() const;
};

}  // namespace streambus::client
