#include "manifest.hpp"

#include <algorithm>

#include "paths.hpp"
#include "streambus/base/bytes.hpp"
#include "streambus/base/crc32c.hpp"
#include "text.hpp"

namespace streambus::storage_wal {
namespace {

constexpr char kManifestMagic[9] = "SBWALPM\n";
constexpr char kStateMagic[9] = "SBWALDS\n";
constexpr std::uint32_t kManifestVersion = 2;
constexpr std::size_t kManifestHeaderBytes = 72;
/// By version: the second has generation and batches_end.
constexpr std::size_t kManifestEntryBytes[] = {0, 48, 60};
constexpr std::size_t kStateBytes = 36;
constexpr std::size_t kChecksumBytes = 4;
constexpr std::uint32_t kFlagClosed = 1;
constexpr std::uint32_t kFlagActive = 1;

/// Checks what both files share: magic, checksum, version from `oldest` to `version`.
Status check_envelope(Bytes bytes, const char* what, const char* magic, std::uint32_t oldest, std::uint32_t version) noexcept {
  if (bytes.size() < 16 + kChecksumBytes || as_text(bytes.first(8)) != std::string_view(magic, 8)) {
    return status_of(ErrorCode::corrupt, "%s: wrong magic or too short (%zu bytes)", what, bytes.size());
  }
  const auto found = load_be<std::uint32_t>(bytes.data() + 8);
  if (found > version) {
    return status_of(ErrorCode::unsupported, "%s has format version %u, this build reads up to %u: use a newer build", what,
                     found, version);
  }
  if (found < oldest) {
    return status_of(ErrorCode::unsupported, "%s has format version %u, this build reads %u to %u: no upgrade is known", what,
                     found, oldest, version);
  }
  const std::uint32_t stored = load_be<std::uint32_t>(bytes.data() + bytes.size() - kChecksumBytes);
  const std::uint32_t computed = crc32c(bytes.first(bytes.size() - kChecksumBytes));
  if (stored != computed)
    return status_of(ErrorCode::corrupt, "%s: checksum expected %08x, found %08x", what, computed, stored);
  return {};
}

}  // namespace

bool parse_topic_id(std::string_view text, std::byte (&out)[16]) noexcept {
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

Status replace_file(FileSystem& files, std::string_view directory, std::string_view name, Bytes bytes) noexcept {
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
  return files.sync_directory(directory);
}

Status read_small_file(FileSystem& files, std::string_view path, std::size_t bytes_max, std::vector<std::byte>* out) {
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

std::vector<std::byte> Manifest::encode(std::string_view topic_id, PartitionId partition) const {
  // Version 1 as long as it says all: a partition that was never compacted can be opened by an earlier build.
  const bool replaced =
      std::any_of(entries.begin(), entries.end(), [](const ManifestEntry& entry) { return entry.generation > 0; });
  const std::uint32_t version = replaced ? 2 : 1;
  std::vector<std::byte> bytes(kManifestHeaderBytes + entries.size() * kManifestEntryBytes[version] + kChecksumBytes);
  std::byte id[16] = {};
  (void)parse_topic_id(topic_id, id);
  ByteWriter out(bytes);
  out.bytes(as_bytes({kManifestMagic, 8}));
  out.write(version);
  out.write(closed ? kFlagClosed : std::uint32_t{0});
  out.write(run);
  out.write(start.value);
  out.write(end.value);
  out.write(static_cast<std::uint32_t>(entries.size()));
  out.write(partition);
  out.bytes(id);
  out.write(std::uint64_t{0});  // reserved
  for (const ManifestEntry& entry : entries) {
    out.write(entry.base.value);
    out.write(entry.end.value);
    out.write(entry.bytes);
    out.write(entry.max_timestamp);
    out.write(entry.first_append_ms);
    out.write(entry.frame_crc);
    out.write(entry.active ? kFlagActive : std::uint32_t{0});
    if (version < 2) continue;
    out.write(entry.generation);
    out.write(entry.batches_end.value);
  }
  out.write(crc32c(Bytes(bytes).first(bytes.size() - kChecksumBytes)));
  return bytes;
}

Status Manifest::decode(Bytes bytes, std::string_view topic_id, PartitionId partition, Manifest* out) {
  STREAMBUS_TRY_STATUS(check_envelope(bytes, kFileName, kManifestMagic, 1, kManifestVersion));
  ByteReader in(bytes.subspan(8));
  const auto version = in.read<std::uint32_t>();
  Manifest manifest;
  manifest.closed = (in.read<std::uint32_t>() & kFlagClosed) != 0;
  manifest.run = in.read<std::uint64_t>();
  manifest.start = {in.read<std::int64_t>()};
  manifest.end = {in.read<std::int64_t>()};
  const auto count = in.read<std::uint32_t>();
  const auto found_partition = in.read<PartitionId>();
  const Bytes found_id = in.bytes(16);
  in.skip(8);
  std::byte id[16] = {};
  if (!parse_topic_id(topic_id, id) || !in.ok() || std::memcmp(found_id.data(), id, sizeof id) != 0 ||
      found_partition != partition) {
    return {ErrorCode::corrupt, "manifest of another partition"};
  }
  if (in.remaining() != std::size_t{count} * kManifestEntryBytes[version] + kChecksumBytes) {
    return status_of(ErrorCode::corrupt, "manifest of %u segments in %zu bytes", count, bytes.size());
  }
  manifest.entries.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    ManifestEntry entry;
    entry.base = {in.read<std::int64_t>()};
    entry.end = {in.read<std::int64_t>()};
    entry.bytes = in.read<std::uint64_t>();
    entry.max_timestamp = in.read<TimestampMs>();
    entry.first_append_ms = in.read<TimestampMs>();
    entry.frame_crc = in.read<std::uint32_t>();
    entry.active = (in.read<std::uint32_t>() & kFlagActive) != 0;
    entry.generation = version < 2 ? 0 : in.read<std::uint32_t>();
    entry.batches_end = version < 2 ? entry.end : Offset{in.read<std::int64_t>()};
    if (entry.end < entry.base || entry.batches_end < entry.base || entry.batches_end > entry.end ||
        (i > 0 && manifest.entries.back().end != entry.base) || (entry.active && i + 1 != count)) {
      return status_of(ErrorCode::corrupt, "manifest: segment %lld does not follow the one before it",
                       static_cast<long long>(entry.base.value));
    }
    manifest.entries.push_back(entry);
  }
  if (manifest.start < Offset{0} || manifest.end < Offset{0} || (count > 0 && manifest.entries.back().end != manifest.end)) {
    return {ErrorCode::corrupt, "manifest: start, end and segments disagree"};
  }
  *out = std::move(manifest);
  return {};
}

std::vector<std::byte> DirectoryState::encode() const {
  std::vector<std::byte> bytes(kStateBytes);
  ByteWriter out(bytes);
  out.bytes(as_bytes({kStateMagic, 8}));
  out.write(kVersion);
  out.write(clean ? std::uint32_t{1} : std::uint32_t{0});
  out.write(run);
  out.write(unclean_run);
  out.write(crc32c(Bytes(bytes).first(kStateBytes - kChecksumBytes)));
  return bytes;
}

Status DirectoryState::decode(Bytes bytes, DirectoryState* out) noexcept {
  STREAMBUS_TRY_STATUS(check_envelope(bytes, kFileName, kStateMagic, kVersion, kVersion));
  if (bytes.size() != kStateBytes)
    return status_of(ErrorCode::corrupt, "wal.state: expected %zu bytes, found %zu", kStateBytes, bytes.size());
  out->clean = load_be<std::uint32_t>(bytes.data() + 12) != 0;
  out->run = load_be<std::uint64_t>(bytes.data() + 16);
  out->unclean_run = load_be<std::uint64_t>(bytes.data() + 24);
  return {};
}

}  // namespace streambus::storage_wal
