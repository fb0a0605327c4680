#include "storage_place.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace streambus::command {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStorageFolder = "storage";

std::vector<fs::path> folders_of(const fs::path& directory) {
  std::vector<fs::path> folders;
  std::error_code failure;
  for (fs::directory_iterator entry(directory, failure), end; !failure && entry != end; entry.increment(failure)) {
    if (entry->is_directory(failure)) folders.push_back(entry->path());
  }
  std::ranges::sort(folders);
  return folders;
}

bool is_empty_folder(const fs::path& directory) {
  std::error_code failure;
  return fs::is_empty(directory, failure) || failure;
}

/// The nearest folder above `path` that is a data directory; empty where there is none.
fs::path data_directory_above(const fs::path& path) {
  for (fs::path folder = path.parent_path(); folder != folder.parent_path(); folder = folder.parent_path()) {
    if (is_data_directory(folder)) return folder;
  }
  return {};
}

/// Fills in the storage called `name`, from the broker's record or from what the user says.
Result<StoredPlace> describe_storage(const StoragePlace& place, const std::string& name, const std::string& plugin) {
  StoredPlace storage{.name = name, .directory = place.data_directory / kStorageFolder / name, .plugin = plugin, .options = {}};
  const auto found = std::ranges::find(place.known.storages, name, &StoredInstance::name);
  if (found != place.known.storages.end() && (plugin.empty() || plugin == found->plugin)) {
    storage.plugin = found->plugin;
    storage.options = found->options;
  }
  if (storage.plugin.empty()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: nothing says which plugin made it; name it with --plugin, for example --plugin storage-wal",
                            storage.directory.string()));
  }
  return storage;
}

Result<StoragePlace> whole_directory(StoragePlace place, const std::string& plugin) {
  place.whole = true;
  std::vector<std::string> names;
  for (const StoredInstance& instance : place.known.storages) names.push_back(instance.name);
  for (const fs::path& folder : folders_of(place.data_directory / kStorageFolder)) {
    const std::string name = folder.filename().string();
    // An empty folder without a record: of an engine that keeps nothing, or was never appended to.
    if (std::ranges::find(names, name) == names.end() && !is_empty_folder(folder)) names.push_back(name);
  }
  for (const std::string& name : names) {
    STREAMBUS_TRY_ASSIGN(StoredPlace storage, describe_storage(place, name, plugin));
    place.storages.push_back(std::move(storage));
  }
  return place;
}

}  // namespace

const DataDirectory::Topic* StoragePlace::topic_of(std::string_view id) const noexcept {
  const auto found = std::ranges::find(known.topics, id, &DataDirectory::Topic::id);
  return found == known.topics.end() ? nullptr : &*found;
}

bool StoragePlace::means(std::string_view file) const noexcept {
  if (inside.empty() || file == inside) return true;
  return file.size() > inside.size() && file.starts_with(inside) && file[inside.size()] == '/';
}

Result<StoragePlace> find_storage_place(const fs::path& named, const std::string& plugin) {
  std::error_code failure;
  const fs::path path = fs::canonical(named, failure);
  if (failure) return std::unexpected(errno_error(named.string(), failure.value()));
  StoragePlace place;
  place.data_directory = is_data_directory(path) ? path : data_directory_above(path);
  if (place.data_directory.empty()) {
    if (plugin.empty() || !fs::is_directory(path, failure)) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{} is neither a broker's data directory (with meta/ and storage/) nor below one; for the copied "
                              "directory of one storage name its engine with --plugin",
                              path.string()));
    }
    place.storages.push_back({.name = path.filename().string(), .directory = path, .plugin = plugin, .options = {}});
    return place;
  }
  STREAMBUS_TRY_ASSIGN(place.lock, DirectoryLock::watch(place.data_directory));
  STREAMBUS_TRY_ASSIGN(place.known, read_data_directory(place.data_directory));
  const fs::path below = path.lexically_relative(place.data_directory);
  auto part = below.begin();
  if (*part == "." || (*part == kStorageFolder && std::next(part) == below.end()))
    return whole_directory(std::move(place), plugin);
  if (*part != kStorageFolder) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is not below {}: only stored batches are shown; meta/ is checked with "
                            "the whole directory",
                            path.string(), (place.data_directory / kStorageFolder).string()));
  }
  STREAMBUS_TRY_ASSIGN(StoredPlace storage, describe_storage(place, (++part)->string(), plugin));
  const fs::path inside = path.lexically_relative(storage.directory);
  if (inside != ".") place.inside = inside.generic_string();
  place.storages.push_back(std::move(storage));
  return place;
}

StorageOpener::StorageOpener(const std::vector<std::string>& plugin_dirs)
    : services_([] {
        ServiceSettings settings;
        settings.log.level = LogLevel::warning;
        settings.flush_threads = settings.background_threads = 1;
        return std::make_unique<Services>(settings);
      }()),
      registry_([&] {
        std::vector<fs::path> directories;
        for (const std::string& directory : plugin_dirs) directories.push_back(fs::absolute(directory));
        return PluginRegistry::default_directories(std::move(directories));
      }()) {}

Result<Instance<StorageEngine>> StorageOpener::open(const StoredPlace& place) {
  STREAMBUS_TRY_ASSIGN(const LoadedPlugin* const plugin, registry_.load(PluginKind::storage, place.plugin));
  OptionValues options(plugin->options());
  for (const OptionSpec& spec : options.table()) {
    // What this version of the plugin does not take any more is left at its default.
    const auto given = place.options.find(spec.key);
    if (given == place.options.end()) continue;
    if (auto value = parse_option(spec, given->second)) options.set(spec.key, std::move(*value));
  }
  files_.push_back(make_read_only_file_system(place.directory));
  return create_instance<StorageEngine>(*services_, *plugin, options,
                                        {.instance_name = place.name,
                                         .component = "storage." + place.name,
                                         .data_directory = {},
                                         .durability = nullptr,
                                         .files = files_.back().get()});
}

}  // namespace streambus::command
