#pragma once

#include <cstdio>
#include <string_view>

#include "streambus/base/ids.hpp"

namespace streambus::storage_common {

/// A short path on the stack: `<topic_id>/<partition>` and the files below it.
class Path {
 public:
  Path() noexcept { text_[0] = '\0'; }

  [[nodiscard]] static Path directory(std::string_view topic_id, PartitionId partition) noexcept {
    Path path;
    path.format("%.*s/%d", static_cast<int>(topic_id.size()), topic_id.data(), partition);
    return path;
  }
  /// `<directory>/<base offset, 20 digits>.<kind>`, as storage-wal names segments.
  [[nodiscard]] static Path segment(std::string_view directory, Offset base, const char* kind) noexcept {
    Path path;
    path.format("%.*s/%020lld.%s", static_cast<int>(directory.size()), directory.data(), static_cast<long long>(base.value),
                kind);
    return path;
  }
  /// `<directory>/<base offset, 20 digits>-<generation, 8 digits>.<kind>`
  [[nodiscard]] static Path segment(std::string_view directory, Offset base, std::uint32_t generation,
                                    const char* kind) noexcept {
    Path path;
    path.format("%.*s/%020lld-%08u.%s", static_cast<int>(directory.size()), directory.data(),
                static_cast<long long>(base.value), generation, kind);
    return path;
  }
  [[nodiscard]] static Path file(std::string_view directory, std::string_view name) noexcept {
    Path path;
    path.format("%.*s/%.*s", static_cast<int>(directory.size()), directory.data(), static_cast<int>(name.size()), name.data());
    return path;
  }

  [[nodiscard]] std::string_view view() const noexcept { return {text_, length_}; }
  [[nodiscard]] const char* c_str() const noexcept { return text_; }
  operator std::string_view() const noexcept { return view(); }  // NOLINT(google-explicit-constructor): a path is text

 private:
  template <class... Args>
  void format(const char* pattern, Args... args) noexcept {
    const int length = std::snprintf(text_, sizeof text_, pattern, args...);
    length_ = length < 0 ? 0 : static_cast<std::size_t>(length);
    if (length_ >= sizeof text_) length_ = sizeof text_ - 1;
  }

  char text_[136];
  std::size_t length_ = 0;
};

}  // namespace streambus::storage_common
