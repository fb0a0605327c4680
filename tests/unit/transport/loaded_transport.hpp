#pragma once
// A transport plugin, loaded from its shared object and created with a host and options of the tests.

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "streambus/plugin/abi.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::test {

/// Logs into a list; workers are threads of their own; no files.
class RecordingHost final : public Host {
 public:
  ~RecordingHost();

  [[nodiscard]] std::string_view instance_name() const noexcept override { return "test"; }
  [[nodiscard]] bool log_enabled(LogLevel) const noexcept override { return true; }
  void log(LogLevel level, std::string_view text) noexcept override;
  [[nodiscard]] Metric& metric(MetricKind kind, std::string_view name, std::string_view help) noexcept override;
  [[nodiscard]] std::int64_t monotonic_ns() noexcept override;
  [[nodiscard]] TimestampMs wall_ms() noexcept override { return 0; }
  [[nodiscard]] BufferSource& buffers() noexcept override;
  void post(WorkClass work, void (*fn)(void*) noexcept, void* context) noexcept override;
  [[nodiscard]] FileSystem& files() noexcept override;
  [[nodiscard]] DurabilitySink& durability() noexcept override;

  /// How many log lines hold the text.
  [[nodiscard]] std::size_t logged(std::string_view text) const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
  std::vector<std::thread> workers_;
};

using OptionTexts = std::map<std::string, std::string, std::less<>>;

/// A created transport object with its host. Stopped and destroyed with this.
class LoadedTransport {
 public:
  /// Loads "transport-tcp" or another plugin by name; the values replace defaults of its table. `start`: starts it too.
  explicit LoadedTransport(const std::string& plugin, const OptionTexts& values = {}, bool start = true);
  ~LoadedTransport();
  LoadedTransport(const LoadedTransport&) = delete;
  LoadedTransport& operator=(const LoadedTransport&) = delete;

  Transport* operator->() const noexcept { return transport_; }
  Transport& operator*() const noexcept { return *transport_; }
  [[nodiscard]] RecordingHost& host() noexcept { return *host_; }
  /// What create() said.
  [[nodiscard]] const Status& created() const noexcept { return created_; }

 private:
  std::unique_ptr<RecordingHost> host_ = std::make_unique<RecordingHost>();
  const PluginDescriptor* descriptor_ = nullptr;
  Transport* transport_ = nullptr;
  Status created_;
};

}  // namespace streambus::test
