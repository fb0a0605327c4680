#pragma once
// What an inspection found, kept and summed up, engine by engine.

#include <chrono>
#include <string>
#include <vector>

#include "command.hpp"
#include "storage_place.hpp"
#include "streambus/base/record_batch.hpp"

namespace streambus::command {

/// A finding with its place, owned.
struct KeptFinding {
  FindingKind kind;
  std::string storage;  ///< empty: the broker's own files
  std::string topic;    ///< its name; the id where the name is not known; empty: none in particular
  PartitionId partition = -1;
  std::string file;  ///< below the data directory, or below the storage's
  std::uint64_t position = 0;
  std::uint64_t bytes = 0;
  Offset first = kNoOffset;
  Offset next = kNoOffset;
  std::string text;
  std::string repair;
};

struct PartitionSummary {
  std::string storage;
  std::string topic;
  PartitionId partition = 0;
  Offset first = kNoOffset;  ///< of the first batch
  Offset next = kNoOffset;   ///< after the last
  std::uint64_t segments = 0;
  std::uint64_t batches = 0;
  std::uint64_t bytes = 0;
  std::uint64_t damages = 0;
};

/// Collects findings, adds those that only the whole shows (gaps, offsets that do not rise, partitions that are missing),
/// counts. Subclasses take the batches that are wanted.
class StorageReport : public Inspector {
 public:
  explicit StorageReport(const StoragePlace& place) : place_(place) {}
  virtual ~StorageReport() = default;

  /// Takes over what was found in the broker's own files.
  void add_broker_files();
  /// Between these two lies the inspection of one storage. `complete`: every partition was visited.
  void begin_storage(const StoredPlace& storage);
  void end_storage(bool complete);

  [[nodiscard]] const std::vector<KeptFinding>& findings() const noexcept { return findings_; }
  [[nodiscard]] const std::vector<PartitionSummary>& partitions() const noexcept { return partitions_; }
  [[nodiscard]] std::uint64_t damages() const noexcept { return damages_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  [[nodiscard]] bool partition(std::string_view topic_id, PartitionId partition) noexcept override;
  [[nodiscard]] bool segment(const InspectedSegment& segment) noexcept override;
  [[nodiscard]] bool batch(Bytes batch, std::uint64_t position) noexcept override;
  void finding(const Finding& finding) noexcept override;

 protected:
  [[nodiscard]] virtual bool wants_partition(const PartitionSummary& partition) {
    (void)partition;
    return true;
  }
  virtual void begin_segment(const std::string& file) { (void)file; }
  /// False: enough.
  [[nodiscard]] virtual bool take(Bytes batch, std::uint64_t position) {
    (void)batch, (void)position;
    return true;
  }
  virtual void noted(const KeptFinding& finding) { (void)finding; }
  [[nodiscard]] const PartitionSummary& current() const noexcept { return partitions_.back(); }
  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] const StoragePlace& place() const noexcept { return place_; }

 private:
  void keep(KeptFinding finding);
  void keep_here(FindingKind kind, std::uint64_t position, Offset first, Offset next, std::string text, std::string repair);
  [[nodiscard]] std::string shown_path(std::string_view file) const;

  const StoragePlace& place_;
  const StoredPlace* storage_ = nullptr;
  std::vector<KeptFinding> findings_;
  std::vector<PartitionSummary> partitions_;
  std::vector<std::pair<std::string, PartitionId>> visited_;  ///< of this storage, by topic id
  std::string file_;
  Offset expected_ = kNoOffset;  ///< the offset after what was seen of the partition; none: nothing yet
  bool explained_ = false;       ///< damage was told since the last batch
  bool in_partition_ = false;
  std::uint64_t damages_ = 0;
  std::uint64_t bytes_ = 0;
};

/// "damage data/storage/wal/…/0.log, byte 4096, offsets 7 to 9: ...", and what a repair does on a second line.
[[nodiscard]] std::string describe(const KeptFinding& finding);

}  // namespace streambus::command
