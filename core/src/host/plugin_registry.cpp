#include "streambus/host/plugin_registry.hpp"

#include <algorithm>

#include "plugin_checks.hpp"
#include "plugin_loader.hpp"
#include "streambus/host/units.hpp"

namespace streambus {
namespace {

namespace fs = std::filesystem;

/// The .so files of a directory in name order; none where it cannot be read.
std::vector<fs::path> shared_objects(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code failure;
  for (fs::directory_iterator entry(directory, failure), end; !failure && entry != end; entry.increment(failure)) {
    if (entry->path().extension() == ".so") files.push_back(entry->path());
  }
  std::ranges::sort(files);
  return files;
}

std::string quoted(const fs::path& path) { return "'" + path.string() + "'"; }

std::string lines_of(const std::vector<fs::path>& paths) {
  std::string text;
  for (const fs::path& path : paths) text += "\n  " + path.string();
  return text;
}

}  // namespace

PluginRegistry::PluginRegistry(std::vector<fs::path> directories) {
  for (fs::path& directory : directories) {
    if (std::ranges::find(directories_, directory) == directories_.end()) directories_.push_back(std::move(directory));
  }
}

std::vector<fs::path> PluginRegistry::default_directories(std::vector<fs::path> extra) {
  std::error_code failure;
  const fs::path program = fs::read_symlink("/proc/self/exe", failure);
  if (!failure) extra.push_back(program.parent_path().parent_path() / "lib" / "streambus" / "plugins");
  return extra;
}

std::vector<PluginFile> PluginRegistry::scan() const {
  std::vector<PluginFile> found;
  for (const PluginDescriptor* descriptor : linked_plugins()) {
    PluginFile& file = found.emplace_back();
    file.stamp = *descriptor->stamp;
    file.refusal = stamp_refusal(file.stamp);
  }
  if (!found.empty()) return found;  // a program with plugins linked in loads no files
  std::vector<FileIdentity> seen;    // one file may be reached by two names
  for (const fs::path& directory : directories_) {
    for (const fs::path& path : shared_objects(directory)) {
      const Inspection inspection = inspect_plugin_file(path);
      if (inspection.identity.valid() && std::ranges::find(seen, inspection.identity) != seen.end()) continue;
      seen.push_back(inspection.identity);
      found.push_back({path, inspection.stamp, inspection.refusal});
    }
  }
  return found;
}

Result<const LoadedPlugin*> PluginRegistry::load(PluginKind expected, std::string_view name_or_path) {
  if (name_or_path.starts_with('/')) return load_path(expected, fs::path(name_or_path));
  if (name_or_path.find('/') != std::string_view::npos) {
    const std::string text(name_or_path);
    return fail(ErrorCode::invalid_argument, "plugin '" + text +
                                                 "': expected a plugin's name such as 'storage-wal' or an absolute "
                                                 "path, found a relative path; write the whole path, from '/' on");
  }
  for (const auto& plugin : loaded_) {
    if (plugin->name() == name_or_path) return checked_kind(*plugin, expected);
  }
  if (!linked_plugins().empty()) return load_linked(expected, name_or_path);
  return load_name(expected, name_or_path);
}

Result<const LoadedPlugin*> PluginRegistry::load_linked(PluginKind expected, std::string_view name) {
  std::vector<std::string_view> names;
  for (const PluginDescriptor* descriptor : linked_plugins()) {
    names.emplace_back(descriptor->stamp->name);
    if (names.back() == name) return adopt({}, *descriptor, *descriptor->stamp, expected);
  }
  return fail(ErrorCode::not_found, "plugin '" + std::string(name) +
                                        "': expected one of the plugins linked into this program (" + join_words(names, "and") +
                                        "), found no such name" + did_you_mean(name, names) +
                                        "; use one of these, or the program that loads plugins");
}

Result<const LoadedPlugin*> PluginRegistry::load_name(PluginKind expected, std::string_view name) {
  const std::vector<PluginFile> files = scan();
  std::vector<const PluginFile*> candidates;
  const PluginFile* unusable = nullptr;  // a file of that name whose note cannot be read: its own refusal says more
  for (const PluginFile& file : files) {
    if (name == file.stamp.name) candidates.push_back(&file);
    if (file.stamp.name[0] == '\0' && file.path.stem() == name) unusable = &file;
  }
  if (candidates.size() > 1) {
    std::vector<fs::path> paths;
    for (const PluginFile* file : candidates) paths.push_back(file->path);
    return fail(ErrorCode::already_exists, "plugin '" + std::string(name) + "': expected one file with this name, found " +
                                               std::to_string(paths.size()) + ":" + lines_of(paths) +
                                               "\nremove all but one, or give the absolute path of the one to use");
  }
  if (candidates.empty() && unusable != nullptr) return fail(ErrorCode::incompatible, unusable->refusal);
  if (candidates.empty()) return not_found(name, files);
  return load_path(expected, candidates.front()->path);
}

std::unexpected<Error> PluginRegistry::not_found(std::string_view name, const std::vector<PluginFile>& files) const {
  std::vector<std::string_view> names;
  for (const PluginFile& file : files) {
    if (file.stamp.name[0] != '\0') names.emplace_back(file.stamp.name);
  }
  return fail(ErrorCode::not_found,
              "plugin '" + std::string(name) + "': expected a file of that plugin, found none" + did_you_mean(name, names) +
                  "\nlooked in:" + lines_of(directories_) +
                  "\nthere are: " + (names.empty() ? "none" : join_words(names, "and")) +
                  "\nbuild or install the plugin, or name its folder with --plugin-dir or broker.plugin_dirs");
}

Result<const LoadedPlugin*> PluginRegistry::load_path(PluginKind expected, const fs::path& path) {
  if (!linked_plugins().empty()) {
    return fail(ErrorCode::unsupported, "plugin " + quoted(path) +
                                            ": expected the name of a plugin linked into this program, found a "
                                            "path; use the program that loads plugins");
  }
  for (const auto& plugin : loaded_) {
    std::error_code failure;
    if (plugin->path() == path || fs::equivalent(plugin->path(), path, failure)) return checked_kind(*plugin, expected);
  }
  const Inspection inspection = inspect_plugin_file(path);
  if (!inspection.refusal.empty()) return fail(inspection.code, inspection.refusal);
  for (const std::string& warning : inspection.warnings) warnings_.push_back(warning);
  STREAMBUS_TRY(check_kind(path, inspection.stamp, expected));  // before any of its code runs
  auto descriptor = load_plugin_file(path);
  if (!descriptor) return fail(descriptor.error().code, load_refusal(path, descriptor.error().message));
  return adopt(path, **descriptor, inspection.stamp, expected);
}

Result<const LoadedPlugin*> PluginRegistry::adopt(const fs::path& path, const PluginDescriptor& descriptor,
                                                  const AbiStamp& stamp, PluginKind expected) {
  STREAMBUS_TRY(check_descriptor(path, descriptor, stamp));
  STREAMBUS_TRY(check_kind(path, stamp, expected));
  loaded_.push_back(std::make_unique<LoadedPlugin>(path, descriptor));
  return loaded_.back().get();
}

Result<const LoadedPlugin*> PluginRegistry::checked_kind(const LoadedPlugin& plugin, PluginKind expected) const {
  STREAMBUS_TRY(check_kind(plugin.path(), *plugin.descriptor().stamp, expected));
  return &plugin;
}

}  // namespace streambus
