#pragma once

#include <cstdint>
#include <string_view>

#include "streambus/base/buffer.hpp"
#include "streambus/base/error.hpp"
#include "streambus/plugin/files.hpp"

namespace streambus {

enum class LogLevel : std::uint8_t { trace, debug, info, warning, error };

/// Kinds of blocking work; each has its own few threads, so that a slow fsync never delays a cold read.
enum class WorkClass : std::uint8_t {
  flush,       ///< making data durable
  background,  ///< preparing, rolling, deleting, recovery, administrative calls
};

enum class MetricKind : std::uint8_t {
  counter,    ///< add() only, never less
  gauge,      ///< what is now
  histogram,  ///< add() observes one value >= 0: count, sum and buckets of powers of two
};

/// One number that a plugin shows. Lock-free; valid as long as the host lives.
class Metric {
 public:
  Metric() = default;
  Metric(const Metric&) = delete;
  Metric& operator=(const Metric&) = delete;
  virtual void add(std::int64_t amount) noexcept = 0;
  virtual void set(std::int64_t value) noexcept = 0;

 protected:
  ~Metric() = default;
};

/// Where an engine reports that appended data became durable.
/// A domain is what becomes durable together: one partition, or many that share a journal. It fails as a whole.
class DurabilitySink {
 public:
  DurabilitySink() = default;
  DurabilitySink(const DurabilitySink&) = delete;
  DurabilitySink& operator=(const DurabilitySink&) = delete;

  /// Registers a domain; the returned id is never reused while the process lives. Any thread.
  [[nodiscard]] virtual std::uint32_t open_domain() noexcept = 0;
  /// Forgets a domain; whoever still waits in it is told `cancelled`.
  virtual void close_domain(std::uint32_t domain) noexcept = 0;
  /// All appends of the domain up to `position` are durable. Positions never go back. Called once per flush, from any
  /// thread, never under a lock of the engine: it releases waiting produce requests.
  virtual void durable_advanced(std::uint32_t domain, std::uint64_t position) noexcept = 0;
  /// Durability failed for good: every waiter of the domain gets the error and its partitions go offline.
  virtual void domain_failed(std::uint32_t domain, const Status& status) noexcept = 0;

 protected:
  ~DurabilitySink() = default;
};

/// What the host gives to a plugin instance. Lives longer than the instance. Thread-safe throughout.
class Host {
 public:
  Host() = default;
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  /// The name of the instance in the configuration: "wal" for [storage.wal].
  [[nodiscard]] virtual std::string_view instance_name() const noexcept = 0;
  [[nodiscard]] virtual bool log_enabled(LogLevel level) const noexcept = 0;
  /// One line, without the instance name (the host adds it).
  virtual void log(LogLevel level, std::string_view text) noexcept = 0;
  /// Registers (or finds) a metric, named "<kind>_<what>_<unit>", for example "storage_appends_total".
  [[nodiscard]] virtual Metric& metric(MetricKind kind, std::string_view name, std::string_view help) noexcept = 0;
  /// Monotonic clock in nanoseconds.
  [[nodiscard]] virtual std::int64_t monotonic_ns() noexcept = 0;
  /// Wall clock in milliseconds since 1970.
  [[nodiscard]] virtual TimestampMs wall_ms() noexcept = 0;
  [[nodiscard]] virtual BufferSource& buffers() noexcept = 0;
  /// Runs fn(context) on a worker thread of the class, in order of posting within one thread. Never refuses, never runs
  /// inline. Work posted before stop() of the plugin completes before destroy().
  virtual void post(WorkClass work, void (*fn)(void*) noexcept, void* context) noexcept = 0;
  /// The file layer of a storage instance, rooted at its own directory. Only for storage plugins.
  [[nodiscard]] virtual FileSystem& files() noexcept = 0;
  /// Only for storage plugins.
  [[nodiscard]] virtual DurabilitySink& durability() noexcept = 0;

 protected:
  ~Host() = default;
};

}  // namespace streambus
