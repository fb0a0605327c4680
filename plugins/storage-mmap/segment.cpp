#include "segment.hpp"

#include <algorithm>

namespace streambus::storage_mmap {
namespace {

constexpr std::size_t kZeroBlockBytes = 65536;
constexpr std::size_t kZeroBlocks = 4;
alignas(4096) constexpr std::byte kZeros[kZeroBlockBytes] = {};

}  // namespace

Status SegmentFile::write_zeros(std::uint64_t from, std::uint64_t to) noexcept {
  while (from < to) {
    Slice slices[kZeroBlocks];
    std::size_t count = 0;
    std::uint64_t step = 0;
    for (; count < kZeroBlocks && from + step < to; step += slices[count++].bytes) {
      slices[count] =
          Slice::memory({kZeros, static_cast<std::size_t>(std::min<std::uint64_t>(to - from - step, kZeroBlockBytes))});
    }
    STREAMBUS_TRY_STATUS(file_->write_at(from, slices, count));
    from += step;
  }
  return {};
}

/// Room on the device for [prepared, bytes), and the file that long. Under growth_.
Status SegmentFile::reserve(std::uint64_t bytes) noexcept {
  Status status = file_->reserve(bytes);
  if (status.ok()) {
    status = file_->truncate(bytes);  // longer: a hole over blocks that are reserved
  } else if (status.code == ErrorCode::unsupported) {
    status = write_zeros(prepared(), bytes);
  }
  if (status.ok()) prepared_.store(bytes, std::memory_order_release);
  return status;
}

Status SegmentFile::extend(std::uint64_t least, std::uint64_t wanted) noexcept {
  const std::lock_guard lock(growth_);
  if (prepared() >= least) return {};
  Status status = reserve(std::max(least, wanted));
  if (status.code != ErrorCode::no_space) return status;
  if (least < wanted) status = reserve(least);
  // What an attempt left behind is given back: others need the space as well.
  if (status.code == ErrorCode::no_space) STREAMBUS_TRY_STATUS(file_->truncate(prepared()));
  return status;
}

Status SegmentFile::fill(std::uint64_t wanted) noexcept {
  constexpr std::uint64_t kStepBytes = kZeroBlockBytes * kZeroBlocks;
  std::uint64_t reached = prepared();
  while (reached < wanted) {
    const std::lock_guard lock(growth_);
    if (prepared() != reached) return {};  // overtaken: what follows is in use
    const std::uint64_t to = std::min(wanted, reached + kStepBytes);
    const Status status = write_zeros(reached, to);
    if (!status.ok()) {
      if (status.code == ErrorCode::no_space) STREAMBUS_TRY_STATUS(file_->truncate(reached));
      return status;
    }
    prepared_.store(to, std::memory_order_release);
    reached = to;
  }
  return {};
}

Status SegmentFile::cut(std::uint64_t bytes) noexcept {
  const std::lock_guard lock(growth_);
  if (prepared() <= bytes) return {};
  STREAMBUS_TRY_STATUS(file_->truncate(bytes));
  prepared_.store(bytes, std::memory_order_release);
  return {};
}

}  // namespace streambus::storage_mmap
