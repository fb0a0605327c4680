#pragma once

namespace streambus::test {

/// Allocations of the test program so far, by any thread; always 0 in builds with a sanitizer.
[[nodiscard]] long allocation_count() noexcept;

}  // namespace streambus::test
