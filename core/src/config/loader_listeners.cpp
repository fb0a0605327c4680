// Listeners, and the transports and protocols that they name.

#include <charconv>

#include "loader.hpp"
#include "streambus/host/units.hpp"

namespace streambus::config {
namespace {

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
  bool has_port = false;
};

/// "host", "host:9092", "[::1]:9092". False when it is none of these.
bool split_host_port(std::string_view text, HostPort& out) {
  std::string_view rest;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return false;
    out.host = text.substr(1, end - 1);
    rest = text.substr(end + 1);
  } else {
    const std::size_t colon = text.find(':');
    out.host = text.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view{} : text.substr(colon);
  }
  if (out.host.empty() || out.host.find_first_of(" \t/") != std::string::npos) return false;
  if (rest.empty()) return true;
  const auto [end, error] = std::from_chars(rest.data() + 1, rest.data() + rest.size(), out.port);
  out.has_port = true;
  return rest.front() == ':' && error == std::errc{} && end == rest.data() + rest.size();
}

bool is_loopback(std::string_view host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

}  // namespace

void Loader::read_listeners() {
  const Table* const table = section("listener");
  if (table == nullptr || table->members.empty()) {
    // A file that names storage and codec alone runs: one listener, on the transport that is declared, else tcp.
    const auto transports = declared_names(PluginKind::transport);
    Table implied;
    if (transports.size() == 1) {
      implied.members.push_back({"transport", {}, {Node{{}, std::string(transports.front())}}});
    }
    read_listener({"[listener.main]", "listener.main", &implied, {}}, "main");
    return;
  }
  for (const Member& member : table->members) {
    if (!check_name(member, "listener")) continue;
    const std::string key = "listener." + member.key;
    const Table* const inner = member.node().as<Table>();
    if (inner == nullptr) {
      diagnostics_.error(member.place, "[" + key + "]: " + wrong_kind("a section", member.node()) + "; write [" + key + "]");
      continue;
    }
    read_listener({"[" + key + "]", key, inner, member.place}, member.key);
  }
}

void Loader::read_listener(const SectionScope& scope, const std::string& name) {
  reader_.check_keys(scope, kListenerOptions, {});
  OptionValues values(kListenerOptions);
  reader_.read_options(scope, kListenerOptions, values);
  ListenerSection listener;
  listener.name = name;
  listener.transport = values.text("transport");
  listener.protocol = values.text("protocol");
  listener.address = values.text("address");
  const auto place_of = [&](std::string_view key) {
    const Member* const member = scope.table->find(key);
    return member == nullptr ? scope.place : member->node().place;
  };
  use_or_imply(PluginKind::transport, listener.transport, place_of("transport"));
  use_or_imply(PluginKind::protocol, listener.protocol, place_of("protocol"));
  read_advertised(scope, values.text("advertised"), listener);
  check_address(scope, listener);
  config_.listeners.push_back(std::move(listener));
}

void Loader::read_advertised(const SectionScope& scope, std::string_view advertised, ListenerSection& listener) {
  if (advertised.empty()) return;
  HostPort split;
  if (!split_host_port(advertised, split) || (split.has_port && split.port == 0)) {
    diagnostics_.error(scope.table->find("advertised")->node().place,
                       "advertised in " + scope.header + ": expected HOST:PORT or HOST, with a port from 1 to 65535, found " +
                           quote(advertised) + "; write it like \"broker.example.org:9092\"");
    return;
  }
  listener.advertised_host = split.host;
  listener.advertised_port = split.port;
}

void Loader::check_address(const SectionScope& scope, const ListenerSection& listener) {
  const Member* const member = scope.table->find("address");
  const Place place = member == nullptr ? scope.place : member->node().place;
  if (listener.address.empty()) {
    diagnostics_.error(place,
                       "address in " + scope.header + ": expected where to listen, such as \"127.0.0.1:9092\", found \"\"");
    return;
  }
  HostPort split;
  const bool has_port = split_host_port(listener.address, split) && split.has_port;
  for (const ListenerSection& other : config_.listeners) {
    const bool is_any_port = has_port && split.port == 0;
    if (other.transport == listener.transport && other.address == listener.address && !is_any_port) {
      diagnostics_.error(place, "address in " + scope.header + ": expected an address of its own, found " +
                                    quote(listener.address) + ", which [listener." + other.name +
                                    "] has on the same transport; change one of them");
    }
  }
  if (has_port && !is_loopback(split.host)) {
    diagnostics_.warning(place,
                         scope.header + " listens on " + quote(listener.address) +
                             ", beyond this machine, and there is no authentication yet: whoever reaches it can read and "
                             "write everything. Use 127.0.0.1, or a network that only friends can reach");
  }
}

void Loader::use_or_imply(PluginKind kind, const std::string& name, Place place) {
  if (Declared* const declared = find_declared(kind, name)) {
    declared->is_used = true;
    return;
  }
  const std::string word(name_of(kind));
  const std::string key = word + "." + name;
  if (name.empty() || name.size() > 60 || key_to_toml(name) != name) {
    diagnostics_.error(place, word + ": expected the name of a [" + word + ".NAME] section or of a plugin " + word +
                                  "-NAME, found " + quote(name) + "; a path goes into the key 'plugin' of such a section");
    return;
  }
  const std::string suggestion = did_you_mean(name, declared_names(kind));
  declared_.push_back({kind, name, word + "-" + name, place, true});
  const auto plugin = outcome_.registry->load(kind, word + "-" + name);
  if (!plugin) {
    diagnostics_.error(place, "there is no [" + key + "] section" + suggestion + "\n" + plugin.error().message);
    return;
  }
  const SectionScope implied{"[" + key + "]", key, nullptr, place};
  reader_.resolve(implied, "plugin", quote(word + "-" + name), "default");
  PluginSection section{name, *plugin, OptionValues((*plugin)->options())};
  reader_.read_options(implied, (*plugin)->options(), section.options);
  sections_of(kind).push_back(std::move(section));
}

}  // namespace streambus::config
