#pragma once
// Moving the partitions of a topic to another storage while they are produced to and consumed from.
//
// The copy is made beside all traffic and compared with the original, batch by batch. Then the partitions take no more writes
// for as long as it takes to copy and compare what came meanwhile, and the copies take over: same offsets, same bytes. What
// was copied stays where the process ends half-way: the next attempt goes on behind it.

#include <functional>
#include <string>
#include <vector>

#include "partition.hpp"

namespace streambus::broker {

struct MigrationSpec {
  StorageEngine* target = nullptr;
  std::vector<Ref<Partition>> partitions;  ///< all of the topic
  PartitionSettings settings;
  std::function<bool()> go_on;                ///< asked often; false interrupts
  std::function<void(std::uint64_t)> copied;  ///< told how many bytes were copied since the last call
};

/// One attempt. Not thread-safe. Destroyed without release_copies(), it lets the partitions go on as they are; what was
/// copied is kept by the target for the next attempt.
class Migration {
 public:
  explicit Migration(MigrationSpec spec)
      : spec_(std::move(spec)), copies_(spec_.partitions.size(), nullptr), compared_(spec_.partitions.size()) {}
  Migration(const Migration&) = delete;
  Migration& operator=(const Migration&) = delete;
  ~Migration();

  /// Copies what is there and compares it, beside producers and consumers. Blocks for long. Throws std::bad_alloc.
  /// Errors: cancelled (go_on said so), corrupt (the original is damaged), those of either storage.
  [[nodiscard]] Status copy();

  /// Stops writes, copies and compares the rest, and waits until the target has it durably. Blocks shortly. Throws
  /// std::bad_alloc. Errors: as copy(); timeout (the original does not become durable).
  [[nodiscard]] Status finish();

  /// The complete copies after finish(), by partition; the caller's from then on. The partitions stay without writes.
  [[nodiscard]] std::vector<PartitionLog*> release_copies() noexcept { return std::exchange(copies_, {}); }

  /// Removes what was copied.
  void discard() noexcept;

 private:
  [[nodiscard]] Status open_copy(std::size_t id);
  [[nodiscard]] Status begin_again(std::size_t id, PartitionLog& original);
  [[nodiscard]] Status copy_some(std::size_t id, std::uint64_t* copied);
  [[nodiscard]] Status copy_most(std::size_t id);
  [[nodiscard]] Status compare(std::size_t id);

  MigrationSpec spec_;
  std::vector<PartitionLog*> copies_;
  std::vector<Offset> compared_;  ///< by partition: below it nothing differs
};

}  // namespace streambus::broker
