#pragma once
// streambus storage: what the subcommands share.

#include <string>

#include "command.hpp"
#include "storage_report.hpp"

namespace streambus::command {

struct StorageArguments {
  std::string path;
  std::string plugin;
  std::string topic;
  PartitionId partition = -1;
  std::int64_t offset = 0;
  std::int64_t count = -1;
  std::string format;
  bool records = false;
  bool verbose = false;
  bool quiet = false;
};

/// How an inspection went.
struct InspectionOutcome {
  bool stopped = false;     ///< by the report: enough, or a signal
  bool unreadable = false;  ///< something could not be looked at; it was printed
};

/// Inspects every storage of the place into the report. What cannot be looked at is printed to standard error.
[[nodiscard]] InspectionOutcome inspect_storages(const StoragePlace& place, StorageOpener& opener, StorageReport& report);

/// Prints why a path cannot be used; the exit code.
int report_place_error(const Error& error);

int verify_storage(const Invocation& invocation, const StorageArguments& arguments);
int dump_storage(const Invocation& invocation, const StorageArguments& arguments);

}  // namespace streambus::command
