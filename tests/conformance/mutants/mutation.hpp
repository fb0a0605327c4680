#pragma once
// The ways in which the reference engine can be made wrong. Each must fail a case of the kit.

#include <array>
#include <string_view>

namespace streambus::storage_reference {

enum class Mutation : unsigned char {
  none,
  skipped_fsync,           ///< reports without any sync
  fsync_before_write,      ///< syncs before it writes what it then reports
  ack_before_durable,      ///< reports, then syncs
  error_swallowed,         ///< reports although the sync failed
  directory_not_synced,    ///< the entry of a new segment is never made durable
  completion_twice,        ///< reports each position two times
  completion_never,        ///< reports nothing
  completion_backwards,    ///< reports an older position after a newer one
  completion_beyond,       ///< reports more than was appended
  completion_under_lock,   ///< reports with the lock held that readers need
  append_waits,            ///< syncs in append()
  offset_off_by_one,       ///< from the last offset of a batch on it reads the next one
  read_past_limit,         ///< gives a batch that reaches over the limit
  read_past_end,           ///< takes an offset beyond the end for an empty answer
  end_too_early,           ///< shows the new end before the batch can be read
  append_in_parts,         ///< shows the batches of one append one by one
  gap_refused,             ///< takes no batch behind a gap
  append_unchecked,        ///< takes batches below the end
  bytes_kept,              ///< goes on using the caller's memory after append()
  slice_freed_early,       ///< overwrites a read's memory with the next read
  index_late,              ///< an opened segment's index points one batch late
  time_unsorted,           ///< searches times as if they were in order
  torn_batch_served,       ///< keeps a batch at the end whose bytes did not all arrive
  crc_not_checked,         ///< does not look at checksums
  lost_on_reopen,          ///< forgets the last batch when it is opened
  start_forgotten,         ///< forgets deletions when it is opened
  double_open,             ///< opens what is open
  remove_keeps,            ///< says that it removed, and keeps the files
  list_twice,              ///< lists every partition two times
  retention_takes_active,  ///< retention by bytes takes everything
  retention_keeps,         ///< retention does nothing
  no_space_is_final,       ///< a full disk takes the partition offline
  no_space_leaves_part,    ///< leaves the written part of an append that found no space
  replace_drops_last,      ///< loses the last batch that replace() should keep
  replace_unlinks_first,   ///< removes the old files before the new ones are in place
  replace_not_synced,      ///< puts new files in place that are not durable
  replace_moves_end,       ///< ends the log where replace() ended
  close_forgets,           ///< close() makes nothing durable
  files_left,              ///< leaves a file open
  thread_left,             ///< leaves a thread running
  domain_left,             ///< never closes its durability domain
  throws,                  ///< an exception leaves a virtual
  crashes,                 ///< writes through a null pointer in retain()
  hangs,                   ///< waits for ever in close()
  data_race,               ///< counts without a lock: the thread sanitizer's business
};

/// The words of the option `mutation`, in the order of the enumeration.
inline constexpr char kMutationNames[] =
    "none|skipped_fsync|fsync_before_write|ack_before_durable|error_swallowed|directory_not_synced|completion_twice|"
    "completion_never|completion_backwards|completion_beyond|completion_under_lock|append_waits|offset_off_by_one|"
    "read_past_limit|read_past_end|end_too_early|append_in_parts|gap_refused|append_unchecked|bytes_kept|slice_freed_early|"
    "index_late|time_unsorted|torn_batch_served|crc_not_checked|lost_on_reopen|start_forgotten|double_open|remove_keeps|"
    "list_twice|retention_takes_active|retention_keeps|no_space_is_final|no_space_leaves_part|replace_drops_last|"
    "replace_unlinks_first|replace_not_synced|replace_moves_end|close_forgets|files_left|thread_left|domain_left|throws|"
    "crashes|hangs|data_race";

[[nodiscard]] constexpr Mutation mutation_of(std::string_view word) noexcept {
  std::string_view left = kMutationNames;
  for (unsigned char i = 0;; ++i) {
    const std::size_t bar = left.find('|');
    if (left.substr(0, bar) == word) return static_cast<Mutation>(i);
    if (bar == std::string_view::npos) return Mutation::none;
    left.remove_prefix(bar + 1);
  }
}
static_assert(mutation_of("data_race") == Mutation::data_race, "the words and the enumeration must have the same order");

}  // namespace streambus::storage_reference
