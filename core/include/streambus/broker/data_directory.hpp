#pragma once
// A broker's data directory seen from outside, while no broker runs on it.

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "streambus/base/error.hpp"
#include "streambus/plugin/inspection.hpp"

namespace streambus {

/// A storage section as the broker last ran it.
struct StoredInstance {
  std::string name;                                         ///< "wal": its data is in data_dir/storage/wal
  std::string plugin;                                       ///< "storage-wal"
  std::string version;                                      ///< of the plugin
  std::map<std::string, std::string, std::less<>> options;  ///< those that were set, as text; no secrets

  bool operator==(const StoredInstance&) const = default;
};

/// What the broker's own files under data_dir/meta say.
struct DataDirectory {
  struct Topic {
    std::string name;
    std::string id;  ///< 32 hexadecimal digits
    std::string storage;
    std::int32_t partitions = 0;
  };
  /// Something wrong with one of these files.
  struct Problem {
    FindingKind kind = FindingKind::damage;
    std::string file;  ///< below the data directory
    std::string text;
    std::string repair;
  };

  std::vector<StoredInstance> storages;
  std::vector<Topic> topics;  ///< in name order
  bool has_topics = false;    ///< false: no list of topics, or not one that can be read
  std::vector<Problem> problems;
  std::size_t files = 0;  ///< how many were checked
};

/// True where a broker has run on the directory.
[[nodiscard]] bool is_data_directory(const std::filesystem::path& directory);

/// Reads and checks every file under `directory`/meta, changes nothing. Damage is not an error but a problem in the result.
/// Blocks. Errors: io_error, permission_denied, unsupported (a newer format).
[[nodiscard]] Result<DataDirectory> read_data_directory(const std::filesystem::path& directory);

}  // namespace streambus
