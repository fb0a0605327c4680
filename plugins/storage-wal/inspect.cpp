// Looking at a directory that no engine has open: the same judgement as recovery's, without its changes.

#include <algorithm>
#include <map>
#include <memory>
#include <new>

#include "engine.hpp"
#include "inspect_segment.hpp"
#include "names.hpp"
#include "streambus/base/crc32c.hpp"
#include "text.hpp"

namespace streambus::storage_wal {
namespace {

using Ull = unsigned long long;
using MarkKey = std::pair<std::string, PartitionId>;  // the topic's id in hexadecimal digits

struct FileCloser {
  void operator()(File* file) const noexcept { file->close(); }
};
using ClosedFile = std::unique_ptr<File, FileCloser>;

/// What concerns all partitions.
struct DirectoryKnowledge {
  std::uint64_t unclean_run = UINT64_MAX;  ///< manifests closed in or before it are not believed
  std::map<MarkKey, SyncedMark> marks;
};

/// Tells a format that is newer from a damaged version number: the checksum of the whole file holds.
bool checksum_holds(Bytes bytes) noexcept {
  return bytes.size() > 4 && load_be<std::uint32_t>(bytes.data() + bytes.size() - 4) == crc32c(bytes.first(bytes.size() - 4));
}

Status list(FileSystem& files, std::string_view directory, Names* names) {
  STREAMBUS_TRY_STATUS(files.list(directory, *names));
  if (names->out_of_memory) throw std::bad_alloc();
  std::sort(names->files.begin(), names->files.end());
  std::sort(names->directories.begin(), names->directories.end());
  return {};
}

class DirectoryInspection {
 public:
  DirectoryInspection(FileSystem& files, Inspector& inspector) : files_(files), inspector_(inspector) {}

  [[nodiscard]] Status run();

 private:
  [[nodiscard]] Status read_state(const Names& names);
  [[nodiscard]] Status read_marks();
  void name_unknown(const Names& names);

  FileSystem& files_;
  Inspector& inspector_;
  DirectoryKnowledge known_;
};

/// One partition; the steps are those of recovery.cpp.
class PartitionInspection {
 public:
  PartitionInspection(FileSystem& files, Inspector& inspector, const DirectoryKnowledge& known, const std::string& topic_id,
                      PartitionId partition)
      : files_(files),
        inspector_(inspector),
        known_(known),
        topic_id_(topic_id),
        partition_(partition),
        directory_(Path::directory(topic_id, partition)) {}

  [[nodiscard]] Status run();

 private:
  [[nodiscard]] Status list_files();
  [[nodiscard]] Status read_manifest();
  void settle_boundary();
  [[nodiscard]] Status inspect_listed();
  [[nodiscard]] Status inspect_rest();
  [[nodiscard]] Status inspect_unlisted(Offset base, Offset* end, bool* ends_log);
  [[nodiscard]] Status inspect_file(SegmentClaim& claim, SegmentVerdict* verdict, bool* wanted);
  [[nodiscard]] Status read_index(const SegmentClaim& claim, std::uint64_t bytes, std::unique_ptr<SegmentIndex>* index);
  void missing(const std::string& path, Offset first, Offset next, const std::string& text);
  void name_replacements();
  [[nodiscard]] bool listed(const SegmentName& name) const noexcept;
  [[nodiscard]] bool has_log(const SegmentName& name) const noexcept {
    if (name.generation == 0) return std::binary_search(logs_.begin(), logs_.end(), name.base);
    return std::find(replacements_.begin(), replacements_.end(), name) != replacements_.end();
  }
  [[nodiscard]] std::string path_of(const SegmentName& name, const char* kind) const {
    return std::string(Path::segment(directory_, name.base, name.generation, kind).view());
  }
  [[nodiscard]] std::string path_of(const std::string& name) const { return std::string(Path::file(directory_, name).view()); }

  FileSystem& files_;
  Inspector& inspector_;
  const DirectoryKnowledge& known_;
  const std::string& topic_id_;
  const PartitionId partition_;
  const Path directory_;

  std::vector<Offset> logs_;  ///< sorted; of generation 0
  std::vector<SegmentName> replacements_;
  std::vector<SegmentName> indexes_;
  bool has_manifest_ = false;
  bool manifest_lost_ = false;  ///< it is there and cannot be believed
  Manifest manifest_;
  bool trusted_ = false;
  Offset boundary_;  ///< segments from here on are not listed
  bool has_mark_ = false;
  bool mark_seen_ = false;
  SyncedMark mark_;
};

Status DirectoryInspection::run() {
  Names names;
  STREAMBUS_TRY_STATUS(list(files_, ".", &names));
  STREAMBUS_TRY_STATUS(read_state(names));
  STREAMBUS_TRY_STATUS(read_marks());
  name_unknown(names);
  for (const std::string& topic : names.directories) {
    if (!is_topic_id(topic)) continue;
    Names partitions;
    STREAMBUS_TRY_STATUS(list(files_, topic, &partitions));
    std::vector<PartitionId> ids;
    for (const std::string& name : partitions.directories) {
      PartitionId id = 0;
      if (parse_partition(name, &id)) ids.push_back(id);
    }
    std::sort(ids.begin(), ids.end());
    for (const PartitionId id : ids) {
      if (!inspector_.partition(topic, id)) continue;
      STREAMBUS_TRY_STATUS(PartitionInspection(files_, inspector_, known_, topic, id).run());
    }
  }
  return {};
}

Status DirectoryInspection::read_state(const Names& names) {
  std::vector<std::byte> bytes;
  Status status = read_small_file(files_, DirectoryState::kFileName, 4096, &bytes);
  if (status.code == ErrorCode::not_found) {
    const bool used = std::any_of(names.directories.begin(), names.directories.end(),
                                  [](const std::string& name) { return is_topic_id(name); });
    if (!used) return {};
    inspector_.finding({.kind = FindingKind::derived_missing,
                        .file = DirectoryState::kFileName,
                        .text = "the file is missing",
                        .repair = "the next start makes it and checks every partition as after a crash"});
    return {};
  }
  DirectoryState state;
  if (status.ok()) status = DirectoryState::decode(bytes, &state);
  if (status.code == ErrorCode::unsupported && checksum_holds(bytes)) return status;
  if (status.code == ErrorCode::corrupt || status.code == ErrorCode::unsupported) {
    inspector_.finding({.kind = FindingKind::derived_damaged,
                        .file = DirectoryState::kFileName,
                        .text = status.text,
                        .repair =
                            "the next start refuses it; no record is lost: remove the file, every partition is then checked "
                            "as after a crash"});
    return {};
  }
  STREAMBUS_TRY_STATUS(status);
  known_.unclean_run = state.clean ? state.unclean_run : state.run;
  return {};
}

Status DirectoryInspection::read_marks() {
  std::vector<std::byte> bytes;
  const Status status = read_small_file(files_, SyncedMarks::kFileName, SyncedMarks::kFileBytesMax, &bytes);
  if (status.code == ErrorCode::not_found) return {};
  STREAMBUS_TRY_STATUS(status);
  const std::size_t whole = bytes.size() / SyncedMarks::kSlotBytes * SyncedMarks::kSlotBytes;
  bytes.resize((bytes.size() + SyncedMarks::kSlotBytes - 1) / SyncedMarks::kSlotBytes * SyncedMarks::kSlotBytes);
  for (std::size_t at = 0; at < bytes.size(); at += SyncedMarks::kSlotBytes) {
    std::byte id[16];
    PartitionId partition = 0;
    SyncedMark mark;
    const auto content = SyncedMarks::decode(Bytes(bytes).subspan(at, SyncedMarks::kSlotBytes), id, &partition, &mark);
    if (content == SyncedMarks::Slot::damaged) {
      inspector_.finding({.kind = FindingKind::derived_damaged,
                          .file = SyncedMarks::kFileName,
                          .position = at,
                          .bytes = SyncedMarks::kSlotBytes,
                          .text = at >= whole ? "the last slot is cut short" : "the checksum of a slot does not hold",
                          .repair = "no record is lost; its partition is checked less strictly until its next sync"});
    } else if (content == SyncedMarks::Slot::mark) {
      std::string name;
      for (const std::byte byte : id) name += text_of("%02x", std::to_integer<unsigned>(byte));
      known_.marks.insert_or_assign({name, partition}, mark);
    }
  }
  return {};
}

void DirectoryInspection::name_unknown(const Names& names) {
  for (const std::string& name : names.files) {
    if (name == DirectoryState::kFileName || name == SyncedMarks::kFileName) continue;
    const bool unfinished = name == std::string(DirectoryState::kFileName) + ".tmp";
    inspector_.finding({.kind = FindingKind::leftover,
                        .file = name,
                        .text = unfinished ? "a replacement that was not finished" : "not a file of this engine",
                        .repair = unfinished ? "the next start overwrites it" : "it is never read"});
  }
}

Status PartitionInspection::run() {
  STREAMBUS_TRY_STATUS(list_files());
  STREAMBUS_TRY_STATUS(read_manifest());
  std::string id = topic_id_;  // marks keep the bytes of the id
  std::transform(id.begin(), id.end(), id.begin(), [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
  if (const auto found = known_.marks.find(MarkKey(id, partition_)); found != known_.marks.end()) {
    has_mark_ = true;
    mark_ = found->second;
  }
  settle_boundary();
  STREAMBUS_TRY_STATUS(inspect_listed());
  return inspect_rest();
}

Status PartitionInspection::list_files() {
  Names names;
  STREAMBUS_TRY_STATUS(list(files_, directory_, &names));
  for (const std::string& name : names.files) {
    SegmentName segment;
    if (parse_segment_name(name, "log", &segment)) {
      if (segment.generation == 0) {
        logs_.push_back(segment.base);
      } else {
        replacements_.push_back(segment);
      }
    } else if (parse_segment_name(name, "index", &segment)) {
      indexes_.push_back(segment);
    } else if (name != Manifest::kFileName) {
      const bool cut = name.ends_with(".log.cut");
      const bool unfinished = name.ends_with(".tmp");
      const std::string path = path_of(name);
      inspector_.finding({.kind = FindingKind::leftover,
                          .file = path,
                          .text = cut          ? "put aside by an earlier start: what came before it was lost"
                                  : unfinished ? "a replacement that was not finished"
                                               : "not a file of this engine",
                          .repair = unfinished ? "the next start removes it" : "it is never read"});
    }
  }
  std::sort(logs_.begin(), logs_.end());
  for (const SegmentName& index : indexes_) {
    if (has_log(index)) continue;
    const std::string path = path_of(index, "index");
    inspector_.finding({.kind = FindingKind::leftover,
                        .file = path,
                        .first = index.base,
                        .text = "the index of a segment that is not there",
                        .repair = "the next start removes it"});
  }
  return {};
}

Status PartitionInspection::read_manifest() {
  const std::string path = path_of(Manifest::kFileName);
  std::vector<std::byte> bytes;
  Status status = read_small_file(files_, path, Manifest::kFileBytesMax, &bytes);
  if (status.code == ErrorCode::not_found) return {};
  if (status.ok()) status = Manifest::decode(bytes, topic_id_, partition_, &manifest_);
  if (status.code == ErrorCode::unsupported && checksum_holds(bytes)) return status;
  if (status.code == ErrorCode::corrupt || status.code == ErrorCode::unsupported) {
    manifest_lost_ = true;
    inspector_.finding({.kind = FindingKind::damage,
                        .file = path,
                        .bytes = bytes.size(),
                        .text = status.text,
                        .repair =
                            "the partition is refused; a repair keeps the batches that hold in every segment and loses the "
                            "start offset: deleted records below it may come back"});
    return {};
  }
  STREAMBUS_TRY_STATUS(status);
  has_manifest_ = true;
  const bool more = !logs_.empty() && logs_.back() >= manifest_.end &&
                    (manifest_.entries.empty() || manifest_.entries.back().base != logs_.back());
  trusted_ = manifest_.closed && manifest_.run > known_.unclean_run && !more;
  return {};
}

/// Tells the segments that the manifest vouches for from those that the next start reads.
void PartitionInspection::settle_boundary() {
  boundary_ = has_manifest_ ? manifest_.end : manifest_lost_ && !logs_.empty() ? logs_.front() : Offset{0};
  std::vector<ManifestEntry>& entries = manifest_.entries;
  if (trusted_ || entries.empty() || !entries.back().active) return;
  const ManifestEntry active = entries.back();
  boundary_ = active.base;
  // An orderly close is a synced mark too, and may be newer than the one that was found.
  if (!has_mark_ || mark_.segment < active.base || (mark_.segment == active.base && mark_.position < active.bytes)) {
    has_mark_ = true;
    mark_ = {active.base, active.end, active.bytes, active.frame_crc};
  }
  entries.pop_back();
}

bool PartitionInspection::listed(const SegmentName& name) const noexcept {
  return std::any_of(manifest_.entries.begin(), manifest_.entries.end(), [&name](const ManifestEntry& entry) {
    return entry.base == name.base && entry.generation == name.generation;
  });
}

/// Files that replace segments are the truth only where the manifest names them.
void PartitionInspection::name_replacements() {
  for (const SegmentName& name : replacements_) {
    if (listed(name)) continue;
    const std::string path = path_of(name, "log");
    inspector_.finding({.kind = FindingKind::leftover,
                        .file = path,
                        .first = name.base,
                        .text = "a replacement that the manifest does not name: it was not finished, or was replaced itself",
                        .repair = manifest_lost_ ? "look at it before it is removed: the manifest that may name it is damaged"
                                                 : "the next start removes it"});
  }
}

void PartitionInspection::missing(const std::string& path, Offset first, Offset next, const std::string& text) {
  std::string repair = "the partition is refused; a repair keeps the other segments";
  if (next != kNoOffset && next > first) {
    repair +=
        text_of("; loses offsets %lld to %lld", static_cast<long long>(first.value), static_cast<long long>(next.value - 1));
  }
  inspector_.finding({.kind = FindingKind::damage, .file = path, .first = first, .next = next, .text = text, .repair = repair});
}

Status PartitionInspection::inspect_listed() {
  for (const Offset base : logs_) {
    if (base >= boundary_ || listed({base, 0})) continue;
    const std::string path = path_of({base, 0}, "log");
    inspector_.finding({.kind = FindingKind::leftover,
                        .file = path,
                        .first = base,
                        .text = "a segment that is not listed any more: its removal was interrupted",
                        .repair = "the next start removes it"});
  }
  name_replacements();
  for (const ManifestEntry& entry : manifest_.entries) {
    SegmentClaim claim;
    const SegmentName name{entry.base, entry.generation};
    claim.path = path_of(name, "log");
    claim.index_path = path_of(name, "index");
    claim.base = entry.base;
    claim.listed = true;
    claim.entry = entry;
    if (!has_log(name)) {
      missing(claim.path, entry.base, entry.end, "the file is missing, the manifest lists it");
      continue;
    }
    claim.marked = has_mark_ && mark_.segment == entry.base && entry.generation == 0;
    claim.mark = mark_;
    SegmentVerdict verdict;
    bool wanted = false;
    STREAMBUS_TRY_STATUS(inspect_file(claim, &verdict, &wanted));
  }
  return {};
}

/// Opens, reads and judges one file of batches.
Status PartitionInspection::inspect_file(SegmentClaim& claim, SegmentVerdict* verdict, bool* wanted) {
  File* opened = nullptr;
  STREAMBUS_TRY_STATUS(files_.open(claim.path, OpenMode::read, &opened));
  const ClosedFile file(opened);
  std::uint64_t bytes = 0;
  STREAMBUS_TRY_STATUS(file->size(&bytes));
  *wanted = inspector_.segment({claim.path, claim.base, claim.listed ? claim.entry.bytes : bytes});
  if (!*wanted) return {};
  std::unique_ptr<SegmentIndex> index;
  // The index of a segment that the next start reads anyway is made again by it, whatever it says.
  if (claim.listed) STREAMBUS_TRY_STATUS(read_index(claim, claim.entry.bytes, &index));
  claim.index = index.get();
  STREAMBUS_TRY_STATUS(inspect_segment(*file, claim, inspector_, verdict));
  if (verdict->enough) return {ErrorCode::cancelled, "the inspection was ended"};
  return {};
}

Status PartitionInspection::read_index(const SegmentClaim& claim, std::uint64_t bytes, std::unique_ptr<SegmentIndex>* index) {
  std::vector<std::byte> encoded;
  auto loaded = std::make_unique<SegmentIndex>(claim.base);
  Status status = read_small_file(files_, claim.index_path, SegmentIndex::kFileBytesMax, &encoded);
  const bool missing = status.code == ErrorCode::not_found;
  if (status.ok()) status = SegmentIndex::decode(encoded, claim.base, bytes, loaded.get());
  if (status.ok()) {
    *index = std::move(loaded);
    return {};
  }
  if (!missing && status.code != ErrorCode::corrupt && status.code != ErrorCode::unsupported) return status;
  inspector_.finding({.kind = missing ? FindingKind::derived_missing : FindingKind::derived_damaged,
                      .file = claim.index_path,
                      .bytes = encoded.size(),
                      .first = claim.base,
                      .text = missing ? "the index is missing" : status.text,
                      .repair = "no record is lost: it is made again from the batches when it is needed"});
  return {};
}

/// The segments that the manifest does not list, as recovery would take them.
Status PartitionInspection::inspect_rest() {
  if (trusted_) return {};
  if (has_mark_ && !manifest_lost_ && mark_.segment < boundary_) has_mark_ = false;
  Offset end = boundary_;
  bool ended = false;
  for (const Offset base : logs_) {
    if (base < boundary_) continue;
    const std::string path = path_of({base, 0}, "log");
    if (ended || base != end) {
      if (base < end || (has_mark_ && mark_.segment >= base) || manifest_lost_) {
        missing(path, end, base, text_of("expected the segment that begins at offset %lld", static_cast<long long>(end.value)));
      } else {
        inspector_.finding({.kind = FindingKind::torn_tail,
                            .file = path,
                            .first = end,
                            .text = "a segment behind one that lost its tail; neither was ever synced",
                            .repair = "the next start renames it to .log.cut"});
        ended = true;
        continue;
      }
      end = base;
    }
    STREAMBUS_TRY_STATUS(inspect_unlisted(base, &end, &ended));
  }
  if (has_mark_ && !mark_seen_) {
    const std::string path = path_of({mark_.segment, 0}, "log");
    missing(path, mark_.segment, mark_.end, text_of("missing or cut short, %llu bytes of it were synced", Ull{mark_.position}));
  }
  return {};
}

Status PartitionInspection::inspect_unlisted(Offset base, Offset* end, bool* ends_log) {
  SegmentClaim claim;
  claim.path = path_of({base, 0}, "log");
  claim.index_path = path_of({base, 0}, "index");
  claim.base = base;
  claim.marked = has_mark_ && mark_.segment == base;
  claim.mark = mark_;
  claim.synced = has_mark_ && mark_.segment > base;
  SegmentVerdict verdict;
  bool wanted = false;
  STREAMBUS_TRY_STATUS(inspect_file(claim, &verdict, &wanted));
  if (claim.marked) mark_seen_ = true;  // what does not hold before the mark was reported with it
  if (!wanted) {
    const auto next = std::upper_bound(logs_.begin(), logs_.end(), base);
    *end = next == logs_.end() ? base : *next;
    return {};
  }
  *end = verdict.frames.end;
  *ends_log = verdict.torn && !claim.synced;
  return {};
}

}  // namespace

Status WalEngine::inspect(Inspector& inspector) noexcept {
  try {
    return DirectoryInspection(files(), inspector).run();
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory while inspecting"};
  }
}

}  // namespace streambus::storage_wal
