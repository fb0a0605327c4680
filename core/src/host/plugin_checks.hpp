#pragma once
// What is checked of a plugin, and how a refusal reads: file, expected, found, remedy.

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "streambus/base/error.hpp"
#include "streambus/plugin/abi.hpp"

namespace streambus {

struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;

  [[nodiscard]] bool valid() const noexcept { return inode != 0; }
  bool operator==(const FileIdentity&) const noexcept = default;
};

/// What a file on disk says before it is loaded.
struct Inspection {
  FileIdentity identity;
  AbiStamp stamp{};  ///< zeros where it could not be read
  ErrorCode code = ErrorCode::ok;
  std::string refusal;  ///< names the file; empty: may be loaded
  std::vector<std::string> warnings;
};

/// Path policy, then the note. Never runs code of the file.
[[nodiscard]] Inspection inspect_plugin_file(const std::filesystem::path& path);

/// Every way in which the stamp does not fit this program, one per line; empty when it fits.
[[nodiscard]] std::string stamp_refusal(const AbiStamp& stamp);

[[nodiscard]] Result<> check_kind(const std::filesystem::path& path, const AbiStamp& stamp, PluginKind expected);

/// The descriptor is of this version and says the same as the note; its option table makes sense.
[[nodiscard]] Result<> check_descriptor(const std::filesystem::path& path, const PluginDescriptor& descriptor,
                                        const AbiStamp& stamp);

/// The refusal for what the dynamic linker said.
[[nodiscard]] std::string load_refusal(const std::filesystem::path& path, const std::string& linker_words);

}  // namespace streambus
