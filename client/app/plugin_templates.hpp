#pragma once
// The projects that `streambus plugin new` writes: the files of sdk/templates/, part of the program.

#include <span>
#include <string_view>

namespace streambus::command {

/// One file of a template.
struct TemplateFile {
  std::string_view kind;  ///< "storage"
  std::string_view path;  ///< in the project
  std::string_view text;  ///< with "acme" where the plugin's name goes
};

/// All files of all kinds; constant.
[[nodiscard]] std::span<const TemplateFile> plugin_templates() noexcept;

}  // namespace streambus::command
