// Mappings of the real file system.

#include "mapping.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <new>

#include "bus_guard.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace streambus {
namespace {

std::atomic<std::uint64_t> mapping_count{0};
std::atomic<std::uint64_t> mappings_max_for_tests{0};

std::uint64_t page_bytes() noexcept {
  static const auto bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

/// A mapping of which a page failed counts several times in the kernel, libraries and thread stacks count too: three quarters.
std::uint64_t default_mappings_max() noexcept {
  static const std::uint64_t limit = [] {
    constexpr std::uint64_t kKernelDefault = 65530;
    char text[32] = {};
    const int fd = ::open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    unsigned long long found = kKernelDefault;
    if (fd >= 0) {
      if (::read(fd, text, sizeof text - 1) <= 0 || std::sscanf(text, "%llu", &found) != 1) found = kKernelDefault;
      ::close(fd);
    }
    return std::uint64_t{found} / 4 * 3;
  }();
  return limit;
}

/// Counts one mapping more, or says why there can be none.
Status take_one() noexcept {
  const std::uint64_t for_tests = mappings_max_for_tests.load(std::memory_order_relaxed);
  const std::uint64_t limit = for_tests != 0 ? for_tests : default_mappings_max();
  if (mapping_count.fetch_add(1, std::memory_order_relaxed) < limit) return {};
  mapping_count.fetch_sub(1, std::memory_order_relaxed);
  char text[160];
  std::snprintf(text, sizeof text, "map: this process has %llu mappings, its share of vm.max_map_count; raise that or map less",
                static_cast<unsigned long long>(limit));
  return {ErrorCode::no_space, text, ENOMEM};
}

class FileMapping final : public Mapping {
 public:
  FileMapping(std::byte* data, std::size_t bytes) noexcept : data_(data), bytes_(bytes) {}

  [[nodiscard]] bool guard() noexcept {
    range_ = BusGuard::add(data_, mapped_bytes());
    return range_ != nullptr;
  }

  [[nodiscard]] MutableBytes bytes() const noexcept override { return {data_, bytes_}; }

  Status sync(std::uint64_t offset, std::uint64_t bytes) noexcept override {
    if (offset > bytes_ || bytes > bytes_ - offset) return {ErrorCode::out_of_range, "sync: beyond the end of the mapping"};
    // After a failed sync the kernel may have dropped the dirty pages and report success the next time.
    if (const int earlier = sync_errno_.load(std::memory_order_acquire); earlier != 0) {
      return errno_status("sync of a mapping (failed before, data may be lost)", earlier);
    }
    STREAMBUS_TRY_STATUS(check());
    if (bytes == 0) return {};
    const std::uint64_t begin = offset & ~(page_bytes() - 1);
    // As fdatasync of the range: with the metadata that is needed to read it.
    while (::msync(data_ + begin, static_cast<std::size_t>(offset + bytes - begin), MS_SYNC) != 0) {
      if (errno == EINTR) continue;
      const int failure = errno;
      sync_errno_.store(failure, std::memory_order_release);
      return errno_status("sync of a mapping", failure);
    }
    return check();
  }

  void populate(std::uint64_t offset, std::uint64_t bytes) noexcept override {
    if (offset >= bytes_) return;
    if (bytes > bytes_ - offset) bytes = bytes_ - offset;
    const std::uint64_t begin = offset & ~(page_bytes() - 1);
    const std::uint64_t end = offset + bytes;
    if (::madvise(data_ + begin, static_cast<std::size_t>(end - begin), MADV_POPULATE_WRITE) == 0 || errno != EINVAL) return;
    // A kernel before 5.14. What is there stays as it is, also while somebody stores to it.
    for (std::uint64_t page = begin; page < end; page += page_bytes()) {
      __atomic_fetch_or(reinterpret_cast<unsigned char*>(data_ + page), static_cast<unsigned char>(0), __ATOMIC_RELAXED);
    }
  }

  [[nodiscard]] Status check() const noexcept override {
    if (!range_->failed.load(std::memory_order_acquire)) return {};
    return {ErrorCode::io_error, "a mapped page could not be had: the file was truncated, or its device failed", EIO};
  }

  void close() noexcept override { delete this; }

  ~FileMapping() {
    if (range_ != nullptr) BusGuard::remove(range_);
    ::munmap(data_, mapped_bytes());
    mapping_count.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  /// What the kernel maps: whole pages.
  [[nodiscard]] std::size_t mapped_bytes() const noexcept {
    return static_cast<std::size_t>((bytes_ + page_bytes() - 1) & ~(page_bytes() - 1));
  }

  std::byte* const data_;
  const std::size_t bytes_;
  BusGuard::Range* range_ = nullptr;
  std::atomic<int> sync_errno_{0};
};

}  // namespace

void set_mappings_max(std::uint64_t mappings) noexcept { mappings_max_for_tests.store(mappings, std::memory_order_relaxed); }

Status map_file(int fd, std::uint64_t position, std::uint64_t bytes, Mapping** out) noexcept {
  *out = nullptr;
  if (position % page_bytes() != 0) {
    return {ErrorCode::invalid_argument, "map: the position is no multiple of the page size"};
  }
  struct stat info{};
  if (::fstat(fd, &info) != 0) return errno_status("map", errno);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (bytes == 0 || position > size || bytes > size - position) {
    char text[160];
    std::snprintf(text, sizeof text, "map: %llu bytes from %llu on are not inside the file of %llu bytes",
                  static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(position),
                  static_cast<unsigned long long>(size));
    return {ErrorCode::out_of_range, text};
  }
  STREAMBUS_TRY_STATUS(take_one());
  void* const data =
      ::mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(position));
  if (data == MAP_FAILED) {
    const int failure = errno;
    mapping_count.fetch_sub(1, std::memory_order_relaxed);
    if (failure == ENOMEM) return {ErrorCode::no_space, "map: no memory, or more mappings than vm.max_map_count", ENOMEM};
    return errno_status("map", failure);
  }
  auto* const mapping = new (std::nothrow) FileMapping(static_cast<std::byte*>(data), static_cast<std::size_t>(bytes));
  if (mapping != nullptr && mapping->guard()) {
    *out = mapping;
    return {};
  }
  if (mapping != nullptr) {
    delete mapping;
  } else {
    ::munmap(data, static_cast<std::size_t>(bytes));
    mapping_count.fetch_sub(1, std::memory_order_relaxed);
  }
  return {ErrorCode::no_space, "map: out of memory", ENOMEM};
}

}  // namespace streambus
