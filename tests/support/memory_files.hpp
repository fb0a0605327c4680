#pragma once
// A FileSystem in memory that fails operations on demand. What was written is there at once; nothing models a power cut.

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "streambus/plugin/files.hpp"

namespace streambus::test {

class MemoryFiles final : public FileSystem {
 public:
  /// The operation that is `count` operations away (0: the next one) and all later ones fail, until heal().
  void fail_after(int count, int errno_value = ENOSPC) {
    const std::lock_guard lock(mutex_);
    operations_left_ = count;
    errno_ = errno_value;
  }
  void heal() { fail_after(-1); }
  /// Operations since the last call.
  int take_operations() {
    const std::lock_guard lock(mutex_);
    return std::exchange(operations_, 0);
  }
  /// The content of a file; empty where there is none. Writable: for damaging it.
  [[nodiscard]] std::string& content(const std::string& path) { return contents_[path]; }
  [[nodiscard]] bool exists(const std::string& path) const { return contents_.contains(path); }
  [[nodiscard]] std::vector<std::string> paths() const {
    std::vector<std::string> all;
    for (const auto& [path, content] : contents_) all.push_back(path);
    return all;
  }
  /// All contents, to put back later: what a killed process left is what it had written.
  [[nodiscard]] std::map<std::string, std::string> save() {
    const std::lock_guard lock(mutex_);
    return contents_;
  }
  void restore(std::map<std::string, std::string> contents) { contents_ = std::move(contents); }
  void erase(const std::string& path) { contents_.erase(path); }

  Status open(std::string_view path, OpenMode mode, File** out) noexcept override {
    const std::lock_guard lock(mutex_);
    STREAMBUS_TRY_STATUS(operation("open"));
    const std::string name(path);
    const bool there = contents_.contains(name);
    if (there && mode == OpenMode::create_new) return errno_status(name, EEXIST);
    if (!there && (mode == OpenMode::read || mode == OpenMode::write)) return errno_status(name, ENOENT);
    contents_.try_emplace(name);
    *out = new OpenFile(*this, name);
    return {};
  }
  Status create_directory(std::string_view) noexcept override { return locked_operation("mkdir"); }
  Status sync_directory(std::string_view) noexcept override { return locked_operation("fsync of a directory"); }
  Status rename(std::string_view from, std::string_view to) noexcept override {
    const std::lock_guard lock(mutex_);
    STREAMBUS_TRY_STATUS(operation("rename"));
    const auto found = contents_.find(std::string(from));
    if (found == contents_.end()) return errno_status("rename", ENOENT);
    contents_[std::string(to)] = std::move(found->second);
    contents_.erase(std::string(from));
    return {};
  }
  Status remove(std::string_view path) noexcept override {
    const std::lock_guard lock(mutex_);
    STREAMBUS_TRY_STATUS(operation("unlink"));
    return contents_.erase(std::string(path)) > 0 ? Status() : errno_status("unlink", ENOENT);
  }
  Status remove_directory(std::string_view) noexcept override { return locked_operation("rmdir"); }
  Status list(std::string_view path, DirectoryVisitor& visitor) noexcept override {
    const std::lock_guard lock(mutex_);
    STREAMBUS_TRY_STATUS(operation("readdir"));
    const std::string prefix = std::string(path) + "/";
    for (const auto& [name, content] : contents_) {
      if (name.starts_with(prefix)) visitor.entry(std::string_view(name).substr(prefix.size()), false);
    }
    return {};
  }
  Status free_space(std::uint64_t* bytes) noexcept override {
    *bytes = std::uint64_t{1} << 40;
    return {};
  }

 private:
  class OpenFile final : public File {
   public:
    OpenFile(MemoryFiles& files, std::string name) : files_(files), name_(std::move(name)) {}
    Status read_at(std::uint64_t position, MutableBytes out, std::size_t* read) noexcept override {
      const std::lock_guard lock(files_.mutex_);
      STREAMBUS_TRY_STATUS(files_.operation("read"));
      const std::string& content = files_.contents_[name_];
      *read = position >= content.size() ? 0 : std::min(out.size(), content.size() - static_cast<std::size_t>(position));
      if (*read > 0) std::memcpy(out.data(), content.data() + position, *read);
      return {};
    }
    Status write_at(std::uint64_t position, const Slice* slices, std::size_t count) noexcept override {
      const std::lock_guard lock(files_.mutex_);
      STREAMBUS_TRY_STATUS(files_.operation("write"));
      std::string& content = files_.contents_[name_];
      for (std::size_t i = 0; i < count; ++i) {
        if (content.size() < position + slices[i].bytes) content.resize(position + slices[i].bytes);
        std::memcpy(content.data() + position, slices[i].data, slices[i].bytes);
        position += slices[i].bytes;
      }
      return {};
    }
    Status sync() noexcept override { return files_.locked_operation("fsync"); }
    Status size(std::uint64_t* bytes) noexcept override {
      const std::lock_guard lock(files_.mutex_);
      *bytes = files_.contents_[name_].size();
      return files_.operation("fstat");
    }
    Status truncate(std::uint64_t bytes) noexcept override {
      const std::lock_guard lock(files_.mutex_);
      STREAMBUS_TRY_STATUS(files_.operation("ftruncate"));
      files_.contents_[name_].resize(bytes);
      return {};
    }
    Status start_writeback(std::uint64_t, std::uint64_t) noexcept override { return {}; }
    Status reserve(std::uint64_t) noexcept override { return {}; }
    [[nodiscard]] int descriptor() const noexcept override { return -1; }
    void close() noexcept override { delete this; }

   private:
    MemoryFiles& files_;
    std::string name_;
  };

  Status operation(const char* what) noexcept {
    ++operations_;
    if (operations_left_ < 0) return {};
    if (operations_left_ == 0) return errno_status(what, errno_);
    --operations_left_;
    return {};
  }
  Status locked_operation(const char* what) noexcept {
    const std::lock_guard lock(mutex_);
    return operation(what);
  }

  std::mutex mutex_;
  std::map<std::string, std::string> contents_;
  int operations_ = 0;
  int operations_left_ = -1;
  int errno_ = 0;
};

}  // namespace streambus::test
