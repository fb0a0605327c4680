#include "streambus/base/error.hpp"

#include <array>
#include <cerrno>
#include <cstdio>

namespace streambus {
namespace {

constexpr std::array<std::string_view, 26> kNames{
    "ok",
    "invalid_argument",
    "not_found",
    "already_exists",
    "out_of_range",
    "corrupt",
    "invalid_record",
    "unsupported",
    "unsupported_format",
    "unsupported_compression",
    "too_large",
    "io_error",
    "no_space",
    "busy",
    "timeout",
    "closed",
    "offline",
    "out_of_order_sequence",
    "duplicate_sequence",
    "producer_fenced",
    "unknown_producer",
    "fenced_epoch",
    "unknown_epoch",
    "incompatible",
    "permission_denied",
    "cancelled",
};

ErrorCode code_of(int errno_value) noexcept {
  switch (errno_value) {
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
      return ErrorCode::no_space;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::permission_denied;
    case ENOENT:
      return ErrorCode::not_found;
    case EEXIST:
      return ErrorCode::already_exists;
    case EMFILE:
    case ENFILE:
    case EAGAIN:
      return ErrorCode::busy;
    case ETIMEDOUT:
      return ErrorCode::timeout;
    default:
      return ErrorCode::io_error;
  }
}

}  // namespace

std::string_view name_of(ErrorCode code) noexcept {
  const auto index = static_cast<std::size_t>(code);
  return index < kNames.size() ? kNames[index] : "internal";
}

Error errno_error(std::string_view what, int errno_value) { return Error(errno_status(what, errno_value)); }

Status errno_status(std::string_view what, int errno_value) noexcept {
  char reason[96];
  char text[sizeof(Status::text)];
  // The GNU strerror_r: returns the text, which need not be in the buffer.
  const char* words = ::strerror_r(errno_value, reason, sizeof reason);
  const int length = std::snprintf(text, sizeof text, "%.*s: %s", static_cast<int>(what.size()), what.data(), words);
  const auto shown = static_cast<std::size_t>(length < 0 ? 0 : length);
  return {code_of(errno_value), std::string_view(text, shown < sizeof text ? shown : sizeof text - 1), errno_value};
}

}  // namespace streambus
