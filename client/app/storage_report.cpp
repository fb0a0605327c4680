#include "storage_report.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace streambus::command {

std::string StorageReport::shown_path(std::string_view file) const {
  const std::filesystem::path root =
      place_.data_directory.empty() ? std::filesystem::path() : storage_->directory.lexically_relative(place_.data_directory);
  return (root / file).lexically_normal().generic_string();
}

void StorageReport::keep(KeptFinding finding) {
  if (is_damage(finding.kind)) {
    ++damages_;
    if (in_partition_) ++partitions_.back().damages;
  }
  noted(finding);
  findings_.push_back(std::move(finding));
}

void StorageReport::keep_here(FindingKind kind, std::uint64_t position, Offset first, Offset next, std::string text,
                              std::string repair) {
  keep({.kind = kind,
        .storage = storage_->name,
        .topic = current().topic,
        .partition = current().partition,
        .file = file_.empty() ? std::string() : shown_path(file_),
        .position = position,
        .first = first,
        .next = next,
        .text = std::move(text),
        .repair = std::move(repair)});
}

void StorageReport::add_broker_files() {
  for (const DataDirectory::Problem& problem : place_.known.problems) {
    keep({.kind = problem.kind,
          .storage = {},
          .topic = {},
          .file = problem.file,
          .text = problem.text,
          .repair = problem.repair});
  }
}

void StorageReport::begin_storage(const StoredPlace& storage) {
  storage_ = &storage;
  visited_.clear();
  in_partition_ = false;
}

/// Compares what the storage has with what the list of topics names.
void StorageReport::end_storage(bool complete) {
  in_partition_ = false;
  if (!complete || !place_.known.has_topics || !place_.inside.empty()) return;
  for (const DataDirectory::Topic& topic : place_.known.topics) {
    if (topic.storage != storage_->name) continue;
    for (PartitionId id = 0; id < topic.partitions; ++id) {
      if (std::ranges::find(visited_, std::pair(topic.id, id)) != visited_.end()) continue;
      keep({.kind = FindingKind::damage,
            .storage = storage_->name,
            .topic = topic.name,
            .partition = id,
            .file = shown_path(topic.id + "/" + std::to_string(id)),
            .text = "the list of topics names the partition, the storage has nothing of it",
            .repair = "its records are lost: restore them, or the next start makes it empty"});
    }
  }
  for (const auto& [id, partition] : visited_) {
    const DataDirectory::Topic* const topic = place_.topic_of(id);
    if (topic != nullptr && topic->storage == storage_->name && partition < topic->partitions) continue;
    keep({.kind = FindingKind::leftover,
          .storage = storage_->name,
          .topic = topic == nullptr ? id : topic->name,
          .partition = partition,
          .file = shown_path(id + "/" + std::to_string(partition)),
          .text = "the list of topics does not name this partition",
          .repair = "the next start removes it: an interrupted creation or deletion left it"});
  }
}

bool StorageReport::partition(std::string_view topic_id, PartitionId partition) noexcept {
  visited_.emplace_back(topic_id, partition);
  const DataDirectory::Topic* const topic = place_.topic_of(topic_id);
  PartitionSummary summary{
      .storage = storage_->name, .topic = topic == nullptr ? std::string(topic_id) : topic->name, .partition = partition};
  if (!wants_partition(summary)) return false;
  partitions_.push_back(std::move(summary));
  in_partition_ = true;
  file_.clear();
  expected_ = kNoOffset;
  explained_ = false;
  return true;
}

bool StorageReport::segment(const InspectedSegment& segment) noexcept {
  if (!place_.means(segment.file)) {
    expected_ = kNoOffset;  // what lies in between is not seen
    return false;
  }
  file_ = segment.file;
  ++partitions_.back().segments;
  if (expected_ == kNoOffset) expected_ = segment.base;
  begin_segment(shown_path(file_));
  return true;
}

bool StorageReport::batch(Bytes batch, std::uint64_t position) noexcept {
  const BatchHeader header(batch.data());
  if (expected_ != kNoOffset && !explained_ && header.base_offset() > expected_) {
    keep_here(FindingKind::gap, position, expected_, header.base_offset(), "no batch holds these offsets",
              "legal: compaction and migrations leave gaps");
  } else if (expected_ != kNoOffset && !explained_ && header.base_offset() < expected_) {
    keep_here(FindingKind::damage, position, header.base_offset(), header.next_offset(),
              fmt::format("offsets do not rise: expected at least {}", expected_.value), "keeps the batches before it");
  }
  explained_ = false;
  PartitionSummary& partition = partitions_.back();
  if (partition.first == kNoOffset) partition.first = header.base_offset();
  partition.next = expected_ = header.next_offset();
  ++partition.batches;
  partition.bytes += batch.size();
  bytes_ += batch.size();
  return take(batch, position);
}

void StorageReport::finding(const Finding& finding) noexcept {
  if (finding.kind == FindingKind::damage) explained_ = true;
  if (!finding.file.empty() && !place_.means(finding.file) && in_partition_) return;
  keep({.kind = finding.kind,
        .storage = storage_->name,
        .topic = in_partition_ ? current().topic : std::string(),
        .partition = in_partition_ ? current().partition : -1,
        .file = finding.file.empty() ? std::string() : shown_path(finding.file),
        .position = finding.position,
        .bytes = finding.bytes,
        .first = finding.first,
        .next = finding.next,
        .text = std::string(finding.text),
        .repair = std::string(finding.repair)});
}

std::string describe(const KeptFinding& finding) {
  std::string line(name_of(finding.kind));
  if (!finding.topic.empty()) line += fmt::format(" {}-{}", finding.topic, finding.partition);
  if (!finding.file.empty()) line += fmt::format(" {}", finding.file);
  if (!finding.file.empty() && (finding.position > 0 || finding.bytes > 0)) line += fmt::format(" byte {}", finding.position);
  if (finding.bytes > 0) line += fmt::format(" ({} bytes)", finding.bytes);
  if (finding.first != kNoOffset && finding.next > finding.first) {
    line += fmt::format(" offsets {} to {}", finding.first.value, finding.next.value - 1);
  } else if (finding.first != kNoOffset) {
    line += fmt::format(" offset {}", finding.first.value);
  }
  line += fmt::format("\n  {}\n  -> {}", finding.text, finding.repair);
  return line;
}

}  // namespace streambus::command
