#pragma once
// The client's state machines on one thread, with a clock that moves only when the test says so.

#include "cluster.hpp"
#include "connection_pool.hpp"
#include "event_loop.hpp"
#include "fake_network.hpp"

namespace streambus::test {

class FakeClock final : public client::Clock {
 public:
  std::int64_t now_ns() noexcept override { return now.load(); }
  std::atomic<std::int64_t> now{1'000'000'000};
};

struct ClientRig {
  explicit ClientRig(client::ClientSettings with = {})
      : settings(std::move(with)),
        pool(shared_loop, network, buffers, settings.pool, "test", 1),
        cluster(loop, pool, settings, {client::Address{"tcp", "broker:9092"}}) {}
  ~ClientRig() {
    pool.close();
    settle();
  }

  /// Runs until nothing is left to do at this moment.
  void settle() {
    do {
      loop.run_due();
    } while (network.pump());
    loop.run_due();
  }
  /// Moves the clock, in steps that no timer of the client is shorter than.
  void advance_ms(std::int64_t milliseconds) {
    for (std::int64_t left = milliseconds; left > 0; left -= 5) {
      clock.now += std::min<std::int64_t>(left, 5) * client::kMillisecond;
      settle();
    }
  }

  FakeClock clock;
  const std::shared_ptr<client::EventLoop> shared_loop = std::make_shared<client::EventLoop>(clock);
  client::EventLoop& loop = *shared_loop;
  BufferPool buffers;
  FakeNetwork network;
  FakeBroker broker{network};
  client::ClientSettings settings;
  client::ConnectionPool pool;
  client::Cluster cluster;
};

}  // namespace streambus::test
