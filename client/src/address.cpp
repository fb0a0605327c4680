#include "address.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace streambus::client {
namespace {

bool is_port(std::string_view text) noexcept {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

bool is_digits(std::string_view text) noexcept {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_transport_name(std::string_view text) noexcept {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; });
}

}  // namespace

std::string Address::text() const { return transport == "tcp" ? target : transport + ":" + target; }

Result<Address> parse_address(std::string_view text) {
  const auto wrong = [&](std::string_view why) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not a broker address: {}; expected HOST:PORT, for example 127.0.0.1:9092", text, why));
  };
  const std::size_t first = text.find(':');
  const std::size_t last = text.rfind(':');
  if (first == std::string_view::npos) return wrong("it has no port");
  const bool bracketed = text.starts_with('[');
  if (!bracketed && is_transport_name(text.substr(0, first)) && !is_digits(text.substr(first + 1))) {
    const std::string_view target = text.substr(first + 1);
    if (target.empty()) return wrong("nothing follows the colon");
    return Address{std::string(text.substr(0, first)), std::string(target)};
  }
  if (!bracketed && first != last) return wrong("an IPv6 host needs brackets");
  if (bracketed && (last == 0 || text[last - 1] != ']')) return wrong("the bracket is not closed before the port");
  if (last == 0) return wrong("it has no host");
  if (!is_port(text.substr(last + 1)))
    return wrong(fmt::format("port '{}' is not a number from 1 to 65535", text.substr(last + 1)));
  return Address{"tcp", std::string(text)};
}

Result<std::vector<Address>> parse_bootstrap(std::string_view text) {
  std::vector<Address> addresses;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    STREAMBUS_TRY_ASSIGN(Address address, parse_address(text.substr(0, comma)));
    if (!addresses.empty() && address.transport != addresses.front().transport) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the broker addresses '{}' and '{}' need different transports; use one", addresses.front().text(),
                              address.text()));
    }
    addresses.push_back(std::move(address));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  if (addresses.empty())
    return fail(ErrorCode::invalid_argument, "no broker address given; expected HOST:PORT, for example 127.0.0.1:9092");
  return addresses;
}

std::string join_host_port(std::string_view host, std::int32_t port) {
  const bool ipv6 = host.find(':') != std::string_view::npos;
  return ipv6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

}  // namespace streambus::client
