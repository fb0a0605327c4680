#include "logger.hpp"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <array>
#include <cstdio>
#include <string>
#include <utility>

namespace streambus {
namespace {

constexpr std::array<spdlog::level::level_enum, 5> kLevels = {spdlog::level::trace, spdlog::level::debug, spdlog::level::info,
                                                              spdlog::level::warn, spdlog::level::err};

/// Appends text as the inside of a JSON string: one line whatever it holds.
void append_escaped(std::string& out, std::string_view text, bool quote) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(byte));
      out += escape;
    } else {
      if (quote && (c == '"' || c == '\\')) out += '\\';
      out += c;
    }
  }
}

std::unique_ptr<spdlog::formatter> make_formatter(LogFormat format) {
  const char* const pattern =
      format == LogFormat::json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})" : "%Y-%m-%dT%H:%M:%S.%eZ %-7l %v";
  return std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::utc);
}

}  // namespace

Logger::Logger(LogSettings settings) : settings_(std::move(settings)) {
  logger_ = std::make_unique<spdlog::logger>("streambus", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger_->set_level(spdlog::level::trace);  // level_of() decides
  logger_->set_formatter(make_formatter(settings_.format));
}

Logger::~Logger() = default;

LogLevel Logger::level_of(std::string_view component) const noexcept {
  for (std::string_view prefix = component; !prefix.empty();) {
    if (const auto found = settings_.component_levels.find(prefix); found != settings_.component_levels.end()) {
      return found->second;
    }
    const std::size_t dot = prefix.rfind('.');
    prefix = dot == std::string_view::npos ? std::string_view{} : prefix.substr(0, dot);
  }
  return settings_.level;
}

void Logger::write(LogLevel level, std::string_view component, std::string_view text) noexcept {
  try {
    const bool json = settings_.format == LogFormat::json;
    std::string line;
    line.reserve(component.size() + text.size() + 32);
    line += json ? R"("component":")" : "[";
    append_escaped(line, component, json);
    line += json ? R"(","message":")" : "] ";
    append_escaped(line, text, json);
    if (json) line += '"';
    logger_->log(kLevels[static_cast<std::size_t>(level)], spdlog::string_view_t(line.data(), line.size()));
  } catch (...) {
    std::fputs("streambus: out of memory while writing a log line\n", stderr);
  }
}

}  // namespace streambus
