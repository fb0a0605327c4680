#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "connection.hpp"
#include "listener.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::transport_tcp {

/// The plugin's object: its threads, and what listens or connects on them. Thread-safe.
class TcpTransport final : public Transport {
 public:
  TcpTransport(Host& host, const Options& options);
  ~TcpTransport() override;

  // Transport
  Status start() noexcept override;
  Status listen(std::string_view address, SessionFactory& factory, Listener** out) noexcept override;
  Status connect(std::string_view address, std::int64_t timeout_ns, Session& session) noexcept override;
  void stop() noexcept override;

  [[nodiscard]] const Settings& settings() const noexcept { return shared_->settings; }
  [[nodiscard]] const std::shared_ptr<Shared>& shared() const noexcept { return shared_; }
  [[nodiscard]] const std::vector<std::shared_ptr<IoThread>>& threads() const noexcept { return threads_; }

  /// The thread for a new connection, which is counted to it: the one with clearly less traffic of late, else with fewer
  /// connections. By connections alone, the busy ones of clients that open an idle one first would all meet on one thread.
  [[nodiscard]] std::shared_ptr<IoThread> choose_thread() noexcept;
  void forget(TcpListener& listener) noexcept;

 private:
  enum class State : std::uint8_t { created, running, stopped };
  struct Traffic {
    std::uint64_t seen = 0;
    std::uint64_t recent = 0;
  };

  [[nodiscard]] Result<> open_listener(std::string_view address, SessionFactory& factory, Listener** out);
  [[nodiscard]] Status not_running() const noexcept;

  Host& host_;
  const std::shared_ptr<Shared> shared_;
  std::vector<std::shared_ptr<IoThread>> threads_;  // constant after construction

  std::mutex mutex_;
  State state_ = State::created;         // guarded by mutex_
  std::vector<TcpListener*> listeners_;  // guarded by mutex_

  std::mutex choice_mutex_;
  std::vector<Traffic> traffic_;       // guarded by choice_mutex_
  std::int64_t traffic_taken_ns_ = 0;  // guarded by choice_mutex_
  std::size_t turn_ = 0;               // guarded by choice_mutex_
};

}  // namespace streambus::transport_tcp
