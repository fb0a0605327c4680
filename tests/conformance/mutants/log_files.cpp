// Files of a partition: manifest, segments, and what a crash leaves of them.

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "engine.hpp"
#include "streambus/base/crc32c.hpp"

namespace streambus::storage_reference {
namespace {

constexpr std::uint32_t kManifestMagic = 0x5245464d;

struct ManifestHead {
  std::uint32_t magic = kManifestMagic;
  std::uint32_t count = 0;
  std::int64_t start = 0;
  std::int64_t continues = 0;  ///< where the first segment that is not sealed begins, or would
  std::uint64_t generation = 0;
  std::uint32_t clean = 0;
  std::uint32_t reserved = 0;
};
struct ManifestRow {
  char name[56] = "";
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::uint64_t file_bytes = 0;
};

class Names final : public DirectoryVisitor {
 public:
  void entry(std::string_view name, bool) noexcept override { all.emplace_back(name); }
  std::vector<std::string> all;
};

Status read_whole(File& file, std::vector<std::byte>* bytes) {
  std::uint64_t size = 0;
  STREAMBUS_TRY_STATUS(file.size(&size));
  bytes->resize(static_cast<std::size_t>(size));
  std::size_t read = 0;
  STREAMBUS_TRY_STATUS(file.read_at(0, *bytes, &read));
  bytes->resize(read);
  return {};
}

}  // namespace

std::uint32_t frame_checksum(const Frame& frame, Bytes batch) noexcept {
  std::byte covered[16 + 21];
  std::memcpy(covered, &frame, 16);
  std::memcpy(covered + 16, batch.data(), 21);
  return crc32c(covered);
}

void Segment::add(const Entry& entry) {
  entries.push_back(entry);
  file_bytes = entry.position + entry.bytes;
  batch_bytes += entry.bytes;
  max_timestamp = std::max(max_timestamp, entry.max_timestamp);
  to = entry.next;
}

Status Log::open_segment(const std::string& name, OpenMode mode, Offset from, SegmentRef* out) {
  File* file = nullptr;
  STREAMBUS_TRY_STATUS(files().open(path(name), mode, &file));
  *out = std::make_shared<Segment>(*file, name, from);
  return {};
}

/// Reads the frames of a segment up to the first that is not whole. A sealed one is judged by the caller.
Status Log::scan(Segment& segment, bool sealed) {
  std::vector<std::byte> bytes;
  STREAMBUS_TRY_STATUS(read_whole(segment.file, &bytes));
  std::size_t at = 0;
  while (at + sizeof(Frame) + kBatchHeaderBytes <= bytes.size()) {
    Frame frame;
    std::memcpy(&frame, bytes.data() + at, sizeof frame);
    Bytes batch = Bytes(bytes).subspan(at + sizeof frame);
    if (frame.magic != Frame::kMagic || frame.bytes < kBatchHeaderBytes) break;
    if (batch.size() < frame.bytes && !is(Mutation::torn_batch_served)) break;
    if (batch.size() < frame.bytes) {  // makes up what is missing
      std::vector<std::byte> zeros(frame.bytes - batch.size());
      const Slice slice = Slice::memory(zeros);
      STREAMBUS_TRY_STATUS(segment.file.write_at(bytes.size(), &slice, 1));
      bytes.insert(bytes.end(), zeros.begin(), zeros.end());
      batch = Bytes(bytes).subspan(at + sizeof frame);
    }
    batch = batch.first(frame.bytes);
    std::size_t total = 0;
    const bool lenient = is(Mutation::crc_not_checked) || is(Mutation::torn_batch_served);
    if (!lenient && (frame.checksum != frame_checksum(frame, batch) || !check_batch(batch, &total).ok())) break;
    const BatchHeader header(batch.data());
    // What replace() left out makes gaps behind `previous`; elsewhere a gap means that something is missing.
    if (!sealed && Offset{frame.previous} != segment.to) break;
    if (header.base_offset() < segment.to) break;
    segment.add({header.base_offset(), header.next_offset(), header.max_timestamp(), at + sizeof frame, frame.bytes});
    at += sizeof frame + frame.bytes;
  }
  if (is(Mutation::index_late) && segment.entries.size() > 1) segment.entries.erase(segment.entries.begin());
  return {};
}

Status Log::load_manifest(bool* found, Offset* continues) {
  File* file = nullptr;
  const Status opened = files().open(path("manifest"), OpenMode::read, &file);
  if (opened.code == ErrorCode::not_found) return {};
  STREAMBUS_TRY_STATUS(opened);
  std::vector<std::byte> bytes;
  const Status read = read_whole(*file, &bytes);
  file->close();
  STREAMBUS_TRY_STATUS(read);
  const auto damaged = [&](const std::string& what) { return Status{ErrorCode::corrupt, directory_ + "/" + what}; };
  ManifestHead head;
  if (bytes.size() < sizeof head + 4) return damaged("manifest is cut off");
  std::uint32_t checksum = 0;
  std::memcpy(&checksum, bytes.data() + bytes.size() - 4, 4);
  std::memcpy(&head, bytes.data(), sizeof head);
  if (checksum != crc32c(Bytes(bytes).first(bytes.size() - 4)) || head.magic != kManifestMagic ||
      bytes.size() != sizeof head + head.count * sizeof(ManifestRow) + 4)
    return damaged("manifest: its checksum does not hold");
  start_ = end_ = {head.start};
  *continues = {head.continues};
  generation_ = head.generation;
  clean_ = head.clean != 0;
  if (is(Mutation::start_forgotten)) start_ = {0};
  for (std::uint32_t i = 0; i < head.count; ++i) {
    ManifestRow row;
    std::memcpy(&row, bytes.data() + sizeof head + i * sizeof row, sizeof row);
    SegmentRef segment;
    const Status status = open_segment(row.name, OpenMode::read, {row.from}, &segment);
    if (status.code == ErrorCode::not_found) return damaged(std::string(row.name) + " is in the manifest and not there");
    STREAMBUS_TRY_STATUS(status);
    STREAMBUS_TRY_STATUS(scan(*segment, true));
    if (segment->file_bytes != row.file_bytes || segment->to > Offset{row.to})
      return damaged(std::string(row.name) + " is damaged at byte " + std::to_string(segment->file_bytes));
    segment->to = {row.to};
    segment->sealed = true;
    end_ = std::max(end_, segment->to);
    segments_.push_back(std::move(segment));
  }
  *found = true;
  return {};
}

/// What is there beside the manifest: the newest segments, which end with what arrived whole, and leftovers.
Status Log::recover_unsealed(const std::vector<std::string>& names, Offset continues) {
  std::map<Offset, std::string> logs;
  for (const std::string& name : names) {
    const auto same = [&](const SegmentRef& segment) { return segment->name == name; };
    if (name == "manifest" || std::ranges::any_of(segments_, same)) continue;
    if (name.ends_with(".log")) {
      logs[{std::stoll(name)}] = name;
    } else {
      STREAMBUS_TRY_STATUS(files().remove(path(name)));
    }
  }
  bool whole = true;  // no byte is missing so far: what lies behind a loss was never acknowledged
  for (const auto& [from, name] : logs) {
    SegmentRef segment;
    STREAMBUS_TRY_STATUS(open_segment(name, OpenMode::write, from, &segment));
    STREAMBUS_TRY_STATUS(scan(*segment, false));
    whole = whole && from <= continues;
    if (!whole || from < continues || segment->entries.empty()) {
      if (from >= continues) whole = false;
      STREAMBUS_TRY_STATUS(files().remove(path(name)));
      continue;
    }
    std::uint64_t size = 0;
    STREAMBUS_TRY_STATUS(segment->file.size(&size));
    if (size != segment->file_bytes) {
      whole = false;
      STREAMBUS_TRY_STATUS(segment->file.truncate(segment->file_bytes));
    }
    // Written again: after a sync that failed the kernel takes pages for written that are not.
    std::vector<std::byte> bytes;
    STREAMBUS_TRY_STATUS(read_whole(segment->file, &bytes));
    const Slice slice = Slice::memory(bytes);
    STREAMBUS_TRY_STATUS(segment->file.write_at(0, &slice, 1));
    STREAMBUS_TRY_STATUS(segment->file.sync());
    segment->sealed = true;
    continues = segment->to;
    segments_.push_back(std::move(segment));
    clean_ = false;
  }
  end_ = std::max(end_, continues);
  // A start beyond what is left: the offsets between belong to the last segment, and are gone.
  if (!segments_.empty()) segments_.back()->to = end_;
  return {};
}

Status Log::recover(Offset start) {
  STREAMBUS_TRY_STATUS(files().create_directory(directory_));
  bool found = false;
  Offset continues;
  STREAMBUS_TRY_STATUS(load_manifest(&found, &continues));
  Names names;
  STREAMBUS_TRY_STATUS(files().list(directory_, names));
  if (!found) {  // a new partition, or the rest of one that was being removed
    for (const std::string& name : names.all) STREAMBUS_TRY_STATUS(files().remove(path(name)));
    start_ = end_ = start;
    clean_ = true;
    STREAMBUS_TRY_STATUS(files().sync_directory(directory_.substr(0, directory_.find('/'))));
    STREAMBUS_TRY_STATUS(files().sync_directory("."));
  } else {
    STREAMBUS_TRY_STATUS(recover_unsealed(names.all, continues));
  }
  if (is(Mutation::lost_on_reopen) && !segments_.empty() && segments_.back()->entries.size() > 1) {
    segments_.back()->entries.pop_back();
    end_ = segments_.back()->to = segments_.back()->entries.back().next;
  }
  durable_ = end_;
  STREAMBUS_TRY_STATUS(write_manifest(segments_, start_, end_, false));
  domain_ = engine_.host().durability().open_domain();
  return {};
}

/// Makes the manifest name the sealed ones among `segments`, durably. After an error either manifest may be there.
Status Log::write_manifest(const std::vector<SegmentRef>& segments, Offset start, Offset end, bool clean) {
  Offset continues = end;
  std::vector<ManifestRow> rows;
  for (const SegmentRef& segment : segments) {
    if (!segment->sealed) {
      continues = segment->from;  // appends go on behind it: nothing else of it may be looked at here
      break;
    }
    continues = segment->to;
    ManifestRow& row = rows.emplace_back();
    std::memcpy(row.name, segment->name.c_str(), segment->name.size() + 1);
    row.from = segment->from.value;
    row.to = segment->to.value;
    row.file_bytes = segment->file_bytes;
  }
  ManifestHead head{.start = start.value, .continues = continues.value, .generation = generation_, .clean = clean ? 1U : 0U};
  head.count = static_cast<std::uint32_t>(rows.size());
  std::vector<std::byte> bytes(sizeof head + rows.size() * sizeof(ManifestRow) + 4);
  std::memcpy(bytes.data(), &head, sizeof head);
  if (!rows.empty()) std::memcpy(bytes.data() + sizeof head, rows.data(), rows.size() * sizeof(ManifestRow));
  const std::uint32_t checksum = crc32c(Bytes(bytes).first(bytes.size() - 4));
  std::memcpy(bytes.data() + bytes.size() - 4, &checksum, 4);

  File* file = nullptr;
  STREAMBUS_TRY_STATUS(files().open(path("manifest.tmp"), OpenMode::create, &file));
  const Slice slice = Slice::memory(bytes);
  Status status = file->truncate(0);
  if (status.ok()) status = file->write_at(0, &slice, 1);
  if (status.ok()) status = file->sync();
  file->close();
  STREAMBUS_TRY_STATUS(status);
  STREAMBUS_TRY_STATUS(files().rename(path("manifest.tmp"), path("manifest")));
  return files().sync_directory(directory_);
}

void Log::remove_files(const std::vector<SegmentRef>& segments) {
  for (const SegmentRef& segment : segments) (void)files().remove(path(segment->name));  // else the next opening does it
}

}  // namespace streambus::storage_reference
