#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "cluster.hpp"
#include "connection_pool.hpp"
#include "event_loop.hpp"
#include "streambus/client/context.hpp"
#include "streambus/host/codec_loader.hpp"

namespace streambus::client {

/// Members in order of construction; destroyed in the opposite one.
struct ClientContext::State {
  ClientSettings settings;

  // Owned only where there is no broker in the process.
  std::unique_ptr<Services> own_services;
  std::unique_ptr<PluginRegistry> registry;
  Instance<Transport> own_transport;
  LoadedCodecs own_codecs;
  std::once_flag codecs_loaded;

  Services* services = nullptr;
  Transport* transport = nullptr;
  const CodecSet* codecs = nullptr;

  std::shared_ptr<EventLoop> loop;
  std::unique_ptr<ConnectionPool> pool;
  std::unique_ptr<Cluster> cluster;

  [[nodiscard]] Result<> start(std::vector<Address> bootstrap);
  void stop() noexcept;
  void load_codecs();
};

}  // namespace streambus::client
