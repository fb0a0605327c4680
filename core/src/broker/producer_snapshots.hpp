#pragma once
// Keeps the producers of a partition across restarts: data_dir/meta/producers/<topic id>-<partition>.{0,1}.
//
// A snapshot holds the table and the offset that it speaks of; what was appended behind it is read again from the batch
// headers of the log. Two files alternate and are not synced: after a crash the newest one that is whole and does not
// speak of more than the log has is taken, and without any the whole log is read.

#include <string>

#include "producer_table.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::broker {

class ProducerSnapshots {
 public:
  static constexpr std::string_view kDirectory = "producers";

  ProducerSnapshots(FileSystem& files, std::string_view topic_id, PartitionId partition);

  /// Whether a snapshot file is whole. Errors: corrupt, unsupported (a newer format), io_error.
  [[nodiscard]] static Result<> check(FileSystem& files, const std::string& path);

  /// Fills `table` with what the producers in the log's [start, end) last did. Removes snapshots that speak of more than
  /// the log has: they must not be believed when it has grown again. May block.
  /// Returns the bytes of the batches that were walked. Errors: those of scan_headers, io_error of the removal.
  [[nodiscard]] Result<std::uint64_t> recover(PartitionLog& log, Offset start, Offset end, std::int64_t now_ns,
                                              ProducerTable& table);

  /// Writes the encoded table (see encode()) as the newest snapshot. May block.
  [[nodiscard]] Result<> write(Bytes encoded);

  /// What write() takes: the table and the offset after the last batch it knows.
  static void encode(Offset end, const ProducerTable& table, MetaWriter& out);

  /// Removes the files, as far as there are any. May block.
  void remove() noexcept;

 private:
  struct Found;
  [[nodiscard]] Result<Found> read(std::size_t slot, Offset end);

  FileSystem& files_;
  std::string paths_[2];
  std::size_t next_slot_ = 0;
};

}  // namespace streambus::broker
