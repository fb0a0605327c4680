#pragma once

#include <cstddef>

namespace streambus::test {

/// How often this thread called operator new, in any of its forms, since it started.
[[nodiscard]] std::size_t allocations() noexcept;

}  // namespace streambus::test
