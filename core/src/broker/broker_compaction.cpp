// Which partition is compacted when, and what is remembered of it: data_dir/meta/compaction.

#include <algorithm>

#include "broker_core.hpp"
#include "meta_file.hpp"

namespace streambus::broker {
namespace {

constexpr MetaFormat kFormat{.magic = "SBCOMPAC", .version = 1, .what = "progress of compaction"};
constexpr const char* kFileName = "compaction";

std::string key_of(std::string_view topic_id, PartitionId partition) {
  return std::string(topic_id) + "-" + std::to_string(partition);
}

}  // namespace

CompactionMetrics::CompactionMetrics(Host& host) noexcept
    : runs(host.metric(MetricKind::counter, "compaction_runs_total", "Compactions of a partition")),
      failures(host.metric(MetricKind::counter, "compaction_failures_total", "Compactions that ended with an error")),
      read_bytes(host.metric(MetricKind::counter, "compaction_read_bytes_total", "Bytes of batches read by compaction")),
      written_bytes(host.metric(MetricKind::counter, "compaction_written_bytes_total",
                                "Bytes of batches that compaction kept and wrote anew")),
      removed_records(host.metric(MetricKind::counter, "compaction_removed_records_total", "Records that compaction removed")),
      run_ns(host.metric(MetricKind::histogram, "compaction_run_nanoseconds", "Time of compacting a partition")),
      dirty_permille(host.metric(MetricKind::gauge, "compaction_dirty_permille",
                                 "Share of bytes not compacted yet in the partition where it is largest")) {}

void BrokerCore::compact() noexcept {
  try {
    std::vector<std::pair<double, Ref<Partition>>> due;
    const TimestampMs now = host_.wall_ms();
    double dirtiest = 0;
    for (Ref<Partition>& partition : all_partitions()) {
      const CompactionNeed need = partition->compaction_need(now);
      dirtiest = std::max(dirtiest, need.dirty_ratio);
      if (need.due) due.emplace_back(need.dirty_ratio, std::move(partition));
    }
    compaction_metrics_.dirty_permille.set(static_cast<std::int64_t>(dirtiest * 1000));
    std::ranges::stable_sort(due, std::greater{}, [](const auto& entry) { return entry.first; });
    for (const auto& [ratio, partition] : due) {
      if (stopping_) return;
      compact(*partition);
    }
    if (!due.empty()) write_compaction_progress();
  } catch (const std::bad_alloc&) {
    log(LogLevel::warning, "out of memory while looking for partitions to compact");
  }
}

void BrokerCore::compact(Partition& partition) noexcept {
  const std::int64_t begin_ns = host_.monotonic_ns();
  CompactionReport report;
  const Status status = partition.compact(settings_.compaction, &report);
  const std::int64_t run_ns = host_.monotonic_ns() - begin_ns;
  compaction_metrics_.runs.add(1);
  compaction_metrics_.read_bytes.add(static_cast<std::int64_t>(report.read_bytes));
  compaction_metrics_.written_bytes.add(static_cast<std::int64_t>(report.written_bytes));
  compaction_metrics_.removed_records.add(static_cast<std::int64_t>(report.removed_records));
  compaction_metrics_.run_ns.add(run_ns);
  const std::string name = "partition " + partition.topic() + "/" + std::to_string(partition.id()) + ": ";
  if (report.opaque_batches > 0) {
    log(LogLevel::warning, name + "compaction left " + std::to_string(report.opaque_batches) +
                               " batches as they are: no codec is loaded for them");
  }
  if (!status.ok() && status.code != ErrorCode::cancelled) {
    compaction_metrics_.failures.add(1);
    log(LogLevel::warning, name + "compaction will be tried again: " + std::string(status.message()));
  } else if (host_.log_enabled(LogLevel::debug)) {
    log(LogLevel::debug, name + "compacted in " + std::to_string(report.passes) + " passes and " +
                             std::to_string(run_ns / 1'000'000) + " ms: " + std::to_string(report.removed_records) +
                             " records removed, " + std::to_string(report.read_bytes) + " bytes read, " +
                             std::to_string(report.written_bytes) + " written");
  }
}

void BrokerCore::write_compaction_progress() noexcept {
  try {
    MetaWriter out;
    std::vector<std::pair<std::string, CompactionProgress>> entries;
    for (const Ref<Partition>& partition : all_partitions()) {
      const CompactionProgress progress = partition->compaction_progress();
      if (progress.clean_end > Offset{0}) entries.emplace_back(key_of(partition->topic_id(), partition->id()), progress);
    }
    out.write(static_cast<std::uint32_t>(entries.size()));
    for (const auto& [key, progress] : entries) {
      out.text(key);
      out.write(progress.clean_end.value);
      out.write(progress.clean_bytes);
      out.write(progress.horizon);
    }
    const auto written = write_meta_file(host_.files(), kFileName, kFormat, out.bytes(), MetaWrite::in_place);
    if (!written) log(LogLevel::warning, "the progress of compaction was not written: " + written.error().message);
  } catch (const std::bad_alloc&) {
    log(LogLevel::warning, "out of memory while writing the progress of compaction");
  }
}

/// What cannot be read is done again. Before the partitions are opened.
void BrokerCore::read_compaction_progress() {
  const auto file = read_meta_file(host_.files(), kFileName, kFormat);
  if (!file) log(LogLevel::warning, "compacted topics are looked through from their start: " + file.error().message);
  if (!file || !*file) return;
  std::map<std::string, CompactionProgress, std::less<>> entries;
  ByteReader in((*file)->payload);
  for (auto count = in.read<std::uint32_t>(); count > 0 && in.ok(); --count) {
    const std::string key(read_text(in));
    CompactionProgress& progress = entries[key];
    progress.clean_end = {in.read<std::int64_t>()};
    progress.clean_bytes = in.read<std::uint64_t>();
    progress.horizon = in.read<TimestampMs>();
  }
  if (!in.ok() || in.remaining() != 0) return;
  for (const Ref<Partition>& partition : all_partitions()) {
    const auto found = entries.find(key_of(partition->topic_id(), partition->id()));
    if (found != entries.end()) partition->restore_compaction_progress(found->second);
  }
}

}  // namespace streambus::broker
