#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "streambus/host/services.hpp"

namespace streambus {
namespace {

/// "(pid 17)" where the file names a process that lives; an ended one says nothing about who holds the lock now.
std::string holder_of(int fd) {
  char text[24] = "";
  const ssize_t length = ::pread(fd, text, sizeof text - 1, 0);
  const long pid = length > 0 ? std::strtol(text, nullptr, 10) : 0;
  if (pid <= 0 || (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH)) return "";
  return " (pid " + std::to_string(pid) + ")";
}

}  // namespace

Result<DirectoryLock> DirectoryLock::acquire(const std::filesystem::path& directory) {
  std::error_code failure;
  std::filesystem::create_directories(directory, failure);
  if (failure) {
    auto error = errno_error("cannot create the data directory " + directory.string(), failure.value());
    error.message += "; create it for this user, or set broker.data_dir to a directory that can be written";
    return std::unexpected(std::move(error));
  }
  const std::filesystem::path file = directory / "lock";
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (fd < 0) {
    auto error = errno_error("cannot open " + file.string(), errno);
    error.message += "; the data directory must be writable for the user that runs the broker";
    return std::unexpected(std::move(error));
  }
  DirectoryLock lock(fd);
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return std::unexpected(errno_error("cannot lock " + file.string(), errno));
    return fail(ErrorCode::busy, "the data directory " + directory.string() + " is in use by another process" + holder_of(fd) +
                                     "; stop it, or give this broker another broker.data_dir");
  }
  // The pid is for the message above only: the lock itself is the kernel's and ends with the process.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return std::unexpected(errno_error("cannot write " + file.string(), errno));
  }
  return lock;
}

Result<DirectoryLock> DirectoryLock::watch(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "lock";
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return DirectoryLock(-1);
  if (fd < 0) return std::unexpected(errno_error("cannot open " + file.string(), errno));
  DirectoryLock lock(fd);
  while (::flock(fd, LOCK_SH | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return std::unexpected(errno_error("cannot lock " + file.string(), errno));
    return fail(ErrorCode::busy, "the data directory " + directory.string() + " is in use by a running broker" + holder_of(fd) +
                                     "; stop it first");
  }
  return lock;
}

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace streambus
