// The least that a server of the Kafka protocol can do, to know what the client and the kernel allow on this machine: a
// broker's figure is quoted as a share of this one's, same client, same run. It is no broker: one partition per topic, one
// lock for all, no recovery, no checks but the checksum, trust in its input, and a thread that blocks per connection.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "streambus/base/buffer_pool.hpp"
#include "streambus/base/record_batch.hpp"
#include "streambus/wire/frame.hpp"

namespace streambus::bench {
namespace {

struct Options {
  std::uint16_t port = 0;
  bool crc = false;
  std::filesystem::path directory;
  bool sync = false;
};

[[noreturn]] void die(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

void write_all(int fd, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written <= 0) die("write");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

/// The batches of all topics: a file each, or nothing kept at all.
class Store {
 public:
  explicit Store(Options options) : options_(std::move(options)) {}

  std::int64_t append(std::string_view topic, MutableBytes batch) {
    std::size_t total = 0;
    if (options_.crc && !check_batch(batch, &total).ok()) throw std::runtime_error("bad batch");
    const std::lock_guard lock(mutex_);
    Log& log = log_of(topic);
    const std::int64_t base = log.end;
    log.end += BatchHeader(batch.data()).record_count();
    if (log.fd < 0) return base;
    stamp_batch(batch.data(), {base}, 0);
    write_all(log.fd, batch);
    if (options_.sync && ::fdatasync(log.fd) != 0) die("fdatasync");
    log.batches.push_back({base, log.bytes});
    log.bytes += batch.size();
    grew_.notify_all();
    return base;
  }

  /// Whole batches from the one with `offset` on, as a range of the file; waits where there is none.
  Slice find(std::string_view topic, std::int64_t offset, std::uint64_t bytes_max, std::chrono::milliseconds wait,
             std::int64_t* end) {
    std::unique_lock lock(mutex_);
    Log& log = log_of(topic);
    grew_.wait_for(lock, wait, [&] { return offset < log.end && log.fd >= 0; });
    *end = log.end;
    if (offset >= log.end || log.batches.empty()) return {};
    const auto first = std::prev(std::ranges::upper_bound(log.batches, offset, {}, &Batch::base));
    auto last = std::ranges::upper_bound(first, log.batches.end(), first->position + bytes_max, {}, &Batch::position);
    if (last != log.batches.end() && last - first > 1) --last;  // the batch that would exceed the bound
    const std::uint64_t to = last == log.batches.end() ? log.bytes : last->position;
    return Slice::file(log.fd, first->position, to - first->position);
  }

  std::int64_t end_of(std::string_view topic) {
    const std::lock_guard lock(mutex_);
    return log_of(topic).end;
  }

 private:
  struct Batch {
    std::int64_t base;
    std::uint64_t position;
  };
  struct Log {
    int fd = -1;
    std::int64_t end = 0;
    std::uint64_t bytes = 0;
    std::vector<Batch> batches;
  };

  Log& log_of(std::string_view topic) {
    const auto [found, fresh] = logs_.try_emplace(std::string(topic));
    if (fresh && !options_.directory.empty()) {
      found->second.fd =
          ::open((options_.directory / found->first).c_str(), O_CREAT | O_TRUNC | O_RDWR | O_APPEND | O_CLOEXEC, 0640);
      if (found->second.fd < 0) die("open " + found->first);
    }
    return found->second;
  }

  const Options options_;
  std::mutex mutex_;
  std::condition_variable grew_;
  std::map<std::string, Log, std::less<>> logs_;
};

/// One connection, served until its end on a thread of its own.
class Connection {
 public:
  Connection(Store& store, int fd, std::uint16_t port) : store_(store), fd_(fd), port_(port) {}
  ~Connection() { ::close(fd_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void serve() {
    std::size_t begin = 0;
    std::size_t end = 0;
    for (;;) {
      std::size_t needed = wire::kFrameLengthBytes;
      if (end - begin >= needed) needed += static_cast<std::size_t>(load_be<std::int32_t>(&input_[begin]));
      if (end - begin >= needed && needed > wire::kFrameLengthBytes) {
        answer(MutableBytes(input_).subspan(begin + wire::kFrameLengthBytes, needed - wire::kFrameLengthBytes));
        begin += needed;
        continue;
      }
      if (begin == end) begin = end = 0;
      if (begin + needed > input_.size() || input_.size() - end < 65536) {
        std::copy(input_.begin() + static_cast<std::ptrdiff_t>(begin), input_.begin() + static_cast<std::ptrdiff_t>(end),
                  input_.begin());
        end -= std::exchange(begin, 0);
        if (needed > input_.size()) input_.resize(2 * needed);
      }
      const ssize_t got = ::recv(fd_, &input_[end], input_.size() - end, 0);
      if (got <= 0) return;
      end += static_cast<std::size_t>(got);
    }
  }

 private:
  using ApiKey = wire::ApiKey;

  void answer(MutableBytes frame) {
    arena_.reset();
    ByteReader in(frame);
    if (!wire::decode(in, header_)) throw std::runtime_error("malformed header");
    switch (static_cast<ApiKey>(header_.api_key)) {
      case ApiKey::api_versions:
        return send(api_versions());
      case ApiKey::metadata:
        return send(metadata(decoded<wire::MetadataRequest>(in)));
      case ApiKey::list_offsets:
        return send(list_offsets(decoded<wire::ListOffsetsRequest>(in)));
      case ApiKey::fetch:
        return send(fetch(decoded<wire::FetchRequest>(in)));
      case ApiKey::produce: {
        const auto request = decoded<wire::ProduceRequest>(in);
        const auto response = produce(request);
        if (request.acks != 0) send(response);
        return;
      }
      default:
        throw std::runtime_error("a request that was not offered");
    }
  }

  template <class M>
  M decoded(ByteReader& in) {
    M message;
    if (!wire::decode(in, header_.api_version, arena_, message)) throw std::runtime_error("malformed request");
    return message;
  }

  template <class T>
  std::span<T> array(std::size_t count) {
    return arena_.array<T>(count);
  }

  wire::ApiVersionsResponse api_versions() {
    wire::ApiVersionsResponse response;
    if (header_.api_version > wire::ApiVersionsResponse::kMaxVersion) {
      header_.api_version = 0;
      response.error_code = 35;  // UNSUPPORTED_VERSION: come again with one of these
    }
    const auto ranges = array<wire::ApiVersionsResponse::ApiRange>(5);
    ranges[0] = range<wire::ProduceRequest>();
    ranges[1] = range<wire::FetchRequest>();
    ranges[2] = range<wire::ListOffsetsRequest>();
    ranges[3] = range<wire::MetadataRequest>();
    ranges[4] = {static_cast<std::int16_t>(ApiKey::api_versions), 0, wire::ApiVersionsResponse::kMaxVersion};
    response.api_keys = ranges;
    return response;
  }
  template <class M>
  static wire::ApiVersionsResponse::ApiRange range() {
    return {static_cast<std::int16_t>(M::kKey), M::kMinVersion, M::kMaxVersion};
  }

  wire::MetadataResponse metadata(const wire::MetadataRequest& request) {
    wire::MetadataResponse response;
    const auto brokers = array<wire::MetadataResponse::Broker>(1);
    brokers[0] = {1, "127.0.0.1", port_, {}};
    response.brokers = brokers;
    response.controller_id = 1;
    const auto asked = request.topics.value_or(std::span<wire::MetadataRequest::Topic>());
    response.topics = array<wire::MetadataResponse::Topic>(asked.size());
    const auto replicas = array<std::int32_t>(1);
    replicas[0] = 1;
    for (std::size_t i = 0; i < asked.size(); ++i) {
      const auto partitions = array<wire::MetadataResponse::Partition>(1);
      partitions[0].leader_id = 1;
      partitions[0].replica_nodes = partitions[0].isr_nodes = replicas;
      response.topics[i].name = asked[i].name;
      response.topics[i].partitions = partitions;
    }
    return response;
  }

  wire::ListOffsetsResponse list_offsets(const wire::ListOffsetsRequest& request) {
    constexpr std::int64_t kEarliest = -2;
    wire::ListOffsetsResponse response;
    response.topics = array<wire::ListOffsetsResponse::Topic>(request.topics.size());
    for (std::size_t t = 0; t < request.topics.size(); ++t) {
      const auto& asked = request.topics[t];
      const auto answers = array<wire::ListOffsetsResponse::Partition>(asked.partitions.size());
      for (std::size_t p = 0; p < answers.size(); ++p) {
        answers[p].partition_index = asked.partitions[p].partition_index;
        answers[p].offset = asked.partitions[p].timestamp == kEarliest ? 0 : store_.end_of(asked.name);
      }
      response.topics[t] = {asked.name, answers};
    }
    return response;
  }

  wire::ProduceResponse produce(const wire::ProduceRequest& request) {
    wire::ProduceResponse response;
    response.responses = array<wire::ProduceResponse::Topic>(request.topic_data.size());
    for (std::size_t t = 0; t < request.topic_data.size(); ++t) {
      const auto& topic = request.topic_data[t];
      const auto answers = array<wire::ProduceResponse::Partition>(topic.partition_data.size());
      for (std::size_t p = 0; p < answers.size(); ++p) {
        answers[p].index = topic.partition_data[p].index;
        answers[p].base_offset = store_.append(topic.name, topic.partition_data[p].records);
      }
      response.responses[t] = {topic.name, answers};
    }
    return response;
  }

  wire::FetchResponse fetch(const wire::FetchRequest& request) {
    wire::FetchResponse response;
    response.responses = array<wire::FetchResponse::Topic>(request.topics.size());
    for (std::size_t t = 0; t < request.topics.size(); ++t) {
      const auto& topic = request.topics[t];
      const auto answers = array<wire::FetchResponse::Partition>(topic.partitions.size());
      for (std::size_t p = 0; p < answers.size(); ++p) {
        const auto& asked = topic.partitions[p];
        const auto bytes_max = static_cast<std::uint64_t>(std::max(0, std::min(request.max_bytes, asked.partition_max_bytes)));
        const auto slices = array<Slice>(1);
        slices[0] = store_.find(topic.topic, asked.fetch_offset, bytes_max, std::chrono::milliseconds(request.max_wait_ms),
                                &answers[p].high_watermark);
        answers[p].partition_index = asked.partition;
        answers[p].last_stable_offset = answers[p].high_watermark;
        answers[p].log_start_offset = 0;
        if (slices[0].bytes > 0) answers[p].records = {slices, slices[0].bytes};
      }
      response.responses[t] = {topic.topic, answers};
    }
    return response;
  }

  template <class M>
  void send(const M& message) {
    output_.reset();
    wire::Encoder encoder(output_, arena_);
    wire::encode_response(message, header_.api_version, header_.correlation_id, encoder);
    const std::span<const Slice> slices = encoder.slices();
    if (!encoder.ok()) throw std::runtime_error("a response that cannot be written");
    for (std::size_t i = 0; i < slices.size(); ++i) {
      const Slice& slice = slices[i];
      if (slice.is_file()) {
        auto position = static_cast<off_t>(slice.file_position);
        const auto end = static_cast<off_t>(slice.file_position + slice.bytes);
        while (position < end) {
          if (::sendfile(fd_, slice.fd, &position, static_cast<std::size_t>(end - position)) <= 0) die("sendfile");
        }
      } else {
        const int flags = MSG_NOSIGNAL | (i + 1 < slices.size() ? MSG_MORE : 0);
        for (Bytes left = slice.as_memory(); !left.empty();) {
          const ssize_t sent = ::send(fd_, left.data(), left.size(), flags);
          if (sent <= 0) die("send");
          left = left.subspan(static_cast<std::size_t>(sent));
        }
      }
    }
  }

  Store& store_;
  const int fd_;
  const std::uint16_t port_;
  std::vector<std::byte> input_ = std::vector<std::byte>(std::size_t{4} << 20);
  BufferPool pool_;
  MessageBuffer output_{pool_};
  wire::Arena arena_;
  wire::RequestHeader header_;
};

int listen_on(std::uint16_t port) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (listener < 0 || ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(listener, 64) != 0) {
    die("cannot listen on 127.0.0.1:" + std::to_string(port));
  }
  return listener;
}

void run(const Options& options) {
  const int listener = listen_on(options.port);
  Store store(options);
  for (;;) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) die("accept");
    const int on = 1;
    (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    std::thread([&store, fd, port = options.port] {
      try {
        std::make_unique<Connection>(store, fd, port)->serve();
      } catch (const std::exception& error) {
        std::cerr << "bare_server: " << error.what() << "\n";
      }
    }).detach();
  }
}

}  // namespace
}  // namespace streambus::bench

int main(int argc, char** argv) {
  streambus::bench::Options options;
  CLI::App app{"The least server of the Kafka protocol, as a measure for real ones. Not a broker."};
  app.add_option("port", options.port, "Port on 127.0.0.1")->required();
  app.add_flag("--crc", options.crc, "Check the checksum of each batch");
  app.add_option("--directory", options.directory,
                 "Write each topic to a file there, and serve it by sendfile (else batches are dropped)")
      ->check(CLI::ExistingDirectory);
  app.add_flag("--sync", options.sync, "fdatasync before each answer");
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    streambus::bench::run(options);
  } catch (const std::exception& error) {
    std::cerr << "bare_server: " << error.what() << "\n";
    return 1;
  }
}
