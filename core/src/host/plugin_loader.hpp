#pragma once
// How plugin code gets into the process. Two implementations, chosen when a program is linked: plugin_loader/ loads shared
// objects; a generated table takes its place in programs with plugins linked in (see streambus_link_plugins in CMake).

#include <filesystem>
#include <span>

#include "streambus/base/error.hpp"
#include "streambus/plugin/abi.hpp"

namespace streambus {

/// The plugins that are part of this program; empty for one that loads them.
[[nodiscard]] std::span<const PluginDescriptor* const> linked_plugins() noexcept;

/// Maps the file and finds its descriptor symbol. The mapping stays until the process ends. The stamp was checked before.
/// Errors: incompatible, the message is the dynamic linker's; unsupported where plugins are linked in.
[[nodiscard]] Result<const PluginDescriptor*> load_plugin_file(const std::filesystem::path& path);

}  // namespace streambus
