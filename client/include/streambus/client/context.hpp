#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "streambus/client/settings.hpp"
#include "streambus/host/batch_codec.hpp"
#include "streambus/host/services.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::client {

/// What producers, consumers and administrators of one bootstrap address share: transport, connections, metadata, codecs
/// and the thread that drives them. Thread-safe. Producers, consumers and administrators keep it alive.
class ClientContext {
 public:
  /// Where plugins are looked for, and how this process logs and bounds its buffers, when there is no broker in it.
  struct HostSettings {
    std::vector<std::filesystem::path> plugin_dirs;  ///< before the folder beside the program
    std::uint32_t transport_threads = 1;             ///< that serve the connections; 0: one per processor
    ServiceSettings services;
  };

  /// Loads the transport plugin that the bootstrap address asks for ("transport-tcp") and starts it. Connects to nothing yet.
  /// Errors: invalid_argument (a setting, the address), not_found or incompatible (a plugin).
  [[nodiscard]] static Result<std::shared_ptr<ClientContext>> create(ClientSettings settings, HostSettings host);
  /// The same with default host settings.
  [[nodiscard]] static Result<std::shared_ptr<ClientContext>> create(ClientSettings settings);

  /// For a program that has services and a started transport already (an embedded broker over inproc): both, and the codecs,
  /// outlive the context. The bootstrap address names what the transport connects to.
  [[nodiscard]] static Result<std::shared_ptr<ClientContext>> embed(ClientSettings settings, Services& services,
                                                                    Transport& transport, const CodecSet& codecs);

  ClientContext(const ClientContext&) = delete;
  ClientContext& operator=(const ClientContext&) = delete;
  /// Closes all connections. Blocks shortly.
  ~ClientContext();

  [[nodiscard]] const ClientSettings& settings() const noexcept;
  /// Of the connection pool. Waits for the context's thread.
  [[nodiscard]] PoolStatistics pool_statistics();
  [[nodiscard]] BufferSource& buffers() noexcept;

  /// The codecs that are loaded; all plugins of that kind in the search path are, at the first call. A plugin that is refused
  /// is left out and logged.
  [[nodiscard]] const CodecSet& codecs();

  struct State;
  [[nodiscard]] State& state() noexcept { return *state_; }

 private:
  ClientContext();
  std::unique_ptr<State> state_;
};

}  // namespace streambus::client
