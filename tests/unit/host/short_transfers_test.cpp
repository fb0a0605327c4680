// The file layer promises that a call does all or fails: here every system call that it makes is interrupted now and then and
// transfers less than asked. The linker sends the calls through the functions below (--wrap).

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <vector>

#include "streambus/base/bytes.hpp"
#include "streambus/host/services.hpp"
#include "temporary_directory.hpp"

namespace {

/// What the next calls do.
struct Trouble {
  bool on = false;
  int interruptions = 0;
  int short_transfers = 0;
  std::mt19937 random{1};

  /// True: this call is to answer EINTR.
  bool interrupt() {
    if (!on || random() % 3 != 0) return false;
    ++interruptions;
    errno = EINTR;
    return true;
  }
  std::size_t shorten(std::size_t bytes) {
    if (!on || bytes < 2 || random() % 2 == 0) return bytes;
    ++short_transfers;
    return 1 + random() % (bytes - 1);
  }
} trouble;

}  // namespace

extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): names that the linker makes
ssize_t __real_pread(int fd, void* out, size_t bytes, off_t position);
ssize_t __real_pwrite(int fd, const void* in, size_t bytes, off_t position);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_ftruncate(int fd, off_t bytes);
int __real_fallocate(int fd, int mode, off_t position, off_t bytes);
int __real_msync(void* data, size_t bytes, int flags);
ssize_t __real_copy_file_range(int from, off_t* from_position, int to, off_t* to_position, size_t bytes, unsigned flags);

ssize_t __wrap_pread(int fd, void* out, size_t bytes, off_t position) {
  return trouble.interrupt() ? -1 : __real_pread(fd, out, trouble.shorten(bytes), position);
}
ssize_t __wrap_pwrite(int fd, const void* in, size_t bytes, off_t position) {
  return trouble.interrupt() ? -1 : __real_pwrite(fd, in, trouble.shorten(bytes), position);
}
/// At most one vector, and of that perhaps a part: wherever a real one can stop.
ssize_t __wrap_pwritev(int fd, const iovec* vectors, int, off_t position) {
  return trouble.interrupt() ? -1 : __real_pwrite(fd, vectors[0].iov_base, trouble.shorten(vectors[0].iov_len), position);
}
int __wrap_fdatasync(int fd) { return trouble.interrupt() ? -1 : __real_fdatasync(fd); }
int __wrap_fsync(int fd) { return trouble.interrupt() ? -1 : __real_fsync(fd); }
int __wrap_ftruncate(int fd, off_t bytes) { return trouble.interrupt() ? -1 : __real_ftruncate(fd, bytes); }
int __wrap_fallocate(int fd, int mode, off_t position, off_t bytes) {
  return trouble.interrupt() ? -1 : __real_fallocate(fd, mode, position, bytes);
}
int __wrap_msync(void* data, size_t bytes, int flags) { return trouble.interrupt() ? -1 : __real_msync(data, bytes, flags); }
ssize_t __wrap_copy_file_range(int from, off_t* from_position, int to, off_t* to_position, size_t bytes, unsigned flags) {
  if (trouble.interrupt()) return -1;
  return __real_copy_file_range(from, from_position, to, to_position, trouble.shorten(bytes), flags);
}
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
}

namespace streambus {
namespace {

class ShortTransfersTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(files_->open("data", OpenMode::create_new, &file_).ok());
    trouble = {.on = true};
  }
  void TearDown() override {
    trouble.on = false;
    file_->close();
  }
  static std::vector<std::byte> pattern(std::size_t bytes) {
    std::vector<std::byte> all(bytes);
    for (std::size_t i = 0; i < bytes; ++i) all[i] = static_cast<std::byte>(i * 7 + i / 251);
    return all;
  }

  test::TemporaryDirectory directory_;
  std::unique_ptr<FileSystem, void (*)(FileSystem*)> files_ = make_file_system(directory_ / "root");
  File* file_ = nullptr;
};

TEST_F(ShortTransfersTest, WritesAndReadsDoAll) {
  const std::vector<std::byte> all = pattern(100'000);
  for (int round = 0; round < 50; ++round) {
    const std::size_t cut = 1 + static_cast<std::size_t>(round) * 1900;
    const Bytes left(all);
    const Slice slices[] = {Slice::memory(left.first(cut)), Slice::memory({}), Slice::memory(left.subspan(cut))};
    const Status wrote = file_->write_at(17, slices, std::size(slices));
    ASSERT_TRUE(wrote.ok()) << wrote.text;
    std::vector<std::byte> found(all.size() + 50);
    std::size_t read = 0;
    const Status status = file_->read_at(17, found, &read);
    ASSERT_TRUE(status.ok()) << status.text;
    ASSERT_EQ(read, all.size());
    found.resize(read);
    ASSERT_EQ(found, all);
    ASSERT_TRUE(file_->truncate(0).ok());
  }
  EXPECT_GT(trouble.interruptions, 100);
  EXPECT_GT(trouble.short_transfers, 100);
}

TEST_F(ShortTransfersTest, RangesOfFilesAreCopiedWhole) {
  const std::vector<std::byte> all = pattern(50'000);
  const Slice slice = Slice::memory(all);
  ASSERT_TRUE(file_->write_at(0, &slice, 1).ok());
  File* copy = nullptr;
  ASSERT_TRUE(files_->open("copy", OpenMode::create_new, &copy).ok());
  const Slice range = Slice::file(file_->descriptor(), 100, 40'000);
  EXPECT_TRUE(copy->write_at(3, &range, 1).ok());
  std::vector<std::byte> found(50'000);
  std::size_t read = 0;
  EXPECT_TRUE(copy->read_at(3, found, &read).ok());
  ASSERT_EQ(read, 40'000U);
  EXPECT_TRUE(std::equal(found.begin(), found.begin() + 40'000, all.begin() + 100));
  copy->close();
  EXPECT_GT(trouble.interruptions + trouble.short_transfers, 0);
}

TEST_F(ShortTransfersTest, InterruptionsAreNoFailures) {
  const Slice slice = Slice::memory(as_bytes("x"));
  for (int round = 0; round < 30; ++round) {
    ASSERT_TRUE(file_->write_at(0, &slice, 1).ok());
    EXPECT_TRUE(file_->sync().ok()) << "an interrupted sync is done again, not taken for a failed one";
    EXPECT_TRUE(files_->sync_directory(".").ok());
    EXPECT_TRUE(file_->reserve(8192).ok());
    EXPECT_TRUE(file_->truncate(8192).ok());
    Mapping* mapping = nullptr;
    ASSERT_TRUE(file_->map(0, 8192, &mapping).ok());
    mapping->bytes()[0] = static_cast<std::byte>(round);
    EXPECT_TRUE(mapping->sync(0, 8192).ok());
    mapping->close();
  }
  EXPECT_GT(trouble.interruptions, 20);
}

}  // namespace
}  // namespace streambus
