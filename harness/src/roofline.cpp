#include "streambus/harness/roofline.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

namespace streambus::harness {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Closes on scope exit.
class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

/// A file that is removed on scope exit.
class ScratchFile {
 public:
  explicit ScratchFile(const std::filesystem::path& directory)
      : path_((directory / "roofline-XXXXXX").string()), file_(::mkstemp(path_.data())) {}
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile() { ::unlink(path_.c_str()); }
  [[nodiscard]] int fd() const noexcept { return file_.get(); }

 private:
  std::string path_;
  Descriptor file_;
};

bool send_all(int fd, const char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t sent = ::send(fd, data, bytes, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data += sent;
    bytes -= static_cast<std::size_t>(sent);
  }
  return true;
}

bool receive_all(int fd, char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t got = ::recv(fd, data, bytes, 0);
    if (got <= 0) return false;
    data += got;
    bytes -= static_cast<std::size_t>(got);
  }
  return true;
}

Result<std::pair<Descriptor, Descriptor>> loopback_pair() {
  Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener.get(), generic, length) != 0 || ::listen(listener.get(), 1) != 0 ||
      ::getsockname(listener.get(), generic, &length) != 0) {
    return std::unexpected(errno_error("roofline: cannot listen on loopback", errno));
  }
  Descriptor client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(client.get(), generic, length) != 0)
    return std::unexpected(errno_error("roofline: cannot connect on loopback", errno));
  Descriptor server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (server.get() < 0) return std::unexpected(errno_error("roofline: cannot accept on loopback", errno));
  const int one = 1;
  for (const int fd : {client.get(), server.get()}) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return std::pair(std::move(client), std::move(server));
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

Result<double> loopback_stream_bytes_per_s(std::size_t total_bytes, std::size_t chunk_bytes) {
  auto pair = loopback_pair();
  if (!pair) return std::unexpected(pair.error());
  auto& [client, server] = *pair;
  std::vector<char> out(chunk_bytes, 'x');
  std::vector<char> in(chunk_bytes);
  const std::size_t chunks = std::max<std::size_t>(1, total_bytes / chunk_bytes);
  std::atomic<bool> sent{true};
  const auto start = Clock::now();
  std::thread sender([&, fd = client.get()] {
    for (std::size_t i = 0; i < chunks; ++i) {
      if (!send_all(fd, out.data(), out.size())) sent = false;
    }
  });
  bool received = true;
  for (std::size_t i = 0; received && i < chunks; ++i) received = receive_all(server.get(), in.data(), in.size());
  const double seconds = seconds_since(start);
  sender.join();
  if (!received || !sent) return fail(ErrorCode::io_error, "roofline: the loopback connection broke");
  return static_cast<double>(chunks * chunk_bytes) / seconds;
}

Result<double> loopback_ping_pong_ns(std::size_t bytes, int rounds) {
  auto pair = loopback_pair();
  if (!pair) return std::unexpected(pair.error());
  auto& [client, server] = *pair;
  std::vector<char> ping(bytes, 'x');
  std::thread echo([fd = server.get(), bytes] {
    std::vector<char> pong(bytes);
    while (receive_all(fd, pong.data(), pong.size()) && send_all(fd, pong.data(), pong.size())) {
    }
  });
  std::vector<double> samples;
  bool good = true;
  for (int i = 0; good && i < rounds; ++i) {
    const auto start = Clock::now();
    good = send_all(client.get(), ping.data(), ping.size()) && receive_all(client.get(), ping.data(), ping.size());
    samples.push_back(seconds_since(start) * 1e9);
  }
  ::shutdown(client.get(), SHUT_RDWR);
  echo.join();
  if (!good || samples.empty()) return fail(ErrorCode::io_error, "roofline: the loopback connection broke");
  return median(std::move(samples));
}

Result<double> file_write_bytes_per_s(const std::filesystem::path& directory, std::size_t total_bytes,
                                      std::size_t chunk_bytes) {
  ScratchFile file(directory);
  if (file.fd() < 0) return std::unexpected(errno_error("roofline: cannot create a file in " + directory.string(), errno));
  std::vector<char> chunk(chunk_bytes, 'x');
  const std::size_t chunks = std::max<std::size_t>(1, total_bytes / chunk_bytes);
  const auto start = Clock::now();
  for (std::size_t i = 0; i < chunks; ++i) {
    if (::write(file.fd(), chunk.data(), chunk.size()) != static_cast<ssize_t>(chunk.size())) {
      return std::unexpected(errno_error("roofline: write to a file in " + directory.string(), errno));
    }
  }
  return static_cast<double>(chunks * chunk_bytes) / seconds_since(start);
}

Result<double> fdatasync_ns(const std::filesystem::path& directory, int rounds) {
  constexpr std::size_t kPage = 4096;
  ScratchFile file(directory);
  if (file.fd() < 0) return std::unexpected(errno_error("roofline: cannot create a file in " + directory.string(), errno));
  std::vector<char> page(kPage, 'x');
  for (int i = 0; i < rounds; ++i) {
    if (::pwrite(file.fd(), page.data(), kPage, static_cast<off_t>(kPage) * i) != static_cast<ssize_t>(kPage)) {
      return std::unexpected(errno_error("roofline: write to a file in " + directory.string(), errno));
    }
  }
  if (::fsync(file.fd()) != 0) return std::unexpected(errno_error("roofline: fsync", errno));
  std::vector<double> samples;
  for (int i = 0; i < rounds; ++i) {
    const auto start = Clock::now();
    if (::pwrite(file.fd(), page.data(), kPage, static_cast<off_t>(kPage) * i) != static_cast<ssize_t>(kPage) ||
        ::fdatasync(file.fd()) != 0) {
      return std::unexpected(errno_error("roofline: fdatasync", errno));
    }
    samples.push_back(seconds_since(start) * 1e9);
  }
  return median(std::move(samples));
}

double memcpy_bytes_per_s(std::size_t bytes, int rounds) {
  std::vector<char> from(bytes, 'x');
  std::vector<char> to(bytes, 'y');
  const auto start = Clock::now();
  for (int i = 0; i < rounds; ++i) {
    std::memcpy(to.data(), from.data(), bytes);
    asm volatile("" : : "r"(to.data()) : "memory");  // the copy must happen
  }
  return static_cast<double>(bytes) * rounds / seconds_since(start);
}

Result<std::vector<Limit>> measure_limits(const std::filesystem::path& directory) {
  constexpr double kMega = 1e6;
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  std::vector<Limit> limits;
  limits.push_back({"memcpy_64MiB", "MB/s", memcpy_bytes_per_s(64 * kMiB, 8) / kMega});
  STREAMBUS_TRY_ASSIGN(const double stream, loopback_stream_bytes_per_s(1024 * kMiB, kMiB));
  limits.push_back({"loopback_stream", "MB/s", stream / kMega});
  STREAMBUS_TRY_ASSIGN(const double ping, loopback_ping_pong_ns(128, 5000));
  limits.push_back({"loopback_ping_pong_p50", "ns", ping});
  STREAMBUS_TRY_ASSIGN(const double write, file_write_bytes_per_s(directory, 512 * kMiB, kMiB));
  limits.push_back({"file_write", "MB/s", write / kMega});
  STREAMBUS_TRY_ASSIGN(const double sync, fdatasync_ns(directory, 200));
  limits.push_back({"fdatasync_4KiB_p50", "ns", sync});
  return limits;
}

}  // namespace streambus::harness
