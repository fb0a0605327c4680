// streambus storage verify | dump: looks at stored data while no broker runs on it.

#include "storage_commands.hpp"

#include <fmt/format.h>

namespace streambus::command {
namespace {

/// Nothing was ever written there: as an engine leaves it that keeps nothing on disk.
bool is_empty(const StoredPlace& place) {
  std::error_code failure;
  return !std::filesystem::exists(place.directory, failure) || std::filesystem::is_empty(place.directory, failure);
}

void define_place(CLI::App& command, Invocation& invocation, StorageArguments& arguments, const char* what) {
  command.add_option("path", arguments.path, what)->required()->type_name("PATH");
  command
      .add_option("--plugin", arguments.plugin,
                  "Storage plugin that made the data (default: what the broker noted in the data directory)")
      ->type_name("NAME");
  add_plugin_dir(command, invocation);
}

}  // namespace

InspectionOutcome inspect_storages(const StoragePlace& place, StorageOpener& opener, StorageReport& report) {
  InspectionOutcome outcome;
  for (const StoredPlace& storage : place.storages) {
    auto engine = opener.open(storage);
    if (!engine) {
      fmt::print(stderr, "error: storage '{}': {}\n", storage.name, engine.error().message);
      outcome.unreadable = true;
      continue;
    }
    report.begin_storage(storage);
    const Status status = is_empty(storage) ? Status() : (*engine)->inspect(report);
    const bool memory = (*engine)->durability() == Durability::memory;
    report.end_storage(status.ok() && !memory);
    if (status.code == ErrorCode::cancelled) {
      outcome.stopped = true;
      return outcome;
    }
    if (!status.ok()) {
      fmt::print(stderr, "error: storage '{}' ({}): {}\n", storage.name, storage.plugin, status.text);
      outcome.unreadable = true;
    }
  }
  return outcome;
}

int report_place_error(const Error& error) {
  fmt::print(stderr, "error: {}\n", error.message);
  const bool refused =
      error.code == ErrorCode::invalid_argument || error.code == ErrorCode::busy || error.code == ErrorCode::not_found;
  return refused ? kUsage : kFailed;
}

void define_storage(CLI::App& program, Invocation& invocation) {
  CLI::App& family = *program.add_subcommand("storage", "Look at stored data while no broker runs on it");
  family.require_subcommand(1);
  family.footer("Examples:\n  streambus storage verify data\n  streambus storage dump data --topic orders --records");
  const auto arguments = std::make_shared<StorageArguments>();

  CLI::App& verify = *family.add_subcommand("verify", "Check every checksum, the order of offsets and the indexes");
  define_place(verify, invocation, *arguments, "A broker's data directory, or what is below its storage/");
  verify.add_flag("-v,--verbose", arguments->verbose, "A line for every partition, not only for those with findings");
  verify.add_flag("-q,--quiet", arguments->quiet, "No progress");
  add_json(verify, invocation, "Print a JSON object");
  finish(
      verify, invocation,
      "Changes nothing; the broker must be stopped. A torn tail (what a crash left behind the last whole batch), a gap in the\n"
      "offsets and left-over files are told and are no damage.\n"
      "Exit codes: 0 good, 1 something could not be read, 2 usage or a broker runs on it, 4 damage found.\n"
      "Examples:\n  streambus storage verify data\n  streambus storage verify data/storage/wal --json\n"
      "  streambus storage verify /backup/wal --plugin storage-wal",
      [&invocation, arguments] { return verify_storage(invocation, *arguments); });

  CLI::App& dump = *family.add_subcommand("dump", "Print the stored batches, and their records");
  define_place(dump, invocation, *arguments, "A data directory, what is below its storage/, or a file of record batches");
  dump.add_option("-t,--topic", arguments->topic, "Only this topic, by name or id")->type_name("TOPIC");
  dump.add_option("-p,--partition", arguments->partition, "Only this partition")->type_name("N")->check(CLI::NonNegativeNumber);
  dump.add_option("--offset", arguments->offset, "Begin with the batch that holds this offset, in each partition")
      ->type_name("OFFSET")
      ->check(CLI::NonNegativeNumber);
  dump.add_option("-c,--count", arguments->count, "Stop after that many batches")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  dump.add_flag("-r,--records", arguments->records, "Records too, decompressed");
  dump.add_option("--format", arguments->format, "How a record is printed, as for `streambus consume`; implies --records")
      ->type_name("TEXT");
  add_json(dump, invocation, "Print a JSON object per line, for each batch and with --records for each record");
  finish(dump, invocation,
         "What does not hold is told on standard error. Exit codes: as for `streambus storage verify`.\n"
         "Examples:\n  streambus storage dump data --topic orders --partition 0\n"
         "  streambus storage dump data --topic orders --offset 1000 --count 1 --records\n"
         "  streambus storage dump data/storage/wal --format '%t-%p %o %k=%v\\n'\n"
         "  streambus storage dump 00000000000000000000.log --json",
         [&invocation, arguments] { return dump_storage(invocation, *arguments); });
}

}  // namespace streambus::command
