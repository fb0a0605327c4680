#include "file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "streambus/config/config.hpp"
#include "streambus/host/units.hpp"

namespace streambus {
namespace config {

Result<std::string> read_small_file(const std::filesystem::path& path, std::size_t bytes_max) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::unexpected(errno_error("cannot read " + path.string(), errno));
  struct stat info{};
  std::string text;
  Result<std::string> result = text;
  if (::fstat(fd, &info) != 0) {
    result = std::unexpected(errno_error("cannot read " + path.string(), errno));
  } else if (!S_ISREG(info.st_mode)) {
    result = fail(ErrorCode::invalid_argument, path.string() + ": expected a regular file, found a directory or device");
  } else if (static_cast<std::size_t>(info.st_size) > bytes_max) {
    result =
        fail(ErrorCode::too_large, path.string() + ": expected at most " + format_size(static_cast<std::int64_t>(bytes_max)) +
                                       ", found " + std::to_string(info.st_size) + " bytes");
  } else {
    text.resize(bytes_max);
    std::size_t done = 0;
    for (;;) {
      const ssize_t got = ::read(fd, text.data() + done, text.size() - done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) result = std::unexpected(errno_error("cannot read " + path.string(), errno));
      if (got <= 0) break;
      done += static_cast<std::size_t>(got);
    }
    text.resize(done);
    if (result) result = std::move(text);
  }
  ::close(fd);
  return result;
}

}  // namespace config

Result<ConfigSource> read_config_file(const std::filesystem::path& path) {
  constexpr std::size_t kConfigBytesMax = std::size_t{4} << 20;
  auto text = config::read_small_file(path, kConfigBytesMax);
  if (!text) return std::unexpected(std::move(text).error());
  ConfigSource source;
  source.text = std::move(*text);
  source.name = path.string();
  return source;
}

}  // namespace streambus
