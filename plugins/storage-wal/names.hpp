#pragma once
// What the names in the engine's directory mean.

#include <algorithm>
#include <new>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "streambus/plugin/files.hpp"

namespace streambus::storage_wal {

/// Names of a directory's entries, copied: a visitor must not call back.
struct Names final : public DirectoryVisitor {
  void entry(std::string_view name, bool is_directory) noexcept override {
    try {
      (is_directory ? directories : files).emplace_back(name);
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  }
  std::vector<std::string> directories;
  std::vector<std::string> files;
  bool out_of_memory = false;
};

[[nodiscard]] inline bool is_topic_id(std::string_view name) noexcept {
  std::byte id[16];
  return parse_topic_id(name, id);
}

[[nodiscard]] inline bool parse_partition(std::string_view name, PartitionId* partition) noexcept {
  if (name.empty() || name.size() > 9 || !std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return false;
  *partition = 0;
  for (const char c : name) *partition = *partition * 10 + (c - '0');
  return true;
}

}  // namespace streambus::storage_wal
