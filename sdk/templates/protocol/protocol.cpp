#include "protocol.hpp"

#include <new>

#include "session.hpp"

namespace streambus::protocol_acme {
namespace {

class Factory final : public SessionFactory {
 public:
  Factory(Host& host, Broker& broker, std::size_t line_bytes_max)
      : host_(host), broker_(broker), line_bytes_max_(line_bytes_max) {}

  [[nodiscard]] Session* create_session() noexcept override {
    Session* const session = new (std::nothrow) LineSession(host_, broker_, line_bytes_max_);
    if (session == nullptr) host_.log(LogLevel::warning, "a connection is refused: out of memory");
    return session;
  }

 private:
  Host& host_;
  Broker& broker_;
  const std::size_t line_bytes_max_;
};

}  // namespace

LineProtocol::LineProtocol(Host& host, const Options& options)
    : host_(host), line_bytes_max_(static_cast<std::size_t>(options.size("line_bytes_max"))) {}

Status LineProtocol::open_factory(Broker& broker, const ListenerInfo& /*listener*/, SessionFactory** out) noexcept {
  *out = new (std::nothrow) Factory(host_, broker, line_bytes_max_);
  return *out != nullptr ? Status{} : Status{ErrorCode::no_space, "out of memory"};
}

void LineProtocol::close_factory(SessionFactory* factory) noexcept { delete static_cast<Factory*>(factory); }

}  // namespace streambus::protocol_acme
