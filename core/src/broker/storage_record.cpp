#include "storage_record.hpp"

#include <algorithm>

#include "meta_file.hpp"

namespace streambus::broker {
namespace {

constexpr MetaFormat kFormat{.magic = "SBSTORES", .version = 1, .what = "record of storages"};
constexpr const char* kFileName = "storages";

StoredInstance describe(const PluginSection& section) {
  StoredInstance instance{.name = section.name,
                          .plugin = std::string(section.plugin->name()),
                          .version = std::string(section.plugin->version()),
                          .options = {}};
  for (const OptionSpec& spec : section.options.table()) {
    if (spec.secret || !section.options.is_set(spec.key)) continue;
    instance.options.emplace(spec.key, format_option(spec, *section.options.find(spec.key)));
  }
  return instance;
}

MetaWriter encode(const std::vector<StoredInstance>& instances) {
  MetaWriter out;
  out.write(static_cast<std::uint32_t>(instances.size()));
  for (const StoredInstance& instance : instances) {
    out.text(instance.name);
    out.text(instance.plugin);
    out.text(instance.version);
    out.write(static_cast<std::uint32_t>(instance.options.size()));
    for (const auto& [key, value] : instance.options) {
      out.text(key);
      out.text(value);
    }
  }
  return out;
}

Result<std::vector<StoredInstance>> decode(const MetaFile& file) {
  ByteReader in(file.payload);
  std::vector<StoredInstance> instances;
  for (auto count = in.read<std::uint32_t>(); count > 0 && in.ok(); --count) {
    StoredInstance& instance = instances.emplace_back();
    instance.name = read_text(in);
    instance.plugin = read_text(in);
    instance.version = read_text(in);
    for (auto options = in.read<std::uint32_t>(); options > 0 && in.ok(); --options) {
      std::string key(read_text(in));
      instance.options.insert_or_assign(std::move(key), std::string(read_text(in)));
    }
  }
  if (!in.ok() || in.remaining() != 0) return fail(ErrorCode::corrupt, "the record of storages does not decode");
  return instances;
}

bool holds_something(const std::filesystem::path& directory) {
  std::error_code failure;
  const std::filesystem::directory_iterator entries(directory, failure);
  return !failure && entries != std::filesystem::directory_iterator();
}

}  // namespace

Result<std::optional<std::vector<StoredInstance>>> read_storage_record(FileSystem& meta) {
  STREAMBUS_TRY_ASSIGN(const auto file, read_meta_file(meta, kFileName, kFormat));
  if (!file) return std::optional<std::vector<StoredInstance>>();
  STREAMBUS_TRY_ASSIGN(auto instances, decode(*file));
  return std::optional(std::move(instances));
}

Result<> update_storage_record(FileSystem& meta, const std::filesystem::path& storage_root,
                               const std::vector<PluginSection>& sections) {
  auto stored = read_storage_record(meta);
  if (!stored && stored.error().code != ErrorCode::corrupt) return std::unexpected(std::move(stored).error());
  std::vector<StoredInstance> instances;
  if (stored && *stored) instances = **stored;
  for (const PluginSection& section : sections) {
    StoredInstance wanted = describe(section);
    const auto found = std::ranges::find(instances, section.name, &StoredInstance::name);
    if (found == instances.end()) {
      instances.push_back(std::move(wanted));
      continue;
    }
    const std::filesystem::path directory = storage_root / section.name;
    if (found->plugin != wanted.plugin && holds_something(directory)) {
      return fail(ErrorCode::incompatible, "[storage." + section.name + "]: plugin: expected '" + found->plugin +
                                               "', which made the data in " + directory.string() + ", found '" + wanted.plugin +
                                               "'; give the new storage a section of another name, or remove the directory");
    }
    *found = std::move(wanted);
  }
  if (stored && *stored && instances == **stored) return {};
  return write_meta_file(meta, kFileName, kFormat, encode(instances).bytes(), MetaWrite::durable);
}

}  // namespace streambus::broker
