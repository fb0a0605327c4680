// The real file system behind FileSystem: POSIX calls relative to a directory descriptor.

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "mapping.hpp"
#include "streambus/host/services.hpp"

namespace streambus {
namespace {

/// Repeats a system call that a signal interrupted.
template <class Call>
auto retried(Call call) noexcept {
  for (;;) {
    const auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

class PosixFile final : public File {
 public:
  explicit PosixFile(int fd) noexcept : fd_(fd) {}

  Status read_at(std::uint64_t position, MutableBytes out, std::size_t* read) noexcept override {
    *read = 0;
    while (*read < out.size()) {
      const ssize_t got =
          retried([&] { return ::pread(fd_, out.data() + *read, out.size() - *read, static_cast<off_t>(position + *read)); });
      if (got < 0) return errno_status("read", errno);
      if (got == 0) break;
      *read += static_cast<std::size_t>(got);
    }
    return {};
  }

  Status write_at(std::uint64_t position, const Slice* slices, std::size_t count) noexcept override {
    std::size_t index = 0;
    while (index < count) {
      if (slices[index].is_file()) {
        STREAMBUS_TRY_STATUS(copy_range(position, slices[index]));
        position += slices[index++].bytes;
        continue;
      }
      std::array<iovec, 64> vectors;
      std::size_t used = 0;
      for (; index < count && !slices[index].is_file() && used < vectors.size(); ++index) {
        if (slices[index].bytes == 0) continue;
        vectors[used++] = {const_cast<std::byte*>(slices[index].data), static_cast<std::size_t>(slices[index].bytes)};
      }
      STREAMBUS_TRY_STATUS(write_vectors(position, {vectors.data(), used}));
    }
    return {};
  }

  Status sync() noexcept override {
    // After a failed fdatasync the kernel may have dropped the dirty pages and report success the next time.
    if (const int earlier = sync_errno_.load(std::memory_order_acquire); earlier != 0) {
      return errno_status("sync (failed before, data may be lost)", earlier);
    }
    if (retried([&] { return ::fdatasync(fd_); }) == 0) return {};
    const int failure = errno;
    sync_errno_.store(failure, std::memory_order_release);
    return errno_status("sync", failure);
  }

  Status size(std::uint64_t* bytes) noexcept override {
    struct stat info{};
    if (::fstat(fd_, &info) != 0) return errno_status("size", errno);
    *bytes = static_cast<std::uint64_t>(info.st_size);
    return {};
  }

  Status truncate(std::uint64_t bytes) noexcept override {
    if (retried([&] { return ::ftruncate(fd_, static_cast<off_t>(bytes)); }) != 0) return errno_status("truncate", errno);
    return {};
  }

  Status start_writeback(std::uint64_t position, std::uint64_t bytes) noexcept override {
    if (::sync_file_range(fd_, static_cast<off_t>(position), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE) == 0) return {};
    // A hint: file systems without it write back in their own time.
    if (errno == ENOSYS || errno == EINVAL || errno == ESPIPE) return {};
    return errno_status("start writeback", errno);
  }

  Status reserve(std::uint64_t bytes) noexcept override {
    if (retried([&] { return ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)); }) == 0) return {};
    if (errno == EOPNOTSUPP || errno == ENOSYS) {
      return {ErrorCode::unsupported, "the file system cannot reserve blocks", errno};
    }
    return errno_status("reserve", errno);
  }

  int descriptor() const noexcept override { return fd_; }

  Status map(std::uint64_t position, std::uint64_t bytes, Mapping** out) noexcept override {
    return map_file(fd_, position, bytes, out);
  }

  void close() noexcept override {
    ::close(fd_);
    delete this;
  }

 private:
  ~PosixFile() = default;

  Status write_vectors(std::uint64_t& position, std::span<iovec> vectors) noexcept {
    while (!vectors.empty()) {
      const ssize_t wrote = retried([&] {
        return vectors.size() == 1
                   ? ::pwrite(fd_, vectors[0].iov_base, vectors[0].iov_len, static_cast<off_t>(position))
                   : ::pwritev(fd_, vectors.data(), static_cast<int>(vectors.size()), static_cast<off_t>(position));
      });
      if (wrote < 0) return errno_status("write", errno);
      if (wrote == 0) return {ErrorCode::io_error, "write: the system took no bytes"};
      position += static_cast<std::uint64_t>(wrote);
      auto rest = static_cast<std::size_t>(wrote);
      while (!vectors.empty() && rest >= vectors[0].iov_len) {
        rest -= vectors[0].iov_len;
        vectors = vectors.subspan(1);
      }
      if (rest > 0) {
        vectors[0].iov_base = static_cast<std::byte*>(vectors[0].iov_base) + rest;
        vectors[0].iov_len -= rest;
      }
    }
    return {};
  }

  /// Copies a range of another file, in the kernel where it can.
  Status copy_range(std::uint64_t position, const Slice& slice) noexcept {
    auto from = static_cast<off_t>(slice.file_position);
    auto to = static_cast<off_t>(position);
    std::uint64_t left = slice.bytes;
    while (left > 0) {
      const ssize_t copied = retried([&] { return ::copy_file_range(slice.fd, &from, fd_, &to, left, 0); });
      if (copied > 0) {
        left -= static_cast<std::uint64_t>(copied);
        continue;
      }
      if (copied == 0) return {ErrorCode::io_error, "write: the source file is shorter than its slice"};
      if (errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EFBIG) return errno_status("write", errno);
      return copy_through_memory(to, slice.fd, from, left);  // other file systems, old kernels
    }
    return {};
  }

  Status copy_through_memory(off_t to, int fd, off_t from, std::uint64_t left) noexcept {
    std::array<std::byte, 16384> block;
    auto position = static_cast<std::uint64_t>(to);
    while (left > 0) {
      const ssize_t got = retried([&] { return ::pread(fd, block.data(), std::min<std::uint64_t>(left, block.size()), from); });
      if (got < 0) return errno_status("read", errno);
      if (got == 0) return {ErrorCode::io_error, "write: the source file is shorter than its slice"};
      iovec vector{block.data(), static_cast<std::size_t>(got)};
      STREAMBUS_TRY_STATUS(write_vectors(position, {&vector, 1}));
      from += got;
      left -= static_cast<std::uint64_t>(got);
    }
    return {};
  }

  const int fd_;
  std::atomic<int> sync_errno_{0};
};

/// A path of the engine, checked to stay below the root and made into a C string without allocating.
class RelativePath {
 public:
  explicit RelativePath(std::string_view path) noexcept {
    if (path.empty() || path == ".") path = ".";
    ok_ = path.size() < text_.size() && path.front() != '/' && path.find('\0') == std::string_view::npos && stays_below(path);
    if (ok_) text_[path.copy(text_.data(), path.size())] = '\0';
  }
  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] const char* c_str() const noexcept { return text_.data(); }
  [[nodiscard]] static Status refusal(std::string_view path) noexcept {
    char text[160];
    const std::string_view shown = path.substr(0, 60);
    std::snprintf(text, sizeof text, "'%.*s' is not a path below the data directory: expected a relative path without '..'",
                  static_cast<int>(shown.size()), shown.data());
    return {ErrorCode::invalid_argument, text};
  }

 private:
  static bool stays_below(std::string_view path) noexcept {
    while (!path.empty()) {
      const std::size_t slash = path.find('/');
      if (path.substr(0, slash) == "..") return false;
      path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
    }
    return true;
  }

  std::array<char, 1024> text_;
  bool ok_;
};

Status failed(const char* what, std::string_view path, int errno_value) noexcept {
  char text[160];
  const std::string_view shown = path.substr(0, 90);
  std::snprintf(text, sizeof text, "%s %.*s", what, static_cast<int>(shown.size()), shown.data());
  return errno_status(text, errno_value);
}

class PosixFileSystem final : public FileSystem {
 public:
  PosixFileSystem(std::filesystem::path root, bool create) noexcept : root_name_(std::move(root)) {
    std::error_code failure;
    if (create) std::filesystem::create_directories(root_name_, failure);
    root_ = retried([&] { return ::open(root_name_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (root_ < 0) root_errno_ = failure ? failure.value() : errno;
  }
  ~PosixFileSystem() {
    if (root_ >= 0) ::close(root_);
  }

  Status open(std::string_view path, OpenMode mode, File** out) noexcept override {
    static constexpr std::array<int, 4> kFlags = {O_RDONLY, O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL};
    return with(path, "open", [&](const char* name) noexcept {
      const int fd = retried([&] { return ::openat(root_, name, kFlags[static_cast<std::size_t>(mode)] | O_CLOEXEC, 0640); });
      if (fd < 0) return -1;
      *out = new (std::nothrow) PosixFile(fd);
      if (*out != nullptr) return 0;
      ::close(fd);
      errno = ENOMEM;
      return -1;
    });
  }

  Status create_directory(std::string_view path) noexcept override {
    for (std::size_t end = path.find('/'); end != std::string_view::npos; end = path.find('/', end + 1)) {
      if (end > 0) STREAMBUS_TRY_STATUS(create_one(path.substr(0, end)));
    }
    return create_one(path);
  }

  Status sync_directory(std::string_view path) noexcept override {
    return with(path, "sync directory", [&](const char* name) noexcept {
      const int fd = retried([&] { return ::openat(root_, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
      if (fd < 0) return -1;
      const int result = retried([&] { return ::fsync(fd); });
      const int failure = errno;
      ::close(fd);
      errno = failure;
      return result;
    });
  }

  Status rename(std::string_view from, std::string_view to) noexcept override {
    const RelativePath target(to);
    if (!target.ok()) return RelativePath::refusal(to);
    return with(from, "rename", [&](const char* name) noexcept { return ::renameat(root_, name, root_, target.c_str()); });
  }

  Status remove(std::string_view path) noexcept override {
    return with(path, "remove", [&](const char* name) noexcept { return ::unlinkat(root_, name, 0); });
  }

  Status remove_directory(std::string_view path) noexcept override {
    return with(path, "remove directory", [&](const char* name) noexcept { return ::unlinkat(root_, name, AT_REMOVEDIR); });
  }

  Status list(std::string_view path, DirectoryVisitor& visitor) noexcept override {
    return with(path, "list", [&](const char* name) noexcept {
      const int fd = retried([&] { return ::openat(root_, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
      if (fd < 0) return -1;
      DIR* const directory = ::fdopendir(fd);
      if (directory == nullptr) {
        ::close(fd);
        return -1;
      }
      const int result = visit_entries(directory, visitor);
      const int failure = errno;
      ::closedir(directory);
      errno = failure;
      return result;
    });
  }

  Status free_space(std::uint64_t* bytes) noexcept override {
    return with(".", "free space of", [&](const char*) noexcept {
      struct statvfs info{};
      if (::fstatvfs(root_, &info) != 0) return -1;
      *bytes = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
      return 0;
    });
  }

 private:
  /// Checks the path, runs the call and makes a Status of a -1 with errno.
  template <class Call>
  Status with(std::string_view path, const char* what, Call call) noexcept {
    if (root_ < 0) return failed("cannot use the data directory", root_name_.native(), root_errno_);
    const RelativePath relative(path);
    if (!relative.ok()) return RelativePath::refusal(path);
    if (call(relative.c_str()) == -1) return failed(what, path, errno);
    return {};
  }

  Status create_one(std::string_view path) noexcept {
    return with(path, "create directory", [&](const char* name) noexcept {
      if (::mkdirat(root_, name, 0750) == 0) return 0;
      if (errno != EEXIST) return -1;
      struct stat info{};
      if (::fstatat(root_, name, &info, 0) != 0) return -1;
      if (S_ISDIR(info.st_mode)) return 0;
      errno = ENOTDIR;
      return -1;
    });
  }

  static int visit_entries(DIR* directory, DirectoryVisitor& visitor) noexcept {
    for (;;) {
      errno = 0;
      const dirent* const entry = ::readdir(directory);
      if (entry == nullptr) return errno == 0 ? 0 : -1;
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      bool is_directory = entry->d_type == DT_DIR;
      if (entry->d_type == DT_UNKNOWN || entry->d_type == DT_LNK) {
        struct stat info{};
        is_directory = ::fstatat(::dirfd(directory), entry->d_name, &info, 0) == 0 && S_ISDIR(info.st_mode);
      }
      visitor.entry(name, is_directory);
    }
  }

  const std::filesystem::path root_name_;
  int root_ = -1;
  int root_errno_ = 0;
};

/// Reads only, and creates nothing: for looking at the data of a broker that does not run.
class ReadOnlyFileSystem final : public FileSystem {
 public:
  explicit ReadOnlyFileSystem(std::filesystem::path root) noexcept : files_(std::move(root), false) {}

  Status open(std::string_view path, OpenMode mode, File** out) noexcept override {
    return mode == OpenMode::read ? files_.open(path, mode, out) : refusal(path);
  }
  Status create_directory(std::string_view path) noexcept override { return refusal(path); }
  Status sync_directory(std::string_view path) noexcept override { return refusal(path); }
  Status rename(std::string_view from, std::string_view) noexcept override { return refusal(from); }
  Status remove(std::string_view path) noexcept override { return refusal(path); }
  Status remove_directory(std::string_view path) noexcept override { return refusal(path); }
  Status list(std::string_view path, DirectoryVisitor& visitor) noexcept override { return files_.list(path, visitor); }
  Status free_space(std::uint64_t* bytes) noexcept override { return files_.free_space(bytes); }

 private:
  static Status refusal(std::string_view path) noexcept { return failed("read-only: cannot change", path, EROFS); }

  PosixFileSystem files_;
};

}  // namespace

std::unique_ptr<FileSystem, void (*)(FileSystem*)> make_file_system(std::filesystem::path root) {
  return {new PosixFileSystem(std::move(root), true), [](FileSystem* files) { delete static_cast<PosixFileSystem*>(files); }};
}

std::unique_ptr<FileSystem, void (*)(FileSystem*)> make_read_only_file_system(std::filesystem::path root) {
  return {new ReadOnlyFileSystem(std::move(root)), [](FileSystem* files) { delete static_cast<ReadOnlyFileSystem*>(files); }};
}

}  // namespace streambus
