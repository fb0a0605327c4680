#pragma once
// Looking at stored data without starting the engine: `streambus storage verify` and `dump`. An engine reports what it has and
// what is wrong with it to an Inspector; what is done with the report is not its business.

#include <cstdint>
#include <string_view>

#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"

namespace streambus {

/// What a finding means. The first four are legal states of good data, the others are damage.
enum class FindingKind : std::uint8_t {
  gap,              ///< offsets that no batch holds: after compaction or a migration
  torn_tail,        ///< bytes behind the last whole batch that were never promised: the next start cuts them
  leftover,         ///< what an interrupted job left: the next start removes it, or it may stay
  derived_missing,  ///< what can be made from the batches (an index) is not there: made again when it is needed
  derived_damaged,  ///< what can be made from the batches is damaged: no record is lost
  damage,           ///< batches, or what says which of them are valid
};

[[nodiscard]] constexpr std::string_view name_of(FindingKind kind) noexcept {
  switch (kind) {
    case FindingKind::gap:
      return "gap";
    case FindingKind::torn_tail:
      return "torn-tail";
    case FindingKind::leftover:
      return "leftover";
    case FindingKind::derived_missing:
      return "derived-missing";
    case FindingKind::derived_damaged:
      return "derived-damaged";
    case FindingKind::damage:
      return "damage";
  }
  return "unknown";
}

[[nodiscard]] constexpr bool is_damage(FindingKind kind) noexcept { return kind >= FindingKind::derived_damaged; }

/// One thing worth telling. Views are valid during the call.
struct Finding {
  FindingKind kind = FindingKind::damage;
  std::string_view file;       ///< below the instance's directory; empty: no file in particular
  std::uint64_t position = 0;  ///< first byte concerned
  std::uint64_t bytes = 0;     ///< how many; 0: to the end, or unknown
  Offset first = kNoOffset;    ///< first offset concerned; kNoOffset where it cannot be said
  Offset next = kNoOffset;     ///< the offset behind the last one concerned
  std::string_view text;       ///< what was expected and found
  std::string_view repair;     ///< what the next start does, or what a repair would keep and lose
};

/// A file of batches, or what takes its place in an engine without such files.
struct InspectedSegment {
  std::string_view file;  ///< below the instance's directory
  Offset base;            ///< what its name or its entry says: no batch of it lies below
  std::uint64_t bytes = 0;
};

/// Takes the report of StorageEngine::inspect(). Called from its thread only, in this order: partition, then for each of its
/// segments in offset order segment and the batches; findings at any time after the partition that they concern, those of the
/// whole instance before the first one.
class Inspector {
 public:
  Inspector() = default;
  Inspector(const Inspector&) = delete;
  Inspector& operator=(const Inspector&) = delete;

  /// The next partition; false: leave it out.
  [[nodiscard]] virtual bool partition(std::string_view topic_id, PartitionId partition) noexcept = 0;

  /// The next segment of it; false: leave it out, neither read nor check it.
  [[nodiscard]] virtual bool segment(const InspectedSegment& segment) noexcept = 0;

  /// A whole batch with the right checksum, in offset order. `position`: in the segment's file. `batch` is valid during the
  /// call. False: enough, inspect() returns `cancelled`.
  [[nodiscard]] virtual bool batch(Bytes batch, std::uint64_t position) noexcept = 0;

  virtual void finding(const Finding& finding) noexcept = 0;

 protected:
  ~Inspector() = default;
};

}  // namespace streambus
