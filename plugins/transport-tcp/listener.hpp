#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "connection.hpp"

namespace streambus::transport_tcp {

class TcpTransport;

/// At most one line a second, with the number of those left out. For one thread.
class SparseLog {
 public:
  explicit SparseLog(Host& host) : host_(host) {}
  void warn(std::string_view text) noexcept;

 private:
  Host& host_;
  std::int64_t next_ns_ = 0;
  std::uint64_t left_out_ = 0;
};

/// Accepts on one thread of the transport and hands each connection to the thread with the least to do.
class TcpListener final : public Listener {
 public:
  TcpListener(TcpTransport& transport, std::shared_ptr<IoThread> thread, SessionFactory& factory, int fd, std::string address);
  ~TcpListener();

  // Listener
  [[nodiscard]] std::string_view address() const noexcept override { return address_; }
  Status start() noexcept override;
  void drain(std::int64_t deadline_ns) noexcept override;
  void close() noexcept override;

 private:
  enum class State : std::uint8_t { bound, accepting, stopped };

  void wait_acceptable() noexcept;
  void on_acceptable(const boost::system::error_code& error) noexcept;
  void on_pause_over(const boost::system::error_code& error) noexcept;
  [[nodiscard]] bool accept_one() noexcept;
  void hand_over(int fd, const SocketAddress& peer) noexcept;
  void pause_accepting(int errno_value) noexcept;
  void stop_accepting() noexcept;
  void shut() noexcept;
  void finish_if_idle() noexcept;

  TcpTransport& transport_;
  const std::shared_ptr<IoThread> thread_;
  SessionFactory& factory_;
  const std::string address_;
  const std::shared_ptr<transport_common::AcceptGroup> group_;

  // Used by the thread alone.
  OperationMemory memory_;
  Descriptor socket_;
  Timer pause_;
  SparseLog log_;
  bool waiting_ = false;
  bool shut_ = false;

  std::mutex mutex_;
  std::condition_variable stopped_;
  State state_ = State::bound;  // guarded by mutex_
  int fd_;                      // guarded by mutex_ until start()
};

}  // namespace streambus::transport_tcp
