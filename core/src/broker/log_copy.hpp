#pragma once
// Copying the batches of one log to another, as migration between storages does, and proving that nothing differs.

#include "streambus/plugin/storage.hpp"

namespace streambus::broker {

/// Appends the batches of `from` that lie in [to's end, limit) to `to`, offsets and bytes unchanged, until about `bytes_max`
/// are copied; *copied says how much. May block. Throws std::bad_alloc.
/// Errors: those of reading and appending; corrupt (a batch of `from` fails its checksum: says at which offset).
[[nodiscard]] Status copy_batches(PartitionLog& from, PartitionLog& to, Offset limit, std::uint64_t bytes_max,
                                  std::uint64_t* copied);

/// Reads both logs from *at on, below `limit`, byte for byte and with every batch's checksum, until about `bytes_max` are
/// compared; *at moves behind what was. May block. Throws std::bad_alloc.
/// Errors: those of reading; corrupt (they differ, or a checksum fails: says at which offset).
[[nodiscard]] Status compare_batches(PartitionLog& original, PartitionLog& copy, Offset limit, std::uint64_t bytes_max,
                                     Offset* at);

}  // namespace streambus::broker
