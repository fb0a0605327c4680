#include "line_reader.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace streambus::command {
namespace {

constexpr std::size_t kReadBytes = std::size_t{256} << 10;

}  // namespace

/// Reads more behind what is there; false at the end or when interrupted.
Result<bool> LineReader::fill() {
  if (start_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + start_, filled_ - start_);
    filled_ -= start_;
    searched_ -= start_;
    start_ = 0;
  }
  if (buffer_.size() - filled_ < kReadBytes) buffer_.resize(std::max(2 * buffer_.size(), filled_ + kReadBytes));
  for (;;) {
    pollfd waits[2] = {{fd_, POLLIN, 0}, {interrupt_, POLLIN, 0}};
    if (poll(waits, interrupt_ >= 0 ? 2 : 1, -1) < 0 && errno != EINTR)
      return std::unexpected(errno_error("waiting for input", errno));
    if (interrupt_ >= 0 && (waits[1].revents & POLLIN) != 0) return false;
    if (waits[0].revents == 0) continue;
    const ssize_t bytes = read(fd_, buffer_.data() + filled_, buffer_.size() - filled_);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return std::unexpected(errno_error("reading input", errno));
    filled_ += static_cast<std::size_t>(bytes);
    return bytes > 0;
  }
}

Result<std::optional<std::string_view>> LineReader::next() {
  for (;;) {
    const void* const newline =
        searched_ < filled_ ? std::memchr(buffer_.data() + searched_, '\n', filled_ - searched_) : nullptr;
    if (newline != nullptr) {
      const auto end = static_cast<std::size_t>(static_cast<const char*>(newline) - buffer_.data());
      const std::string_view line(buffer_.data() + start_, end - start_);
      start_ = searched_ = end + 1;
      line_ready_ = start_ < filled_ && std::memchr(buffer_.data() + start_, '\n', filled_ - start_) != nullptr;
      return line;
    }
    searched_ = filled_;
    if (at_end_) {
      if (start_ == filled_) return std::nullopt;
      const std::string_view line(buffer_.data() + start_, filled_ - start_);
      start_ = searched_ = filled_;
      return line;
    }
    STREAMBUS_TRY_ASSIGN(const bool more, fill());
    if (!more) {
      at_end_ = true;
      pollfd interrupted = {interrupt_, POLLIN, 0};
      if (interrupt_ >= 0 && poll(&interrupted, 1, 0) > 0) return std::nullopt;  // half a line is not a record
    }
  }
}

}  // namespace streambus::command
