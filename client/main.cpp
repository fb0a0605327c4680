// The `streambus` command: every family of commands is one line of the table and one file beside this one.

#include <fmt/format.h>

#include <exception>

#include "command.hpp"

namespace streambus::command {
namespace {

constexpr Family kFamilies[] = {
    {"topic", &define_topic},                                                                // create, list, describe, delete
    {"produce", &define_produce}, {"consume", &define_consume}, {"plugin", &define_plugin},  // list, info, check
    {"storage", &define_storage},                                                            // verify, dump
    {"version", &define_version},
};

constexpr const char* kExamples = R"(Examples:
  streambus topic create orders --partitions 4
  seq 1 1000 | streambus produce orders
  streambus consume orders --until-end
  streambus COMMAND --help                 options and examples of one command

Exit codes: 0 done, or stopped by a signal where running until stopped is the job; 1 failed while running; 2 usage, configuration
or plugin refused; 3 regression; 4 loss, duplicate, disorder or corruption; 5 inconclusive, with --strict; 6 broker not reachable or
failed; 130 interrupted before the work was done.)";

constexpr const char* kReferenceHead = R"(# The `streambus` command

Generated from `--help` by `streambus --print-reference`; do not edit. A test compares the two.
)";

/// One section per command, in the order of the table. `parents` are the words before the command's own.
void print_reference(CLI::App& command, const std::string& parents) {
  const std::string path = parents.empty() ? command.get_name() : fmt::format("{} {}", parents, command.get_name());
  fmt::print("\n## `{}`\n\n```\n{}```\n", path, command.help(parents));
  for (CLI::App* const child : command.get_subcommands({})) print_reference(*child, path);
}

/// A wrong word after the program or a family: names what there is.
int usage_error(const CLI::App& program, const CLI::ParseError& error) {
  const int code = program.exit(error);
  return code == 0 ? kDone : kUsage;
}

int run(int argc, char** argv) {
  CLI::App program("StreamBus: topics, messages and plugins from the command line.");
  program.name("streambus");
  program.get_formatter()->column_width(36);
  program.footer(kExamples);
  program.require_subcommand(0, 1);
  bool reference = false;
  program.add_flag("--print-reference", reference, "Print docs/CLI.md: the help of every command");
  Invocation invocation;
  for (const Family& family : kFamilies) family.define(program, invocation);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(program, error);
  }
  if (reference) {
    fmt::print("{}", kReferenceHead);
    print_reference(program, {});
    return kDone;
  }
  if (invocation.action) return invocation.action();
  fmt::print(stderr, "{}", program.help());
  return kUsage;
}

}  // namespace
}  // namespace streambus::command

int main(int argc, char** argv) {
  try {
    return streambus::command::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return streambus::command::kFailed;
  }
}
