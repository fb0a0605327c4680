#pragma once
// What a path named on the command line means: a data directory, one storage of it, or something inside one.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "streambus/broker/data_directory.hpp"
#include "streambus/host/services.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::command {

/// One storage whose data is to be looked at.
struct StoredPlace {
  std::string name;                 ///< of its section
  std::filesystem::path directory;  ///< the root of the engine's files
  std::string plugin;
  std::map<std::string, std::string, std::less<>> options;
};

/// Everything that a path names.
struct StoragePlace {
  std::filesystem::path data_directory;  ///< empty: a storage's directory alone
  std::optional<DirectoryLock> lock;     ///< keeps a broker from starting meanwhile
  DataDirectory known;                   ///< what the broker's files say; empty without a data directory
  std::vector<StoredPlace> storages;
  std::string inside;  ///< below the storage's directory: only files there are meant; empty: all
  bool whole = false;  ///< the path is the data directory itself

  /// The topic with that id; null where the list of topics does not have it.
  [[nodiscard]] const DataDirectory::Topic* topic_of(std::string_view id) const noexcept;
  /// True for what the path means: `file` is below the storage's directory.
  [[nodiscard]] bool means(std::string_view file) const noexcept;
};

/// Finds out what `path` is. `plugin`: the engine that made it, where nothing on disk says so; empty: not given.
/// Errors: not_found, busy (a broker runs on it), invalid_argument (it is nothing of a broker, or nothing says which plugin
/// made it; the message has the remedy), those of reading.
[[nodiscard]] Result<StoragePlace> find_storage_place(const std::filesystem::path& path, const std::string& plugin);

/// Makes engines for looking at what they stored. Owns the plugins; outlives what it made.
class StorageOpener {
 public:
  explicit StorageOpener(const std::vector<std::string>& plugin_dirs);

  /// The engine of a storage, created and not started, over read-only files. Errors: those of loading and creating.
  [[nodiscard]] Result<Instance<StorageEngine>> open(const StoredPlace& place);

  [[nodiscard]] Services& services() noexcept { return *services_; }
  [[nodiscard]] PluginRegistry& registry() noexcept { return registry_; }

 private:
  std::unique_ptr<Services> services_;
  PluginRegistry registry_;
  std::vector<std::unique_ptr<FileSystem, void (*)(FileSystem*)>> files_;
};

}  // namespace streambus::command
