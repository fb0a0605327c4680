#pragma once
// Makes the project of a new plugin. The parts of `streambus plugin new` that can be tested alone.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "streambus/base/error.hpp"
#include "streambus/plugin/abi.hpp"

namespace streambus::command {

/// What the plugin is called everywhere.
struct NewPlugin {
  std::string kind;   ///< "storage"
  std::string name;   ///< "acme": of the section in the configuration
  std::string full;   ///< "storage-acme": of the plugin, its file and its folder
  std::string ident;  ///< "acme" with '_' for '-': of namespaces and targets
};

/// Checks the name, with or without the kind in front ("acme", "storage-acme"). Errors: invalid_argument.
[[nodiscard]] Result<NewPlugin> name_plugin(std::string_view name, std::string_view kind);

/// A template's text with the plugin's names in it; `directory` is the absolute path that the project gets.
[[nodiscard]] std::string fill_template(std::string_view text, const NewPlugin& plugin, const std::string& directory);

/// Writes the project into `directory`, which must not exist yet. Returns the paths of its files in it, sorted. After an error
/// nothing is left. Errors: already_exists, io_error and the like.
[[nodiscard]] Result<std::vector<std::string>> write_plugin(const NewPlugin& plugin, const std::filesystem::path& directory);

}  // namespace streambus::command
