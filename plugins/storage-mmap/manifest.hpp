#pragma once
// The manifest of a partition: what it knows for certain. Format: docs/formats/mmap.md.

#include <vector>

#include "storage-common/small_files.hpp"
#include "streambus/base/ids.hpp"

namespace streambus::storage_mmap {

inline constexpr std::string_view kStateMagic{"SBMMDS\n\0", 8};
inline constexpr std::string_view kManifestMagic{"SBMMPM\n\0", 8};
inline constexpr std::string_view kIndexMagic{"SBMMIX\n\0", 8};

/// One segment that is complete and synced (or, in a closed log, the one that would be appended to).
struct ManifestEntry {
  Offset base;
  Offset end;
  std::uint64_t bytes = 0;  ///< 0: there is no file
  TimestampMs max_timestamp = kNoTimestamp;
  TimestampMs first_append_ms = 0;
  std::uint32_t frame_crc = 0;
  std::uint32_t generation = 0;
  bool active = false;  ///< appended to again when the log is opened; only the last one
};

/// Everything in it is on the device.
struct Manifest {
  static constexpr const char* kFileName = "manifest";

  bool closed = false;           ///< nothing but the entries exists: true after an orderly close
  std::uint64_t run = 0;         ///< the run of the directory in which it was written
  Offset start;                  ///< first readable offset
  Offset end;                    ///< after the last entry; where the segments not listed begin
  std::uint32_t generation = 0;  ///< the last one that was used for a replacement
  std::vector<ManifestEntry> entries;

  [[nodiscard]] std::vector<std::byte> encode(std::string_view topic_id, PartitionId partition) const;
  /// Errors: corrupt (checksum, magic, another partition's, segments that do not follow one another), unsupported (version).
  [[nodiscard]] static Status decode(Bytes bytes, std::string_view topic_id, PartitionId partition, Manifest* out);
};

}  // namespace streambus::storage_mmap
