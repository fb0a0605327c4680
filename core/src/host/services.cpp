#include "streambus/host/services.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <mutex>
#include <numeric>
#include <tuple>

#include "executor.hpp"
#include "logger.hpp"
#include "streambus/base/assert.hpp"
#include "streambus/host/units.hpp"

namespace streambus {
namespace {

class MetricValue final : public Metric {
 public:
  explicit MetricValue(MetricKind kind, std::string_view help)
      : kind_(kind), help_(help), buckets_(kind == MetricKind::histogram ? std::make_unique<Buckets>() : nullptr) {}
  void add(std::int64_t amount) noexcept override {
    value_.fetch_add(amount, std::memory_order_relaxed);
    if (buckets_ == nullptr) return;
    const auto bucket = static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(amount, 0))));
    (*buckets_)[bucket].fetch_add(1, std::memory_order_relaxed);
  }
  void set(std::int64_t value) noexcept override { value_.store(value, std::memory_order_relaxed); }

  [[nodiscard]] MetricSample sample(const std::string& name, const std::string& instance) const {
    MetricSample sample{kind_, name, instance, help_, value_.load(std::memory_order_relaxed), {}};
    for (std::size_t i = 0; buckets_ != nullptr && i < buckets_->size(); ++i) {
      sample.buckets.push_back((*buckets_)[i].load(std::memory_order_relaxed));
    }
    return sample;
  }

 private:
  using Buckets = std::array<std::atomic<std::uint64_t>, 64>;  // of values with so many binary digits

  const MetricKind kind_;
  const std::string help_;
  std::atomic<std::int64_t> value_{0};  // of a histogram: the sum
  const std::unique_ptr<Buckets> buckets_;
};

using MetricKey = std::pair<std::string, std::string>;  // name, instance

/// The pool keeps its own counters: they become metrics when somebody asks. The instance is the size of the buffers.
void add_buffer_metrics(const BufferPoolStatistics& pool, std::vector<MetricSample>* samples) {
  const auto add = [&](MetricKind kind, const char* name, const std::string& instance, const char* help, std::uint64_t value) {
    samples->push_back({kind, name, instance, help, static_cast<std::int64_t>(value), {}});
  };
  const auto add_tier = [&](const BufferTierStatistics& tier, const std::string& instance) {
    add(MetricKind::counter, "buffer_hits_total", instance, "Buffers served from those kept for reuse", tier.hits);
    add(MetricKind::counter, "buffer_misses_total", instance, "Buffers that had to be allocated", tier.misses);
    add(MetricKind::gauge, "buffer_in_use", instance, "Buffers lent now", tier.in_use);
    add(MetricKind::gauge, "buffer_high_water", instance, "Most buffers that existed at once", tier.high_water);
    add(MetricKind::gauge, "buffer_idle", instance, "Buffers kept for reuse now", tier.idle);
  };
  for (const BufferTierStatistics& tier : pool.tiers) add_tier(tier, format_size(static_cast<std::int64_t>(tier.bytes)));
  add_tier(pool.oversize, "oversize");
  add(MetricKind::counter, "buffer_refused_total", "", "Requests for a buffer that met the bound, or no memory", pool.refused);
  add(MetricKind::gauge, "buffer_bytes", "", "Memory of all buffers, lent or idle", pool.bytes);
  add(MetricKind::gauge, "buffer_high_water_bytes", "", "Most memory that buffers had at once", pool.bytes_high_water);
}

}  // namespace

std::uint64_t MetricSample::count() const noexcept { return std::accumulate(buckets.begin(), buckets.end(), std::uint64_t{0}); }

std::int64_t MetricSample::quantile(double quantile) const noexcept {
  const double wanted = quantile * static_cast<double>(count());
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    below += buckets[i];
    if (below > 0 && static_cast<double>(below) >= wanted)
      return i == 0 ? 0 : static_cast<std::int64_t>((std::uint64_t{1} << i) - 1);
  }
  return 0;
}

struct Services::State {
  explicit State(const ServiceSettings& settings)
      : logger(settings.log),
        pool(settings.buffers),
        flush("sb-flush", settings.flush_threads),
        background("sb-work", settings.background_threads) {}

  [[nodiscard]] Executor& executor(WorkClass work) noexcept { return work == WorkClass::flush ? flush : background; }

  Logger logger;
  BufferPool pool;
  std::mutex metrics_mutex;
  std::map<MetricKey, MetricValue> metrics;  // guarded by metrics_mutex; a value never moves
  // Last: their threads stop before what the work may use.
  Executor flush;
  Executor background;
};

Services::Services(const ServiceSettings& settings) : state_(std::make_unique<State>(settings)) {}
Services::~Services() = default;

void Services::log(LogLevel level, std::string_view component, std::string_view text) noexcept {
  if (log_enabled(level, component)) state_->logger.write(level, component, text);
}

bool Services::log_enabled(LogLevel level, std::string_view component) const noexcept {
  return level >= state_->logger.level_of(component);
}

Metric& Services::metric(MetricKind kind, std::string_view name, std::string_view instance, std::string_view help) noexcept {
  const std::lock_guard lock(state_->metrics_mutex);
  return state_->metrics.try_emplace({std::string(name), std::string(instance)}, kind, help).first->second;
}

std::vector<MetricSample> Services::metrics() const {
  std::vector<MetricSample> samples;
  add_buffer_metrics(state_->pool.statistics(), &samples);
  {
    const std::lock_guard lock(state_->metrics_mutex);
    for (const auto& [key, metric] : state_->metrics) {
      samples.push_back(metric.sample(key.first, key.second));
    }
  }
  std::ranges::sort(samples, {}, [](const MetricSample& sample) { return std::tie(sample.name, sample.instance); });
  return samples;
}

BufferSource& Services::buffers() noexcept { return state_->pool; }

std::size_t Services::trim_buffers() noexcept { return state_->pool.trim_unused(); }

void Services::post(WorkClass work, void (*fn)(void*) noexcept, void* context) noexcept {
  state_->executor(work).post(fn, context);
}

void Services::wait_idle() noexcept {
  // Flush work may post background work and the other way round; what was posted before the call is done after this.
  state_->flush.wait_idle();
  state_->background.wait_idle();
}

namespace {

/// What one plugin instance sees of the process.
class InstanceHost final : public Host {
 public:
  InstanceHost(Services& services, Services::HostSpec spec) : services_(services), spec_(std::move(spec)) {
    if (spec_.files == nullptr && !spec_.data_directory.empty()) {
      owned_files_ = make_file_system(spec_.data_directory);
      spec_.files = owned_files_.get();
    }
  }
  virtual ~InstanceHost() = default;

  std::string_view instance_name() const noexcept override { return spec_.instance_name; }
  bool log_enabled(LogLevel level) const noexcept override { return services_.log_enabled(level, spec_.component); }
  void log(LogLevel level, std::string_view text) noexcept override { services_.log(level, spec_.component, text); }
  Metric& metric(MetricKind kind, std::string_view name, std::string_view help) noexcept override {
    return services_.metric(kind, name, spec_.instance_name, help);
  }
  std::int64_t monotonic_ns() noexcept override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  TimestampMs wall_ms() noexcept override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  }
  BufferSource& buffers() noexcept override { return services_.buffers(); }
  void post(WorkClass work, void (*fn)(void*) noexcept, void* context) noexcept override { services_.post(work, fn, context); }
  FileSystem& files() noexcept override {
    STREAMBUS_ASSERT(spec_.files != nullptr && "files() is for storage plugins");
    return *spec_.files;
  }
  DurabilitySink& durability() noexcept override {
    STREAMBUS_ASSERT(spec_.durability != nullptr && "durability() is for storage plugins");
    return *spec_.durability;
  }

 private:
  Services& services_;
  Services::HostSpec spec_;
  std::unique_ptr<FileSystem, void (*)(FileSystem*)> owned_files_{nullptr, [](FileSystem*) {}};
};

}  // namespace

std::unique_ptr<Host, void (*)(Host*)> Services::make_host(HostSpec spec) {
  return {new InstanceHost(*this, std::move(spec)), [](Host* host) { delete static_cast<InstanceHost*>(host); }};
}

}  // namespace streambus
