#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "connection.hpp"
#include "loop.hpp"
#include "streambus/plugin/options.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::transport_acme {

/// Unix-domain streams, all served by one thread. An address is the path of a socket.
class LocalTransport final : public Transport {
 public:
  LocalTransport(Host& host, const Options& options);
  ~LocalTransport() override { stop(); }

  Status start() noexcept override;
  Status listen(std::string_view address, SessionFactory& factory, Listener** out) noexcept override;
  Status connect(std::string_view address, std::int64_t timeout_ns, Session& session) noexcept override;
  void stop() noexcept override;

 private:
  enum class State : std::uint8_t { created, running, stopped };

  Host& host_;
  const Settings settings_;
  const std::shared_ptr<Loop> loop_;
  std::atomic<State> state_{State::created};
};

/// A bound socket. Accepts on the loop's thread.
class LocalListener final : public Listener, public Waiter {
 public:
  LocalListener(std::shared_ptr<Loop> loop, const Settings& settings, SessionFactory& factory, std::string path)
      : loop_(std::move(loop)), settings_(settings), factory_(factory), path_(std::move(path)) {}

  /// Errors: busy (somebody listens there), io_error and the like.
  [[nodiscard]] Status bind();

  // Listener
  [[nodiscard]] std::string_view address() const noexcept override { return path_; }
  Status start() noexcept override;
  void drain(std::int64_t deadline_ns) noexcept override;
  void close() noexcept override;

  // Waiter
  void ready(std::uint32_t events) noexcept override;
  void due() noexcept override;
  void shut_down() noexcept override { loop_->remove(*this, fd_); }

 private:
  ~LocalListener() override = default;
  [[nodiscard]] Status bind_once();
  void accepted(int fd) noexcept;
  /// Runs it on the thread and waits.
  template <class Call>
  void run(Call call) noexcept;

  const std::shared_ptr<Loop> loop_;
  const Settings settings_;
  SessionFactory& factory_;
  const std::string path_;
  const std::shared_ptr<Group> group_ = std::make_shared<Group>();
  int fd_ = -1;
  bool started_ = false;
  bool draining_ = false;
};

}  // namespace streambus::transport_acme
