#pragma once
// Which plugin made the data of each storage section: data_dir/meta/storages, so that tools that see the data without the
// configuration know how to read it, and no plugin is let loose on what another one wrote.

#include <filesystem>
#include <optional>
#include <vector>

#include "streambus/broker/data_directory.hpp"
#include "streambus/config/config.hpp"
#include "streambus/plugin/files.hpp"

namespace streambus::broker {

/// Nothing where there is no record: a directory of an older broker. `meta` is rooted at data_dir/meta.
/// Errors: corrupt, unsupported (a newer format), io_error.
[[nodiscard]] Result<std::optional<std::vector<StoredInstance>>> read_storage_record(FileSystem& meta);

/// Brings the record up to date with the sections, before any engine is started; writes only what changed. A damaged record
/// is written anew. `storage_root` is data_dir/storage. Blocks.
/// Errors: incompatible (a section names another plugin than the one that filled its directory), those of writing.
[[nodiscard]] Result<> update_storage_record(FileSystem& meta, const std::filesystem::path& storage_root,
                                             const std::vector<PluginSection>& sections);

}  // namespace streambus::broker
