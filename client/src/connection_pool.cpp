#include "connection_pool.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace streambus::client {
namespace {

bool take(std::vector<ConnectionPool::ChannelRef>& list, const Channel& channel) {
  const auto found = std::ranges::find(list, &channel, &ConnectionPool::ChannelRef::get);
  if (found == list.end()) return false;
  list.erase(found);
  return true;
}

}  // namespace

ConnectionPool::ConnectionPool(std::shared_ptr<EventLoop> loop, Transport& transport, BufferSource& buffers,
                               PoolSettings settings, std::string client_id, std::uint64_t seed)
    : loop_(std::move(loop)),
      transport_(&transport),
      buffers_(&buffers),
      settings_(settings),
      client_id_(std::move(client_id)),
      backoff_(settings_.reconnect_backoff_ms, settings_.reconnect_backoff_max_ms, seed) {}

ConnectionPool::Broker& ConnectionPool::broker(const std::string& target) {
  auto& slot = brokers_[target];
  if (!slot) {
    slot = std::make_unique<Broker>(*loop_, [this, target] { pump(broker(target)); });
    slot->target = target;
  }
  return *slot;
}

void ConnectionPool::lend(const std::string& target, LendCallback done) {
  Waiter waiter{std::move(done), loop_->now_ns() + settings_.wait_timeout_ms * kMillisecond};
  if (closed_) {
    answer(waiter, Error(ErrorCode::closed, "the client is closed"));
    return;
  }
  Broker& to = broker(target);
  to.waiters.push_back(std::move(waiter));
  pump(to);
}

void ConnectionPool::answer(Waiter& waiter, const Error& error) {
  loop_->post([done = std::move(waiter.done), error]() mutable { done(std::unexpected(error)); });
}

void ConnectionPool::hand_over(Waiter waiter, ChannelRef channel) {
  ++statistics_.lends;
  if (waiter.counted_wait) ++statistics_.waits;
  loop_->post([done = std::move(waiter.done), channel = std::move(channel)]() mutable { done(std::move(channel)); });
}

void ConnectionPool::give_back(ChannelRef channel) {
  const auto found = brokers_.find(channel->target());
  if (channel->closed() || closed_ || found == brokers_.end()) return;
  Broker& from = *found->second;
  const std::int64_t now = loop_->now_ns();
  if (channel->in_flight() > 0 || !channel->ready()) {
    std::uint64_t uncounted = 0;
    drop(from, channel, "it was given back with requests unanswered", uncounted);
  } else if (too_old(*channel, now)) {
    drop(from, channel, "it reached its life time", statistics_.closed_life_time);
  } else {
    channel->idle_since_ns = channel->probed_ns = now;
    if (from.waiters.empty()) channel->trim();
    from.idle.push_back(std::move(channel));
  }
  pump(from);
}

bool ConnectionPool::too_old(const Channel& channel, std::int64_t now) const noexcept {
  return settings_.life_time_ms > 0 && now - channel.created_ns >= settings_.life_time_ms * kMillisecond;
}

void ConnectionPool::drop(Broker& broker, const ChannelRef& channel, const char* why, std::uint64_t& counter) {
  const ChannelRef keep = channel;  // NOLINT(performance-unnecessary-copy-initialization): `channel` may be in what is cleared
  ++counter;
  requests_of_closed_ += keep->requests();
  take(broker.idle, *keep);
  take(broker.probing, *keep);
  take(broker.all, *keep);
  keep->close(Error(ErrorCode::closed, fmt::format("{}: the connection was closed because {}", broker.target, why)));
}

/// Does what can be done now: the one place that looks at a broker's state after any change.
void ConnectionPool::pump(Broker& broker) {
  if (closed_) return;
  const std::int64_t now = loop_->now_ns();
  maintain_idle(broker, now);
  serve_waiters(broker, now);
  expire_waiters(broker, now);
  connect_more(broker, now);
  for (Waiter& waiter : broker.waiters) waiter.counted_wait = true;
  schedule(broker, now);
}

void ConnectionPool::serve_waiters(Broker& broker, std::int64_t now) {
  while (!broker.idle.empty() && broker.waiters.size() > broker.probing.size()) {
    ChannelRef channel = std::move(broker.idle.back());
    broker.idle.pop_back();
    const std::int64_t idle_ns = now - channel->probed_ns;
    if (settings_.health_check_idle_ms > 0 && idle_ns >= settings_.health_check_idle_ms * kMillisecond) {
      probe(broker, std::move(channel));
      continue;
    }
    Waiter waiter = std::move(broker.waiters.front());
    broker.waiters.pop_front();
    hand_over(std::move(waiter), std::move(channel));
  }
}

void ConnectionPool::connect_more(Broker& broker, std::int64_t now) {
  const std::size_t coming = broker.connecting + broker.probing.size();
  std::size_t wanted = broker.waiters.size() > coming ? broker.waiters.size() - coming : 0;
  const std::size_t spare = broker.idle.size() + coming;
  if (wanted == 0 && broker.waiters.empty() && spare < settings_.connections_idle_min)
    wanted = settings_.connections_idle_min - spare;
  for (; wanted > 0 && broker.all.size() < settings_.connections_max && now >= broker.next_attempt_ns; --wanted) {
    auto channel = std::make_shared<Channel>(loop_, *buffers_, broker.target, client_id_, settings_, *this);
    broker.all.push_back(channel);
    ++broker.connecting;
    ++statistics_.connects;
    channel->connect(*transport_);
  }
}

void ConnectionPool::expire_waiters(Broker& broker, std::int64_t now) {
  while (!broker.waiters.empty() && broker.waiters.front().deadline_ns <= now) {
    ++statistics_.wait_timeouts;
    const std::string cause =
        broker.all.size() >= settings_.connections_max
            ? fmt::format("all {} connections are in use; raise connections_max or use fewer at once", broker.all.size())
            : (broker.last_error.empty() ? std::string("it does not answer") : broker.last_error);
    answer(broker.waiters.front(), Error(ErrorCode::busy, fmt::format("{}: no connection within {} ms: {}", broker.target,
                                                                      settings_.wait_timeout_ms, cause)));
    broker.waiters.pop_front();
  }
}

void ConnectionPool::maintain_idle(Broker& broker, std::int64_t now) {
  const std::vector<ChannelRef> idle = broker.idle;  // dropping and probing change the list
  for (const ChannelRef& channel : idle) {
    const bool above_minimum = broker.idle.size() > settings_.connections_idle_min;
    if (too_old(*channel, now)) {
      drop(broker, channel, "it reached its life time", statistics_.closed_life_time);
    } else if (above_minimum && settings_.idle_timeout_ms > 0 &&
               now - channel->idle_since_ns >= settings_.idle_timeout_ms * kMillisecond) {
      drop(broker, channel, "it was idle", statistics_.closed_idle);
    } else if (settings_.keepalive_ms > 0 && now - channel->probed_ns >= settings_.keepalive_ms * kMillisecond) {
      take(broker.idle, *channel);
      probe(broker, channel);
    }
  }
}

void ConnectionPool::probe(Broker& broker, ChannelRef channel) {
  ++statistics_.health_checks;
  wire::ApiVersionsRequest message;
  message.client_software_name = "streambus";
  message.client_software_version = "0.1.0";
  broker.probing.push_back(channel);
  const auto sent = channel->request(
      message, [this, alive = std::weak_ptr(alive_), target = broker.target, channel](Result<ResponseFrame> outcome) {
        if (!alive.expired()) probed(this->broker(target), channel, outcome.has_value());
      });
  if (!sent) probed(broker, channel, false);
}

void ConnectionPool::probed(Broker& broker, const ChannelRef& channel, bool healthy) {
  if (!healthy) {
    if (take(broker.probing, *channel)) ++statistics_.closed_unhealthy;
    if (!channel->closed()) {
      std::uint64_t counted_already = 0;
      drop(broker, channel, "it did not answer a health check", counted_already);
    }
  } else if (take(broker.probing, *channel)) {
    channel->probed_ns = loop_->now_ns();
    broker.idle.push_back(channel);
  }
  pump(broker);
}

void ConnectionPool::schedule(Broker& broker, std::int64_t now) {
  std::int64_t next = kNever;
  if (!broker.waiters.empty()) {
    next = broker.waiters.front().deadline_ns;
    if (broker.next_attempt_ns > now) next = std::min(next, broker.next_attempt_ns);
  }
  const bool above_minimum = broker.idle.size() > settings_.connections_idle_min;
  for (const ChannelRef& channel : broker.idle) {
    if (settings_.life_time_ms > 0) next = std::min(next, channel->created_ns + settings_.life_time_ms * kMillisecond);
    if (settings_.idle_timeout_ms > 0 && above_minimum) {
      next = std::min(next, channel->idle_since_ns + settings_.idle_timeout_ms * kMillisecond);
    }
    if (settings_.keepalive_ms > 0) next = std::min(next, channel->probed_ns + settings_.keepalive_ms * kMillisecond);
  }
  if (broker.idle.size() < settings_.connections_idle_min && broker.next_attempt_ns > now)
    next = std::min(next, broker.next_attempt_ns);
  broker.timer.at(next);
}

void ConnectionPool::channel_ready(Channel& channel) {
  Broker& to = broker(channel.target());
  --to.connecting;
  to.failures = 0;
  to.next_attempt_ns = 0;
  to.last_error.clear();
  channel.idle_since_ns = channel.probed_ns = loop_->now_ns();
  to.idle.push_back(channel.shared_from_this());
  pump(to);
}

void ConnectionPool::channel_closed(Channel& channel, const Error& error) {
  Broker& from = broker(channel.target());
  const ChannelRef keep = channel.shared_from_this();
  requests_of_closed_ += keep->requests();
  take(from.all, *keep);
  if (keep->became_ready()) {
    take(from.idle, *keep);
    if (take(from.probing, *keep)) ++statistics_.closed_unhealthy;
    if (error.code == ErrorCode::closed || error.code == ErrorCode::io_error) ++statistics_.closed_by_peer;
  } else {
    // An attempt failed. It was one waiter's; the next waits for the backoff.
    --from.connecting;
    ++statistics_.connect_failures;
    from.next_attempt_ns = loop_->now_ns() + backoff_.after_ns(from.failures++);
    from.last_error = error.message;
    if (!from.waiters.empty()) {
      answer(from.waiters.front(), error);
      from.waiters.pop_front();
    }
  }
  pump(from);
}

PoolStatistics ConnectionPool::statistics() const {
  PoolStatistics result = statistics_;
  result.requests = requests_of_closed_;
  for (const auto& [target, broker] : brokers_) {
    result.open += static_cast<std::uint32_t>(broker->all.size() - broker->connecting);
    result.in_use +=
        static_cast<std::uint32_t>(broker->all.size() - broker->connecting - broker->idle.size() - broker->probing.size());
    result.waiting += static_cast<std::uint32_t>(broker->waiters.size());
    for (const ChannelRef& channel : broker->all) result.requests += channel->requests();
  }
  return result;
}

void ConnectionPool::close() {
  if (std::exchange(closed_, true)) return;
  alive_.reset();
  const Error error(ErrorCode::closed, "the client is closed");
  for (auto& [target, broker] : brokers_) {
    broker->timer.cancel();
    broker->idle.clear();
    broker->probing.clear();
    for (const ChannelRef& channel : std::exchange(broker->all, {})) {
      requests_of_closed_ += channel->requests();
      channel->close(error);
    }
    for (Waiter& waiter : std::exchange(broker->waiters, {})) answer(waiter, error);
  }
}

}  // namespace streambus::client
