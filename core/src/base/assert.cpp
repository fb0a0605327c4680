#include "streambus/base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace streambus {

void assertion_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "streambus: invariant violated: %s (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace streambus
