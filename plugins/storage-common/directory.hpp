#pragma once
// How engines lay out a directory: `<topic id, 32 hex digits>/<partition>/`.

#include <algorithm>
#include <string>
#include <vector>

#include "storage-common/small_files.hpp"
#include "storage-common/text.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::storage_common {

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

[[nodiscard]] inline Status check_key(const PartitionKey& key) noexcept {
  if (is_topic_id(key.topic_id) && key.partition >= 0 && key.partition <= 999'999'999) return {};
  return status_of(ErrorCode::invalid_argument,
                   "partition key: expected 32 hexadecimal digits and an index, found '%.40s' and %d",
                   std::string(key.topic_id).c_str(), key.partition);
}

}  // namespace streambus::storage_common
