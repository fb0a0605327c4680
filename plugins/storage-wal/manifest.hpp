#pragma once
// The small checksummed files beside the segments: the manifest of a partition, and the state of the whole directory.
// Both are replaced atomically (written under another name, synced, renamed, directory synced).

#include <string>
#include <vector>

#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"
#include "streambus/plugin/files.hpp"

namespace streambus::storage_wal {

/// Replaces `directory`/`name` by `bytes`, durably; the old content stays where anything fails.
[[nodiscard]] Status replace_file(FileSystem& files, std::string_view directory, std::string_view name, Bytes bytes) noexcept;

/// Reads a whole small file. Errors: not_found; corrupt when it is larger than `bytes_max`.
[[nodiscard]] Status read_small_file(FileSystem& files, std::string_view path, std::size_t bytes_max,
                                     std::vector<std::byte>* out);

/// One segment that is complete and synced (or, in a closed log, the one that would be appended to).
struct ManifestEntry {
  Offset base;
  Offset end;
  std::uint64_t bytes = 0;
  TimestampMs max_timestamp = kNoTimestamp;
  TimestampMs first_append_ms = 0;
  std::uint32_t frame_crc = 0;
  std::uint32_t generation = 0;  ///< of its file's name: above 0 for what a replacement wrote
  Offset batches_end{};          ///< after its last batch; before `end` where a replacement left a gap there
  bool active = false;           ///< appended to again when the log is opened; only the last one
};

/// What a partition knows for certain: everything in it is on the device.
struct Manifest {
  static constexpr const char* kFileName = "manifest";
  static constexpr std::size_t kFileBytesMax = std::size_t{64} << 20;

  bool closed = false;    ///< nothing but the entries exists: true after an orderly close
  std::uint64_t run = 0;  ///< the run of the directory in which it was written
  Offset start;           ///< first readable offset
  Offset end;             ///< after the last entry; where the segments not listed begin
  std::vector<ManifestEntry> entries;

  [[nodiscard]] std::vector<std::byte> encode(std::string_view topic_id, PartitionId partition) const;
  /// Errors: corrupt (checksum, magic, another partition's, segments that do not follow one another), unsupported (version).
  [[nodiscard]] static Status decode(Bytes bytes, std::string_view topic_id, PartitionId partition, Manifest* out);
};

/// The file `wal.state` at the root of the engine's directory.
struct DirectoryState {
  static constexpr const char* kFileName = "wal.state";
  static constexpr std::uint32_t kVersion = 1;

  bool clean = false;             ///< every partition was closed in order when the run ended
  std::uint64_t run = 0;          ///< counts the starts
  std::uint64_t unclean_run = 0;  ///< the last run that did not end clean: manifests closed in or before it are not trusted

  [[nodiscard]] std::vector<std::byte> encode() const;
  /// Errors: corrupt; unsupported (says which version was found and what to do).
  [[nodiscard]] static Status decode(Bytes bytes, DirectoryState* out) noexcept;
};

/// 32 hexadecimal digits to 16 bytes; false for anything else.
[[nodiscard]] bool parse_topic_id(std::string_view text, std::byte (&out)[16]) noexcept;

}  // namespace streambus::storage_wal
