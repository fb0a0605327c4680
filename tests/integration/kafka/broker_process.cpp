#include "broker_process.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string_view>
#include <thread>

namespace streambus::test {
namespace {

using Clock = std::chrono::steady_clock;

std::size_t count(std::string_view text, std::string_view word) {
  std::size_t found = 0;
  for (std::size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) ++found;
  return found;
}

}  // namespace

std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

BrokerProcess::BrokerProcess(const Setup& setup) : port_(free_port()) {
  const std::uint16_t advertised = setup.advertised_port == 0 ? port_ : setup.advertised_port;
  const char* const storage = std::getenv("STREAMBUS_STORAGE");
  std::ofstream config(directory_ / "broker.toml");
  config << "[broker]\ndata_dir = \"" << (directory_ / "data").string() << "\"\n"
         << setup.broker  //
         << "[listener.main]\ntransport = \"tcp\"\naddress = \"" << address() << "\"\n"
         << "advertised = \"127.0.0.1:" << advertised << "\"\n"
         << "[storage.kept]\nplugin = \"" << (storage != nullptr ? storage : "storage-wal") << "\"\n"
         << "[codec.lz4]\nplugin = \"codec-lz4\"\n[codec.zstd]\nplugin = \"codec-zstd\"\n"
         << "[topic_defaults]\nstorage = \"kept\"\npartitions = 1\n"
         << setup.more;
}

BrokerProcess::~BrokerProcess() {
  if (pid_ > 0) kill();
  EXPECT_EQ(log().find("Sanitizer:"), std::string::npos) << "a sanitizer has complained in the broker";
  if (::testing::Test::HasFailure()) std::fprintf(stderr, "--- log of the broker ---\n%s\n", log().c_str());
}

void BrokerProcess::start() {
  const std::size_t ready_before = count(log(), "\nready ");
  const char* const name = std::getenv("STREAMBUS_PROGRAM");
  const std::string program = std::string(STREAMBUS_TEST_BUILD_DIR "/bin/") + (name != nullptr ? name : "streambusd");
  const std::string config = (directory_ / "broker.toml").string();
  const std::string output = (directory_ / "log").string();
  pid_ = ::fork();
  ASSERT_GE(pid_, 0);
  if (pid_ == 0) {
    const int fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(fd, STDOUT_FILENO);
    ::dup2(fd, STDERR_FILENO);
    ::execl(program.c_str(), program.c_str(), "--config", config.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  // Not a measured time: recovery of a large log under a sanitizer may take long.
  const auto deadline = Clock::now() + std::chrono::seconds(60);
  while (count(log(), "\nready ") == ready_before) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      FAIL() << "streambusd ended while it started, status " << status << ":\n" << log();
    }
    ASSERT_LT(Clock::now(), deadline) << "streambusd did not become ready:\n" << log();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void BrokerProcess::kill() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

int BrokerProcess::stop() {
  ::kill(pid_, SIGTERM);
  const auto deadline = Clock::now() + std::chrono::seconds(30);
  int status = 0;
  while (::waitpid(pid_, &status, WNOHANG) == 0) {
    if (Clock::now() > deadline) return -1;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string BrokerProcess::log() const { return "\n" + read_file(directory_ / "log"); }

}  // namespace streambus::test
