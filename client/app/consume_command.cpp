// streambus consume: records to standard output.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>

#include "command.hpp"
#include "record_format.hpp"
#include "streambus/client/admin.hpp"
#include "streambus/client/consumer.hpp"

namespace streambus::command {
namespace {

using client::StartAt;

struct ConsumeArguments {
  std::string topic;
  std::string from = "beginning";
  std::vector<PartitionId> partitions;
  std::string format = "%v\\n";
  std::int64_t count = -1;
  std::int64_t retry_for_s = 30;
  bool until_end = false;
  bool quiet = false;
};

constexpr std::int64_t kPollMs = 100;  // how soon a signal is seen

Result<StartAt> parse_start(std::string_view text) {
  if (text == "beginning") return StartAt::beginning();
  if (text == "end") return StartAt::end();
  const bool milliseconds = text.ends_with("ms");
  const std::string_view digits = milliseconds ? text.substr(0, text.size() - 2) : text;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error == std::errc{} && end == digits.data() + digits.size() && number >= 0 && !digits.empty()) {
    return milliseconds ? StartAt::time(number) : StartAt::offset({number});
  }
  if (const auto time = parse_time(text)) return StartAt::time(*time);
  return fail(
      ErrorCode::invalid_argument,
      fmt::format(
          "--from '{}': expected beginning, end, an offset, a time like 2026-05-01T10:00:00Z, or milliseconds since 1970 "
          "like 1767225600000ms",
          text));
}

class ConsumeRun {
 public:
  ConsumeRun(const Invocation& invocation, const ConsumeArguments& arguments)
      : invocation_(invocation), arguments_(arguments) {}

  int run();

 private:
  [[nodiscard]] Result<> prepare(client::Admin& admin, const StartAt& start);
  [[nodiscard]] int consume(client::Consumer& consumer);
  /// False when enough was printed.
  [[nodiscard]] bool print(const client::ConsumedBatch& batch);
  [[nodiscard]] bool reached_end(const client::Consumer& consumer) const;
  [[nodiscard]] int output_error(const Error& error) const;

  const Invocation& invocation_;
  const ConsumeArguments& arguments_;
  std::vector<client::Assignment> assignments_;
  std::map<PartitionId, Offset> ends_;  ///< as of the start
  std::optional<RecordFormat> format_;
  Output output_;
  std::uint64_t printed_ = 0;
  std::uint64_t bytes_ = 0;
  std::optional<Error> damaged_;
  StopSignals signals_;
};

Result<> ConsumeRun::prepare(client::Admin& admin, const StartAt& start) {
  STREAMBUS_TRY_ASSIGN(const client::TopicDescription topic, admin.describe_topic(arguments_.topic));
  std::vector<PartitionId> partitions = arguments_.partitions;
  if (partitions.empty()) {
    for (const auto& partition : topic.partitions) partitions.push_back(partition.partition);
  }
  std::vector<client::OffsetQuery> queries;
  for (const PartitionId partition : partitions) {
    if (static_cast<std::size_t>(partition) >= topic.partitions.size()) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("topic '{}' has no partition {}: it has {} (0 to {})", arguments_.topic, partition,
                              topic.partitions.size(), topic.partitions.size() - 1));
    }
    assignments_.push_back({arguments_.topic, partition, start});
    queries.push_back({arguments_.topic, partition, StartAt::end()});
  }
  if (!arguments_.until_end) return {};
  STREAMBUS_TRY_ASSIGN(const auto answers, admin.list_offsets(queries));
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i].offset) return std::unexpected(answers[i].offset.error());
    ends_[queries[i].partition] = *answers[i].offset;
  }
  return {};
}

bool ConsumeRun::print(const client::ConsumedBatch& batch) {
  client::ConsumedRecord record;
  auto cursor = batch.records();
  while (cursor.next(record)) {
    // What came after the start belongs to the next reader.
    if (arguments_.until_end && record.offset >= ends_.at(batch.partition())) return true;
    if (invocation_.json) {
      append_json(output_.buffer(), batch.topic(), batch.partition(), record);
    } else {
      format_->append(output_.buffer(), batch.topic(), batch.partition(), record);
    }
    bytes_ += record.key.size() + record.value.size();
    if (++printed_ == static_cast<std::uint64_t>(arguments_.count)) return false;
  }
  if (!cursor.ok()) {
    damaged_ = Error(ErrorCode::corrupt, fmt::format("{}[{}]: a malformed record in the batch at offset {}", batch.topic(),
                                                     batch.partition(), batch.header().base_offset().value));
    return false;
  }
  return true;
}

bool ConsumeRun::reached_end(const client::Consumer& consumer) const {
  return std::ranges::all_of(assignments_, [&](const client::Assignment& assignment) {
    const auto position = consumer.position(assignment.topic, assignment.partition);
    return position && position->next != kNoOffset && position->next >= ends_.at(assignment.partition);
  });
}

int ConsumeRun::output_error(const Error& error) const {
  if (error.sys_errno == EPIPE) return kDone;  // the reader has enough, as `head` does
  fmt::print(stderr, "error: {}\n", error.message);
  return kFailed;
}

int ConsumeRun::consume(client::Consumer& consumer) {
  const std::string tried = fmt::format("consuming '{}'", arguments_.topic);
  Progress progress(!arguments_.quiet && isatty(STDOUT_FILENO) == 0);
  const auto start = std::chrono::steady_clock::now();
  bool more = arguments_.count != 0;
  while (more && !signals_.stopped()) {
    const auto batches = consumer.poll(kPollMs);
    if (!batches) {
      (void)output_.flush();
      return report_error(invocation_, tried, batches.error());
    }
    for (const client::ConsumedBatch& batch : *batches) {
      more = print(batch);
      if (output_.should_flush() || !more) {
        if (const Result<> flushed = output_.flush(); !flushed) return output_error(flushed.error());
      }
      if (!more) break;
    }
    if (const Result<> flushed = output_.flush(); !flushed) return output_error(flushed.error());
    if (more && arguments_.until_end && reached_end(consumer)) break;
    if (progress.due()) {
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      progress.show(fmt::format("{} messages, {}/s", printed_, human_bytes(static_cast<double>(bytes_) / seconds)));
    }
    if (const auto trouble = consumer.trouble()) {
      const auto now = std::chrono::steady_clock::now().time_since_epoch();
      const std::int64_t lasts_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count() - trouble->since_ns;
      if (lasts_ns > arguments_.retry_for_s * 1'000'000'000) {
        progress.clear();
        return std::max<int>(
            report_error(invocation_, fmt::format("{}, tried again for {} s", tried, arguments_.retry_for_s), trouble->error),
            kUnreachable);
      }
    }
  }
  progress.clear();
  if (damaged_) return report_error(invocation_, tried, *damaged_);
  return kDone;
}

int ConsumeRun::run() {
  const auto refuse = [](const Error& error) {
    fmt::print(stderr, "error: {}\n", error.message);
    return static_cast<int>(kUsage);
  };
  const auto start = parse_start(arguments_.from);
  if (!start) return refuse(start.error());
  auto format = RecordFormat::parse(arguments_.format);
  if (!format) return refuse(format.error());
  format_ = std::move(*format);
  const auto context = connect_later(invocation_);
  if (!context) return kUsage;
  client::Admin admin(context);
  if (const Result<> prepared = prepare(admin, *start); !prepared) {
    return report_error(invocation_, fmt::format("consuming '{}'", arguments_.topic), prepared.error());
  }
  client::ConsumerSettings settings;
  if (start->kind == StartAt::Kind::offset) settings.out_of_range = client::OutOfRange::error;
  auto consumer = client::Consumer::create(context, settings);
  if (!consumer) return refuse(consumer.error());
  if (const Result<> assigned = consumer->assign(assignments_); !assigned) return refuse(assigned.error());
  return consume(*consumer);
}

}  // namespace

void define_consume(CLI::App& program, Invocation& invocation) {
  CLI::App& command = *program.add_subcommand("consume", "Print the messages of a topic");
  const auto arguments = std::make_shared<ConsumeArguments>();
  command.add_option("topic", arguments->topic, "Topic to read")->required()->type_name("TOPIC");
  command
      .add_option("--from", arguments->from,
                  "Where to start: beginning, end, an offset, a time (ISO 8601, UTC unless it says so), or NUMBERms since 1970")
      ->type_name("START")
      ->capture_default_str();
  command.add_option("-c,--count", arguments->count, "Stop after that many messages")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  command.add_flag("-e,--until-end", arguments->until_end, "Stop at what was the end when the command started");
  command.add_option("-p,--partition", arguments->partitions, "Read this partition only; repeatable (default: all)")
      ->type_name("N")
      ->allow_extra_args(false)
      ->check(CLI::NonNegativeNumber);
  command.add_option("--format", arguments->format, "How a message is printed, see below")
      ->type_name("TEXT")
      ->capture_default_str();
  command.add_option("--retry-for", arguments->retry_for_s, "How long to go on when the broker cannot be reached any more")
      ->type_name("SECONDS")
      ->capture_default_str();
  command.add_flag("-q,--quiet", arguments->quiet, "No progress");
  add_bootstrap(command, invocation);
  add_json(command, invocation, "Print a JSON object per line; what is not UTF-8 in base64");
  finish(command, invocation,
         "Format: %k key, %v value, %o offset, %p partition, %t topic, %T time (ms since 1970), %h headers (a=b,c=d), %%;\n"
         "\\n \\t \\r \\0 \\\\ \\xNN. Runs until stopped by SIGINT or SIGTERM (exit code 0), unless --count or --until-end "
         "says when.\n"
         "Examples:\n  streambus consume orders\n  streambus consume orders --until-end --format '%p %o %k: %v\\n'\n"
         "  streambus consume orders --from 2026-05-01T10:00:00Z --count 10 --json\n  streambus consume orders --from end "
         "--partition 0",
         [&invocation, arguments] { return ConsumeRun(invocation, *arguments).run(); });
}

}  // namespace streambus::command
