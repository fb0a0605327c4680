#pragma once

#include "log.hpp"

namespace streambus::storage_mmap {

/// Steps through the batch headers of a segment, mapping windows as it goes.
class MmapLog::BatchCursor {
 public:
  /// Walks [position, end). `window`: one that is at hand, may be null.
  BatchCursor(MmapLog& log, Ref<Segment> segment, Ref<Window> window, std::uint64_t position, std::uint64_t end) noexcept
      : log_(log), segment_(std::move(segment)), window_(std::move(window)), position_(position), end_(end) {}

  [[nodiscard]] bool at_end() const noexcept { return position_ >= end_; }
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
  [[nodiscard]] std::uint64_t end() const noexcept { return end_; }
  [[nodiscard]] Segment& segment() const noexcept { return *segment_; }
  /// The window at hand: it contains what was loaded last.
  [[nodiscard]] const Ref<Window>& window() const noexcept { return window_; }
  void go_to(std::uint64_t position) noexcept { position_ = position; }

  /// Loads the header at the position, with `whole` the whole batch. Errors: io_error (a page failed), corrupt (no plausible
  /// header there), those of mapping.
  [[nodiscard]] Status load(bool whole = false);
  /// The loaded header.
  [[nodiscard]] BatchHeader header() const noexcept { return BatchHeader(window_->at(position_)); }
  void next() noexcept { position_ += header().total_bytes(); }

 private:
  [[nodiscard]] Status map(std::uint64_t bytes);

  MmapLog& log_;
  const Ref<Segment> segment_;
  Ref<Window> window_;
  std::uint64_t position_;
  const std::uint64_t end_;
};

}  // namespace streambus::storage_mmap
