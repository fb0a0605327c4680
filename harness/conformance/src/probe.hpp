#pragma once

#include "streambus/conformance/case.hpp"

namespace streambus::conformance {

/// Finds out what a plugin is and can, by using it a little: the stage `create`. Runs in a process of its own.
/// Errors: what create() or start() said; the plugin is refused.
[[nodiscard]] Result<Traits> probe_plugin(const LoadedPlugin& plugin, const OptionTexts& options);

/// The linker's build id of the file that the descriptor lies in, in hexadecimal; empty where it has none.
[[nodiscard]] std::string build_id_of(const PluginDescriptor& descriptor);

}  // namespace streambus::conformance
