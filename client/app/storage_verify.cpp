// streambus storage verify

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "storage_commands.hpp"

namespace streambus::command {
namespace {

using Json = nlohmann::ordered_json;

/// Nothing but what every report does, and lines about how far it is.
class VerifyReport final : public StorageReport {
 public:
  VerifyReport(const StoragePlace& place, const StorageArguments& arguments)
      : StorageReport(place), progress_(!arguments.quiet), started_(std::chrono::steady_clock::now()) {}

  [[nodiscard]] bool stopped() const noexcept { return signals_.stopped(); }
  void clear_progress() { progress_.clear(); }

 private:
  bool take(Bytes, std::uint64_t) override {
    if (progress_.due()) {
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
      progress_.show(fmt::format("{} checked, {}/s, {}-{}", human_bytes(static_cast<double>(bytes())),
                                 human_bytes(static_cast<double>(bytes()) / seconds), current().topic, current().partition));
    }
    return !signals_.stopped();
  }

  StopSignals signals_;
  Progress progress_;
  std::chrono::steady_clock::time_point started_;
};

Json offset_json(Offset offset) { return offset == kNoOffset ? Json(nullptr) : Json(offset.value); }

Json as_json(const KeptFinding& finding) {
  Json json = {{"kind", std::string(name_of(finding.kind))}, {"damage", is_damage(finding.kind)}};
  if (!finding.storage.empty()) json["storage"] = finding.storage;
  if (!finding.topic.empty()) {
    json["topic"] = finding.topic;
    json["partition"] = finding.partition;
  }
  json.update({{"file", finding.file},
               {"position", finding.position},
               {"bytes", finding.bytes},
               {"first_offset", offset_json(finding.first)},
               {"next_offset", offset_json(finding.next)},
               {"text", finding.text},
               {"repair", finding.repair}});
  return json;
}

Json as_json(const PartitionSummary& partition) {
  return {{"storage", partition.storage},
          {"topic", partition.topic},
          {"partition", partition.partition},
          {"first_offset", offset_json(partition.first)},
          {"next_offset", offset_json(partition.next)},
          {"segments", partition.segments},
          {"batches", partition.batches},
          {"bytes", partition.bytes},
          {"damages", partition.damages}};
}

void print_json(const StorageReport& report, const StoragePlace& place, const StorageArguments& arguments, bool complete) {
  Json json = {{"path", arguments.path},
               {"complete", complete},
               {"damages", report.damages()},
               {"bytes", report.bytes()},
               {"broker_files", place.known.files}};
  json["partitions"] = Json::array();
  for (const PartitionSummary& partition : report.partitions()) json["partitions"].push_back(as_json(partition));
  json["findings"] = Json::array();
  for (const KeptFinding& finding : report.findings()) json["findings"].push_back(as_json(finding));
  fmt::print("{}\n", json.dump(2));
}

void print_text(const StorageReport& report, const StorageArguments& arguments) {
  std::uint64_t segments = 0;
  std::uint64_t batches = 0;
  for (const PartitionSummary& partition : report.partitions()) {
    segments += partition.segments;
    batches += partition.batches;
    if (!arguments.verbose) continue;
    const std::string extent = partition.first == kNoOffset
                                   ? std::string("empty")
                                   : fmt::format("offsets {} to {}", partition.first.value, partition.next.value - 1);
    fmt::print("{} {}-{}: {}, {} segments, {} batches, {}{}\n", partition.storage, partition.topic, partition.partition, extent,
               partition.segments, partition.batches, human_bytes(static_cast<double>(partition.bytes)),
               partition.damages > 0 ? fmt::format(", {} damaged places", partition.damages) : std::string());
  }
  for (const KeptFinding& finding : report.findings()) fmt::print("{}\n", describe(finding));
  fmt::print("{} partitions, {} segments, {} batches, {}: {}, {} other findings\n", report.partitions().size(), segments,
             batches, human_bytes(static_cast<double>(report.bytes())),
             report.damages() == 0 ? std::string("no damage") : fmt::format("{} DAMAGED PLACES", report.damages()),
             report.findings().size() - report.damages());
}

}  // namespace

int verify_storage(const Invocation& invocation, const StorageArguments& arguments) {
  const auto place = find_storage_place(arguments.path, arguments.plugin);
  if (!place) return report_place_error(place.error());
  StorageOpener opener(invocation.plugin_dirs);
  VerifyReport report(*place, arguments);
  if (place->whole) report.add_broker_files();
  const InspectionOutcome outcome = inspect_storages(*place, opener, report);
  report.clear_progress();
  if (invocation.json) {
    print_json(report, *place, arguments, !outcome.stopped && !outcome.unreadable);
  } else {
    print_text(report, arguments);
  }
  if (report.damages() > 0) return kDamage;
  if (outcome.stopped) return kInterrupted;
  return outcome.unreadable ? kFailed : kDone;
}

}  // namespace streambus::command
