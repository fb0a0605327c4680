#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backoff.hpp"
#include "channel.hpp"
#include "event_loop.hpp"
#include "streambus/client/settings.hpp"

namespace streambus::client {

/// Lends connections, one borrower each: a long poll of one must not hold up the requests of another.
/// All calls on the loop's thread.
class ConnectionPool final : public ChannelOwner {
 public:
  using ChannelRef = std::shared_ptr<Channel>;
  using LendCallback = std::move_only_function<void(Result<ChannelRef>)>;

  /// `settings` passed check(). Transport and buffers outlive the pool.
  ConnectionPool(std::shared_ptr<EventLoop> loop, Transport& transport, BufferSource& buffers, PoolSettings settings,
                 std::string client_id, std::uint64_t seed = std::random_device{}());
  ~ConnectionPool() { close(); }

  /// Lends a ready connection to `target`; `done` is called exactly once, never inline. One connection attempt is made per
  /// caller at most; who wants more calls again (the reconnect backoff then delays the attempt).
  /// Errors: as the transport says (refused, timeout), busy after wait_timeout_ms, closed.
  void lend(const std::string& target, LendCallback done);

  /// Gives a connection back, in whatever state. One with unanswered requests is closed: their answers have no reader.
  void give_back(ChannelRef channel);

  [[nodiscard]] PoolStatistics statistics() const;

  /// Closes every connection, fails every waiter.
  void close();

  // ChannelOwner
  void channel_ready(Channel& channel) override;
  void channel_closed(Channel& channel, const Error& error) override;
  void request_timed_out() override { ++statistics_.request_timeouts; }

 private:
  struct Waiter {
    LendCallback done;
    std::int64_t deadline_ns;
    bool counted_wait = false;
  };
  struct Broker {
    Broker(EventLoop& loop, std::function<void()> fire) : timer(loop, std::move(fire)) {}
    std::string target;
    std::vector<ChannelRef> all;
    std::vector<ChannelRef> idle;     ///< the last one given back at the end
    std::vector<ChannelRef> probing;  ///< idle ones that must answer first
    std::deque<Waiter> waiters;
    std::uint32_t connecting = 0;
    std::uint32_t failures = 0;  ///< in a row
    std::int64_t next_attempt_ns = 0;
    std::int64_t attempt_ended_ns = 0;
    std::string last_error;
    Timer timer;
  };

  [[nodiscard]] Broker& broker(const std::string& target);
  void pump(Broker& broker);
  void serve_waiters(Broker& broker, std::int64_t now);
  void connect_more(Broker& broker, std::int64_t now);
  void expire_waiters(Broker& broker, std::int64_t now);
  void maintain_idle(Broker& broker, std::int64_t now);
  void schedule(Broker& broker, std::int64_t now);
  void hand_over(Waiter waiter, ChannelRef channel);
  void probe(Broker& broker, ChannelRef channel);
  void probed(Broker& broker, const ChannelRef& channel, bool healthy);
  void drop(Broker& broker, const ChannelRef& channel, const char* why, std::uint64_t& counter);
  void answer(Waiter& waiter, const Error& error);
  [[nodiscard]] bool too_old(const Channel& channel, std::int64_t now) const noexcept;

  const std::shared_ptr<EventLoop> loop_;
  Transport* const transport_;
  BufferSource* const buffers_;
  const PoolSettings settings_;
  const std::string client_id_;
  Backoff backoff_;
  std::map<std::string, std::unique_ptr<Broker>, std::less<>> brokers_;
  PoolStatistics statistics_;
  std::uint64_t requests_of_closed_ = 0;
  bool closed_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  ///< posted tasks look whether the pool is still there
};

}  // namespace streambus::client
