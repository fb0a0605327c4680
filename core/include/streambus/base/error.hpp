#pragma once
// Errors are values. Inside one binary they travel as Result<T>; across a plugin boundary as the plain-data Status.

#include <cstdint>
#include <cstring>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace streambus {

/// What went wrong, independent of any wire protocol. A protocol plugin maps these to its own codes in one file.
enum class ErrorCode : std::int32_t {
  ok = 0,
  invalid_argument,         ///< the caller's request is wrong; the same request will fail again
  not_found,                ///< unknown topic, partition, file, plugin
  already_exists,           ///< the thing to create is there
  out_of_range,             ///< offset outside [log start, end]
  corrupt,                  ///< checksum, magic or structure does not hold
  invalid_record,           ///< a batch that is well-formed but not acceptable (for example: record count mismatch)
  unsupported,              ///< a feature, version or setting this build does not offer
  unsupported_format,       ///< a RecordBatch of another magic than 2
  unsupported_compression,  ///< no codec is loaded for this batch
  too_large,                ///< above a configured limit
  io_error,                 ///< the operating system refused; sys_errno says why
  no_space,                 ///< disk or memory bound reached; retriable
  busy,                     ///< out of a bounded resource right now; retriable
  timeout,                  ///< a deadline passed; the outcome may be unknown
  closed,                   ///< the object is closed or closing
  offline,                  ///< the partition was taken offline after a storage failure
  out_of_order_sequence,    ///< idempotent produce: a gap in the producer's sequence
  duplicate_sequence,       ///< idempotent produce: older than what is remembered
  producer_fenced,          ///< idempotent produce: the epoch is older than the current one
  unknown_producer,         ///< idempotent produce: nothing is known of this producer id
  fenced_epoch,             ///< the caller's leader epoch is older than the partition's
  unknown_epoch,            ///< the caller's leader epoch is newer than the partition's
  incompatible,             ///< a plugin built for another ABI, compiler mode or architecture
  permission_denied,        ///< the operating system or a policy forbids it
  cancelled,                ///< stopped by a shutdown
  internal,                 ///< a bug: an invariant did not hold
};

/// Stable lower-case name of a code ("not_found"), for logs and JSON.
[[nodiscard]] std::string_view name_of(ErrorCode code) noexcept;

/// True for failures that may go away by themselves: the caller may send the same request again.
[[nodiscard]] constexpr bool is_retriable(ErrorCode code) noexcept {
  return code == ErrorCode::no_space || code == ErrorCode::busy || code == ErrorCode::timeout || code == ErrorCode::offline;
}

/// The outcome of a call across a plugin boundary: plain data, 168 bytes, no ownership.
/// `text` is NUL-terminated and cut (never overrun) where the message is longer.
struct [[nodiscard]] Status {
  ErrorCode code = ErrorCode::ok;
  std::int32_t sys_errno = 0;  ///< errno of the failing system call, else 0
  char text[160];

  Status() noexcept { text[0] = '\0'; }
  Status(ErrorCode error, std::string_view message, int errno_value = 0) noexcept : code(error), sys_errno(errno_value) {
    const std::size_t length = message.size() < sizeof text - 1 ? message.size() : sizeof text - 1;
    std::memcpy(text, message.data(), length);
    text[length] = '\0';
  }

  [[nodiscard]] bool ok() const noexcept { return code == ErrorCode::ok; }
  [[nodiscard]] std::string_view message() const noexcept { return text; }
};

/// An owned error inside one binary.
struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  int sys_errno = 0;

  Error(ErrorCode error, std::string text, int errno_value = 0)
      : code(error), message(std::move(text)), sys_errno(errno_value) {}
  explicit Error(const Status& status) : code(status.code), message(status.text), sys_errno(status.sys_errno) {}

  [[nodiscard]] Status to_status() const noexcept { return {code, message, sys_errno}; }
};

template <class T = void>
using Result = std::expected<T, Error>;

/// `return fail(ErrorCode::not_found, "...")` from any function that returns a Result.
[[nodiscard]] inline std::unexpected<Error> fail(ErrorCode code, std::string message, int sys_errno = 0) {
  return std::unexpected<Error>(Error(code, std::move(message), sys_errno));
}

/// Turns an errno into an Error: ENOSPC and EDQUOT become no_space, EACCES and EPERM permission_denied,
/// ENOENT not_found, EEXIST already_exists, all others io_error. The message reads "<what>: <strerror>".
[[nodiscard]] Error errno_error(std::string_view what, int errno_value);

/// The same as a Status.
[[nodiscard]] Status errno_status(std::string_view what, int errno_value) noexcept;

/// A Status from the outcome of a Result<void>.
[[nodiscard]] inline Status to_status(const Result<>& result) noexcept {
  return result ? Status{} : result.error().to_status();
}

/// A Result<void> from a Status.
[[nodiscard]] inline Result<> to_result(const Status& status) {
  if (status.ok()) return {};
  return std::unexpected<Error>(Error(status));
}

}  // namespace streambus

/// Returns the error of `expression` (a Result<void>) from the enclosing function.
#define STREAMBUS_TRY(expression)                                                       \
  do {                                                                                  \
    if (auto streambus_try_result = (expression); !streambus_try_result) [[unlikely]] { \
      return std::unexpected(std::move(streambus_try_result).error());                  \
    }                                                                                   \
  } while (false)

#define STREAMBUS_CONCAT_INNER(a, b) a##b
#define STREAMBUS_CONCAT(a, b) STREAMBUS_CONCAT_INNER(a, b)
#define STREAMBUS_TRY_ASSIGN_INNER(temporary, target, expression) \
  auto temporary = (expression);                                  \
  if (!temporary) [[unlikely]]                                    \
    return std::unexpected(std::move(temporary).error());         \
  target = std::move(*temporary)

/// `STREAMBUS_TRY_ASSIGN(auto value, compute());` assigns the value or returns the error.
#define STREAMBUS_TRY_ASSIGN(target, expression) \
  STREAMBUS_TRY_ASSIGN_INNER(STREAMBUS_CONCAT(streambus_try_, __LINE__), target, expression)

/// Returns a bad Status from the enclosing function (one that returns Status).
#define STREAMBUS_TRY_STATUS(expression)                                           \
  do {                                                                             \
    if (auto streambus_status = (expression); !streambus_status.ok()) [[unlikely]] \
      return streambus_status;                                                     \
  } while (false)
