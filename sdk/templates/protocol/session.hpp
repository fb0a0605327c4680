#pragma once

#include <string>
#include <string_view>

#include "streambus/plugin/broker.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::protocol_acme {

/// One connection. Everything happens on the connection's thread but completed(), which posts there. A session that was closed
/// while a PUT waits lives until that is completed.
class LineSession final : public Session, private ProduceWaiter {
 public:
  LineSession(Host& host, Broker& broker, std::size_t line_bytes_max) noexcept
      : host_(host), broker_(broker), line_bytes_max_(line_bytes_max) {}
  LineSession(const LineSession&) = delete;
  LineSession& operator=(const LineSession&) = delete;

  void opened(Connection& connection) noexcept override;
  [[nodiscard]] MutableBytes receive_buffer() noexcept override;
  void received(std::size_t bytes) noexcept override;
  void writable() noexcept override {}
  void deadline() noexcept override {}
  void drain() noexcept override;
  void closed(const Status& reason) noexcept override;

 private:
  ~LineSession() = default;

  /// Answers the lines that are there, until one has to wait.
  void answer_lines() noexcept;
  void answer(std::string_view line);
  void put(std::string_view topic, std::string_view text);
  void get(std::string_view topic, std::string_view offset);
  void finish_put();
  void completed() noexcept override;
  void resume() noexcept;
  void reply(std::string text);
  void fail(ErrorCode code, std::string_view text);

  Host& host_;
  Broker& broker_;
  const std::size_t line_bytes_max_;
  Connection* connection_ = nullptr;  ///< one reference
  std::byte chunk_[4096];
  std::string input_;
  bool waiting_ = false;  ///< for a PUT
  bool draining_ = false;
  bool closed_ = false;
};

}  // namespace streambus::protocol_acme
