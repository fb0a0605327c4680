#pragma once

#include <memory>
#include <string>
#include <vector>

#include "streambus/config/config.hpp"
#include "streambus/plugin/broker.hpp"

namespace streambus {

/// A running broker: what streambusd is, and what a program embeds.
class Runtime {
 public:
  /// Creates and starts everything the configuration names; listeners last. On failure nothing is left running.
  [[nodiscard]] static Result<std::unique_ptr<Runtime>> start(ConfigOutcome config);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  /// stop() with the configured time-out.
  ~Runtime();

  /// Drains listeners first, then closes storage, then destroys. Blocks, at most the configured shutdown time-out and the
  /// time of the last flush. Idempotent.
  void stop() noexcept;

  struct BoundListener {
    std::string name;
    std::string transport;
    std::string address;  ///< really bound
  };
  [[nodiscard]] const std::vector<BoundListener>& listeners() const noexcept;
  [[nodiscard]] Broker& broker() noexcept;
  [[nodiscard]] Services& services() noexcept;
  /// One line per plugin in use: "storage  wal    storage-wal 0.1.0  /path/storage-wal.so".
  [[nodiscard]] std::vector<std::string> plugin_summary() const;

 private:
  Runtime();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace streambus
