#include "loaded_transport.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <stdexcept>

namespace streambus::test {

namespace {

class NullMetric final : public Metric {
 public:
  void add(std::int64_t) noexcept override {}
  void set(std::int64_t) noexcept override {}
};

/// The few spellings that the tests and the plugins' defaults use: "64KiB", "4MiB", "600s", "50ms".
std::int64_t parse_number(const std::string& text) {
  std::size_t used = 0;
  const std::int64_t number = std::stoll(text, &used);
  static const std::map<std::string, std::int64_t> kUnits = {
      {"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"ms", 1'000'000}, {"s", 1'000'000'000}};
  return number * kUnits.at(text.substr(used));
}

class TextOptions final : public Options {
 public:
  TextOptions(const PluginDescriptor& descriptor, const OptionTexts& values) : values_(values) {
    for (const OptionSpec& spec : std::span(descriptor.options, descriptor.option_count)) {
      values_.emplace(spec.key, spec.default_value != nullptr ? spec.default_value : "");
    }
  }
  [[nodiscard]] bool boolean(std::string_view key) const noexcept override { return text(key) == "true"; }
  [[nodiscard]] std::int64_t integer(std::string_view key) const noexcept override {
    return parse_number(std::string(text(key)));
  }
  [[nodiscard]] double real(std::string_view key) const noexcept override { return std::stod(std::string(text(key))); }
  [[nodiscard]] std::string_view text(std::string_view key) const noexcept override { return values_.find(key)->second; }
  [[nodiscard]] std::uint64_t size(std::string_view key) const noexcept override {
    return static_cast<std::uint64_t>(integer(key));
  }
  [[nodiscard]] std::int64_t duration_ns(std::string_view key) const noexcept override { return integer(key); }
  [[nodiscard]] bool is_set(std::string_view) const noexcept override { return false; }

 private:
  OptionTexts values_;
};

const PluginDescriptor& load(const std::string& name) {
  const std::string path = std::string(STREAMBUS_TEST_PLUGIN_DIR) + "/" + name + ".so";
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(::dlerror());
  const void* symbol = ::dlsym(library, kDescriptorSymbol);
  if (symbol == nullptr) throw std::runtime_error(path + " has no descriptor");
  return *static_cast<const PluginDescriptor*>(symbol);
}

}  // namespace

RecordingHost::~RecordingHost() {
  for (std::thread& worker : workers_) worker.join();
}

void RecordingHost::log(LogLevel, std::string_view text) noexcept {
  const std::lock_guard lock(mutex_);
  lines_.emplace_back(text);
}

Metric& RecordingHost::metric(MetricKind, std::string_view, std::string_view) noexcept {
  static NullMetric metric;
  return metric;
}

std::int64_t RecordingHost::monotonic_ns() noexcept {
  // Another epoch than any clock of the system: a transport may only compare this clock with itself.
  constexpr std::int64_t kEpochNs = 1'000'000'000'000'000;
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count() + kEpochNs;
}

BufferSource& RecordingHost::buffers() noexcept { std::abort(); }
FileSystem& RecordingHost::files() noexcept { std::abort(); }
DurabilitySink& RecordingHost::durability() noexcept { std::abort(); }

void RecordingHost::post(WorkClass, void (*fn)(void*) noexcept, void* context) noexcept {
  const std::lock_guard lock(mutex_);
  workers_.emplace_back([fn, context] { fn(context); });
}

std::size_t RecordingHost::logged(std::string_view text) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::ranges::count_if(lines_, [&](const std::string& line) { return line.contains(text); }));
}

LoadedTransport::LoadedTransport(const std::string& plugin, const OptionTexts& values, bool start)
    : descriptor_(&load(plugin)) {
  const TextOptions options(*descriptor_, values);
  void* object = nullptr;
  created_ = descriptor_->create(*host_, options, &object);
  transport_ = static_cast<Transport*>(object);
  if (!start || transport_ == nullptr) return;
  if (const Status status = transport_->start(); !status.ok()) throw std::runtime_error(status.text);
}

LoadedTransport::~LoadedTransport() {
  if (transport_ == nullptr) return;
  transport_->stop();
  descriptor_->destroy(transport_);
}

}  // namespace streambus::test
