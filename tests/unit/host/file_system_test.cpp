#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "streambus/base/bytes.hpp"
#include "streambus/host/services.hpp"
#include "temporary_directory.hpp"

namespace streambus {
namespace {

using test::read_file;
using test::TemporaryDirectory;
using test::write_file;
using testing::HasSubstr;

class Names final : public DirectoryVisitor {
 public:
  void entry(std::string_view name, bool is_directory) noexcept override {
    names.push_back((is_directory ? "d " : "f ") + std::string(name));
  }
  std::vector<std::string> sorted() {
    std::ranges::sort(names);
    return names;
  }
  std::vector<std::string> names;
};

class FileSystemTest : public testing::Test {
 protected:
  File* open(std::string_view path, OpenMode mode) {
    File* file = nullptr;
    const Status status = files_->open(path, mode, &file);
    EXPECT_TRUE(status.ok()) << status.text;
    return file;
  }

  TemporaryDirectory directory_;
  std::filesystem::path root_ = directory_ / "a/b/root";
  std::unique_ptr<FileSystem, void (*)(FileSystem*)> files_ = make_file_system(root_);
};

TEST_F(FileSystemTest, WritesSlicesOfMemoryAndFilesInOrder) {
  write_file(directory_ / "source", "0123456789");
  const int source = ::open((directory_ / "source").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(source, 0);
  File* file = open("data", OpenMode::create_new);
  const Slice slices[] = {Slice::memory(as_bytes("ab")), Slice::memory({}), Slice::memory(as_bytes("cd")),
                          Slice::file(source, 3, 4), Slice::memory(as_bytes("ef"))};
  ASSERT_TRUE(file->write_at(2, slices, std::size(slices)).ok());
  std::uint64_t size = 0;
  ASSERT_TRUE(file->size(&size).ok());
  EXPECT_EQ(size, 12U);
  EXPECT_EQ(read_file(root_ / "data"), std::string("\0\0abcd3456ef", 12));
  EXPECT_FALSE(file->write_at(0, std::vector{Slice::file(source, 8, 5)}.data(), 1).ok()) << "the source ends before its slice";
  ::close(source);
  file->close();
}

TEST_F(FileSystemTest, WritesMoreSlicesThanOneCallTakes) {
  File* file = open("data", OpenMode::create);
  std::string expected;
  std::vector<std::string> parts;
  for (int i = 0; i < 300; ++i) parts.push_back(std::to_string(i) + ",");
  std::vector<Slice> slices;
  for (const std::string& part : parts) {
    slices.push_back(Slice::memory(as_bytes(part)));
    expected += part;
  }
  ASSERT_TRUE(file->write_at(0, slices.data(), slices.size()).ok());
  EXPECT_EQ(read_file(root_ / "data"), expected);
  file->close();
}

TEST_F(FileSystemTest, ReadsShortOnlyAtTheEnd) {
  File* file = open("data", OpenMode::create);
  const Slice slice = Slice::memory(as_bytes("0123456789"));
  ASSERT_TRUE(file->write_at(0, &slice, 1).ok());
  std::array<std::byte, 8> buffer;
  std::size_t read = 0;
  ASSERT_TRUE(file->read_at(1, buffer, &read).ok());
  EXPECT_EQ(as_text({buffer.data(), read}), "12345678");
  ASSERT_TRUE(file->read_at(7, buffer, &read).ok());
  EXPECT_EQ(as_text({buffer.data(), read}), "789");
  ASSERT_TRUE(file->read_at(100, buffer, &read).ok());
  EXPECT_EQ(read, 0U);
  file->close();
}

TEST_F(FileSystemTest, ReserveTruncateAndSync) {
  File* file = open("data", OpenMode::create);
  const Status reserved = file->reserve(1 << 20);
  EXPECT_TRUE(reserved.ok() || reserved.code == ErrorCode::unsupported) << reserved.text;
  std::uint64_t size = 1;
  ASSERT_TRUE(file->size(&size).ok());
  EXPECT_EQ(size, 0U) << "reserving changes nothing that is read";
  ASSERT_TRUE(file->truncate(100).ok());
  ASSERT_TRUE(file->size(&size).ok());
  EXPECT_EQ(size, 100U);
  EXPECT_TRUE(file->start_writeback(0, 100).ok());
  EXPECT_TRUE(file->sync().ok());
  EXPECT_GE(file->descriptor(), 0);
  file->close();
}

TEST_F(FileSystemTest, OpenModes) {
  File* file = nullptr;
  EXPECT_EQ(files_->open("x", OpenMode::read, &file).code, ErrorCode::not_found);
  EXPECT_EQ(files_->open("x", OpenMode::write, &file).code, ErrorCode::not_found);
  open("x", OpenMode::create)->close();
  open("x", OpenMode::create)->close();
  EXPECT_EQ(files_->open("x", OpenMode::create_new, &file).code, ErrorCode::already_exists);
  File* readable = open("x", OpenMode::read);
  const Slice slice = Slice::memory(as_bytes("a"));
  EXPECT_FALSE(readable->write_at(0, &slice, 1).ok());
  readable->close();
}

TEST_F(FileSystemTest, DirectoriesAndNames) {
  ASSERT_TRUE(files_->create_directory("p/q/r").ok());
  ASSERT_TRUE(files_->create_directory("p/q/r").ok()) << "it is there: success";
  open("p/one", OpenMode::create)->close();
  EXPECT_FALSE(files_->create_directory("p/one/x").ok());
  ASSERT_TRUE(files_->rename("p/one", "p/q/two").ok());
  ASSERT_TRUE(files_->sync_directory("p/q").ok());
  Names names;
  ASSERT_TRUE(files_->list("p/q", names).ok());
  EXPECT_EQ(names.sorted(), (std::vector<std::string>{"d r", "f two"}));
  EXPECT_FALSE(files_->remove_directory("p/q").ok()) << "not empty";
  ASSERT_TRUE(files_->remove("p/q/two").ok());
  EXPECT_EQ(files_->remove("p/q/two").code, ErrorCode::not_found);
  ASSERT_TRUE(files_->remove_directory("p/q/r").ok());
  Names empty;
  ASSERT_TRUE(files_->list("p/q", empty).ok());
  EXPECT_TRUE(empty.names.empty());
  Names top;
  ASSERT_TRUE(files_->list("", top).ok());
  EXPECT_EQ(top.sorted(), (std::vector<std::string>{"d p"}));
  std::uint64_t bytes = 0;
  ASSERT_TRUE(files_->free_space(&bytes).ok());
  EXPECT_GT(bytes, 0U);
}

TEST_F(FileSystemTest, NoPathLeavesTheRoot) {
  write_file(directory_ / "outside", "secret");
  for (const std::string& path : {std::string("../outside"), std::string("/etc/passwd"), std::string("a/../../outside"),
                                  std::string(".."), std::string("x\0y", 3), std::string(5000, 'x')}) {
    File* file = nullptr;
    EXPECT_EQ(files_->open(path, OpenMode::read, &file).code, ErrorCode::invalid_argument) << path;
    EXPECT_EQ(files_->remove(path).code, ErrorCode::invalid_argument) << path;
    EXPECT_EQ(files_->create_directory(path).code, ErrorCode::invalid_argument) << path;
    EXPECT_EQ(files_->rename("x", path).code, ErrorCode::invalid_argument) << path;
  }
  open("..fine..", OpenMode::create)->close();
  EXPECT_EQ(read_file(directory_ / "outside"), "secret");
}

TEST_F(FileSystemTest, ARootThatCannotBeIsAnErrorOfEveryCall) {
  write_file(directory_ / "file", "");
  const auto broken = make_file_system(directory_ / "file/below");
  File* file = nullptr;
  const Status status = broken->open("x", OpenMode::create, &file);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.text, HasSubstr("cannot use the data directory"));
}

TEST(DirectoryLock, OneProcessAtATime) {
  TemporaryDirectory directory;
  {
    auto lock = DirectoryLock::acquire(directory / "data");
    ASSERT_TRUE(lock.has_value()) << lock.error().message;
    const auto second = DirectoryLock::acquire(directory / "data");
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().code, ErrorCode::busy);
    EXPECT_THAT(second.error().message,
                testing::AllOf(HasSubstr((directory / "data").string()), HasSubstr("in use by another process"),
                               HasSubstr("pid " + std::to_string(::getpid())), HasSubstr("broker.data_dir")));
    DirectoryLock moved = std::move(*lock);
    EXPECT_FALSE(DirectoryLock::acquire(directory / "data").has_value());
  }
  EXPECT_TRUE(DirectoryLock::acquire(directory / "data").has_value());
}

TEST(DirectoryLock, EndsWithTheProcessThatHadIt) {
  TemporaryDirectory directory;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto lock = DirectoryLock::acquire(directory.path());
    ::_exit(lock.has_value() ? 0 : 1);  // without any destructor, as after a kill
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(DirectoryLock::acquire(directory.path()).has_value());
}

TEST(DirectoryLock, ADirectoryThatCannotBeIsAClearError) {
  TemporaryDirectory directory;
  write_file(directory / "file", "");
  const auto lock = DirectoryLock::acquire(directory / "file/data");
  ASSERT_FALSE(lock.has_value());
  EXPECT_THAT(lock.error().message,
              testing::AllOf(HasSubstr("cannot create the data directory"), HasSubstr("broker.data_dir")));
}

}  // namespace
}  // namespace streambus
