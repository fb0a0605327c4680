#pragma once
// The files under data_dir/meta: small, checksummed, with a format version.
//
//   0 magic: 8 bytes   8 version: u32   12 payload bytes: u32   16 payload   then crc32c: u32 of all bytes before it
//
// All integers big-endian. A program that writes version N reads every version from 1 to N and refuses newer ones.

#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "streambus/base/bytes.hpp"
#include "streambus/base/error.hpp"
#include "streambus/plugin/files.hpp"

namespace streambus::broker {

/// Builds a payload.
class MetaWriter {
 public:
  template <std::integral T>
  void write(T value) {
    bytes_.resize(bytes_.size() + sizeof value);
    store_be(bytes_.data() + bytes_.size() - sizeof value, value);
  }
  /// A text with its length, at most 65,535 bytes.
  void text(std::string_view text);
  [[nodiscard]] Bytes bytes() const noexcept { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// Reads what MetaWriter::text wrote; empty and bad when cut short.
[[nodiscard]] std::string_view read_text(ByteReader& reader) noexcept;

struct MetaFormat {
  std::string_view magic;  ///< 8 characters
  std::uint32_t version;   ///< what this program writes
  std::string_view what;   ///< for messages: "list of topics"
};

struct MetaFile {
  std::uint32_t version = 0;
  std::vector<std::byte> payload;
};

/// How a file is written.
enum class MetaWrite : std::uint8_t {
  durable,   ///< replaced atomically, on the device on return: a crash leaves the old file or the new one
  in_place,  ///< overwritten, not synced: a crash may leave a file that read_meta_file() finds corrupt
};

/// Writes `path` in the file system's root. Blocks. Errors: no_space, io_error; with `durable` the old file is then intact.
[[nodiscard]] Result<> write_meta_file(FileSystem& files, const std::string& path, const MetaFormat& format, Bytes payload,
                                       MetaWrite how);

/// Nothing when there is no such file. Errors: corrupt (any damaged bit, any missing or additional byte), unsupported
/// (a newer version), io_error.
[[nodiscard]] Result<std::optional<MetaFile>> read_meta_file(FileSystem& files, const std::string& path,
                                                             const MetaFormat& format);

/// Names of the files in a directory; empty when it does not exist.
[[nodiscard]] Result<std::vector<std::string>> list_files(FileSystem& files, const std::string& directory);

}  // namespace streambus::broker
