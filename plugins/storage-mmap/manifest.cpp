#include "manifest.hpp"

#include <cstring>

namespace streambus::storage_mmap {
namespace {

using storage_common::kChecksumBytes;
using storage_common::parse_topic_id;
using storage_common::status_of;

constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 72;
constexpr std::size_t kEntryBytes = 52;
constexpr std::uint32_t kFlagClosed = 1;
constexpr std::uint32_t kFlagActive = 1;

}  // namespace

std::vector<std::byte> Manifest::encode(std::string_view topic_id, PartitionId partition) const {
  std::vector<std::byte> bytes(kHeaderBytes + entries.size() * kEntryBytes + kChecksumBytes);
  std::byte id[16] = {};
  (void)parse_topic_id(topic_id, id);
  ByteWriter out(bytes);
  out.bytes(as_bytes(kManifestMagic));
  out.write(kVersion);
  out.write(closed ? kFlagClosed : std::uint32_t{0});
  out.write(run);
  out.write(start.value);
  out.write(end.value);
  out.write(static_cast<std::uint32_t>(entries.size()));
  out.write(partition);
  out.bytes(id);
  out.write(generation);
  out.write(std::uint32_t{0});  // reserved
  for (const ManifestEntry& entry : entries) {
    out.write(entry.base.value);
    out.write(entry.end.value);
    out.write(entry.bytes);
    out.write(entry.max_timestamp);
    out.write(entry.first_append_ms);
    out.write(entry.frame_crc);
    out.write(entry.generation);
    out.write(entry.active ? kFlagActive : std::uint32_t{0});
  }
  out.write(crc32c(Bytes(bytes).first(bytes.size() - kChecksumBytes)));
  return bytes;
}

Status Manifest::decode(Bytes bytes, std::string_view topic_id, PartitionId partition, Manifest* out) {
  STREAMBUS_TRY_STATUS(storage_common::check_envelope(bytes, kFileName, kManifestMagic, kVersion));
  ByteReader in(bytes.subspan(12));
  Manifest manifest;
  manifest.closed = (in.read<std::uint32_t>() & kFlagClosed) != 0;
  manifest.run = in.read<std::uint64_t>();
  manifest.start = {in.read<std::int64_t>()};
  manifest.end = {in.read<std::int64_t>()};
  const auto count = in.read<std::uint32_t>();
  const auto found_partition = in.read<PartitionId>();
  const Bytes found_id = in.bytes(16);
  manifest.generation = in.read<std::uint32_t>();
  in.skip(4);
  std::byte id[16] = {};
  if (!parse_topic_id(topic_id, id) || !in.ok() || std::memcmp(found_id.data(), id, sizeof id) != 0 ||
      found_partition != partition) {
    return {ErrorCode::corrupt, "manifest of another partition"};
  }
  if (in.remaining() != std::size_t{count} * kEntryBytes + kChecksumBytes) {
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
    entry.generation = in.read<std::uint32_t>();
    entry.active = (in.read<std::uint32_t>() & kFlagActive) != 0;
    if (entry.end < entry.base || (i > 0 && manifest.entries.back().end != entry.base) || (entry.active && i + 1 != count)) {
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

}  // namespace streambus::storage_mmap
