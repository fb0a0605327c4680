#include "transport_fixture.hpp"

#include <filesystem>

namespace streambus::conformance {

Result<> probe_transport(const LoadedPlugin& plugin, const OptionTexts& options, std::span<char> address) {
  PluginObject<Transport> transport(plugin, options);
  STREAMBUS_TRY(to_result(transport.created()));
  STREAMBUS_TRY(to_result(transport->start()));
  TestFactory factory;
  std::string refusals;
  for (const std::string& candidate : {std::string("127.0.0.1:0"), std::string("conformance"),
                                       (std::filesystem::current_path() / "socket").string(), std::string("unix:socket")}) {
    Listener* listener = nullptr;
    const Status status = transport->listen(candidate, factory, &listener);
    if (!status.ok()) {
      refusals += fmt::format("\n  {}: {}", candidate, status.message());
      continue;
    }
    listener->close();
    transport->stop();
    // A path is one of this process's directory; the cases have their own and use the last part.
    const std::string usable = candidate.starts_with('/') ? std::string("{dir}/socket") : candidate;
    usable.copy(address.data(), address.size() - 1);
    return {};
  }
  transport->stop();
  return fail(ErrorCode::unsupported,
              "expected listen() to take one of the addresses that the kit knows, found that it takes none:" + refusals);
}

TransportPair::TransportPair(CaseContext& context, const OptionTexts& server_options)
    : server(context.plugin, server_options), client(context.plugin, context.options), context_(context) {
  for (const auto* one : {&server, &client}) {
    expect_ok(one->created(), "create()");
    expect_ok((*one)->start(), "start()");
  }
}

void TransportPair::listen(TestFactory& factory) {
  factory_ = &factory;
  std::string address = context_.traits.address;
  if (address.starts_with("{dir}")) address.replace(0, 5, std::filesystem::current_path().string());
  expect_ok(server->listen(address, factory, &listener), "listen()");
  expect_ok(listener->start(), "start() of the listener");
}

void TransportPair::close_listener() {
  if (Listener* const open = std::exchange(listener, nullptr); open != nullptr) open->close();
}

void TransportPair::connect(TestSession& session) {
  sessions_.push_back(&session);
  expect_ok(client->connect(listener->address(), 10'000'000'000, session), "connect()");
}

void TransportPair::connect_fully(TestSession& session) {
  const std::size_t before = factory_->count();
  connect(session);
  expect_eventually("a connection to open at its client", [&] { return session.is_open.load(); });
  expect_eventually("a connection to open at its server",
                    [&] { return factory_->count() > before && factory_->at(before).is_open; });
}

void TransportPair::finish() {
  client->stop();
  close_listener();
  server->stop();
  int violations = 0;
  for (const TestSession* const session : sessions_) violations += session->violations;
  if (factory_ != nullptr) factory_->each([&](const TestSession& session) { violations += session.violations; });
  expect_equal("calls of sessions that were nested, after closed() or on another thread", violations, 0);
}

}  // namespace streambus::conformance
