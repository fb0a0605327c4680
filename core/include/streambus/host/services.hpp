#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "streambus/base/buffer.hpp"
#include "streambus/base/buffer_pool.hpp"
#include "streambus/host/option_values.hpp"
#include "streambus/host/plugin_registry.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus {

enum class LogFormat : std::uint8_t { text, json };

struct LogSettings {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::text;
  std::map<std::string, LogLevel, std::less<>> component_levels;  ///< "storage.wal" -> debug
};

struct ServiceSettings {
  LogSettings log{};
  BufferPoolSettings buffers{};
  unsigned flush_threads = 2;
  unsigned background_threads = 2;
};

/// The value of one metric at one moment.
struct MetricSample {
  MetricKind kind{};
  std::string name;
  std::string instance;  ///< "wal"; empty for the broker's own
  std::string help;
  std::int64_t value = 0;              ///< of a histogram: the sum
  std::vector<std::uint64_t> buckets;  ///< of a histogram: observations in [2^(i-1), 2^i); [0]: of 0

  /// Of a histogram: how many values were observed.
  [[nodiscard]] std::uint64_t count() const noexcept;
  /// Of a histogram: a bound that the share `quantile` of the observations lies below (0.99); 0 without any.
  [[nodiscard]] std::int64_t quantile(double quantile) const noexcept;
};

/// The services of one process: log, metrics, clocks, buffer pool, workers. Makes the Host of each plugin instance.
/// Thread-safe. Must outlive every Host it made.
class Services {
 public:
  explicit Services(const ServiceSettings& settings);
  Services(const Services&) = delete;
  Services& operator=(const Services&) = delete;
  ~Services();

  /// A line of the program itself; `component` is "broker", "config", "storage.wal".
  void log(LogLevel level, std::string_view component, std::string_view text) noexcept;
  [[nodiscard]] bool log_enabled(LogLevel level, std::string_view component) const noexcept;
  [[nodiscard]] Metric& metric(MetricKind kind, std::string_view name, std::string_view instance,
                               std::string_view help) noexcept;
  /// All metrics, by name and instance.
  [[nodiscard]] std::vector<MetricSample> metrics() const;
  [[nodiscard]] BufferSource& buffers() noexcept;
  /// Gives memory back that no request needed since the last call: for a timer. Returns the bytes.
  std::size_t trim_buffers() noexcept;
  void post(WorkClass work, void (*fn)(void*) noexcept, void* context) noexcept;
  /// Returns when all work posted before the call is done.
  void wait_idle() noexcept;

  struct HostSpec {
    std::string instance_name{};             ///< "wal"
    std::string component{};                 ///< "storage.wal"
    std::filesystem::path data_directory{};  ///< root of files(); empty: none
    DurabilitySink* durability = nullptr;
    FileSystem* files = nullptr;  ///< replaces the real file system: tests
  };
  /// The host object of a plugin instance; destroyed after the instance.
  [[nodiscard]] std::unique_ptr<Host, void (*)(Host*)> make_host(HostSpec spec);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// One created plugin object with its host; destroys in the right order. T is StorageEngine, Codec, Transport, Protocol.
template <class T>
class Instance {
 public:
  Instance() = default;
  Instance(const LoadedPlugin& plugin, std::unique_ptr<Host, void (*)(Host*)> host, T* object) noexcept
      : plugin_(&plugin), host_(std::move(host)), object_(object) {}
  Instance(Instance&& other) noexcept
      : plugin_(other.plugin_), host_(std::move(other.host_)), object_(std::exchange(other.object_, nullptr)) {}
  Instance& operator=(Instance&& other) noexcept {
    std::swap(plugin_, other.plugin_);
    std::swap(host_, other.host_);
    std::swap(object_, other.object_);
    return *this;
  }
  ~Instance() {
    if (object_ != nullptr) plugin_->descriptor().destroy(object_);
  }

  [[nodiscard]] T* get() const noexcept { return object_; }
  [[nodiscard]] T* operator->() const noexcept { return object_; }
  [[nodiscard]] T& operator*() const noexcept { return *object_; }
  [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }
  [[nodiscard]] const LoadedPlugin& plugin() const noexcept { return *plugin_; }

 private:
  const LoadedPlugin* plugin_ = nullptr;
  std::unique_ptr<Host, void (*)(Host*)> host_{nullptr, [](Host*) {}};
  T* object_ = nullptr;
};

/// Calls the plugin's create() and wraps the outcome. Errors carry the plugin's name and its own words.
template <class T>
[[nodiscard]] Result<Instance<T>> create_instance(Services& services, const LoadedPlugin& plugin, const Options& options,
                                                  Services::HostSpec spec) {
  const std::string component = spec.component;
  auto host = services.make_host(std::move(spec));
  void* object = nullptr;
  if (const Status status = plugin.descriptor().create(*host, options, &object); !status.ok()) {
    return fail(status.code,
                "plugin '" + std::string(plugin.name()) + "' refused to be created for [" + component + "]: " + status.text,
                status.sys_errno);
  }
  return Instance<T>(plugin, std::move(host), static_cast<T*>(object));
}

/// The real file system rooted at `root` (created when missing), as plugins see it.
[[nodiscard]] std::unique_ptr<FileSystem, void (*)(FileSystem*)> make_file_system(std::filesystem::path root);

/// The same without creating `root`, and with every change refused (EROFS).
[[nodiscard]] std::unique_ptr<FileSystem, void (*)(FileSystem*)> make_read_only_file_system(std::filesystem::path root);

/// Holds an exclusive lock on `directory`/lock for the life of the process; names the holder's pid when it is taken.
class DirectoryLock {
 public:
  [[nodiscard]] static Result<DirectoryLock> acquire(const std::filesystem::path& directory);
  /// Keeps a broker from starting there, without changing a byte: a shared lock on the file, where there is one.
  /// Errors: busy (a process holds the directory; names its pid), permission_denied, io_error.
  [[nodiscard]] static Result<DirectoryLock> watch(const std::filesystem::path& directory);
  DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  DirectoryLock& operator=(DirectoryLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~DirectoryLock();

 private:
  explicit DirectoryLock(int fd) noexcept : fd_(fd) {}
  int fd_;
};

}  // namespace streambus
