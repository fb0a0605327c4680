#pragma once
// Small checksummed files, replaced atomically: written under another name, synced, renamed, directory synced.

#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

#include "storage-common/paths.hpp"
#include "storage-common/text.hpp"
#include "streambus/base/bytes.hpp"
#include "streambus/base/crc32c.hpp"
#include "streambus/plugin/files.hpp"

namespace streambus::storage_common {

inline constexpr std::size_t kChecksumBytes = 4;

/// Checks what small files share: an 8-byte magic and a version at the start, a checksum of all before it at the end.
[[nodiscard]] inline Status check_envelope(Bytes bytes, const char* what, std::string_view magic,
                                           std::uint32_t version) noexcept {
  if (bytes.size() < 16 + kChecksumBytes || as_text(bytes.first(8)) != magic) {
    return status_of(ErrorCode::corrupt, "%s: wrong magic or too short (%zu bytes)", what, bytes.size());
  }
  const auto found = load_be<std::uint32_t>(bytes.data() + 8);
  if (found > version) {
    return status_of(ErrorCode::unsupported, "%s has format version %u, this build reads up to %u: use a newer build", what,
                     found, version);
  }
  if (found < version) {
    return status_of(ErrorCode::unsupported, "%s has format version %u, this build reads %u only: no upgrade is known", what,
                     found, version);
  }
  const std::uint32_t stored = load_be<std::uint32_t>(bytes.data() + bytes.size() - kChecksumBytes);
  const std::uint32_t computed = crc32c(bytes.first(bytes.size() - kChecksumBytes));
  if (stored != computed)
    return status_of(ErrorCode::corrupt, "%s: checksum expected %08x, found %08x", what, computed, stored);
  return {};
}

/// 32 hexadecimal digits to 16 bytes; false for anything else.
[[nodiscard]] inline bool parse_topic_id(std::string_view text, std::byte (&out)[16]) noexcept {
  if (text.size() != 32) return false;
  for (std::size_t i = 0; i < 32; ++i) {
    const char c = text[i];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return false;
    out[i / 2] = i % 2 == 0 ? static_cast<std::byte>(digit << 4) : out[i / 2] | static_cast<std::byte>(digit);
  }
  return true;
}

/// Replaces `directory`/`name` by `bytes`, durably; the old content stays where anything fails before *renamed: then either
/// may be found after a crash.
[[nodiscard]] inline Status replace_file(FileSystem& files, std::string_view directory, std::string_view name, Bytes bytes,
                                         bool* renamed = nullptr) noexcept {
  char temporary_name[48];
  const int length =
      std::snprintf(temporary_name, sizeof temporary_name, "%.*s.tmp", static_cast<int>(name.size()), name.data());
  const Path temporary = Path::file(directory, {temporary_name, static_cast<std::size_t>(length)});
  File* file = nullptr;
  STREAMBUS_TRY_STATUS(files.open(temporary, OpenMode::create, &file));
  Status status = file->truncate(0);
  const Slice slice = Slice::memory(bytes);
  if (status.ok()) status = file->write_at(0, &slice, 1);
  if (status.ok()) status = file->sync();
  file->close();
  if (!status.ok()) return status;
  STREAMBUS_TRY_STATUS(files.rename(temporary, Path::file(directory, name)));
  if (renamed != nullptr) *renamed = true;
  return files.sync_directory(directory);
}

/// Reads a whole small file. Errors: not_found; corrupt when it is larger than `bytes_max`.
[[nodiscard]] inline Status read_small_file(FileSystem& files, std::string_view path, std::size_t bytes_max,
                                            std::vector<std::byte>* out) {
  File* file = nullptr;
  STREAMBUS_TRY_STATUS(files.open(path, OpenMode::read, &file));
  std::uint64_t size = 0;
  Status status = file->size(&size);
  if (status.ok() && size > bytes_max) {
    status = status_of(ErrorCode::corrupt, "%.*s: %llu bytes, at most %zu expected", static_cast<int>(path.size()), path.data(),
                       static_cast<unsigned long long>(size), bytes_max);
  }
  if (status.ok()) {
    out->resize(static_cast<std::size_t>(size));
    std::size_t read = 0;
    status = file->read_at(0, *out, &read);
    out->resize(read);
  }
  file->close();
  return status;
}

/// The small file at the root of an engine's directory that says how the last run ended.
struct DirectoryState {
  static constexpr std::uint32_t kVersion = 1;
  static constexpr std::size_t kStateBytes = 36;

  bool clean = false;             ///< every partition was closed in order when the run ended
  std::uint64_t run = 0;          ///< counts the starts
  std::uint64_t unclean_run = 0;  ///< the last run that did not end clean: manifests closed in or before it are not trusted

  [[nodiscard]] std::vector<std::byte> encode(std::string_view magic) const;
  /// Errors: corrupt; unsupported (says which version was found and what to do).
  [[nodiscard]] static Status decode(Bytes bytes, const char* name, std::string_view magic, DirectoryState* out) noexcept;
};

inline std::vector<std::byte> DirectoryState::encode(std::string_view magic) const {
  std::vector<std::byte> bytes(kStateBytes);
  ByteWriter out(bytes);
  out.bytes(as_bytes(magic));
  out.write(kVersion);
  out.write(clean ? std::uint32_t{1} : std::uint32_t{0});
  out.write(run);
  out.write(unclean_run);
  out.write(crc32c(Bytes(bytes).first(kStateBytes - kChecksumBytes)));
  return bytes;
}

inline Status DirectoryState::decode(Bytes bytes, const char* name, std::string_view magic, DirectoryState* out) noexcept {
  STREAMBUS_TRY_STATUS(check_envelope(bytes, name, magic, kVersion));
  if (bytes.size() != kStateBytes)
    return status_of(ErrorCode::corrupt, "%s: expected %zu bytes, found %zu", name, kStateBytes, bytes.size());
  out->clean = load_be<std::uint32_t>(bytes.data() + 12) != 0;
  out->run = load_be<std::uint64_t>(bytes.data() + 16);
  out->unclean_run = load_be<std::uint64_t>(bytes.data() + 24);
  return {};
}

}  // namespace streambus::storage_common
