#pragma once
// Expectations of conformance cases. A failed one ends the case's process at once, whatever thread it is on and whatever
// broken plugin is on the stack: nothing is unwound. Texts read "what: expected this, found that".

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"

namespace streambus::conformance {

/// Ends the case as failed. Any thread.
[[noreturn]] void fail_case(std::string_view text);

/// Ends the case as not applicable, with the reason.
[[noreturn]] void skip_case(std::string_view reason);

/// How the two above end the process. Set once by the runner, before the plugin is loaded.
struct CaseEnding {
  void (*failed)(std::string_view text);
  void (*skipped)(std::string_view reason);
};
void set_case_ending(const CaseEnding& ending);

/// `expected` says what should have been, and completes "expected ...".
inline void expect(bool holds, std::string_view expected) {
  if (!holds) [[unlikely]]
    fail_case(fmt::format("expected {}", expected));
}

inline std::int64_t shown(Offset value) { return value.value; }
inline std::string_view shown(ErrorCode value) { return name_of(value); }
inline std::string_view shown(std::string_view value) { return value; }
template <class T>
  requires(!std::is_convertible_v<T, std::string_view>)
T shown(const T& value) {
  return value;
}

template <class Found, class Expected>
void expect_equal(std::string_view what, const Found& found, const Expected& expected) {
  if (!(found == expected)) [[unlikely]]
    fail_case(fmt::format("{}: expected {}, found {}", what, shown(expected), shown(found)));
}
template <class Found, class Expected>
void expect_at_least(std::string_view what, const Found& found, const Expected& least) {
  if (found < least) [[unlikely]]
    fail_case(fmt::format("{}: expected at least {}, found {}", what, shown(least), shown(found)));
}
template <class Found, class Expected>
void expect_at_most(std::string_view what, const Found& found, const Expected& most) {
  if (most < found) [[unlikely]]
    fail_case(fmt::format("{}: expected at most {}, found {}", what, shown(most), shown(found)));
}

void expect_ok(const Status& status, std::string_view what);
void expect_code(const Status& status, ErrorCode expected, std::string_view what);
/// Compares byte for byte; says the sizes and the first difference.
void expect_bytes(std::string_view what, Bytes found, Bytes expected);

}  // namespace streambus::conformance
