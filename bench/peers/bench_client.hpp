#pragma once
// What the benchmark clients share: the command line, the payload, the broker's CPU time, and one JSON line of result.
// compare.py runs them; a client is a table of modes.

#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "streambus/harness/histogram.hpp"
#include "streambus/harness/roofline.hpp"

namespace streambus::bench {

using Clock = std::chrono::steady_clock;

inline constexpr std::chrono::seconds kStall{15};             ///< without a message before a consumer gives up
inline constexpr std::chrono::duration<double> kManyTime{4};  ///< how long producers send, one message at a time each
inline constexpr int kWarmupMessages = 200;                   ///< of a producer, not counted

struct Settings {
  std::string bootstrap = "127.0.0.1:9092";
  std::string topic = "bench";
  std::string mode = "produce";
  std::string codec = "none";
  std::string acks = "all";
  std::uint64_t total_bytes = 512ULL << 20;
  std::uint64_t message_bytes = 1024;
  int rounds = 5000;
  int producers = 16;
  double rate_mb_s = 50;   ///< of a steady producer
  int seconds = 30;        ///< of it
  std::uint64_t keys = 0;  ///< it uses in turn; 0: none
  std::int64_t linger_ms = 5;
  int pid = 0;
  bool random_payload = false;
  std::string directory = std::filesystem::temp_directory_path();

  [[nodiscard]] std::uint64_t messages() const { return std::max<std::uint64_t>(1, total_bytes / message_bytes); }
};

[[noreturn]] inline void die(const std::string& text) { throw std::runtime_error(text); }

/// User and system CPU seconds of a process so far; 0 without one.
inline double cpu_seconds(int pid) {
  if (pid == 0) return 0;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto close = text.rfind(')');
  if (close == std::string::npos) die("no process " + std::to_string(pid));
  unsigned long long user = 0;
  unsigned long long system = 0;
  std::sscanf(text.c_str() + close + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system);
  return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

inline std::vector<char> make_payload(const Settings& settings) {
  std::vector<char> payload(settings.message_bytes);
  std::uint64_t state = 88172645463325252ULL;
  for (auto& byte : payload) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    byte = settings.random_payload ? static_cast<char>(state) : static_cast<char>('a' + state % 16);
  }
  return payload;
}

/// Rates of a transfer: made when it starts, asked when all of it is there.
class Transfer {
 public:
  explicit Transfer(const Settings& settings) : pid_(settings.pid), cpu_(cpu_seconds(pid_)), start_(Clock::now()) {}
  [[nodiscard]] double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  [[nodiscard]] nlohmann::json result(std::uint64_t messages, double bytes) const {
    const double elapsed = seconds();
    return {{"mb_s", bytes / elapsed / 1e6},
            {"msg_s", static_cast<double>(messages) / elapsed},
            {"broker_cpu_s_per_gb", (cpu_seconds(pid_) - cpu_) / (bytes / 1e9)}};
  }

 private:
  int pid_;
  double cpu_;
  Clock::time_point start_;
};

/// Latencies of messages that were sent one at a time.
inline nlohmann::json latencies(const harness::Histogram& histogram) {
  return {{"p50_us", static_cast<double>(histogram.value_at(0.5)) / 1e3},
          {"p99_us", static_cast<double>(histogram.value_at(0.99)) / 1e3},
          {"mean_us", histogram.mean() / 1e3}};
}

/// Latencies and rate of all messages that producers sent one at a time for kManyTime.
inline nlohmann::json acknowledgements(const harness::Histogram& all) {
  nlohmann::json result = latencies(all);
  result["acks_s"] = static_cast<double>(all.count()) / kManyTime.count();
  return result;
}

/// What the machine allows just now, in megabyte chunks: a stream through loopback, and a bare write() loop into a new file.
inline nlohmann::json limits(const Settings& settings) {
  constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
  const auto loopback = harness::loopback_stream_bytes_per_s(settings.total_bytes, kChunkBytes);
  const auto write = harness::file_write_bytes_per_s(settings.directory, settings.total_bytes, kChunkBytes);
  if (!loopback || !write) die((loopback ? write : loopback).error().message);
  return {{"loopback_mb_s", *loopback / 1e6}, {"write_mb_s", *write / 1e6}};
}

using Modes = std::map<std::string, nlohmann::json (*)(const Settings&)>;

inline int run_client(int argc, char** argv, const std::string& name, Modes modes) {
  modes.emplace("limits", limits);
  Settings settings;
  CLI::App app{"Measures any broker of the Kafka protocol"};
  app.add_option("-b,--bootstrap", settings.bootstrap, "HOST:PORT");
  app.add_option("--topic", settings.topic, "Topic, partition 0");
  app.add_option("--mode", settings.mode, "What to do")->check(CLI::IsMember(modes));
  app.add_option("--bytes", settings.total_bytes, "Payload bytes in all (produce, consume)");
  app.add_option("--message-size", settings.message_bytes, "Payload bytes of a message")->check(CLI::PositiveNumber);
  app.add_option("--codec", settings.codec, "none, lz4, zstd, and what else the client has");
  app.add_option("--acks", settings.acks, "0, 1 or all");
  app.add_option("--rounds", settings.rounds, "Messages of a producer (ping)");
  app.add_option("--producers", settings.producers, "Producers (many)");
  app.add_option("--linger-ms", settings.linger_ms, "How long a batch waits for more messages (produce)");
  app.add_option("--rate", settings.rate_mb_s, "Megabytes per second (steady)")->check(CLI::PositiveNumber);
  app.add_option("--seconds", settings.seconds, "How long (steady)")->check(CLI::PositiveNumber);
  app.add_option("--keys", settings.keys, "Different keys, 0: none (steady)");
  app.add_option("--pid", settings.pid, "Broker process whose CPU time is counted");
  app.add_option("--directory", settings.directory, "Where files are written (limits)");
  app.add_flag("--random", settings.random_payload, "Random bytes instead of text");
  CLI11_PARSE(app, argc, argv);
  // The client must not be what is measured: keep its freed memory instead of faulting it in again.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, INT_MAX);
  try {
    nlohmann::json result = modes.at(settings.mode)(settings);
    result["mode"] = settings.mode;
    result["message_bytes"] = settings.message_bytes;
    std::printf("%s\n", result.dump().c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s: %s\n", name.c_str(), settings.bootstrap.c_str(), error.what());
    return 1;
  }
}

}  // namespace streambus::bench
