#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "streambus/host/services.hpp"

namespace streambus {

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
    char pid[24] = "";
    const ssize_t length = ::pread(fd, pid, sizeof pid - 1, 0);
    std::string holder(pid, length > 0 ? static_cast<std::size_t>(length) : 0);
    while (!holder.empty() && holder.back() == '\n') holder.pop_back();
    return fail(ErrorCode::busy, "the data directory " + directory.string() + " is in use by another process" +
                                     (holder.empty() ? "" : " (pid " + holder + ")") +
                                     "; stop it, or give this broker another broker.data_dir");
  }
  // The pid is for the message above only: the lock itself is the kernel's and ends with the process.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return std::unexpected(errno_error("cannot write " + file.string(), errno));
  }
  return lock;
}

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace streambus
