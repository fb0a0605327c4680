#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "temporary_directory.hpp"

namespace streambus::test {

/// A port of 127.0.0.1 that nobody listens on now.
[[nodiscard]] std::uint16_t free_port();

/// The built streambusd, or what STREAMBUS_PROGRAM in the environment names beside it, as a child, with a data directory of its
/// own and all settings at their defaults unless said otherwise; STREAMBUS_STORAGE names another storage plugin than
/// storage-wal. Failures to start are failures of the test. One thread.
class BrokerProcess {
 public:
  struct Setup {
    std::uint16_t advertised_port = 0;  ///< 0: its own
    std::string more;                   ///< TOML put at the end
    std::string broker;                 ///< TOML put into [broker]
  };
  explicit BrokerProcess(const Setup& setup);
  BrokerProcess() : BrokerProcess(Setup()) {}
  /// Kills it where it still runs.
  ~BrokerProcess();
  BrokerProcess(const BrokerProcess&) = delete;
  BrokerProcess& operator=(const BrokerProcess&) = delete;

  /// Starts it, on the same data, and returns when it says that it is ready.
  void start();
  /// kill -9: what was not written is gone.
  void kill();
  /// SIGTERM; returns the exit code, or -1 when it did not end within the time of a drain.
  int stop();

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  /// Everything that it wrote to its standard error and output.
  [[nodiscard]] std::string log() const;

 private:
  TemporaryDirectory directory_;
  std::uint16_t port_;
  pid_t pid_ = -1;
};

}  // namespace streambus::test
