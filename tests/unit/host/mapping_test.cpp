// Mappings of the real file system, and what happens to them when the file below goes away.

#include "mapping.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "bus_guard.hpp"
#include "streambus/base/bytes.hpp"
#include "streambus/host/services.hpp"
#include "temporary_directory.hpp"

namespace streambus {
namespace {

using test::TemporaryDirectory;

constexpr std::uint64_t kPage = 4096;
constexpr bool kSanitized = STREAMBUS_TEST_SANITIZED != 0;

class MappingTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(files_->open("data", OpenMode::create_new, &file_).ok());
    ASSERT_TRUE(file_->truncate(16 * kPage).ok());
  }
  void TearDown() override {
    if (file_ != nullptr) file_->close();
    set_mappings_max(0);
  }
  Mapping* map(std::uint64_t position, std::uint64_t bytes) {
    Mapping* mapping = nullptr;
    const Status status = file_->map(position, bytes, &mapping);
    EXPECT_TRUE(status.ok()) << status.text;
    return mapping;
  }
  static bool all(MutableBytes bytes, std::byte value) {
    return std::all_of(bytes.begin(), bytes.end(), [value](std::byte b) { return b == value; });
  }

  TemporaryDirectory directory_;
  std::unique_ptr<FileSystem, void (*)(FileSystem*)> files_ = make_file_system(directory_ / "root");
  File* file_ = nullptr;
};

TEST_F(MappingTest, StoresReachTheFileAndReadsOfItSeeThem) {
  Mapping* const mapping = map(4 * kPage, 2 * kPage);
  ASSERT_EQ(mapping->bytes().size(), 2 * kPage);
  mapping->populate(0, 2 * kPage);
  std::memcpy(mapping->bytes().data() + 100, "streambus", 9);
  std::byte found[9];
  std::size_t read = 0;
  ASSERT_TRUE(file_->read_at(4 * kPage + 100, found, &read).ok());
  EXPECT_EQ(as_text(found), "streambus");
  const Slice slice = Slice::memory(as_bytes("file"));
  ASSERT_TRUE(file_->write_at(4 * kPage + 200, &slice, 1).ok());
  EXPECT_EQ(as_text(Bytes(mapping->bytes()).subspan(200, 4)), "file");
  EXPECT_TRUE(mapping->sync(100, 9).ok());
  EXPECT_TRUE(mapping->sync(0, 2 * kPage).ok());
  EXPECT_TRUE(mapping->sync(2 * kPage, 0).ok());
  EXPECT_EQ(mapping->sync(kPage, kPage + 1).code, ErrorCode::out_of_range);
  EXPECT_TRUE(mapping->check().ok());
  mapping->close();
}

TEST_F(MappingTest, OutlivesItsFile) {
  Mapping* const mapping = map(0, kPage);
  std::exchange(file_, nullptr)->close();
  ASSERT_TRUE(files_->remove("data").ok());
  mapping->bytes()[7] = std::byte{9};
  EXPECT_EQ(mapping->bytes()[7], std::byte{9});
  EXPECT_TRUE(mapping->sync(0, kPage).ok());
  mapping->close();
}

TEST_F(MappingTest, RefusesWhatIsNotInTheFile) {
  Mapping* mapping = nullptr;
  EXPECT_EQ(file_->map(100, kPage, &mapping).code, ErrorCode::invalid_argument);
  EXPECT_EQ(file_->map(0, 0, &mapping).code, ErrorCode::out_of_range);
  EXPECT_EQ(file_->map(16 * kPage, 1, &mapping).code, ErrorCode::out_of_range);
  const Status status = file_->map(8 * kPage, 8 * kPage + 1, &mapping);
  EXPECT_EQ(status.code, ErrorCode::out_of_range);
  EXPECT_NE(std::string(status.text).find("65536"), std::string::npos) << status.text;
  EXPECT_EQ(file_->map(kPage, UINT64_MAX - kPage + 1, &mapping).code, ErrorCode::out_of_range);
  EXPECT_EQ(mapping, nullptr);
  File* reading = nullptr;
  ASSERT_TRUE(files_->open("data", OpenMode::read, &reading).ok());
  EXPECT_EQ(reading->map(0, kPage, &mapping).code, ErrorCode::permission_denied);
  reading->close();
}

TEST_F(MappingTest, TheirNumberIsBounded) {
  const std::uint64_t before = BusGuard::count();
  set_mappings_max(before + 3);
  std::vector<Mapping*> mappings;
  for (int i = 0; i < 3; ++i) mappings.push_back(map(0, kPage));
  Mapping* one_more = nullptr;
  const Status status = file_->map(0, kPage, &one_more);
  EXPECT_EQ(status.code, ErrorCode::no_space);
  EXPECT_NE(std::string(status.text).find("max_map_count"), std::string::npos) << status.text;
  mappings.back()->close();
  mappings.back() = map(0, kPage);
  for (Mapping* const mapping : mappings) mapping->close();
  EXPECT_EQ(BusGuard::count(), before);
}

TEST_F(MappingTest, ThousandsOfMappingsAreGuarded) {
  std::vector<Mapping*> mappings;
  for (int i = 0; i < 2000; ++i) mappings.push_back(map(0, kPage));
  Mapping* const last = map(8 * kPage, kPage);
  ASSERT_TRUE(file_->truncate(kPage).ok());
  EXPECT_EQ(last->bytes()[0], std::byte{0});
  EXPECT_FALSE(last->check().ok());
  for (Mapping* const mapping : mappings) {
    EXPECT_TRUE(mapping->check().ok());
    mapping->close();
  }
  last->close();
}

TEST_F(MappingTest, AReaderOfATruncatedFileGetsZerosAndIsTold) {
  Mapping* const mapping = map(0, 16 * kPage);
  std::fill(mapping->bytes().begin(), mapping->bytes().end(), std::byte{7});
  ASSERT_TRUE(file_->truncate(10 * kPage).ok());
  EXPECT_TRUE(mapping->check().ok()) << "nobody has touched what is gone";
  EXPECT_TRUE(all(mapping->bytes().first(10 * kPage), std::byte{7}));
  EXPECT_TRUE(mapping->check().ok());
  std::vector<std::byte> copy(kPage + 10, std::byte{1});
  std::memcpy(copy.data(), mapping->bytes().data() + 12 * kPage - 5, copy.size());
  EXPECT_TRUE(all(copy, std::byte{0}));
  const Status status = mapping->check();
  EXPECT_EQ(status.code, ErrorCode::io_error) << status.text;
  EXPECT_NE(std::string(status.text).find("truncated"), std::string::npos) << status.text;
  EXPECT_EQ(mapping->sync(0, kPage).code, ErrorCode::io_error) << "what was stored is not to be believed any more";
  EXPECT_TRUE(all(mapping->bytes().first(10 * kPage), std::byte{7})) << "the pages that are there stay";
  mapping->close();
}

TEST_F(MappingTest, AWriterIntoATruncatedFileGoesOnAndIsTold) {
  Mapping* const mapping = map(4 * kPage, 12 * kPage);
  mapping->populate(0, 12 * kPage);
  ASSERT_TRUE(file_->truncate(6 * kPage).ok());
  const std::vector<std::byte> batch(8 * kPage, std::byte{5});
  std::memcpy(mapping->bytes().data() + kPage, batch.data(), batch.size());
  EXPECT_EQ(mapping->check().code, ErrorCode::io_error);
  EXPECT_TRUE(all(mapping->bytes().subspan(kPage, 8 * kPage), std::byte{5}));
  mapping->close();
}

TEST_F(MappingTest, OnlyTheMappingThatFailedIsMarked) {
  Mapping* const good = map(0, 4 * kPage);
  Mapping* const bad = map(0, 16 * kPage);
  ASSERT_TRUE(file_->truncate(4 * kPage).ok());
  EXPECT_EQ(bad->bytes()[5 * kPage], std::byte{0});
  EXPECT_FALSE(bad->check().ok());
  EXPECT_TRUE(good->check().ok());
  bad->close();
  ASSERT_TRUE(file_->truncate(16 * kPage).ok());
  Mapping* const again = map(0, 16 * kPage);
  EXPECT_EQ(again->bytes()[5 * kPage], std::byte{0});
  EXPECT_TRUE(again->check().ok()) << "a new mapping of a file that is whole again";
  again->close();
  good->close();
}

TEST_F(MappingTest, ThreadsFaultAtTheSameTimeWhileOthersMapAndUnmap) {
  constexpr int kRounds = 50;
  std::atomic<bool> done{false};
  std::atomic<int> unmarked{0};
  std::thread other([&] {
    while (!done.load()) {
      Mapping* mapping = nullptr;
      if (!file_->map(0, kPage, &mapping).ok()) continue;
      if (!mapping->check().ok()) ++unmarked;
      mapping->close();
    }
  });
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_TRUE(file_->truncate(16 * kPage).ok());
    Mapping* const mapping = map(0, 16 * kPage);
    ASSERT_TRUE(file_->truncate(kPage).ok());
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 3; ++t) {
      threads.emplace_back([&, t] {
        for (std::uint64_t page = 1; page < 16; ++page)
          mapping->bytes()[page * kPage + t] = std::byte{1};  // each thread its own bytes
        if (mapping->check().ok()) ++unmarked;
      });
    }
    for (std::thread& thread : threads) thread.join();
    mapping->close();
  }
  done = true;
  other.join();
  EXPECT_EQ(unmarked.load(), 0);
}

/// How a child that runs `body` ends.
template <class Body>
int status_of_child(Body body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const rlimit no_core{0, 0};
    (void)::setrlimit(RLIMIT_CORE, &no_core);
    body();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status;
}

/// A fault that is none of ours.
void touch_unguarded(int fd) {
  void* const data = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(64 * kPage));
  const volatile char first = *static_cast<const volatile char*>(data);
  (void)first;
}

TEST_F(MappingTest, AFaultElsewhereEndsTheProcessAsBefore) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer handles the signal in its own way";
  Mapping* const mapping = map(0, kPage);
  const int status = status_of_child([&] { touch_unguarded(file_->descriptor()); });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) << status;
  const int sent = status_of_child([] {
    ::kill(::getpid(), SIGBUS);
    ::pause();
  });
  EXPECT_TRUE(WIFSIGNALED(sent) && WTERMSIG(sent) == SIGBUS) << sent;
  mapping->close();
}

}  // namespace
}  // namespace streambus
