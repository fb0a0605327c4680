// Opening a log: what the manifest lists is taken as it is, what it does not list is scanned, what is torn is cut.

#include <algorithm>
#include <new>

#include "log.hpp"
#include "text.hpp"

namespace streambus::storage_wal {

/// What is known while a log is being opened.
struct WalLog::Found final : public DirectoryVisitor {
  void entry(std::string_view name, bool is_directory) noexcept override {
    if (is_directory) return;
    try {
      SegmentName segment;
      if (parse_segment_name(name, "log", &segment)) {
        if (segment.generation == 0) {
          logs.push_back(segment.base);
        } else {
          replacements.push_back(segment);
        }
      } else if (parse_segment_name(name, "index", &segment)) {
        indexes.push_back(segment);
      } else if (name.ends_with(".tmp")) {
        leftovers.emplace_back(name);
      }
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  }

  [[nodiscard]] bool has_log(const SegmentName& name) const noexcept {
    if (name.generation == 0) return std::binary_search(logs.begin(), logs.end(), name.base);
    return std::find(replacements.begin(), replacements.end(), name) != replacements.end();
  }

  std::vector<Offset> logs;  ///< sorted; of generation 0
  std::vector<SegmentName> replacements;
  std::vector<SegmentName> indexes;
  std::vector<std::string> leftovers;
  bool out_of_memory = false;

  bool has_manifest = false;
  Manifest manifest;
  bool trusted = false;  ///< the manifest tells all
  Offset boundary;       ///< segments from here on are to be scanned
  bool has_mark = false;
  bool mark_seen = false;
  SyncedMark mark;
  std::list<Writing> scanned;
  std::uint64_t cut_bytes = 0;
};

Status WalLog::recover(Offset start) {
  const std::int64_t started = engine_.host().monotonic_ns();
  STREAMBUS_TRY_STATUS(engine_.files().create_directory(directory_));
  Found found;
  STREAMBUS_TRY_STATUS(list_files(&found));
  STREAMBUS_TRY_STATUS(load_manifest(&found));
  found.has_mark = engine_.marks().find(id_, partition_, &found.mark);

  const bool fresh = !found.has_manifest && found.logs.empty() && found.replacements.empty() && !found.has_mark;
  start_ = found.has_manifest ? found.manifest.start : fresh ? start : Offset{0};  // another start is in a manifest
  end_ = start_;
  if (fresh) {
    durable_ = end_;
    if (start > Offset{0}) STREAMBUS_TRY_STATUS(write_manifest(start_, 0, true));
  } else {
    clean_ = found.trusted;
    changed_ = !found.trusted;
    if (engine_.settings().verify_on_open) found.trusted = false;
    STREAMBUS_TRY_STATUS(take_sealed(&found));
    if (!found.trusted) STREAMBUS_TRY_STATUS(scan_rest(&found));
    durable_ = end_;
  }
  for (const Ref<Segment>& segment : segments_) bytes_ += segment->bytes;
  engine_.metrics().segments.add(static_cast<std::int64_t>(segments_.size()));
  engine_.metrics().stored_bytes.add(static_cast<std::int64_t>(bytes_));
  domain_ = engine_.host().durability().open_domain();
  engine_.metrics().recovery_ns.add(engine_.host().monotonic_ns() - started);
  if (found.cut_bytes > 0) {
    engine_.metrics().recovery_cut_bytes.add(static_cast<std::int64_t>(found.cut_bytes));
    log_line(engine_.host(), LogLevel::warning, "%.64s-%d: cut %llu bytes of a torn tail, the log ends at offset %lld",
             topic_.c_str(), partition_, static_cast<unsigned long long>(found.cut_bytes), static_cast<long long>(end_.value));
  }
  return {};
}

Status WalLog::list_files(Found* found) {
  STREAMBUS_TRY_STATUS(engine_.files().list(directory_, *found));
  if (found->out_of_memory) throw std::bad_alloc();
  std::sort(found->logs.begin(), found->logs.end());
  for (const std::string& name : found->leftovers) (void)engine_.files().remove(Path::file(directory_, name));
  for (const SegmentName& index : found->indexes) {
    if (!found->has_log(index)) (void)engine_.files().remove(Path::segment(directory_, index.base, index.generation, "index"));
  }
  return {};
}

Status WalLog::load_manifest(Found* found) {
  const Path path = Path::file(directory_, Manifest::kFileName);
  std::vector<std::byte> bytes;
  Status status = read_small_file(engine_.files(), path, Manifest::kFileBytesMax, &bytes);
  if (status.code == ErrorCode::not_found) return {};
  if (status.ok()) status = Manifest::decode(bytes, topic_id_, partition_, &found->manifest);
  if (!status.ok()) {
    return status_of(status.code, "%s: %.100s", path.c_str(), status.text);
  }
  found->has_manifest = true;
  Manifest& manifest = found->manifest;
  const bool more = !found->logs.empty() && found->logs.back() >= manifest.end &&
                    (manifest.entries.empty() || manifest.entries.back().base != found->logs.back());
  found->trusted = manifest.closed && engine_.trusts_closed(manifest.run) && !more;
  return {};
}

/// Takes the segments that the manifest lists. Without trust the one that was appended to is scanned instead.
Status WalLog::take_sealed(Found* found) {
  std::vector<ManifestEntry>& entries = found->manifest.entries;
  found->boundary = found->has_manifest ? found->manifest.end : start_;
  if (!found->trusted && !entries.empty() && entries.back().active) {
    const ManifestEntry& active = entries.back();
    found->boundary = active.base;
    // An orderly close is a synced mark too, and may be newer than the one that was found.
    if (!found->has_mark || found->mark.segment < active.base ||
        (found->mark.segment == active.base && found->mark.position < active.bytes)) {
      found->has_mark = true;
      found->mark = {active.base, active.end, active.bytes, active.frame_crc};
    }
    entries.pop_back();
  }
  for (const ManifestEntry& entry : entries) {
    if (!found->has_log({entry.base, entry.generation})) {
      return status_of(ErrorCode::corrupt, "%s: the file is missing, the manifest lists it",
                       Path::segment(directory_, entry.base, entry.generation, "log").c_str());
    }
    if (engine_.settings().verify_on_open) STREAMBUS_TRY_STATUS(verify_sealed(entry));
    auto segment = Ref<Segment>::adopt(new Segment(entry.base, entry.generation));
    segment->end = entry.end;
    segment->batches_end = entry.batches_end;
    segment->bytes = segment->synced_bytes = entry.bytes;
    segment->max_timestamp = entry.max_timestamp;
    segment->first_append_ms = entry.first_append_ms;
    segment->frame_crc = entry.frame_crc;
    segment->entry_synced = true;
    segment->sealed = !entry.active;
    if (entry.active) {
      active_.segment = segment;
      active_.file_bytes = entry.bytes;
      active_.index = SegmentIndex(entry.base);
      active_.index_complete = false;
    }
    segments_.push_back(std::move(segment));
  }
  end_ = found->boundary;
  // What lies before the boundary and is not listed was being removed, or being written to replace what is listed.
  const auto remove_unlisted = [&](const SegmentName& name) {
    const bool listed = std::any_of(entries.begin(), entries.end(), [&name](const ManifestEntry& entry) {
      return entry.base == name.base && entry.generation == name.generation;
    });
    if (listed) return;
    (void)engine_.files().remove(Path::segment(directory_, name.base, name.generation, "log"));
    (void)engine_.files().remove(Path::segment(directory_, name.base, name.generation, "index"));
  };
  for (const Offset base : found->logs) {
    if (base < found->boundary) remove_unlisted({base, 0});
  }
  for (const SegmentName& name : found->replacements) {
    remove_unlisted(name);
    generation_ = std::max(generation_, name.generation);
  }
  return {};
}

Status WalLog::scan_rest(Found* found) {
  const std::lock_guard maintenance(maintenance_);
  const auto first = std::lower_bound(found->logs.begin(), found->logs.end(), found->boundary);
  const auto first_index = static_cast<std::size_t>(first - found->logs.begin());
  if (found->mark.segment < found->boundary) found->has_mark = false;  // speaks of a segment that is sealed or gone
  for (std::size_t i = first_index; i < found->logs.size(); ++i) {
    const Offset base = found->logs[i];
    if (base != end_) {
      if (base < end_ || (found->has_mark && !found->mark_seen)) {
        return status_of(ErrorCode::corrupt, "%s: expected the segment that begins at offset %lld; synced data is missing",
                         Path::segment(directory_, base, 0, "log").c_str(), static_cast<long long>(end_.value));
      }
      STREAMBUS_TRY_STATUS(cut_from(found, i));  // its predecessor lost its tail: nothing behind was ever synced
      break;
    }
    STREAMBUS_TRY_STATUS(scan_one(found, base));
  }
  if (found->has_mark && !found->mark_seen) {
    return status_of(ErrorCode::corrupt, "%s: missing or cut short, %llu bytes of it were synced",
                     Path::segment(directory_, found->mark.segment, 0, "log").c_str(),
                     static_cast<unsigned long long>(found->mark.position));
  }
  if (end_ < start_) {
    // Records up to `start` were deleted for good: their offsets are not given again.
    for (const Writing& writing : found->scanned) (void)engine_.files().remove(path_of(*writing.segment));
    found->scanned.clear();
    end_ = start_;
    STREAMBUS_TRY_STATUS(write_manifest(start_, 0, false));
  }
  for (Writing& writing : found->scanned) {
    segments_.push_back(writing.segment);
    sealing_.push_back(std::move(writing));
  }
  if (!sealing_.empty()) {
    active_ = std::move(sealing_.back());
    sealing_.pop_back();
  }
  STREAMBUS_TRY_STATUS(seal_all());
  if (active_.segment && engine_.settings().syncs()) {
    const Segment& segment = *active_.segment;
    write_mark({active_.segment, {}, segment.bytes, segment.end, segment.frame_crc, true});
  }
  if (active_.segment) park();  // thousands of partitions are opened at once
  return {};
}

/// Scans the segment that begins at the log's end as known so far.
Status WalLog::scan_one(Found* found, Offset base) {
  const Path path = Path::segment(directory_, base, 0, "log");
  File* opened = nullptr;
  STREAMBUS_TRY_STATUS(open_sparing(engine_.files(), engine_.cache(), path, OpenMode::write, &opened));
  Writing writing;
  writing.file = Ref<OpenFile>::adopt(new OpenFile(opened));
  const bool marked = found->has_mark && found->mark.segment == base;
  ScanResult scan;
  STREAMBUS_TRY_STATUS(scan_segment(*opened, base, UINT64_MAX, marked ? found->mark.position : 0, &scan));
  if (marked) {
    if (scan.bytes < found->mark.position || !scan.mark_reached) {
      return status_of(ErrorCode::corrupt, "%s: damaged at position %llu, before the %llu bytes that were synced: %.40s",
                       path.c_str(), static_cast<unsigned long long>(scan.bytes),
                       static_cast<unsigned long long>(found->mark.position),
                       scan.problem.ok() ? "the data ends" : scan.problem.text);
    }
    if (scan.frame_crc_at_mark != found->mark.frame_crc) {
      return status_of(ErrorCode::corrupt, "%s: an offset or epoch before position %llu was changed after it was synced",
                       path.c_str(), static_cast<unsigned long long>(found->mark.position));
    }
    found->mark_seen = true;
  }
  if (scan.reason == ScanEnd::invalid) found->cut_bytes += scan.file_bytes - scan.bytes;
  if (scan.bytes == 0) {  // started, and nothing of it arrived
    (void)engine_.files().remove(Path::segment(directory_, base, 0, "index"));
    return engine_.files().remove(path);
  }
  writing.segment = Ref<Segment>::adopt(new Segment(base));
  STREAMBUS_TRY_STATUS(settle(found, writing, scan));
  end_ = scan.frames.end;
  found->scanned.push_back(std::move(writing));
  return {};
}

/// Makes what a scan found the truth: nothing behind it, and on the device where the class promises that.
Status WalLog::settle(Found* found, Writing& writing, const ScanResult& scan) {
  Segment& segment = *writing.segment;
  segment.end = segment.batches_end = scan.frames.end;
  segment.bytes = scan.bytes;
  segment.max_timestamp = scan.frames.max_timestamp;
  segment.first_append_ms = engine_.host().wall_ms();
  segment.frame_crc = scan.frames.frame_crc;
  writing.file_bytes = scan.bytes;
  writing.index = scan.index;
  writing.index_dirty = true;
  File& file = writing.file->file();
  // Old bytes behind the end could look like batches after the next crash; blocks behind it may have been reserved.
  STREAMBUS_TRY_STATUS(file.truncate(scan.bytes));
  if (!engine_.settings().syncs()) return {};
  // After a sync that failed the kernel may hold pages that it takes for clean: only writing them again makes a sync honest.
  const bool later_mark = found->has_mark && found->mark.segment > segment.base;
  const bool marked = found->has_mark && found->mark.segment == segment.base;
  std::uint64_t position = later_mark ? scan.bytes : marked ? found->mark.position : 0;
  std::vector<std::byte> buffer(
      static_cast<std::size_t>(std::min<std::uint64_t>(scan.bytes - position, std::uint64_t{1} << 20)));
  while (position < scan.bytes) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), scan.bytes - position));
    std::size_t read = 0;
    STREAMBUS_TRY_STATUS(file.read_at(position, MutableBytes(buffer).first(wanted), &read));
    if (read != wanted) return at(segment, {ErrorCode::io_error, "the file became shorter while it was read"});
    const Slice slice = Slice::memory({buffer.data(), read});
    STREAMBUS_TRY_STATUS(file.write_at(position, &slice, 1));
    position += read;
  }
  STREAMBUS_TRY_STATUS(timed_sync(file));
  STREAMBUS_TRY_STATUS(sync_entry());
  segment.synced_bytes = segment.bytes;
  segment.entry_synced = true;
  return {};
}

/// Puts segments aside whose predecessor lost its tail: their names end in ".cut" from then on. Nobody reads them, but
/// they are there for whoever wants to look, until the partition is removed.
Status WalLog::cut_from(Found* found, std::size_t first) {
  for (std::size_t i = first; i < found->logs.size(); ++i) {
    const Path path = Path::segment(directory_, found->logs[i], 0, "log");
    File* file = nullptr;
    if (engine_.files().open(path, OpenMode::read, &file).ok()) {
      std::uint64_t bytes = 0;
      if (file->size(&bytes).ok()) found->cut_bytes += bytes;
      file->close();
    }
    STREAMBUS_TRY_STATUS(engine_.files().rename(path, Path::segment(directory_, found->logs[i], 0, "log.cut")));
    (void)engine_.files().remove(Path::segment(directory_, found->logs[i], 0, "index"));
    log_line(engine_.host(), LogLevel::warning, "%s: renamed to .cut, what came before it was lost with the power",
             path.c_str());
  }
  return engine_.files().sync_directory(directory_);
}

/// Reads a sealed segment from end to end and compares it with what the manifest says.
Status WalLog::verify_sealed(const ManifestEntry& entry) {
  const Path path = Path::segment(directory_, entry.base, entry.generation, "log");
  File* file = nullptr;
  STREAMBUS_TRY_STATUS(open_sparing(engine_.files(), engine_.cache(), path, OpenMode::read, &file));
  ScanResult scan;
  const Status status = scan_segment(*file, entry.base, entry.bytes, 0, &scan);
  file->close();
  STREAMBUS_TRY_STATUS(status);
  if (scan.bytes != entry.bytes || scan.frames.end != entry.batches_end) {
    return status_of(ErrorCode::corrupt, "%s: damaged at position %llu of %llu: %.50s", path.c_str(),
                     static_cast<unsigned long long>(scan.bytes), static_cast<unsigned long long>(entry.bytes),
                     scan.problem.ok() ? "the data ends" : scan.problem.text);
  }
  if (scan.frames.frame_crc != entry.frame_crc) {
    return status_of(ErrorCode::corrupt, "%s: an offset or epoch was changed after it was synced", path.c_str());
  }
  return {};
}

}  // namespace streambus::storage_wal
