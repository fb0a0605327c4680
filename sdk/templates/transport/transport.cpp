#include "transport.hpp"

#include <stdexcept>
#include <utility>

namespace streambus::transport_acme {
namespace {

Settings parse_settings(const Options& options) {
  Settings settings;
  settings.write_high_water = options.size("write_high_water");
  settings.write_low_water = options.size("write_low_water");
  settings.connections_max = static_cast<std::size_t>(options.integer("connections_max"));
  if (settings.write_low_water > settings.write_high_water) {
    throw std::invalid_argument("write_low_water is " + std::to_string(settings.write_low_water) +
                                " bytes, above write_high_water: expected at most " +
                                std::to_string(settings.write_high_water));
  }
  return settings;
}

Status not_running() noexcept { return {ErrorCode::closed, "the transport is not running"}; }

}  // namespace

LocalTransport::LocalTransport(Host& host, const Options& options)
    : host_(host), settings_(parse_settings(options)), loop_(std::make_shared<Loop>(host)) {}

Status LocalTransport::start() noexcept {
  State expected = State::created;
  if (!state_.compare_exchange_strong(expected, State::running)) return {ErrorCode::closed, "the transport was started before"};
  return loop_->start();
}

Status LocalTransport::listen(std::string_view address, SessionFactory& factory, Listener** out) noexcept {
  *out = nullptr;
  if (state_ != State::running) return not_running();
  auto* const listener = new LocalListener(loop_, settings_, factory, std::string(address));
  if (const Status status = listener->bind(); !status.ok()) {
    listener->close();
    return status;
  }
  *out = listener;
  return {};
}

Status LocalTransport::connect(std::string_view address, std::int64_t timeout_ns, Session& session) noexcept {
  if (state_ != State::running) return not_running();
  struct Dial {
    LocalConnection& connection;
    Session& session;
    std::int64_t deadline_ns;
  };
  auto* const connection = new LocalConnection(loop_, settings_, nullptr, std::string(address));
  auto* const dial = new Dial{*connection, session, host_.monotonic_ns() + timeout_ns};
  loop_->post(
      [](void* context) noexcept {
        const std::unique_ptr<Dial> dialed(static_cast<Dial*>(context));
        dialed->connection.dial(dialed->session, dialed->deadline_ns);
      },
      dial);
  return {};
}

void LocalTransport::stop() noexcept {
  if (state_.exchange(State::stopped) == State::running) loop_->stop();
}

}  // namespace streambus::transport_acme
