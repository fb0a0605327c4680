#include "producer_snapshots.hpp"

#include <optional>

#include "log_scan.hpp"
#include "meta_file.hpp"

namespace streambus::broker {
namespace {

constexpr MetaFormat kFormat{.magic = "SBPRODUC", .version = 1, .what = "snapshot of producers"};

/// Records what batch headers say of their producers.
class Replay final : public HeaderVisitor {
 public:
  Replay(ProducerTable& table, std::int64_t now_ns) noexcept : table_(table), now_ns_(now_ns) {}
  bool header(const BatchHeader& batch) override {
    bytes += batch.total_bytes();
    if (batch.producer_id() < 0 || batch.base_sequence() < 0 || batch.control()) return true;
    const ProducerStamp stamp{.producer_id = batch.producer_id(),
                              .epoch = batch.producer_epoch(),
                              .first_sequence = batch.base_sequence(),
                              .record_count = batch.last_offset_delta() + 1};  // as produced: compaction may have removed some
    table_.record(stamp,
                  {.first_sequence = stamp.first_sequence,
                   .last_sequence = stamp.last_sequence(),
                   .first = batch.base_offset(),
                   .last = batch.last_offset(),
                   .max_timestamp = batch.max_timestamp()},
                  now_ns_);
    return true;
  }
  std::uint64_t bytes = 0;

 private:
  ProducerTable& table_;
  std::int64_t now_ns_;
};

}  // namespace

/// A snapshot that was read; without a file where there is none to be believed.
struct ProducerSnapshots::Found {
  std::optional<MetaFile> file;
  Offset end;
};

ProducerSnapshots::ProducerSnapshots(FileSystem& files, std::string_view topic_id, PartitionId partition) : files_(files) {
  const std::string stem = std::string(kDirectory) + "/" + std::string(topic_id) + "-" + std::to_string(partition);
  paths_[0] = stem + ".0";
  paths_[1] = stem + ".1";
}

Result<> ProducerSnapshots::check(FileSystem& files, const std::string& path) {
  STREAMBUS_TRY_ASSIGN(const auto file, read_meta_file(files, path, kFormat));
  if (!file) return {};
  ByteReader in(file->payload);
  in.skip(sizeof(Offset::value));
  ProducerTable table;
  if (table.decode(in, 0)) return {};
  return fail(ErrorCode::corrupt, "the snapshot of producers '" + path + "' does not decode");
}

Result<ProducerSnapshots::Found> ProducerSnapshots::read(std::size_t slot, Offset end) {
  auto file = read_meta_file(files_, paths_[slot], kFormat);
  if (!file) {
    if (file.error().code == ErrorCode::corrupt) return Found{};  // cut short by a crash: the log knows
    return std::unexpected(std::move(file).error());
  }
  if (!*file) return Found{};
  ByteReader in((*file)->payload);
  const Offset speaks_of{in.read<std::int64_t>()};
  if (speaks_of <= end) return Found{std::move(*file), speaks_of};
  STREAMBUS_TRY(to_result(files_.remove(paths_[slot])));
  STREAMBUS_TRY(to_result(files_.sync_directory(kDirectory)));
  return Found{};
}

Result<std::uint64_t> ProducerSnapshots::recover(PartitionLog& log, Offset start, Offset end, std::int64_t now_ns,
                                                 ProducerTable& table) {
  Found best;
  for (std::size_t slot = 0; slot < 2; ++slot) {
    STREAMBUS_TRY_ASSIGN(Found found, read(slot, end));
    if (!found.file || (best.file && best.end >= found.end)) continue;
    best = std::move(found);
    next_slot_ = 1 - slot;
  }
  Offset from = start;
  table = {};
  if (best.file) {
    ByteReader in(best.file->payload);
    in.skip(sizeof best.end.value);
    if (table.decode(in, now_ns)) from = std::max(start, best.end);
  }
  Replay replay(table, now_ns);
  STREAMBUS_TRY(to_result(scan_headers(log, from, end, replay)));
  return replay.bytes;
}

Result<> ProducerSnapshots::write(Bytes encoded) {
  STREAMBUS_TRY(write_meta_file(files_, paths_[next_slot_], kFormat, encoded, MetaWrite::in_place));
  next_slot_ = 1 - next_slot_;
  return {};
}

void ProducerSnapshots::encode(Offset end, const ProducerTable& table, MetaWriter& out) {
  out.write(end.value);
  table.encode(out);
}

void ProducerSnapshots::remove() noexcept {
  for (const std::string& path : paths_) (void)files_.remove(path);
}

}  // namespace streambus::broker
