#pragma once

#include <cstdio>
#include <cstring>
#include <string_view>

#include "streambus/plugin/storage.hpp"

namespace streambus::storage_wal {

/// A short path on the stack: `<topic_id>/<partition>` and the files below it.
class Path {
 public:
  Path() noexcept { text_[0] = '\0'; }

  [[nodiscard]] static Path directory(std::string_view topic_id, PartitionId partition) noexcept {
    Path path;
    path.format("%.*s/%d", static_cast<int>(topic_id.size()), topic_id.data(), partition);
    return path;
  }
  /// `<directory>/<base offset, 20 digits>.<kind>`, and `-<generation>` behind the offset where it is not 0.
  [[nodiscard]] static Path segment(std::string_view directory, Offset base, std::uint32_t generation,
                                    const char* kind) noexcept {
    char suffix[16] = "";
    if (generation > 0) std::snprintf(suffix, sizeof suffix, "-%u", generation);
    Path path;
    path.format("%.*s/%020lld%s.%s", static_cast<int>(directory.size()), directory.data(), static_cast<long long>(base.value),
                suffix, kind);
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

/// What the name of a segment's file says.
struct SegmentName {
  Offset base;
  std::uint32_t generation = 0;  ///< 0: as it was appended; above: written by a replacement
  auto operator<=>(const SegmentName&) const = default;
};

/// The parts of a file name of the given kind ("log", "index"); false for any other name.
[[nodiscard]] inline bool parse_segment_name(std::string_view name, std::string_view kind, SegmentName* out) noexcept {
  constexpr std::size_t kDigits = 20;
  if (name.size() < kDigits + 1 + kind.size() || !name.ends_with(kind)) return false;
  std::string_view middle = name.substr(kDigits, name.size() - kDigits - kind.size());
  if (middle.back() != '.') return false;
  middle.remove_suffix(1);
  out->generation = 0;
  if (!middle.empty()) {
    if (middle.size() < 2 || middle.size() > 10 || middle[0] != '-' || middle[1] == '0') return false;
    for (const char c : middle.substr(1)) {
      if (c < '0' || c > '9') return false;
      out->generation = out->generation * 10 + static_cast<std::uint32_t>(c - '0');
    }
  }
  std::int64_t value = 0;
  for (const char c : name.substr(0, kDigits)) {
    if (c < '0' || c > '9') return false;
    if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, c - '0', &value)) return false;
  }
  out->base = {value};
  return true;
}

}  // namespace streambus::storage_wal
