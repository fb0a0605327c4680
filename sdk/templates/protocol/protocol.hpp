#pragma once

#include "streambus/plugin/host.hpp"
#include "streambus/plugin/options.hpp"
#include "streambus/plugin/protocol.hpp"

namespace streambus::protocol_acme {

/// A protocol of lines. Requests, each answered before the next is looked at; the partition is always 0:
///
///   PUT topic text        ->  OK offset             the text, up to the end of the line, is on the device (or what the topic's
///                                                   storage promises)
///   GET topic offset      ->  MSG offset bytes      then so many bytes and a line feed: the first record at or behind the
///   offset
///                             END offset            there is none yet; this will be the next one's offset
///   anything else         ->  ERR text
class LineProtocol final : public Protocol {
 public:
  LineProtocol(Host& host, const Options& options);

  Status open_factory(Broker& broker, const ListenerInfo& listener, SessionFactory** out) noexcept override;
  void close_factory(SessionFactory* factory) noexcept override;

 private:
  Host& host_;
  const std::size_t line_bytes_max_;
};

}  // namespace streambus::protocol_acme
