#pragma once

#include <memory>
#include <string_view>

#include "streambus/host/services.hpp"

namespace spdlog {
class logger;  // NOLINT(readability-identifier-naming): the name in spdlog
}

namespace streambus {

/// The log of the process: lines on standard error, text or JSON, with a level by component. Thread-safe.
class Logger {
 public:
  explicit Logger(LogSettings settings);
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;
  ~Logger();

  /// The level of the longest configured prefix of the component ("storage" covers "storage.wal"), else the general one.
  [[nodiscard]] LogLevel level_of(std::string_view component) const noexcept;
  /// One line; line breaks and other control characters in the text are escaped.
  void write(LogLevel level, std::string_view component, std::string_view text) noexcept;

 private:
  const LogSettings settings_;
  std::unique_ptr<spdlog::logger> logger_;
};

}  // namespace streambus
