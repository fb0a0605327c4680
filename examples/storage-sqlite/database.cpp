#include "database.hpp"

#include <cstdio>

namespace streambus::storage_sqlite {

Status status_of(sqlite3* connection, int code) noexcept {
  const int kind = code & 0xff;
  if (kind == SQLITE_OK || kind == SQLITE_ROW || kind == SQLITE_DONE) return {};
  const ErrorCode error = kind == SQLITE_FULL || kind == SQLITE_NOMEM       ? ErrorCode::no_space
                          : kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB ? ErrorCode::corrupt
                                                                            : ErrorCode::io_error;
  char text[sizeof(Status::text)];
  std::snprintf(text, sizeof text, "SQLite: %s (%s)", connection != nullptr ? sqlite3_errmsg(connection) : "no connection",
                sqlite3_errstr(code));
  return {error, text};
}

Statement::Statement(sqlite3* database, const std::string& sql) noexcept : database_(database) {
  note(sqlite3_prepare_v2(database, sql.data(), static_cast<int>(sql.size()), &statement_, nullptr));
}

void Statement::bind_one(int index, Bytes value) noexcept {
  note(sqlite3_bind_blob64(statement_, index, value.data(), value.size(), SQLITE_STATIC));
}

void Statement::bind_one(int index, const std::string& value) noexcept {
  note(sqlite3_bind_text(statement_, index, value.data(), static_cast<int>(value.size()), SQLITE_STATIC));
}

bool Statement::next() noexcept {
  if (code_ != SQLITE_OK) return false;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) code_ = sqlite3_extended_errcode(database_);
  return false;
}

Status Statement::run() noexcept {
  while (next()) {
  }
  const Status result = status();
  sqlite3_reset(statement_);
  return result;
}

Status Statement::status() const noexcept { return status_of(database_, code_); }

Bytes Statement::blob(int column) const noexcept {
  const void* const data = sqlite3_column_blob(statement_, column);
  return {static_cast<const std::byte*>(data), static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

std::string Statement::text(int column) const {
  const Bytes bytes = blob(column);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Status Database::open() {
  close();
  vfs_.forget_failures();
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  if (const int code = sqlite3_open_v2("batches.db", &connection_, flags, vfs_.name()); code != SQLITE_OK) {
    const Status status = status_of(connection_, code);
    close();
    return status;
  }
  sqlite3_extended_result_codes(connection_, 1);
  // EXCLUSIVE before anything is read: the write-ahead log then needs no shared memory. NORMAL: SQLite syncs where the order of
  // its files needs it, and leaves it to sync() when a commit is durable, so that the connection is free meanwhile. The last
  // line writes what a failed sync may have left in the log only, so that nothing is believed that the device may not have.
  const Status status = execute(R"(
    PRAGMA page_size = 4096;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA temp_store = MEMORY;
    PRAGMA cell_size_check = ON;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA wal_autocheckpoint = 0;
    CREATE TABLE IF NOT EXISTS partitions (topic_id TEXT, partition INTEGER, first INTEGER, next INTEGER, crc INTEGER,
                                           PRIMARY KEY (topic_id, partition)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS pieces (topic_id TEXT, partition INTEGER, first INTEGER,
                                       PRIMARY KEY (topic_id, partition, first)) WITHOUT ROWID;
    PRAGMA wal_checkpoint = TRUNCATE;
  )");
  if (!status.ok()) close();
  return status;
}

Status Database::check() {
  Statement found(connection_, "PRAGMA quick_check(1)");
  if (found.next() && found.text(0) != "ok") return {ErrorCode::corrupt, "batches.db is damaged: " + found.text(0)};
  return found.run();
}

void Database::close() noexcept {
  // The log is what is left to recover from then.
  if (connection_ != nullptr && vfs_.sync_failed())
    sqlite3_db_config(connection_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  sqlite3_close_v2(connection_);
  connection_ = nullptr;
}

Status Database::execute(const char* sql) noexcept {
  return status_of(connection_, sqlite3_exec(connection_, sql, nullptr, nullptr, nullptr));
}

void Database::roll_back() noexcept {
  if (sqlite3_get_autocommit(connection_) == 0) (void)execute("ROLLBACK").ok();
}

}  // namespace streambus::storage_sqlite
