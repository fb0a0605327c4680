#pragma once

#include <sqlite3.h>

#include <atomic>
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
  /// Fails too where any sync failed before: SQLite takes a checkpoint that fails for one to be tried again, but what a failed
  /// sync did not write is not written by the next.
  [[nodiscard]] Status sync_log() noexcept;
  /// How long the write-ahead log is. On the connection's thread.
  [[nodiscard]] std::uint64_t log_bytes() noexcept;
  [[nodiscard]] bool sync_failed() const noexcept { return sync_failed_; }
  /// For a connection that is opened anew and reads everything again.
  void forget_failures() noexcept { sync_failed_ = false; }

  /// For sqlite3_open_v2().
  [[nodiscard]] const char* name() const noexcept { return name_.c_str(); }

 private:
  friend struct Methods;

  FileSystem& files_;
  const std::string name_;
  sqlite3_vfs vfs_{};
  sqlite3_file* log_ = nullptr;
  std::atomic<bool> sync_failed_{false};
};

}  // namespace streambus::storage_sqlite
