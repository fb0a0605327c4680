#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "streambus/base/error.hpp"

namespace streambus::command {

/// Reads lines of any length from a file descriptor, bytes untouched. A last line without newline counts.
class LineReader {
 public:
  /// `interrupt`: reading stops when this descriptor becomes readable; -1: none. Owns neither.
  LineReader(int fd, int interrupt) noexcept : fd_(fd), interrupt_(interrupt) {}

  /// The next line without its newline, valid until the next call; none at the end or when interrupted. Blocks.
  [[nodiscard]] Result<std::optional<std::string_view>> next();

  /// True when next() would have to wait for input: the moment to send what is buffered.
  [[nodiscard]] bool would_wait() const noexcept { return !line_ready_; }

 private:
  [[nodiscard]] Result<bool> fill();

  int fd_;
  int interrupt_;
  std::string buffer_;
  std::size_t start_ = 0;     ///< of the next line
  std::size_t searched_ = 0;  ///< no newline in [start_, searched_)
  std::size_t filled_ = 0;
  bool at_end_ = false;
  bool line_ready_ = false;
};

}  // namespace streambus::command
