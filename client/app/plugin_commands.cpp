// streambus plugin list | info: looks at plugin files, without a broker. `check` is in a file of its own.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "plugin_files.hpp"

namespace streambus::command {
namespace {

using Json = nlohmann::ordered_json;

struct PluginArguments {
  std::string name;
};

std::string kind_of(const PluginFile& file) { return std::string(name_of(static_cast<PluginKind>(file.stamp.kind))); }

/// A file that is no plugin at all has no stamp to show.
bool has_stamp(const PluginFile& file) { return file.stamp.name[0] != '\0'; }

std::string path_text(const PluginFile& file) { return file.path.empty() ? "(linked into the program)" : file.path.string(); }

Json stamp_as_json(const PluginFile& file) {
  Json json = {{"name", has_stamp(file) ? Json(file.stamp.name) : Json(nullptr)},
               {"file", file.path.string()},
               {"loads", file.refusal.empty()}};
  if (has_stamp(file)) {
    json["kind"] = kind_of(file);
    json["version"] = file.stamp.version;
    json["abi"] = fmt::format("{}.{}", file.stamp.abi_major, file.stamp.abi_minor);
    json["compiler"] = file.stamp.compiler;
    json["architecture"] = file.stamp.architecture;
    json["headers"] = file.stamp.api_hash;
  }
  if (!file.refusal.empty()) json["refusal"] = file.refusal;
  return json;
}

int list_plugins(const Invocation& invocation) {
  const PluginRegistry registry = open_registry(invocation);
  const std::vector<PluginFile> files = registry.scan();
  if (invocation.json) {
    Json list = Json::array();
    for (const PluginFile& file : files) list.push_back(stamp_as_json(file));
    fmt::print("{}\n", list.dump(2));
    return kDone;
  }
  if (files.empty()) {
    fmt::print("no plugins found; looked in:\n");
    for (const auto& directory : registry.directories()) fmt::print("  {}\n", directory.string());
    return kDone;
  }
  fmt::print("{:<9}  {:<20}  {:<9}  {:<5}  {}\n", "KIND", "NAME", "VERSION", "ABI", "FILE");
  for (const PluginFile& file : files) {
    fmt::print("{:<9}  {:<20}  {:<9}  {:<5}  {}\n", has_stamp(file) ? kind_of(file) : "-",
               has_stamp(file) ? file.stamp.name : "-", has_stamp(file) ? file.stamp.version : "-",
               has_stamp(file) ? fmt::format("{}.{}", file.stamp.abi_major, file.stamp.abi_minor) : "-", path_text(file));
    if (!file.refusal.empty()) fmt::print("{:<9}  refused: {}\n", "", file.refusal);
  }
  return kDone;
}

constexpr std::string_view type_name(OptionType type) {
  switch (type) {
    case OptionType::boolean:
      return "boolean";
    case OptionType::integer:
      return "integer";
    case OptionType::real:
      return "real";
    case OptionType::text:
      return "text";
    case OptionType::size:
      return "size";
    case OptionType::duration:
      return "duration";
    case OptionType::choice:
      return "choice";
  }
  return "unknown";
}

void print_info(const PluginFile& file, const LoadedPlugin& plugin) {
  const PluginDescriptor& descriptor = plugin.descriptor();
  fmt::print(
      "{} {} ({} plugin)\n{}\n\nfile          {}\nlicence       {}\nplugin API    {}.{}, headers {}\ncompiled by   {} for {}\n",
      plugin.name(), plugin.version(), name_of(plugin.kind()), descriptor.summary, path_text(file), descriptor.license,
      file.stamp.abi_major, file.stamp.abi_minor, file.stamp.api_hash, file.stamp.compiler, file.stamp.architecture);
  if (plugin.options().empty()) {
    fmt::print("\nno options\n");
    return;
  }
  fmt::print("\nOptions, in [{}.NAME]:\n", name_of(plugin.kind()));
  for (const OptionSpec& option : plugin.options()) {
    fmt::print("  {} = {}   ({}{}{})\n      {}\n", option.key, option.default_value != nullptr ? option.default_value : "",
               type_name(option.type), option.choices != nullptr ? fmt::format(": {}", option.choices) : "",
               option.default_value == nullptr ? ", required" : "", option.doc);
  }
}

Json info_as_json(const PluginFile& file, const LoadedPlugin& plugin) {
  Json json = stamp_as_json(file);
  json["summary"] = plugin.descriptor().summary;
  json["license"] = plugin.descriptor().license;
  json["options"] = Json::array();
  for (const OptionSpec& option : plugin.options()) {
    Json row = {{"key", option.key},
                {"type", std::string(type_name(option.type))},
                {"default", option.default_value != nullptr ? Json(option.default_value) : Json(nullptr)},
                {"doc", option.doc}};
    if (option.min != 0 || option.max != 0) row.update({{"min", option.min}, {"max", option.max}});
    if (option.choices != nullptr) row["choices"] = option.choices;
    json["options"].push_back(std::move(row));
  }
  return json;
}

int plugin_info(const Invocation& invocation, const std::string& name) {
  PluginRegistry registry({});
  const Result<PluginFile> found = find_plugin_file(invocation, name, &registry);
  if (!found) {
    fmt::print(stderr, "error: {}\n", found.error().message);
    return kUsage;
  }
  if (!found->refusal.empty() && !invocation.json) {
    fmt::print(stderr, "error: {}\n", found->refusal);
    return kUsage;
  }
  if (!found->refusal.empty()) {
    fmt::print("{}\n", stamp_as_json(*found).dump(2));
    return kUsage;
  }
  const std::string wanted =
      found->path.empty() ? std::string(found->stamp.name) : std::filesystem::absolute(found->path).string();
  const auto plugin = registry.load(static_cast<PluginKind>(found->stamp.kind), wanted);
  if (!plugin) {
    fmt::print(stderr, "error: {}\n", plugin.error().message);
    return kUsage;
  }
  if (invocation.json) {
    fmt::print("{}\n", info_as_json(*found, **plugin).dump(2));
  } else {
    print_info(*found, **plugin);
  }
  return kDone;
}

}  // namespace

PluginRegistry open_registry(const Invocation& invocation, const std::string& extra) {
  std::vector<std::filesystem::path> directories;
  if (!extra.empty()) directories.emplace_back(extra);
  for (const std::string& directory : invocation.plugin_dirs) directories.push_back(std::filesystem::absolute(directory));
  return PluginRegistry(PluginRegistry::default_directories(std::move(directories)));
}

Result<PluginFile> find_plugin_file(const Invocation& invocation, const std::string& name, PluginRegistry* registry) {
  const std::filesystem::path path = name;
  const bool by_path = name.find('/') != std::string::npos;
  const std::string folder =
      by_path ? std::filesystem::absolute(path).parent_path().lexically_normal().string() : std::string();
  *registry = open_registry(invocation, folder);
  const std::vector<PluginFile> files = registry->scan();
  const auto found = std::ranges::find_if(files, [&](const PluginFile& file) {
    std::error_code ignored;
    return by_path ? std::filesystem::equivalent(file.path, path, ignored)
                   : file.stamp.name == name || file.path.stem() == name;
  });
  if (found != files.end()) return *found;
  std::string message = fmt::format("there is no plugin '{}'; looked in:\n", name);
  for (const auto& directory : registry->directories()) message += fmt::format("  {}\n", directory.string());
  return fail(ErrorCode::not_found, message + "  'streambus plugin list' shows what there is; --plugin-dir adds a folder");
}

void define_plugin(CLI::App& program, Invocation& invocation) {
  CLI::App& family = *program.add_subcommand("plugin", "Make plugins, look at them and test them, without a broker");
  family.require_subcommand(1);
  family.footer(
      "Examples:\n  streambus plugin list\n  streambus plugin new acme --kind storage\n  streambus plugin check storage-wal");
  const auto arguments = std::make_shared<PluginArguments>();

  define_plugin_new(family, invocation);

  CLI::App& list = *family.add_subcommand("list", "List the plugins that are found, and why some would be refused");
  add_plugin_dir(list, invocation);
  add_json(list, invocation, "Print a JSON array");
  finish(list, invocation, "Examples:\n  streambus plugin list\n  streambus plugin list --plugin-dir ./my-plugins --json",
         [&invocation] { return list_plugins(invocation); });

  CLI::App& info = *family.add_subcommand("info", "Show what a plugin says of itself, and its options");
  info.add_option("plugin", arguments->name, "Name of the plugin, or path of its file")->required()->type_name("NAME|FILE");
  add_plugin_dir(info, invocation);
  add_json(info, invocation, "Print a JSON object");
  finish(info, invocation, "Examples:\n  streambus plugin info storage-wal\n  streambus plugin info ./build/acme.so --json",
         [&invocation, arguments] { return plugin_info(invocation, arguments->name); });

  define_plugin_check(family, invocation);
}

}  // namespace streambus::command
