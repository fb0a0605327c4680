#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace streambus {

/// What keeps the process alive when a page of a mapped file cannot be had (the file was truncated, its device answers EIO).
///
/// The kernel then sends SIGBUS to the thread that touched the page. One handler for the whole process looks the address up
/// in a table of guarded ranges. Inside one it puts a page of zeros in the place of the page that failed, marks the range and
/// returns, so that the access is done again and succeeds. Outside of all it hands over to whoever handled SIGBUS before.
class BusGuard {
 public:
  /// One guarded range; its address is constant while the process lives.
  struct Range {
    std::atomic<std::uintptr_t> begin{0};
    std::atomic<std::uintptr_t> end{0};  ///< 0: unused
    std::atomic<bool> failed{false};
  };

  /// Guards [begin, begin + bytes), page-aligned, which the caller has mapped. Installs the handler the first time.
  /// Null: out of memory. Thread-safe.
  [[nodiscard]] static Range* add(const void* begin, std::size_t bytes) noexcept;
  /// Stops guarding; the caller unmaps afterwards. Nobody touches the range any more.
  static void remove(Range* range) noexcept;
  /// Ranges that are guarded now.
  [[nodiscard]] static std::uint64_t count() noexcept;
};

}  // namespace streambus
