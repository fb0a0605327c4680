// streambus produce: a record per line of input.

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "command.hpp"
#include "line_reader.hpp"
#include "streambus/client/producer.hpp"

namespace streambus::command {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct ProduceArguments {
  std::string topic;
  std::string file;
  std::string key_separator;
  std::string codec = "none";
  std::string acks = "all";
  std::vector<std::string> headers;
  double rate = 0;
  PartitionId partition = client::kAnyPartition;
  std::int64_t linger_ms = 5;
  std::uint32_t batch_bytes = client::ProducerSettings{}.batch_bytes_max;
  std::int64_t timeout_ms = 30'000;
  bool no_idempotence = false;
  bool quiet = false;
};

/// Counts what became of the records; shared with the client's thread.
class Outcomes {
 public:
  void count(const client::BatchReport& report) {
    if (report.outcome) {
      delivered_.fetch_add(report.record_count, std::memory_order_relaxed);
      bytes_.fetch_add(report.bytes, std::memory_order_relaxed);
      return;
    }
    failed(report.outcome.error(), report.record_count);
  }
  void failed(const Error& error, std::uint64_t records) {
    failed_.fetch_add(records, std::memory_order_relaxed);
    const std::lock_guard lock(mutex_);
    if (!first_error_) first_error_ = error;
    reasons_[error.message] += records;
  }
  [[nodiscard]] std::uint64_t delivered() const noexcept { return delivered_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t failed_count() const noexcept { return failed_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::optional<Error> first_error() const {
    const std::lock_guard lock(mutex_);
    return first_error_;
  }
  [[nodiscard]] std::map<std::string, std::uint64_t> reasons() const {
    const std::lock_guard lock(mutex_);
    return reasons_;
  }

 private:
  std::atomic<std::uint64_t> delivered_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::atomic<std::uint64_t> bytes_{0};
  mutable std::mutex mutex_;
  std::optional<Error> first_error_;
  std::map<std::string, std::uint64_t> reasons_;
};

/// Holds sending back to a rate, in steps of a few milliseconds.
class Pacer {
 public:
  explicit Pacer(double per_second) noexcept : per_second_(per_second), start_(SteadyClock::now()) {}
  void wait(const StopSignals& signals) {
    if (per_second_ <= 0) return;
    const auto due = start_ + std::chrono::duration_cast<SteadyClock::duration>(
                                  std::chrono::duration<double>(static_cast<double>(count_++) / per_second_));
    while (!signals.stopped()) {
      const auto left = due - SteadyClock::now();
      if (left <= std::chrono::milliseconds(1)) return;
      std::this_thread::sleep_for(std::min<SteadyClock::duration>(left, std::chrono::milliseconds(100)));
    }
  }

 private:
  double per_second_;
  SteadyClock::time_point start_;
  std::uint64_t count_ = 0;
};

Result<client::ProducerSettings> settings_of(const ProduceArguments& arguments) {
  client::ProducerSettings settings;
  settings.acks =
      arguments.acks == "0" ? client::Acks::none : (arguments.acks == "1" ? client::Acks::leader : client::Acks::all);
  settings.idempotence = settings.acks == client::Acks::all && !arguments.no_idempotence;
  settings.compression = arguments.codec;
  settings.linger_ms = arguments.linger_ms;
  settings.batch_bytes_max = arguments.batch_bytes;
  settings.delivery_timeout_ms = settings.send_timeout_ms = arguments.timeout_ms;
  STREAMBUS_TRY(settings.check());
  return settings;
}

class ProduceRun {
 public:
  ProduceRun(const Invocation& invocation, const ProduceArguments& arguments)
      : invocation_(invocation), arguments_(arguments) {}

  int run();

 private:
  [[nodiscard]] Result<> parse_headers();
  [[nodiscard]] bool send_lines(client::Producer& producer, LineReader& reader);
  [[nodiscard]] client::ProducerRecord record_of(std::string_view line) const;
  int report(double seconds);

  const Invocation& invocation_;
  const ProduceArguments& arguments_;
  std::vector<RecordHeader> headers_;
  Outcomes outcomes_;
  StopSignals signals_;
};

Result<> ProduceRun::parse_headers() {
  for (const std::string& header : arguments_.headers) {
    const std::size_t equals = header.find('=');
    if (equals == std::string::npos) {
      return fail(ErrorCode::invalid_argument, fmt::format("--header '{}': expected KEY=VALUE", header));
    }
    const std::string_view text = header;
    headers_.push_back({text.substr(0, equals), as_bytes(text.substr(equals + 1))});
  }
  return {};
}

client::ProducerRecord ProduceRun::record_of(std::string_view line) const {
  client::ProducerRecord record;
  record.topic = arguments_.topic;
  record.partition = arguments_.partition;
  record.headers = headers_;
  const std::size_t at = arguments_.key_separator.empty() ? std::string_view::npos : line.find(arguments_.key_separator);
  if (at != std::string_view::npos) {
    record.key = as_bytes(line.substr(0, at));
    line.remove_prefix(at + arguments_.key_separator.size());
  }
  record.value = as_bytes(line);
  return record;
}

/// False when it ended before the input did.
bool ProduceRun::send_lines(client::Producer& producer, LineReader& reader) {
  Progress progress(!arguments_.quiet && !invocation_.json);
  Pacer pacer(arguments_.rate);
  const auto start = SteadyClock::now();
  while (!signals_.stopped()) {
    const auto line = reader.next();
    if (!line) {
      outcomes_.failed(line.error(), 0);
      break;
    }
    if (!*line) break;
    pacer.wait(signals_);
    if (const Result<> sent = producer.send(record_of(**line)); !sent) {
      outcomes_.failed(sent.error(), 1);
      const bool only_this_one = sent.error().code == ErrorCode::too_large;
      if (!only_this_one) return false;
    }
    if (progress.due()) {
      const double seconds = std::chrono::duration<double>(SteadyClock::now() - start).count();
      progress.show(fmt::format("{} messages, {}/s, {} failed", outcomes_.delivered(),
                                human_bytes(static_cast<double>(outcomes_.bytes()) / seconds), outcomes_.failed_count()));
    }
  }
  progress.clear();
  return !signals_.stopped();
}

int ProduceRun::report(double seconds) {
  const auto bytes = static_cast<double>(outcomes_.bytes());
  const double megabytes_per_second = seconds > 0 ? bytes / seconds / 1e6 : 0;
  const auto reasons = outcomes_.reasons();
  if (invocation_.json) {
    const nlohmann::ordered_json json = {{"topic", arguments_.topic},
                                         {"delivered", outcomes_.delivered()},
                                         {"failed", outcomes_.failed_count()},
                                         {"bytes", outcomes_.bytes()},
                                         {"seconds", seconds},
                                         {"mb_per_s", megabytes_per_second},
                                         {"errors", reasons}};
    fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else if (!arguments_.quiet) {
    fmt::print(stderr, "{}: {} messages, {} in {:.2f} s ({:.1f} MB/s), {} failed\n", arguments_.topic, outcomes_.delivered(),
               human_bytes(bytes), seconds, megabytes_per_second, outcomes_.failed_count());
  }
  const auto first = outcomes_.first_error();
  if (!first) return signals_.stopped() ? kInterrupted : kDone;
  for (const auto& [reason, count] : reasons) {
    fmt::print(stderr, "error: {}producing to '{}' at {}: {}\n", count > 0 ? fmt::format("{} messages: ", count) : "",
               arguments_.topic, invocation_.bootstrap, reason);
  }
  if (outcomes_.delivered() > 0) return kFailed;
  const Exit code = exit_code_of(*first);
  if (code == kUnreachable)
    fmt::print(stderr, "  Is streambusd running there? Name another with -b HOST:PORT or STREAMBUS_BOOTSTRAP.\n");
  return code;
}

int ProduceRun::run() {
  const auto refuse = [](const Error& error) {
    fmt::print(stderr, "error: {}\n", error.message);
    return static_cast<int>(kUsage);
  };
  if (const Result<> parsed = parse_headers(); !parsed) return refuse(parsed.error());
  const auto settings = settings_of(arguments_);
  if (!settings) return refuse(settings.error());
  const bool from_file = !arguments_.file.empty() && arguments_.file != "-";
  const int fd = from_file ? open(arguments_.file.c_str(), O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
  if (fd < 0) return refuse(errno_error(fmt::format("--file '{}'", arguments_.file), errno));

  const auto context = connect_later(invocation_);
  if (!context) return kUsage;
  auto producer =
      client::Producer::create(context, *settings, [this](const client::BatchReport& report) { outcomes_.count(report); });
  if (!producer) return refuse(producer.error());
  const auto start = SteadyClock::now();
  LineReader reader(fd, signals_.descriptor());
  const bool all_read = send_lines(*producer, reader);
  // A broken-off input still ends with everything accepted being delivered or reported.
  const std::int64_t grace_ms = all_read || signals_.stopped() ? arguments_.timeout_ms + 1'000 : 1'000;
  (void)producer->close(grace_ms);
  if (from_file) close(fd);
  return report(std::chrono::duration<double>(SteadyClock::now() - start).count());
}

}  // namespace

void define_produce(CLI::App& program, Invocation& invocation) {
  CLI::App& command = *program.add_subcommand("produce", "Send lines of standard input or of a file, a message each");
  const auto arguments = std::make_shared<ProduceArguments>();
  command.add_option("topic", arguments->topic, "Topic to send to")->required()->type_name("TOPIC");
  command.add_option("-f,--file", arguments->file, "Read this file instead of standard input")->type_name("FILE");
  command
      .add_option("-K,--key-separator", arguments->key_separator, "What separates key from value; a line without it has no key")
      ->type_name("TEXT");
  command.add_option("-z,--codec", arguments->codec, "Compress batches: none, or what a codec plugin offers (lz4, zstd)")
      ->type_name("NAME")
      ->capture_default_str();
  command.add_option("--acks", arguments->acks, "When the broker answers: all, 1 or 0 (never)")
      ->check(CLI::IsMember({"0", "1", "all"}))
      ->type_name("ACKS")
      ->capture_default_str();
  command.add_option("--rate", arguments->rate, "Send at most that many messages per second")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command.add_option("-p,--partition", arguments->partition, "Send to this partition (default: by key, else spread)")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  command.add_option("-H,--header", arguments->headers, "A header for every message; repeatable")
      ->type_name("K=V")
      ->allow_extra_args(false);
  command.add_option("--linger", arguments->linger_ms, "How long a batch waits for more messages")
      ->type_name("MS")
      ->capture_default_str();
  command.add_option("--batch-bytes", arguments->batch_bytes, "Largest batch; a longer line goes alone")
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--timeout", arguments->timeout_ms, "Give up a message that is not acknowledged by then")
      ->type_name("MS")
      ->capture_default_str();
  command.add_flag("--no-idempotence", arguments->no_idempotence,
                   "Let retries write a message twice (with acks all; others never guard)");
  command.add_flag("-q,--quiet", arguments->quiet, "No progress and no summary");
  add_bootstrap(command, invocation);
  add_json(command, invocation, "Print the summary as a JSON object");
  finish(command, invocation,
         "Lines are sent as they are, byte by byte; an empty line is an empty message.\n"
         "Examples:\n  seq 1 1000 | streambus produce numbers\n"
         "  streambus produce logs --file /var/log/syslog --codec zstd\n"
         "  printf 'k1:v1\\nk2:v2\\n' | streambus produce pairs --key-separator :\n"
         "  yes | head -n 100000 | streambus produce load --rate 5000 --acks 1",
         [&invocation, arguments] { return ProduceRun(invocation, *arguments).run(); });
}

}  // namespace streambus::command
