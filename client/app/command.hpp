#pragma once
// What every command family of `streambus` is made with: shared options, exit codes, output, signals.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "streambus/client/context.hpp"

namespace streambus::command {

/// The same for every command; see docs/CLI.md.
enum Exit : int {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,
  kDamage = 4,
  kUnreachable = 6,
  kInterrupted = 130,
};

/// What the command line asked for. One object per run of the program; families keep references to it.
struct Invocation {
  std::string bootstrap;
  std::vector<std::string> plugin_dirs;
  bool json = false;
  std::function<int()> action;  ///< set by the subcommand that was named
};

/// A family of commands ("topic"): `define` adds it to the program.
struct Family {
  const char* name;
  void (*define)(CLI::App& program, Invocation& invocation);
};

/// Adds -b/--bootstrap.
void add_bootstrap(CLI::App& command, Invocation& invocation);
/// Adds --json.
void add_json(CLI::App& command, Invocation& invocation, const char* what);
/// Adds --plugin-dir.
void add_plugin_dir(CLI::App& command, Invocation& invocation);
/// Adds the examples to --help and makes `action` what runs when the command is named.
void finish(CLI::App& command, Invocation& invocation, const char* examples, std::function<int()> action);

/// A client of the broker that -b names. On failure the error was printed, and the program ends with kUsage.
[[nodiscard]] std::shared_ptr<client::ClientContext> connect_later(const Invocation& invocation,
                                                                   client::ClientSettings settings = {});

/// Prints "error: ..." with where and what was tried, and what to do where it is known. Returns the exit code that fits.
int report_error(const Invocation& invocation, std::string_view tried, const Error& error);

/// The exit code for an error of the client.
[[nodiscard]] Exit exit_code_of(const Error& error) noexcept;

/// Catches SIGINT and SIGTERM while it lives; a second signal ends the program at once. One at a time.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();
  [[nodiscard]] bool stopped() const noexcept;
  /// Becomes readable with the first signal.
  [[nodiscard]] int descriptor() const noexcept;
};

/// Lines about long work on a terminal, one over the other; silent elsewhere.
class Progress {
 public:
  explicit Progress(bool wanted);
  /// True when it is time for a new line: about twice a second.
  [[nodiscard]] bool due() noexcept;
  void show(const std::string& line);
  void clear();

 private:
  bool on_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point next_;
};

/// Writes bytes to standard output in large pieces.
class Output {
 public:
  void write(std::string_view bytes);
  /// Errors: io_error with errno (EPIPE: the reader went away).
  Result<> flush();
  [[nodiscard]] std::string& buffer() noexcept { return buffer_; }
  [[nodiscard]] bool should_flush() const noexcept { return buffer_.size() >= kFlushBytes; }

 private:
  static constexpr std::size_t kFlushBytes = std::size_t{256} << 10;
  std::string buffer_;
};

/// "1.234 GB", decimal units.
[[nodiscard]] std::string human_bytes(double bytes);

// The families.
void define_topic(CLI::App& program, Invocation& invocation);
void define_topic_migrate(CLI::App& topic, Invocation& invocation);
void define_produce(CLI::App& program, Invocation& invocation);
void define_consume(CLI::App& program, Invocation& invocation);
void define_storage(CLI::App& program, Invocation& invocation);
void define_plugin(CLI::App& program, Invocation& invocation);
void define_plugin_new(CLI::App& family, Invocation& invocation);  // of `plugin`
void define_version(CLI::App& program, Invocation& invocation);

}  // namespace streambus::command
