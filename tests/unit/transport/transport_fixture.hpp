#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "loaded_transport.hpp"
#include "test_session.hpp"

namespace streambus::test {

/// A server and a client object of the same plugin, as a broker and a client in one process have them.
class TransportPair {
 public:
  explicit TransportPair(std::string plugin, const OptionTexts& server_options = {}, const OptionTexts& client_options = {})
      : plugin_(std::move(plugin)), server(plugin_, server_options), client(plugin_, client_options) {}
  ~TransportPair() {
    client->stop();
    close_listener();
    server->stop();
    EXPECT_EQ(violations(), 0) << "a session was called nested, after closed() or on another thread";
  }

  [[nodiscard]] std::string any_address() const { return plugin_ == "transport-tcp" ? "127.0.0.1:0" : "main"; }

  void listen(TestFactory& factory) {
    factory_ = &factory;
    const Status status = server->listen(any_address(), factory, &listener);
    ASSERT_TRUE(status.ok()) << status.text;
    ASSERT_TRUE(listener->start().ok());
  }
  void close_listener() {
    if (Listener* open = std::exchange(listener, nullptr); open != nullptr) open->close();
  }
  /// Starts to connect a client session, which the caller has prepared and keeps.
  void connect(TestSession& session) {
    sessions_.push_back(&session);
    const Status status = client->connect(listener->address(), 10'000'000'000, session);
    ASSERT_TRUE(status.ok()) << status.text;
  }
  /// Connects and waits until both ends are open.
  void connect_fully(TestSession& session) {
    const std::size_t before = factory_->count();
    connect(session);
    ASSERT_TRUE(eventually([&] { return session.is_open.load(); }));
    ASSERT_TRUE(eventually([&] { return factory_->count() > before && factory_->at(before).is_open; }));
  }
  [[nodiscard]] int violations() {
    int sum = 0;
    for (const TestSession* session : sessions_) sum += session->violations;
    if (factory_ != nullptr) factory_->each([&](const TestSession& session) { sum += session.violations; });
    return sum;
  }

 private:
  std::string plugin_;
  TestFactory* factory_ = nullptr;
  std::vector<TestSession*> sessions_;

 public:
  LoadedTransport server;
  LoadedTransport client;
  Listener* listener = nullptr;
};

}  // namespace streambus::test
