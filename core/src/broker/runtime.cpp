#include "streambus/broker/runtime.hpp"

#include <charconv>
#include <chrono>
#include <thread>

#include "broker_core.hpp"
#include "storage_record.hpp"
#include "streambus/host/batch_codec.hpp"
#include "streambus/plugin/protocol.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus {
namespace {

/// Stands in for a protocol's factory while the listener is bound: the factory wants to know the bound address.
class LateFactory final : public SessionFactory {
 public:
  [[nodiscard]] Session* create_session() noexcept override { return target == nullptr ? nullptr : target->create_session(); }
  SessionFactory* target = nullptr;  ///< set before the listener starts to accept
};

struct CloseListener {
  void operator()(Listener* listener) const noexcept { listener->close(); }
};

struct RunningListener {
  Runtime::BoundListener bound;
  Protocol* protocol = nullptr;
  std::unique_ptr<LateFactory> factory;
  std::unique_ptr<Listener, CloseListener> listener;
};

template <class T>
struct NamedInstance {
  std::string name;
  std::string kind;
  Instance<T> object;
};

std::int64_t monotonic_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// "127.0.0.1:9092" or "[::1]:9092" in two parts; port 0 where there is none (inproc names).
std::pair<std::string_view, std::uint16_t> split_address(std::string_view address) noexcept {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return {address, 0};
  std::uint16_t port = 0;
  const std::string_view digits = address.substr(colon + 1);
  std::from_chars(digits.data(), digits.data() + digits.size(), port);
  std::string_view host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return {host, port};
}

std::string all_errors(const std::vector<Diagnostic>& diagnostics) {
  std::string text;
  for (const Diagnostic& diagnostic : diagnostics) {
    if (diagnostic.is_error) text += (text.empty() ? "" : "\n") + diagnostic.text;
  }
  return text.empty() ? "there is no configuration" : text;
}

template <class T>
T* find_instance(std::vector<NamedInstance<T>>& instances, std::string_view name) noexcept {
  for (auto& instance : instances) {
    if (instance.name == name) return instance.object.get();
  }
  return nullptr;
}

}  // namespace

/// Members in the order of construction; the destructor of State runs backwards, after stop().
struct Runtime::State {
  BrokerConfig config;
  std::unique_ptr<PluginRegistry> registry;
  std::optional<DirectoryLock> lock;
  std::unique_ptr<Services> services;
  std::unique_ptr<Host, void (*)(Host*)> host{nullptr, [](Host*) {}};
  std::unique_ptr<broker::DomainTable> domains;
  std::vector<NamedInstance<Codec>> codecs;
  CodecSet codec_set;
  std::vector<NamedInstance<StorageEngine>> storages;
  std::size_t storages_started = 0;
  std::unique_ptr<broker::BrokerCore> core;
  std::vector<NamedInstance<Protocol>> protocols;
  std::vector<NamedInstance<Transport>> transports;
  std::size_t transports_started = 0;
  std::vector<RunningListener> listeners;
  std::vector<BoundListener> bound;
  bool stopped = false;

  Result<> start();
  void stop() noexcept;

 private:
  template <class T>
  Result<> create(const std::vector<PluginSection>& sections, const char* kind, std::vector<NamedInstance<T>>& out);
  Result<> start_services();
  Result<> start_codecs();
  Result<> start_storages();
  Result<> start_broker();
  Result<> start_listeners();
  Result<> bind(const ListenerSection& section);
  void stop_listeners() noexcept;
  void log(LogLevel level, const std::string& text) noexcept { services->log(level, "broker", text); }
};

Result<> Runtime::State::start() {
  STREAMBUS_TRY(start_services());
  STREAMBUS_TRY(start_codecs());
  STREAMBUS_TRY(start_storages());
  STREAMBUS_TRY(start_broker());
  return start_listeners();
}

Result<> Runtime::State::start_services() {
  std::error_code error;
  std::filesystem::create_directories(config.data_dir, error);
  if (error) {
    return fail(ErrorCode::io_error, "data directory '" + config.data_dir.string() + "' cannot be created: " + error.message(),
                error.value());
  }
  STREAMBUS_TRY_ASSIGN(lock, DirectoryLock::acquire(config.data_dir));
  services = std::make_unique<Services>(config.services);
  host = services->make_host({.instance_name = "broker",
                              .component = "broker",
                              .data_directory = config.data_dir / "meta",
                              .durability = nullptr,
                              .files = nullptr});
  domains = std::make_unique<broker::DomainTable>(*host);
  return {};
}

template <class T>
Result<> Runtime::State::create(const std::vector<PluginSection>& sections, const char* kind,
                                std::vector<NamedInstance<T>>& out) {
  constexpr bool kIsStorage = std::is_same_v<T, StorageEngine>;
  for (const PluginSection& section : sections) {
    Services::HostSpec spec{.instance_name = section.name,
                            .component = std::string(kind) + "." + section.name,
                            .data_directory = {},
                            .durability = nullptr,
                            .files = nullptr};
    if (kIsStorage) {
      spec.data_directory = config.data_dir / "storage" / section.name;
      spec.durability = domains.get();
    }
    STREAMBUS_TRY_ASSIGN(Instance<T> object, create_instance<T>(*services, *section.plugin, section.options, std::move(spec)));
    out.push_back({section.name, kind, std::move(object)});
  }
  return {};
}

Result<> Runtime::State::start_codecs() {
  STREAMBUS_TRY(create(config.codecs, "codec", codecs));
  for (const auto& codec : codecs) {
    auto added = codec_set.add(*codec.object);
    if (!added) return fail(added.error().code, "[codec." + codec.name + "]: " + added.error().message);
  }
  return {};
}

Result<> Runtime::State::start_storages() {
  STREAMBUS_TRY(broker::update_storage_record(host->files(), config.data_dir / "storage", config.storages));
  STREAMBUS_TRY(create(config.storages, "storage", storages));
  for (auto& storage : storages) {
    if (const Status status = storage.object->start(); !status.ok()) {
      return fail(status.code, "[storage." + storage.name + "] does not start: " + status.text, status.sys_errno);
    }
    ++storages_started;
  }
  return {};
}

Result<> Runtime::State::start_broker() {
  std::map<std::string, StorageEngine*, std::less<>> engines;
  for (auto& storage : storages) engines.emplace(storage.name, storage.object.get());
  broker::BrokerSettings settings{.node_id = config.node_id,
                                  .auto_create_topics = config.auto_create_topics,
                                  .maintenance_interval_ms = config.retention_check_interval_ms,
                                  .compaction = config.compaction,
                                  .housekeeping = [this] { services->trim_buffers(); },
                                  .topic_defaults = config.topic_defaults};
  for (auto& [name, value] : settings.topic_defaults.settings) {
    auto checked = broker::check_setting(name, value, codec_set);
    if (!checked) return fail(checked.error().code, "[topic_defaults]: " + checked.error().message);
    value = std::move(*checked);
  }
  core = std::make_unique<broker::BrokerCore>(*host, *domains, codec_set, std::move(engines), std::move(settings));
  STREAMBUS_TRY(core->start(config.topics));
  core->start_maintenance();
  return {};
}

Result<> Runtime::State::bind(const ListenerSection& section) {
  const std::string place = "[listener." + section.name + "]: ";
  Transport* const transport = find_instance(transports, section.transport);
  Protocol* const protocol = find_instance(protocols, section.protocol);
  if (transport == nullptr || protocol == nullptr) {
    return fail(ErrorCode::invalid_argument,
                place +
                    (transport == nullptr ? "transport '" + section.transport + "'" : "protocol '" + section.protocol + "'") +
                    " is not in the configuration");
  }
  // In its final place: the protocol keeps views of the bound address.
  RunningListener& running = listeners.emplace_back(
      RunningListener{.bound = {}, .protocol = protocol, .factory = std::make_unique<LateFactory>(), .listener = nullptr});
  Listener* listener = nullptr;
  if (const Status status = transport->listen(section.address, *running.factory, &listener); !status.ok()) {
    return fail(status.code, place + status.text, status.sys_errno);
  }
  running.listener.reset(listener);
  running.bound = {section.name, section.transport, std::string(listener->address())};
  const auto [bound_host, bound_port] = split_address(running.bound.address);
  const ListenerInfo info{
      .name = section.name,
      .address = running.bound.address,
      .advertised_host = section.advertised_host.empty() ? bound_host : std::string_view(section.advertised_host),
      .advertised_port = section.advertised_port == 0 ? bound_port : section.advertised_port};
  if (const Status status = protocol->open_factory(*core, info, &running.factory->target); !status.ok()) {
    return fail(status.code, place + status.text, status.sys_errno);
  }
  return {};
}

Result<> Runtime::State::start_listeners() {
  STREAMBUS_TRY(create(config.protocols, "protocol", protocols));
  STREAMBUS_TRY(create(config.transports, "transport", transports));
  for (auto& transport : transports) {
    if (const Status status = transport.object->start(); !status.ok()) {
      return fail(status.code, "[transport." + transport.name + "] does not start: " + status.text, status.sys_errno);
    }
    ++transports_started;
  }
  listeners.reserve(config.listeners.size());  // factories keep views of what lies in here
  for (const ListenerSection& section : config.listeners) STREAMBUS_TRY(bind(section));
  for (RunningListener& running : listeners) {
    if (const Status status = running.listener->start(); !status.ok()) {
      return fail(status.code, "[listener." + running.bound.name + "]: " + status.text, status.sys_errno);
    }
    bound.push_back(running.bound);
  }
  return {};
}

void Runtime::State::stop_listeners() noexcept {
  const std::int64_t deadline = monotonic_ns() + config.shutdown_timeout_ms * 1'000'000;
  {
    std::vector<std::jthread> draining;  // at the same time: none goes on accepting while another waits
    for (RunningListener& running : listeners) {
      if (!running.listener) continue;  // could not be bound
      const auto drain = [&running, deadline] { running.listener->drain(deadline); };
      try {
        draining.emplace_back(drain);
      } catch (const std::exception&) {
        drain();  // no more threads to be had: one after the other
      }
    }
  }
  for (RunningListener& running : listeners) running.listener.reset();
  // What is still waiting is told so while the transports' threads can carry the answer: sessions end with their last wait.
  if (services) services->wait_idle();
  if (core) core->stop();
  while (transports_started > 0) transports[--transports_started].object->stop();
  if (services) services->wait_idle();
  for (RunningListener& running : listeners) {
    if (running.factory->target != nullptr) running.protocol->close_factory(running.factory->target);
  }
  listeners.clear();
}

void Runtime::State::stop() noexcept {
  if (stopped) return;
  stopped = true;
  stop_listeners();
  while (storages_started > 0) {
    auto& storage = storages[--storages_started];
    if (const Status status = storage.object->stop(); !status.ok()) {
      log(LogLevel::error, "[storage." + storage.name + "] did not stop cleanly: " + status.text);
    }
  }
  if (services) services->wait_idle();  // no plugin's work outlives it
}

Runtime::Runtime() : state_(std::make_unique<State>()) {}

Runtime::~Runtime() { stop(); }

Result<std::unique_ptr<Runtime>> Runtime::start(ConfigOutcome config) {
  if (!config.config) return fail(ErrorCode::invalid_argument, all_errors(config.diagnostics));
  std::unique_ptr<Runtime> runtime(new Runtime);
  State& state = *runtime->state_;
  state.config = std::move(*config.config);
  state.registry = std::move(config.registry);
  STREAMBUS_TRY(state.start());  // what was started stops with the runtime
  return runtime;
}

void Runtime::stop() noexcept { state_->stop(); }

const std::vector<Runtime::BoundListener>& Runtime::listeners() const noexcept { return state_->bound; }
Broker& Runtime::broker() noexcept { return *state_->core; }
Services& Runtime::services() noexcept { return *state_->services; }

std::vector<std::string> Runtime::plugin_summary() const {
  std::vector<std::string> lines;
  const auto describe = [&lines](const auto& instances) {
    for (const auto& instance : instances) {
      const LoadedPlugin& plugin = instance.object.plugin();
      std::string line = instance.kind;
      const auto column = [&line](std::size_t width) { line.append(width > line.size() ? width - line.size() : 1, ' '); };
      column(11);
      line += instance.name;
      column(23);
      line += std::string(plugin.name()) + " " + std::string(plugin.version());
      column(48);
      line += plugin.path().empty() ? std::string("(linked in)") : plugin.path().string();
      lines.push_back(std::move(line));
    }
  };
  describe(state_->storages);
  describe(state_->codecs);
  describe(state_->transports);
  describe(state_->protocols);
  return lines;
}

}  // namespace streambus
