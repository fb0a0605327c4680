#pragma once

#include <cstdint>
#include <string_view>

#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"
#include "streambus/base/slice.hpp"

namespace streambus {

/// A range of a file in memory, shared: what is stored to it reaches the file, and reads of the file see it at once.
///
/// Where the file below fails (it was truncated, its device answers EIO), an access does not end the process: the page reads
/// as zeros from then on, what is stored to it is lost, and check() says so. Whoever hands out or believes bytes of a mapping
/// calls check() after taking them. Thread-safe, except against close().
class Mapping {
 public:
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  /// The bytes; constant, valid until close().
  [[nodiscard]] virtual MutableBytes bytes() const noexcept = 0;
  /// Returns when what was stored to [offset, offset + bytes) before the call is on the device, with the metadata needed to
  /// read it. A failure is final for this mapping.
  virtual Status sync(std::uint64_t offset, std::uint64_t bytes) noexcept = 0;
  /// Maps the pages of the range now instead of at the first access, for writing. Best effort.
  virtual void populate(std::uint64_t offset, std::uint64_t bytes) noexcept = 0;
  /// ok, or io_error once an access met a page that the file could not give.
  [[nodiscard]] virtual Status check() const noexcept = 0;
  /// Unmaps and destroys the object. The file may be closed before.
  virtual void close() noexcept = 0;

 protected:
  ~Mapping() = default;
};

/// An open file. Reads are thread-safe; writes to disjoint ranges too. All calls may block.
/// Short transfers and EINTR are handled inside: a call does all or fails. Closed by release of its owner: close().
class File {
 public:
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// Reads up to out.size() bytes at `position`; *read is smaller only at the end of the file.
  virtual Status read_at(std::uint64_t position, MutableBytes out, std::size_t* read) noexcept = 0;
  /// Writes all slices, memory or file ranges, one behind the other from `position` on. One system call where it can.
  virtual Status write_at(std::uint64_t position, const Slice* slices, std::size_t count) noexcept = 0;
  /// Returns when data, and the metadata needed to read it, are on the device. A failure is final for this file.
  virtual Status sync() noexcept = 0;
  virtual Status size(std::uint64_t* bytes) noexcept = 0;
  virtual Status truncate(std::uint64_t bytes) noexcept = 0;
  /// Starts writeback of the range without waiting; not durability.
  virtual Status start_writeback(std::uint64_t position, std::uint64_t bytes) noexcept = 0;
  /// Reserves blocks for [0, bytes) without changing what reads return.
  virtual Status reserve(std::uint64_t bytes) noexcept = 0;
  /// The descriptor for file slices (sendfile); -1 where there is none. Valid until close().
  [[nodiscard]] virtual int descriptor() const noexcept = 0;
  /// Closes and destroys the object.
  virtual void close() noexcept = 0;
  /// Maps [position, position + bytes), which must lie inside the file, for reading and writing. `position` is a multiple of
  /// the page size. Errors: out_of_range, no_space (no memory, or as many mappings as the system allows), io_error,
  /// unsupported.
  virtual Status map(std::uint64_t position, std::uint64_t bytes, Mapping** out) noexcept {
    (void)position, (void)bytes, (void)out;
    return {ErrorCode::unsupported, "this file layer has no mappings"};
  }

 protected:
  ~File() = default;
};

enum class OpenMode : std::uint8_t {
  read,        ///< must exist
  write,       ///< must exist
  create,      ///< created if missing
  create_new,  ///< must not exist
};

/// What list() calls for each entry; `name` is valid during the call.
class DirectoryVisitor {
 public:
  DirectoryVisitor() = default;
  DirectoryVisitor(const DirectoryVisitor&) = delete;
  DirectoryVisitor& operator=(const DirectoryVisitor&) = delete;
  virtual void entry(std::string_view name, bool is_directory) noexcept = 0;

 protected:
  ~DirectoryVisitor() = default;
};

/// The file operations of a storage engine. Paths are relative to the engine's own data directory and cannot leave it.
/// Engines do all their I/O through this layer: that is what lets tests record it and fail it. Thread-safe.
class FileSystem {
 public:
  FileSystem() = default;
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;

  virtual Status open(std::string_view path, OpenMode mode, File** out) noexcept = 0;
  /// Creates the directory and its parents; success when it is there.
  virtual Status create_directory(std::string_view path) noexcept = 0;
  /// Makes creations, renames and removals in the directory durable.
  virtual Status sync_directory(std::string_view path) noexcept = 0;
  virtual Status rename(std::string_view from, std::string_view to) noexcept = 0;
  /// Removes a file; not_found when it is not there.
  virtual Status remove(std::string_view path) noexcept = 0;
  /// Removes an empty directory.
  virtual Status remove_directory(std::string_view path) noexcept = 0;
  /// Visits the entries of a directory in no order, without "." and "..". The visitor must not call back.
  virtual Status list(std::string_view path, DirectoryVisitor& visitor) noexcept = 0;
  /// Bytes free for this user on the file system below.
  virtual Status free_space(std::uint64_t* bytes) noexcept = 0;

 protected:
  ~FileSystem() = default;
};

}  // namespace streambus
