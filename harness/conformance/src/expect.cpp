#include "streambus/conformance/expect.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace streambus::conformance {
namespace {

CaseEnding ending{};

std::string described(const Status& status) {
  return status.ok() ? "ok" : fmt::format("{} ({})", name_of(status.code), status.message());
}

}  // namespace

void set_case_ending(const CaseEnding& wanted) { ending = wanted; }

void fail_case(std::string_view text) {
  if (ending.failed != nullptr) ending.failed(text);
  std::fprintf(stderr, "failed: %.*s\n", static_cast<int>(text.size()), text.data());
  std::abort();
}

void skip_case(std::string_view reason) {
  if (ending.skipped != nullptr) ending.skipped(reason);
  std::fprintf(stderr, "skipped: %.*s\n", static_cast<int>(reason.size()), reason.data());
  std::_Exit(0);
}

void expect_ok(const Status& status, std::string_view what) {
  if (!status.ok()) fail_case(fmt::format("{}: expected ok, found {}", what, described(status)));
}

void expect_code(const Status& status, ErrorCode expected, std::string_view what) {
  if (status.code != expected) fail_case(fmt::format("{}: expected {}, found {}", what, name_of(expected), described(status)));
}

void expect_bytes(std::string_view what, Bytes found, Bytes expected) {
  const auto [in_found, in_expected] = std::ranges::mismatch(found, expected);
  if (in_found == found.end() && in_expected == expected.end()) return;
  const auto position = in_found - found.begin();
  if (in_found == found.end() || in_expected == expected.end()) {
    fail_case(
        fmt::format("{}: expected {} bytes, found {} (equal up to byte {})", what, expected.size(), found.size(), position));
  }
  fail_case(fmt::format("{}: expected {} bytes, found {}; byte {} should be {:#04x} and is {:#04x}", what, expected.size(),
                        found.size(), position, std::to_integer<unsigned>(*in_expected), std::to_integer<unsigned>(*in_found)));
}

}  // namespace streambus::conformance
