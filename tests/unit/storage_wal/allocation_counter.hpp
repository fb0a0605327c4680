#pragma once

namespace streambus::test {

/// Allocations of the test program so far, by any thread.
[[nodiscard]] long allocation_count() noexcept;

}  // namespace streambus::test
