#include "command.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

namespace streambus::command {
namespace {

constexpr const char* kDefaultBootstrap = "127.0.0.1:9092";

std::atomic<bool> stop_requested{false};
int stop_pipe[2] = {-1, -1};

extern "C" void on_stop_signal(int signal) {
  if (stop_requested.exchange(true)) _exit(128 + signal);
  const char byte = 0;
  [[maybe_unused]] const auto written = write(stop_pipe[1], &byte, 1);
}

std::string default_bootstrap() {
  const char* const from_environment = std::getenv("STREAMBUS_BOOTSTRAP");
  return from_environment != nullptr && *from_environment != '\0' ? from_environment : kDefaultBootstrap;
}

}  // namespace

void add_bootstrap(CLI::App& command, Invocation& invocation) {
  invocation.bootstrap = default_bootstrap();
  command
      .add_option("-b,--bootstrap", invocation.bootstrap,
                  "Broker to connect to, several separated by commas (default: $STREAMBUS_BOOTSTRAP, else 127.0.0.1:9092)")
      ->type_name("HOST:PORT");
  add_plugin_dir(command, invocation);
}

void add_plugin_dir(CLI::App& command, Invocation& invocation) {
  command.add_option("--plugin-dir", invocation.plugin_dirs, "Look for plugins here first; repeatable")
      ->type_name("DIR")
      ->allow_extra_args(false);
}

void add_json(CLI::App& command, Invocation& invocation, const char* what) {
  command.add_flag("--json", invocation.json, what);
}

void finish(CLI::App& command, Invocation& invocation, const char* examples, std::function<int()> action) {
  command.footer(examples);
  command.callback([&invocation, action = std::move(action)] { invocation.action = action; });
}

std::shared_ptr<client::ClientContext> connect_later(const Invocation& invocation, client::ClientSettings settings) {
  settings.bootstrap = invocation.bootstrap;
  client::ClientContext::HostSettings host;
  for (const std::string& directory : invocation.plugin_dirs) host.plugin_dirs.push_back(std::filesystem::absolute(directory));
  host.services.log.level = LogLevel::warning;
  auto context = client::ClientContext::create(std::move(settings), std::move(host));
  if (context) return std::move(*context);
  fmt::print(stderr, "error: {}\n", context.error().message);
  return nullptr;
}

Exit exit_code_of(const Error& error) noexcept {
  switch (error.code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::incompatible:
      return kUsage;
    case ErrorCode::io_error:
    case ErrorCode::timeout:
    case ErrorCode::closed:
    case ErrorCode::busy:
    case ErrorCode::permission_denied:
      return kUnreachable;
    default:
      return kFailed;
  }
}

int report_error(const Invocation& invocation, std::string_view tried, const Error& error) {
  const Exit code = exit_code_of(error);
  fmt::print(stderr, "error: {}: {}\n", tried, error.message);
  if (code == kUnreachable) {
    fmt::print(stderr, "  broker: {}. Is streambusd running there? Name another with -b HOST:PORT or STREAMBUS_BOOTSTRAP.\n",
               invocation.bootstrap);
  }
  return code;
}

StopSignals::StopSignals() {
  stop_requested = false;
  if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) != 0) stop_pipe[0] = stop_pipe[1] = -1;
  struct sigaction action = {};
  action.sa_handler = &on_stop_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

StopSignals::~StopSignals() {
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  for (int& end : stop_pipe) {
    if (end >= 0) close(end);
    end = -1;
  }
}

bool StopSignals::stopped() const noexcept { return stop_requested.load(std::memory_order_relaxed); }

int StopSignals::descriptor() const noexcept { return stop_pipe[0]; }

Progress::Progress(bool wanted) : on_(wanted && isatty(STDERR_FILENO) == 1), next_(std::chrono::steady_clock::now()) {}

bool Progress::due() noexcept {
  if (!on_) return false;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return false;
  next_ = now + std::chrono::milliseconds(500);
  return true;
}

void Progress::show(const std::string& line) {
  if (!on_) return;
  fmt::print(stderr, "\r\x1b[K{}", line);
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (std::exchange(shown_, false)) fmt::print(stderr, "\r\x1b[K");
}

void Output::write(std::string_view bytes) { buffer_.append(bytes); }

Result<> Output::flush() {
  std::string_view left = buffer_;
  while (!left.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return std::unexpected(errno_error("standard output", errno));
    left.remove_prefix(static_cast<std::size_t>(written));
  }
  buffer_.clear();
  return {};
}

std::string human_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  for (; bytes >= 1000 && unit + 1 < std::size(kUnits); ++unit) bytes /= 1000;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.2f} {}", bytes, kUnits[unit]);
}

}  // namespace streambus::command
