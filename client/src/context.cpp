#include "streambus/client/context.hpp"

#include "context_state.hpp"

namespace streambus::client {
namespace {

Services::HostSpec host_spec(std::string instance_name) {
  Services::HostSpec spec;
  spec.component = "client." + instance_name;
  spec.instance_name = std::move(instance_name);
  return spec;
}

}  // namespace

Result<> ClientContext::State::start(std::vector<Address> bootstrap) {
  loop = std::make_shared<EventLoop>(steady_clock());
  pool = std::make_unique<ConnectionPool>(loop, *transport, services->buffers(), settings.pool, settings.client_id);
  cluster = std::make_unique<Cluster>(*loop, *pool, settings, std::move(bootstrap));
  loop->start();
  return {};
}

void ClientContext::State::stop() noexcept {
  if (!loop) return;
  loop->run([this] { pool->close(); });
  if (own_transport) own_transport->stop();  // sessions hear of it before the loop ends
  loop->run([] {});
  loop->stop();
}

void ClientContext::State::load_codecs() {
  own_codecs = streambus::load_codecs(*services, *registry, [this](const Error& error) {
    services->log(LogLevel::warning, "client", "codec left out: " + error.message);
  });
}

ClientContext::ClientContext() : state_(std::make_unique<State>()) {}

ClientContext::~ClientContext() { state_->stop(); }

Result<std::shared_ptr<ClientContext>> ClientContext::create(ClientSettings settings) {
  return create(std::move(settings), HostSettings());
}

Result<std::shared_ptr<ClientContext>> ClientContext::create(ClientSettings settings, HostSettings host) {
  STREAMBUS_TRY(settings.pool.check());
  STREAMBUS_TRY_ASSIGN(auto bootstrap, parse_bootstrap(settings.bootstrap));
  std::shared_ptr<ClientContext> context(new ClientContext());
  State& state = *context->state_;
  state.settings = std::move(settings);
  state.own_services = std::make_unique<Services>(host.services);
  state.registry = std::make_unique<PluginRegistry>(PluginRegistry::default_directories(std::move(host.plugin_dirs)));
  STREAMBUS_TRY_ASSIGN(const LoadedPlugin* const plugin,
                       state.registry->load(PluginKind::transport, "transport-" + bootstrap.front().transport));
  OptionValues options(plugin->options());
  if (options.find("threads") != nullptr) options.set("threads", std::int64_t{host.transport_threads});
  STREAMBUS_TRY_ASSIGN(state.own_transport, create_instance<Transport>(*state.own_services, *plugin, options,
                                                                       host_spec(bootstrap.front().transport)));
  STREAMBUS_TRY(to_result(state.own_transport->start()));
  state.services = state.own_services.get();
  state.transport = state.own_transport.get();
  state.codecs = &state.own_codecs.set;
  STREAMBUS_TRY(state.start(std::move(bootstrap)));
  return context;
}

Result<std::shared_ptr<ClientContext>> ClientContext::embed(ClientSettings settings, Services& services, Transport& transport,
                                                            const CodecSet& codecs) {
  STREAMBUS_TRY(settings.pool.check());
  STREAMBUS_TRY_ASSIGN(auto bootstrap, parse_bootstrap(settings.bootstrap));
  std::shared_ptr<ClientContext> context(new ClientContext());
  State& state = *context->state_;
  state.settings = std::move(settings);
  state.services = &services;
  state.transport = &transport;
  state.codecs = &codecs;
  STREAMBUS_TRY(state.start(std::move(bootstrap)));
  return context;
}

const ClientSettings& ClientContext::settings() const noexcept { return state_->settings; }

PoolStatistics ClientContext::pool_statistics() {
  PoolStatistics statistics;
  state_->loop->run([&] { statistics = state_->pool->statistics(); });
  return statistics;
}

BufferSource& ClientContext::buffers() noexcept { return state_->services->buffers(); }

const CodecSet& ClientContext::codecs() {
  if (state_->registry) std::call_once(state_->codecs_loaded, [this] { state_->load_codecs(); });
  return *state_->codecs;
}

}  // namespace streambus::client
