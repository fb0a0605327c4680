#pragma once

#include <sqlite3.h>

#include <memory>
#include <string>

#include "streambus/base/error.hpp"
#include "streambus/base/ids.hpp"
#include "vfs.hpp"

namespace streambus::storage_sqlite {

/// A prepared statement. Errors stay until status() is asked for: calls after one do nothing.
class Statement {
 public:
  Statement(sqlite3* database, const std::string& sql) noexcept;
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  /// Binds the parameters, from the first on. Blobs and texts must live until the next bind() or reset().
  template <class... Values>
  Statement& bind(const Values&... values) noexcept {
    int index = 0;
    (bind_one(++index, values), ...);
    return *this;
  }
  /// True when there is a row; false at the end and after an error.
  [[nodiscard]] bool next() noexcept;
  /// Runs it to its end, ready for the next bind().
  Status run() noexcept;
  [[nodiscard]] Status status() const noexcept;

  [[nodiscard]] std::int64_t integer(int column) const noexcept { return sqlite3_column_int64(statement_, column); }
  [[nodiscard]] bool is_null(int column) const noexcept { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  /// Valid until the next call of next() or run().
  [[nodiscard]] Bytes blob(int column) const noexcept;
  [[nodiscard]] std::string text(int column) const;

 private:
  void bind_one(int index, std::int64_t value) noexcept { note(sqlite3_bind_int64(statement_, index, value)); }
  void bind_one(int index, Offset value) noexcept { bind_one(index, value.value); }
  void bind_one(int index, Bytes value) noexcept;
  void bind_one(int index, const std::string& value) noexcept;
  void note(int code) noexcept {
    if (code_ == SQLITE_OK) code_ = code;
  }

  sqlite3* const database_;
  sqlite3_stmt* statement_ = nullptr;
  int code_ = SQLITE_OK;
};

/// The database of an engine: one connection in write-ahead mode. One thread at a time.
class Database {
 public:
  explicit Database(FileSystem& files) : vfs_(files) {}
  ~Database() { close(); }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// Opens or creates it, and brings all that an earlier run wrote into the main file, synced. Errors: corrupt, io_error,
  /// no_space.
  [[nodiscard]] Status open();
  void close() noexcept;

  [[nodiscard]] Status execute(const char* sql) noexcept;
  /// Checks the structure of the file: every page is read. Errors: corrupt, io_error.
  [[nodiscard]] Status check();
  /// Copies the write-ahead log into the main file, `truncate`: and empties it. A sync that fails in it fails the next sync().
  [[nodiscard]] Status checkpoint(bool truncate) noexcept {
    return execute(truncate ? "PRAGMA wal_checkpoint = TRUNCATE" : "PRAGMA wal_checkpoint = PASSIVE");
  }
  [[nodiscard]] std::uint64_t log_bytes() noexcept { return vfs_.log_bytes(); }
  /// Returns when all that was committed before the call is on the device. From any thread, also while another uses the
  /// connection, but not while it is opened or closed.
  [[nodiscard]] Status sync() noexcept { return vfs_.sync_log(); }
  [[nodiscard]] sqlite3* handle() const noexcept { return connection_; }
  /// Undoes a transaction that failed.
  void roll_back() noexcept;

 private:
  Vfs vfs_;
  sqlite3* connection_ = nullptr;
};

/// A transaction: once something in it failed, nothing more is done, and commit() undoes it and says what it was.
class Transaction {
 public:
  explicit Transaction(Database& database) noexcept : database_(database), status_(database.execute("BEGIN IMMEDIATE")) {}
  ~Transaction() {
    if (!done_) database_.roll_back();
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  [[nodiscard]] bool ok() const noexcept { return status_.ok(); }
  void run(Statement& statement) noexcept {
    if (ok()) status_ = statement.run();
  }
  void execute(const std::string& sql) noexcept {
    if (ok()) status_ = database_.execute(sql.c_str());
  }
  /// All of it or nothing, for a crash of the process too; on the device with the next Database::sync().
  [[nodiscard]] Status commit() noexcept {
    execute("COMMIT");
    if (!ok()) database_.roll_back();
    done_ = true;
    return status_;
  }

 private:
  Database& database_;
  Status status_;
  bool done_ = false;
};

/// What SQLite's last error on the connection means to StreamBus.
[[nodiscard]] Status status_of(sqlite3* connection, int code) noexcept;

}  // namespace streambus::storage_sqlite
