#pragma once

#include <sqlite3.h>

#include <string>

#include "streambus/plugin/files.hpp"

namespace streambus::storage_sqlite {

/// Lets SQLite do its I/O through the host's files, under a name of its own: what records and fails those for the conformance
/// kit then sees and fails SQLite's as well. One process, one connection: there are no locks and no shared memory, which the
/// write-ahead log does not need with `PRAGMA locking_mode = EXCLUSIVE`. Thread-safe as far as FileSystem is. Outlives its
/// connections.
class Vfs {
 public:
  explicit Vfs(FileSystem& files);
  ~Vfs();
  Vfs(const Vfs&) = delete;
  Vfs& operator=(const Vfs&) = delete;

  /// Syncs the write-ahead log that is open, if one is. From any thread, but not while its connection is opened or closed.
  [[nodiscard]] Status sync_log() noexcept;

  /// For sqlite3_open_v2().
  [[nodiscard]] const char* name() const noexcept { return name_.c_str(); }

 private:
  friend struct Methods;

  FileSystem& files_;
  const std::string name_;
  sqlite3_vfs vfs_{};
  sqlite3_file* log_ = nullptr;
};

}  // namespace streambus::storage_sqlite
