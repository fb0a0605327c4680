#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "streambus/base/error.hpp"
#include "streambus/plugin/abi.hpp"

namespace streambus {

/// What a plugin file says of itself before any of its code runs.
struct PluginFile {
  std::filesystem::path path;  ///< empty for a plugin linked into the program
  AbiStamp stamp{};
  std::string refusal;  ///< why this program would not load it; empty: it would
};

/// A plugin whose code is mapped. Lives until the process ends: "unload" destroys objects and keeps the mapping.
class LoadedPlugin {
 public:
  LoadedPlugin(std::filesystem::path path, const PluginDescriptor& descriptor)
      : path_(std::move(path)), descriptor_(&descriptor) {}

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] const PluginDescriptor& descriptor() const noexcept { return *descriptor_; }
  [[nodiscard]] std::string_view name() const noexcept { return descriptor_->stamp->name; }
  [[nodiscard]] std::string_view version() const noexcept { return descriptor_->stamp->version; }
  [[nodiscard]] PluginKind kind() const noexcept { return static_cast<PluginKind>(descriptor_->stamp->kind); }
  [[nodiscard]] std::span<const OptionSpec> options() const noexcept {
    return {descriptor_->options, descriptor_->option_count};
  }

 private:
  std::filesystem::path path_;
  const PluginDescriptor* descriptor_;
};

/// Finds plugin files and loads them: note -> path policy -> load -> descriptor. Not thread-safe: used at start-up.
/// Every refusal names the file, what was expected, what was found, and the remedy.
class PluginRegistry {
 public:
  /// Directories in order of search. See default_directories().
  explicit PluginRegistry(std::vector<std::filesystem::path> directories);

  /// `extra` first, then lib/streambus/plugins beside this program's bin/ folder. Never the current directory.
  [[nodiscard]] static std::vector<std::filesystem::path> default_directories(std::vector<std::filesystem::path> extra);

  /// Loads a plugin named by its name ("storage-wal") or by an absolute path to a .so; the same one when loaded before.
  [[nodiscard]] Result<const LoadedPlugin*> load(PluginKind expected, std::string_view name_or_path);

  /// All plugin files of the search path and all plugins linked in, without loading any.
  [[nodiscard]] std::vector<PluginFile> scan() const;

  [[nodiscard]] const std::vector<std::filesystem::path>& directories() const noexcept { return directories_; }
  [[nodiscard]] const std::vector<std::unique_ptr<LoadedPlugin>>& loaded() const noexcept { return loaded_; }

  /// What is not refused but should be put right, about files that were loaded: writable by a group.
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept { return warnings_; }

 private:
  [[nodiscard]] Result<const LoadedPlugin*> load_name(PluginKind expected, std::string_view name);
  [[nodiscard]] Result<const LoadedPlugin*> load_path(PluginKind expected, const std::filesystem::path& path);
  [[nodiscard]] Result<const LoadedPlugin*> load_linked(PluginKind expected, std::string_view name);
  [[nodiscard]] Result<const LoadedPlugin*> adopt(const std::filesystem::path& path, const PluginDescriptor& descriptor,
                                                  const AbiStamp& stamp, PluginKind expected);
  [[nodiscard]] Result<const LoadedPlugin*> checked_kind(const LoadedPlugin& plugin, PluginKind expected) const;
  [[nodiscard]] std::unexpected<Error> not_found(std::string_view name, const std::vector<PluginFile>& files) const;

  std::vector<std::filesystem::path> directories_;
  std::vector<std::unique_ptr<LoadedPlugin>> loaded_;
  std::vector<std::string> warnings_;
};

}  // namespace streambus
