#pragma once
// One segment under inspection: its batches against what the manifest, the marks and its index say of them.

#include <string>

#include "manifest.hpp"
#include "marks.hpp"
#include "scan.hpp"
#include "streambus/plugin/inspection.hpp"

namespace streambus::storage_wal {

/// What is known of a segment before it is read.
struct SegmentClaim {
  std::string path;
  Offset base;
  bool listed = false;  ///< the manifest says what it must hold: `entry`
  ManifestEntry entry;
  bool marked = false;  ///< `mark` speaks of this segment
  SyncedMark mark;
  bool synced = false;                  ///< not listed, but all of it was synced: a later segment is known to be
  const SegmentIndex* index = nullptr;  ///< to be compared with the batches
  std::string index_path;
};

/// What was found in it.
struct SegmentVerdict {
  Frames frames;              ///< of the valid batches
  std::uint64_t bytes = 0;    ///< where the last of them ends
  bool damaged = false;       ///< something below the synced bytes does not hold
  bool mark_reached = false;  ///< with a mark: the batches reach it
  bool torn = false;          ///< bytes behind the last batch are no batch
  bool enough = false;        ///< the inspector wants no more
};

/// Reads the segment, hands its batches to `inspector` and reports what does not hold. Behind damage it goes on with the next
/// bytes that are a batch. Errors: those of reading.
[[nodiscard]] Status inspect_segment(File& file, const SegmentClaim& claim, Inspector& inspector, SegmentVerdict* verdict);

}  // namespace streambus::storage_wal
