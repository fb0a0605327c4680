// streambus plugin new: writes the project of a plugin that builds with the installed package.

#include "plugin_new.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "command.hpp"
#include "plugin_templates.hpp"

namespace streambus::command {
namespace {

namespace fs = std::filesystem;

constexpr PluginKind kKinds[] = {PluginKind::storage, PluginKind::codec, PluginKind::transport, PluginKind::protocol};
constexpr std::string_view kPlaceholder = "acme";

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_good_name(std::string_view name) {
  return !name.empty() && is_letter(name.front()) && name.back() != '-' && name.find("--") == std::string_view::npos &&
         std::ranges::all_of(name, [](char c) { return is_letter(c) || is_digit(c) || c == '-'; });
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
}

Result<> write_file(const fs::path& path, const std::string& text) {
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) return std::unexpected(errno_error(path.string(), errno != 0 ? errno : EIO));
  return {};
}

struct NewArguments {
  std::string name;
  std::string kind;
  std::string directory;
};

/// Where the package lies whose program this is; empty where CMake finds it by itself.
std::string prefix_of_this_program() {
  std::error_code failure;
  const fs::path program = fs::read_symlink("/proc/self/exe", failure);
  const fs::path prefix = program.parent_path().parent_path();
  if (failure || prefix == "/usr" || prefix == "/usr/local") return {};
  return fs::exists(prefix / "lib/cmake/StreamBus", failure) ? prefix.string() : std::string();
}

void print_next_steps(const NewPlugin& plugin, const std::string& directory, const std::vector<std::string>& files) {
  const std::string prefix = prefix_of_this_program();
  fmt::print("{}: a {} plugin in {} files: {}\n\n", plugin.full, plugin.kind, files.size(), fmt::join(files, ", "));
  fmt::print(
      "Build it, check it, run a broker with it:\n"
      "  cmake -S {0} -B {0}/build{1}\n"
      "  cmake --build {0}/build\n"
      "  ctest --test-dir {0}/build --output-on-failure\n"
      "  streambusd --config {0}/broker.toml\n",
      directory, prefix.empty() ? "" : " -DCMAKE_PREFIX_PATH=" + prefix);
}

int new_plugin(const Invocation& invocation, const NewArguments& arguments) {
  const auto plugin = name_plugin(arguments.name, arguments.kind);
  if (!plugin) {
    fmt::print(stderr, "error: {}\n", plugin.error().message);
    return kUsage;
  }
  const std::string directory = arguments.directory.empty() ? plugin->full : arguments.directory;
  const auto files = write_plugin(*plugin, directory);
  if (!files) {
    fmt::print(stderr, "error: {}\n", files.error().message);
    return files.error().code == ErrorCode::already_exists ? kUsage : kFailed;
  }
  if (invocation.json) {
    const nlohmann::ordered_json json = {{"name", plugin->full},
                                         {"kind", plugin->kind},
                                         {"directory", fs::absolute(directory).lexically_normal().string()},
                                         {"files", *files}};
    fmt::print("{}\n", json.dump(2));
  } else {
    print_next_steps(*plugin, directory, *files);
  }
  return kDone;
}

}  // namespace

Result<NewPlugin> name_plugin(std::string_view name, std::string_view kind) {
  const auto known = std::ranges::find(kKinds, kind, [](PluginKind one) { return name_of(one); });
  if (known == std::end(kKinds)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("--kind: expected storage, codec, transport or protocol, found '{}'", kind));
  }
  const std::string_view given = name;
  if (name.starts_with(kind) && name.substr(kind.size()).starts_with('-')) name.remove_prefix(kind.size() + 1);
  const std::size_t name_max = sizeof(AbiStamp::name) - 1 - kind.size() - 1;
  if (!is_good_name(name) || name.size() > name_max) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("name of the plugin: expected 1 to {} letters, digits and single '-', beginning with a letter, such as "
                    "'acme', found '{}'",
                    name_max, given));
  }
  NewPlugin plugin{std::string(kind), std::string(name), fmt::format("{}-{}", kind, name), std::string(name)};
  std::ranges::replace(plugin.ident, '-', '_');
  return plugin;
}

std::string fill_template(std::string_view text, const NewPlugin& plugin, const std::string& directory) {
  std::string filled(text);
  // A name may contain the placeholder itself: what is put in is out of reach of the next replacement, until the last.
  constexpr std::string_view kName = "\x01";
  constexpr std::string_view kIdent = "\x02";
  constexpr std::string_view kDirectory = "\x03";
  replace_all(filled, fmt::format("/path/to/{}-{}", plugin.kind, kPlaceholder), kDirectory);
  replace_all(filled, fmt::format("{}_{}", plugin.kind, kPlaceholder), fmt::format("{}_{}", plugin.kind, kIdent));
  replace_all(filled, kPlaceholder, kName);
  replace_all(filled, kName, plugin.name);
  replace_all(filled, kIdent, plugin.ident);
  replace_all(filled, kDirectory, directory);
  return filled;
}

Result<std::vector<std::string>> write_plugin(const NewPlugin& plugin, const fs::path& directory) {
  std::error_code failure;
  if (fs::exists(fs::symlink_status(directory, failure))) {
    return fail(ErrorCode::already_exists,
                fmt::format("{}: exists already, and nothing in it is overwritten; remove it, or name another with --directory",
                            directory.string()));
  }
  if (fs::create_directories(directory, failure); failure) {
    return std::unexpected(errno_error(directory.string(), failure.value()));
  }
  const std::string absolute = fs::absolute(directory).lexically_normal().string();
  std::vector<std::string> files;
  for (const TemplateFile& file : plugin_templates()) {
    if (file.kind != plugin.kind) continue;
    std::string path(file.path == "gitignore" ? ".gitignore" : file.path);
    if (auto written = write_file(directory / path, fill_template(file.text, plugin, absolute)); !written) {
      fs::remove_all(directory, failure);
      return std::unexpected(written.error());
    }
    files.push_back(std::move(path));
  }
  std::ranges::sort(files);
  return files;
}

void define_plugin_new(CLI::App& family, Invocation& invocation) {
  const auto arguments = std::make_shared<NewArguments>();
  CLI::App& command =
      *family.add_subcommand("new", "Write the project of a new plugin, which builds with the installed StreamBus");
  command.add_option("name", arguments->name, "Letters, digits and '-': 'acme' makes the plugin storage-acme")
      ->required()
      ->type_name("NAME");
  command.add_option("--kind", arguments->kind, "storage, codec, transport or protocol")->required()->type_name("KIND");
  command.add_option("--directory", arguments->directory, "Where to write it; must not exist (default: ./KIND-NAME)")
      ->type_name("DIR");
  add_json(command, invocation, "Print a JSON object");
  finish(command, invocation,
         "Examples:\n  streambus plugin new acme --kind storage\n  streambus plugin new squeeze --kind codec --directory "
         "src/squeeze",
         [&invocation, arguments] { return new_plugin(invocation, *arguments); });
}

}  // namespace streambus::command
