#pragma once

#include <atomic>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <memory>
#include <string>

#include "address.hpp"
#include "io_thread.hpp"
#include "settings.hpp"
#include "transport-common/connection_base.hpp"
#include "transport-common/slice_queue.hpp"

namespace streambus::transport_tcp {

using Descriptor = asio::posix::basic_stream_descriptor<asio::io_context::executor_type>;

/// What all connections of one transport share. Outlives them by shared ownership.
struct Shared {
  explicit Shared(const Settings& from) : settings(from) {}
  const Settings settings;
  std::atomic<std::uint64_t> queued_bytes{0};  ///< waiting to be sent on all connections
};

/// A TCP connection. Reads when the socket is readable and the session gives memory; sends at once and waits for the
/// socket only with what the kernel did not take.
class TcpConnection final : public transport_common::ConnectionBase {
 public:
  /// `fd` is a connected, non-blocking socket, or -1 for one that is still to connect. Takes it over.
  TcpConnection(const std::shared_ptr<IoThread>& thread, std::shared_ptr<Shared> shared,
                std::shared_ptr<transport_common::AcceptGroup> group, std::string peer, int fd);

  /// Serves an accepted connection with the session (null: refused). On the thread.
  void serve(Session* session) noexcept;
  /// Connects to the first address that answers, then serves the session. On the thread. `connect_fails()` ends it too.
  void expect_connection(Session& session, std::int64_t deadline_ns) noexcept;
  void connect_to(std::vector<SocketAddress> addresses) noexcept;
  void connect_fails(const Status& reason) noexcept;

  // Connection
  void write(std::span<const Slice> slices, Pin* keep) noexcept override;
  [[nodiscard]] std::uint64_t queued_bytes() const noexcept override { return output_.bytes(); }

  void shut_down() noexcept override;

 private:
  ~TcpConnection() override;

  // ConnectionBase
  void dispose() noexcept override { delete this; }
  void flush_output() noexcept override;
  void continue_reading() noexcept override;
  void release_io(bool flushed) noexcept override;
  void transport_due(std::int64_t now_ns) noexcept override;

  void begin(Session* session) noexcept;
  void wait_readable() noexcept;
  void wait_writable() noexcept;
  void on_readable(const boost::system::error_code& error) noexcept;
  void on_writable(const boost::system::error_code& error) noexcept;
  void read_turn() noexcept;
  [[nodiscard]] bool reads_wait() const noexcept;

  /// What became of one attempt to send.
  enum class Sent : std::uint8_t { all, part, failed };
  [[nodiscard]] Sent send_memory(std::uint64_t& budget) noexcept;
  [[nodiscard]] Sent send_file(std::uint64_t& budget) noexcept;
  [[nodiscard]] Sent sent(std::uint64_t bytes, std::uint64_t wanted, std::uint64_t& budget) noexcept;
  [[nodiscard]] Sent not_sent(std::string_view what) noexcept;
  void count_queued() noexcept;

  void try_next_address() noexcept;
  void on_connect_ready() noexcept;
  void discard_input() noexcept;
  void close_socket() noexcept;
  void let_go() noexcept;

  struct Dial {
    std::vector<SocketAddress> addresses;
    std::size_t next = 0;
    Status last;
  };

  const std::shared_ptr<Shared> shared_;
  IoThread& io_;
  OperationMemory read_memory_;
  OperationMemory write_memory_;
  Descriptor socket_;
  int fd_;
  transport_common::SliceQueue output_;
  std::uint64_t counted_bytes_ = 0;  // our share of shared_->queued_bytes
  std::unique_ptr<Dial> dial_;       // while connecting
  std::int64_t quiet_since_ns_ = 0;  // when the idle check last saw traffic
  bool active_ = false;              // bytes moved since the last idle check
  bool waits_readable_ = false;
  bool waits_writable_ = false;
  bool peer_finished_ = false;  // end of input was seen
  bool lingering_ = false;      // closed for the session; input is discarded until the peer has read everything
  bool socket_gone_ = false;    // what is still to come are the completions of cancelled waits
};

/// Sets what the options ask for; on a listening socket its connections inherit it.
void configure_socket(int fd, const Settings& settings) noexcept;

}  // namespace streambus::transport_tcp
