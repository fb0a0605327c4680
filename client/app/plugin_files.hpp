#pragma once
// What the commands of `streambus plugin` share.

#include <string>

#include "command.hpp"
#include "streambus/host/plugin_registry.hpp"

namespace streambus::command {

/// The registry that the command line asks for; `extra`, where not empty, is looked in first.
[[nodiscard]] PluginRegistry open_registry(const Invocation& invocation, const std::string& extra = {});

/// Finds a plugin by name, or by a path with a '/', without loading it; it may be one that would be refused. *registry
/// becomes the one it was found in. Errors: not_found, the message says where was looked.
[[nodiscard]] Result<PluginFile> find_plugin_file(const Invocation& invocation, const std::string& name,
                                                  PluginRegistry* registry);

/// Adds `check` to the family.
void define_plugin_check(CLI::App& family, Invocation& invocation);

}  // namespace streambus::command
