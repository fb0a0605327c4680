#pragma once

#include "plugin_object.hpp"
#include "streambus/conformance/test_session.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::conformance {

/// Finds an address that listen() takes, and copies it to `address`. Errors: those of create() and start(), and
/// unsupported where it takes none that the kit knows.
[[nodiscard]] Result<> probe_transport(const LoadedPlugin& plugin, const OptionTexts& options, std::span<char> address);

/// A server and a client object of one plugin, as a broker and a client in one process have them.
class TransportPair {
 public:
  explicit TransportPair(CaseContext& context, const OptionTexts& server_options);
  explicit TransportPair(CaseContext& context) : TransportPair(context, context.options) {}
  TransportPair(const TransportPair&) = delete;
  TransportPair& operator=(const TransportPair&) = delete;

  void listen(TestFactory& factory);
  void close_listener();
  /// Starts to connect a client session, which the caller has prepared and keeps.
  void connect(TestSession& session);
  /// Connects and waits until both ends are open.
  void connect_fully(TestSession& session);
  /// Stops both, and checks that no session was called nested, after closed() or on another thread. The last call.
  void finish();

  PluginObject<Transport> server;
  PluginObject<Transport> client;
  Listener* listener = nullptr;

 private:
  CaseContext& context_;
  TestFactory* factory_ = nullptr;
  std::vector<TestSession*> sessions_;
};

/// Ends the case where the condition does not come true within a minute.
template <class Condition>
void expect_eventually(std::string_view what, Condition condition) {
  if (!eventually(condition)) fail_case(fmt::format("expected {} within a minute", what));
}

}  // namespace streambus::conformance
