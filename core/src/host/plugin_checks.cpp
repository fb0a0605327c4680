#include "plugin_checks.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <system_error>
#include <vector>

#include "elf_note.hpp"
#include "streambus/host/option_values.hpp"

namespace streambus {
namespace {

namespace fs = std::filesystem;

std::string subject(const fs::path& path, std::string_view name) {
  if (path.empty()) return "plugin '" + std::string(name) + "' (linked into this program)";
  return "plugin file '" + path.string() + "'";
}

std::string mode_text(mode_t mode) {
  char text[8];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
  return text;
}

/// Who may write here can run code as the broker. Returns a refusal, or adds to the warnings.
std::string policy_refusal(const fs::path& path, const struct stat& info, bool is_directory,
                           std::vector<std::string>& warnings) {
  const std::string what = is_directory ? "its folder '" + path.string() + "'" : "the file";
  const uid_t user = ::geteuid();
  if (info.st_uid != 0 && info.st_uid != user) {
    return "expected " + what + " to belong to root or to this user (uid " + std::to_string(user) + "), found uid " +
           std::to_string(info.st_uid) + "; run 'chown' on it after checking what it is";
  }
  const bool sticky = is_directory && (info.st_mode & S_ISVTX) != 0;
  if ((info.st_mode & S_IWOTH) != 0 && !sticky) {
    return "expected " + what + " not to be writable by everybody, found mode " + mode_text(info.st_mode) +
           "; run 'chmod o-w " + path.string() + "' after checking what it is";
  }
  if ((info.st_mode & S_IWGRP) != 0 && !sticky) {
    warnings.push_back(what + " is writable by its group (mode " + mode_text(info.st_mode) +
                       "): whoever is in it can run code as the broker; 'chmod g-w' it");
  }
  return "";
}

std::string not_readable(const fs::path& path, int errno_value) {
  if (errno_value == ENOENT || errno_value == ENOTDIR) {
    return "expected a plugin file, found none; check the path, or name the plugin by its name";
  }
  return "expected a file that this user (uid " + std::to_string(::geteuid()) +
         ") can read, found: " + std::generic_category().message(errno_value) +
         "; check the permissions of it and of the folder " + path.parent_path().string();
}

class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

ErrorCode inspect(const fs::path& path, Inspection& result, std::string& refusal) {
  // Not blocking: a FIFO in the place of a plugin must not hang the start.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    const int failure = errno;
    refusal = not_readable(path, failure);
    return errno_error("", failure).code;
  }
  struct stat info{};
  struct stat parent{};
  if (::fstat(file.get(), &info) != 0 || ::stat(path.parent_path().c_str(), &parent) != 0) {
    refusal = not_readable(path, errno);
    return ErrorCode::io_error;
  }
  result.identity = {info.st_dev, info.st_ino};
  if (!S_ISREG(info.st_mode)) {
    refusal = "expected a regular file, found a directory or device; give the path of the .so file itself";
    return ErrorCode::incompatible;
  }
  auto stamp = read_abi_stamp(file.get(), static_cast<std::uint64_t>(info.st_size));
  if (stamp) result.stamp = *stamp;  // the name is known also where the policy refuses the file
  refusal = policy_refusal(path, info, false, result.warnings);
  if (refusal.empty()) refusal = policy_refusal(path.parent_path(), parent, true, result.warnings);
  if (!refusal.empty()) return ErrorCode::permission_denied;
  if (!stamp) {
    refusal = stamp.error().message;
    return stamp.error().code;
  }
  refusal = stamp_refusal(*stamp);
  return refusal.empty() ? ErrorCode::ok : ErrorCode::incompatible;
}

std::string sanitizer_names(unsigned bits) {
  std::string text;
  const auto add = [&](unsigned bit, const char* name) {
    if ((bits & bit) != 0) text += (text.empty() ? "" : " and ") + std::string(name);
  };
  add(AbiStamp::kAddressSanitizer, "address");
  add(AbiStamp::kThreadSanitizer, "thread");
  add(AbiStamp::kMemorySanitizer, "memory");
  return text.empty() ? "none" : text;
}

std::string option_table_fault(const PluginDescriptor& descriptor) {
  if (descriptor.option_count > 1000 || (descriptor.option_count > 0 && descriptor.options == nullptr)) {
    return "expected an option table, found " + std::to_string(descriptor.option_count) + " options and no usable table";
  }
  const std::span<const OptionSpec> table(descriptor.options, descriptor.option_count);
  for (std::size_t i = 0; i < table.size(); ++i) {
    const OptionSpec& spec = table[i];
    if (spec.key == nullptr || *spec.key == '\0' || spec.doc == nullptr) {
      return "expected a key and a description for every option, found none for option " + std::to_string(i + 1);
    }
    const std::string key = spec.key;
    if (key == "plugin") return "expected option keys other than 'plugin' (it names the plugin), found it";
    if (spec.type > OptionType::choice)
      return "expected a known type for option '" + key + "', found " + std::to_string(static_cast<int>(spec.type));
    if (spec.type == OptionType::choice && choices_of(spec).empty())
      return "expected choices for option '" + key + "', found none";
    for (const OptionSpec& other : table.first(i)) {
      if (key == other.key) return "expected each option once, found '" + key + "' twice";
    }
    if (spec.default_value == nullptr) continue;
    if (const auto value = parse_option(spec, spec.default_value); !value) {
      return "expected a default that its own table allows for option '" + key + "': " + value.error().message;
    }
  }
  return "";
}

}  // namespace

Inspection inspect_plugin_file(const fs::path& path) {
  Inspection result;
  std::string refusal;
  result.code = inspect(path, result, refusal);
  const std::string prefix = subject(path, "") + ": ";
  if (!refusal.empty()) result.refusal = prefix + refusal;
  for (std::string& warning : result.warnings) warning.insert(0, prefix);
  return result;
}

std::string stamp_refusal(const AbiStamp& stamp) {
  const AbiStamp& host = host_stamp();
  std::vector<std::string> lines;
  const auto mismatch = [&](const std::string& what, const std::string& expected, const std::string& found,
                            const std::string& remedy) {
    lines.push_back(what + ": expected " + expected + ", found " + found + "; " + remedy);
  };
  const auto on_off = [](bool on) { return std::string(on ? "on" : "off"); };
  if (stamp.abi_major != host.abi_major) {
    mismatch("plugin API major version", std::to_string(host.abi_major), std::to_string(stamp.abi_major),
             "build the plugin with this broker's headers");
  } else if (stamp.abi_minor > host.abi_minor) {
    mismatch("plugin API minor version", "at most " + std::to_string(host.abi_minor), std::to_string(stamp.abi_minor),
             "use a newer broker, or build the plugin with this broker's headers");
  }
  if (std::strcmp(stamp.architecture, host.architecture) != 0 || stamp.pointer_bytes != host.pointer_bytes) {
    mismatch("architecture",
             std::string(host.architecture) + " with pointers of " + std::to_string(host.pointer_bytes) + " bytes",
             std::string(stamp.architecture) + " with " + std::to_string(stamp.pointer_bytes), "build it for this machine");
  }
  if (stamp.sanitizers != host.sanitizers) {
    mismatch("sanitizers", sanitizer_names(host.sanitizers), sanitizer_names(stamp.sanitizers),
             "build plugin and broker with the same -fsanitize options");
  }
  if (stamp.glibcxx_debug != host.glibcxx_debug) {
    mismatch("debug containers (_GLIBCXX_DEBUG)", on_off(host.glibcxx_debug != 0), on_off(stamp.glibcxx_debug != 0),
             "build plugin and broker with the same setting");
  }
  if (stamp.cxx11_abi != host.cxx11_abi) {
    mismatch("C++11 library ABI (_GLIBCXX_USE_CXX11_ABI)", std::to_string(host.cxx11_abi), std::to_string(stamp.cxx11_abi),
             "build plugin and broker with the same setting");
  }
  if (stamp.glibcxx_release != host.glibcxx_release) {
    mismatch("libstdc++ release", std::to_string(host.glibcxx_release), std::to_string(stamp.glibcxx_release),
             "build the plugin with the libstdc++ of this broker");
  }
  if (stamp.kind < 1 || stamp.kind > 4) {
    mismatch("plugin kind", "1 (storage) to 4 (protocol)", std::to_string(stamp.kind), "build it with this broker's headers");
  }
  if (stamp.name[0] == '\0') mismatch("plugin name", "a name", "none", "name it in STREAMBUS_PLUGIN(...)");
  if (lines.empty()) return "";
  std::string text = "was built for another broker";
  for (const std::string& line : lines) text += "\n  " + line;
  return text;
}

Result<> check_kind(const fs::path& path, const AbiStamp& stamp, PluginKind expected) {
  if (stamp.kind == static_cast<std::uint8_t>(expected)) return {};
  const std::string found(name_of(static_cast<PluginKind>(stamp.kind)));
  return fail(ErrorCode::invalid_argument, subject(path, stamp.name) + ": expected a " + std::string(name_of(expected)) +
                                               " plugin for this section, found '" + stamp.name + "', a " + found +
                                               " plugin; move it to a [" + found + ".NAME] section");
}

Result<> check_descriptor(const fs::path& path, const PluginDescriptor& descriptor, const AbiStamp& stamp) {
  const auto refuse = [&](const std::string& text) {
    return fail(ErrorCode::incompatible,
                subject(path, stamp.name) + ": " + text + "; build it again with this broker's headers");
  };
  if (descriptor.descriptor_bytes < sizeof(PluginDescriptor)) {
    return refuse("expected a descriptor of at least " + std::to_string(sizeof(PluginDescriptor)) + " bytes, found " +
                  std::to_string(descriptor.descriptor_bytes));
  }
  if (descriptor.stamp == nullptr || descriptor.create == nullptr || descriptor.destroy == nullptr ||
      descriptor.summary == nullptr || descriptor.license == nullptr) {
    return refuse("expected a complete descriptor, found one with null members");
  }
  if (std::memcmp(descriptor.stamp, &stamp, std::min<std::size_t>(sizeof stamp, descriptor.stamp->stamp_bytes)) != 0) {
    return refuse("expected the descriptor to say the same as the note ('" + std::string(stamp.name) + "' " + stamp.version +
                  "), found '" + std::string(descriptor.stamp->name, strnlen(descriptor.stamp->name, sizeof stamp.name)) + "'");
  }
  if (const std::string fault = option_table_fault(descriptor); !fault.empty()) return refuse(fault);
  return {};
}

std::string load_refusal(const fs::path& path, const std::string& linker_words) {
  const std::string prefix = subject(path, "") + ": ";
  constexpr std::string_view kMissing = ": cannot open shared object file";
  if (const std::size_t at = linker_words.find(kMissing); at != std::string::npos) {
    return prefix + "expected every library that it needs to be installed, found no '" + linker_words.substr(0, at) +
           "'; install the package that has it ('ldd " + path.string() + "' lists them)";
  }
  constexpr std::string_view kUndefined = "undefined symbol: ";
  if (const std::size_t at = linker_words.find(kUndefined); at != std::string::npos) {
    return prefix + "expected every symbol to be defined, found '" + linker_words.substr(at + kUndefined.size()) +
           "' undefined; link the library that has it into the plugin (-Wl,--no-undefined shows it when building)";
  }
  return prefix + "expected it to load and to export '" + kDescriptorSymbol + "', found: " + linker_words +
         "; build it again with streambus_add_plugin";
}

}  // namespace streambus
