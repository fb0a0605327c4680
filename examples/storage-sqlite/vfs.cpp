// The methods that SQLite asks of a file system (https://www.sqlite.org/vfs.html), over streambus::FileSystem.

#include "vfs.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <stdexcept>

namespace streambus::storage_sqlite {

/// What the C functions may see of a Vfs.
struct Methods {
  [[nodiscard]] static FileSystem& files(sqlite3_vfs* vfs) noexcept { return static_cast<Vfs*>(vfs->pAppData)->files_; }
  static void opened_log(sqlite3_vfs* vfs, sqlite3_file* file) noexcept { static_cast<Vfs*>(vfs->pAppData)->log_ = file; }
  static void sync_failed(Vfs& vfs) noexcept { vfs.sync_failed_ = true; }
  static void closed(Vfs& vfs, const sqlite3_file* file) noexcept {
    if (vfs.log_ == file) vfs.log_ = nullptr;
  }
};

namespace {

constexpr int kPathMax = 255;
constexpr int kSectorBytes = 4096;

/// SQLite allocates szOsFile bytes and knows the first member only.
struct OpenFile {
  sqlite3_file base;
  File* file;
  FileSystem* files;
  Vfs* vfs;
  std::atomic<bool> entry_synced;  ///< the directory knows the file for good
};

OpenFile& self(sqlite3_file* file) noexcept { return *reinterpret_cast<OpenFile*>(file); }

FileSystem& files_of(sqlite3_vfs* vfs) noexcept { return Methods::files(vfs); }

int write_error(const Status& status, int otherwise) noexcept {
  if (status.ok()) return SQLITE_OK;
  return status.code == ErrorCode::no_space ? SQLITE_FULL : otherwise;
}

// ---- files

int close_file(sqlite3_file* file) noexcept {
  Methods::closed(*self(file).vfs, file);
  self(file).file->close();
  return SQLITE_OK;
}

int read_file(sqlite3_file* file, void* out, int bytes, sqlite3_int64 position) noexcept {
  const MutableBytes room(static_cast<std::byte*>(out), static_cast<std::size_t>(bytes));
  std::size_t read = 0;
  if (!self(file).file->read_at(static_cast<std::uint64_t>(position), room, &read).ok()) return SQLITE_IOERR_READ;
  if (read == room.size()) return SQLITE_OK;
  std::fill(room.begin() + static_cast<std::ptrdiff_t>(read), room.end(), std::byte{0});
  return SQLITE_IOERR_SHORT_READ;
}

int write_file(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 position) noexcept {
  const Slice slice = Slice::memory({static_cast<const std::byte*>(bytes), static_cast<std::size_t>(count)});
  return write_error(self(file).file->write_at(static_cast<std::uint64_t>(position), &slice, 1), SQLITE_IOERR_WRITE);
}

int truncate_file(sqlite3_file* file, sqlite3_int64 bytes) noexcept {
  return write_error(self(file).file->truncate(static_cast<std::uint64_t>(bytes)), SQLITE_IOERR_TRUNCATE);
}

Status sync_open(OpenFile& open) noexcept {
  Status status = open.file->sync();
  if (status.ok() && !open.entry_synced) status = open.files->sync_directory(".");
  if (status.ok()) {
    open.entry_synced = true;
  } else {
    Methods::sync_failed(*open.vfs);
  }
  return status;
}

int sync_file(sqlite3_file* file, int /*flags*/) noexcept {
  return sync_open(self(file)).ok() ? SQLITE_OK : SQLITE_IOERR_FSYNC;
}

int file_size(sqlite3_file* file, sqlite3_int64* bytes) noexcept {
  std::uint64_t size = 0;
  if (!self(file).file->size(&size).ok()) return SQLITE_IOERR_FSTAT;
  *bytes = static_cast<sqlite3_int64>(size);
  return SQLITE_OK;
}

int lock_file(sqlite3_file* /*file*/, int /*level*/) noexcept { return SQLITE_OK; }

int reserved_lock(sqlite3_file* /*file*/, int* reserved) noexcept {
  *reserved = 0;
  return SQLITE_OK;
}

int file_control(sqlite3_file* /*file*/, int /*operation*/, void* /*argument*/) noexcept { return SQLITE_NOTFOUND; }
int sector_size(sqlite3_file* /*file*/) noexcept { return kSectorBytes; }
int characteristics(sqlite3_file* /*file*/) noexcept { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

constexpr sqlite3_io_methods kMethods = {
    .iVersion = 1,
    .xClose = close_file,
    .xRead = read_file,
    .xWrite = write_file,
    .xTruncate = truncate_file,
    .xSync = sync_file,
    .xFileSize = file_size,
    .xLock = lock_file,
    .xUnlock = lock_file,
    .xCheckReservedLock = reserved_lock,
    .xFileControl = file_control,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
    .xShmMap = nullptr,
    .xShmLock = nullptr,
    .xShmBarrier = nullptr,
    .xShmUnmap = nullptr,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

// ---- the file system

int open_file(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out_flags) noexcept {
  OpenFile& open = self(file);
  new (&open) OpenFile{};
  if (path == nullptr) return SQLITE_CANTOPEN;  // a temporary file: temp_store = MEMORY makes none
  const bool creates = (flags & SQLITE_OPEN_CREATE) != 0;
  open.files = &files_of(vfs);
  const Status status = open.files->open(path, creates ? OpenMode::create : OpenMode::write, &open.file);
  if (!status.ok()) return write_error(status, SQLITE_CANTOPEN);
  open.base.pMethods = &kMethods;
  open.vfs = static_cast<Vfs*>(vfs->pAppData);
  if ((flags & SQLITE_OPEN_WAL) != 0) Methods::opened_log(vfs, file);
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int delete_file(sqlite3_vfs* vfs, const char* path, int sync_directory) noexcept {
  const Status status = files_of(vfs).remove(path);
  if (status.code == ErrorCode::not_found) return SQLITE_IOERR_DELETE_NOENT;
  if (!status.ok()) return SQLITE_IOERR_DELETE;
  return sync_directory == 0 || files_of(vfs).sync_directory(".").ok() ? SQLITE_OK : SQLITE_IOERR_DIR_FSYNC;
}

int access_file(sqlite3_vfs* vfs, const char* path, int flags, int* found) noexcept {
  File* file = nullptr;
  const Status status = files_of(vfs).open(path, OpenMode::read, &file);
  *found = 0;
  if (status.code == ErrorCode::not_found) return SQLITE_OK;
  if (!status.ok()) return SQLITE_IOERR_ACCESS;
  // An empty journal counts as none: that is how SQLite itself sees one.
  std::uint64_t bytes = 1;
  if (flags == SQLITE_ACCESS_EXISTS) (void)file->size(&bytes).ok();
  file->close();
  *found = bytes > 0 ? 1 : 0;
  return SQLITE_OK;
}

int full_path(sqlite3_vfs* /*vfs*/, const char* path, int bytes, char* out) noexcept {
  const std::size_t length = std::strlen(path);
  if (length >= static_cast<std::size_t>(bytes)) return SQLITE_CANTOPEN;
  std::memcpy(out, path, length + 1);
  return SQLITE_OK;
}

// Randomness, sleep and time are the system's own.
sqlite3_vfs* system_vfs() noexcept { return sqlite3_vfs_find(nullptr); }

int randomness(sqlite3_vfs* /*vfs*/, int bytes, char* out) noexcept {
  return system_vfs()->xRandomness(system_vfs(), bytes, out);
}
int sleep_for(sqlite3_vfs* /*vfs*/, int microseconds) noexcept { return system_vfs()->xSleep(system_vfs(), microseconds); }
int current_time(sqlite3_vfs* /*vfs*/, double* days) noexcept { return system_vfs()->xCurrentTime(system_vfs(), days); }
int last_error(sqlite3_vfs* /*vfs*/, int /*bytes*/, char* /*out*/) noexcept { return 0; }

std::string unique_name() {
  static std::atomic<unsigned> made{0};
  return "streambus-" + std::to_string(++made);
}

}  // namespace

Vfs::Vfs(FileSystem& files) : files_(files), name_(unique_name()) {
  vfs_ = {.iVersion = 1,
          .szOsFile = sizeof(OpenFile),
          .mxPathname = kPathMax,
          .pNext = nullptr,
          .zName = name_.c_str(),
          .pAppData = this,
          .xOpen = open_file,
          .xDelete = delete_file,
          .xAccess = access_file,
          .xFullPathname = full_path,
          .xDlOpen = nullptr,
          .xDlError = nullptr,
          .xDlSym = nullptr,
          .xDlClose = nullptr,
          .xRandomness = randomness,
          .xSleep = sleep_for,
          .xCurrentTime = current_time,
          .xGetLastError = last_error,
          .xCurrentTimeInt64 = nullptr,
          .xSetSystemCall = nullptr,
          .xGetSystemCall = nullptr,
          .xNextSystemCall = nullptr};
  if (sqlite3_vfs_register(&vfs_, 0) != SQLITE_OK) throw std::runtime_error("SQLite refuses the file system");
}

Status Vfs::sync_log() noexcept {
  const Status status = log_ != nullptr ? sync_open(self(log_)) : Status{};
  // Where no space is left for what was written, it is lost: that is no better than any other failure.
  if (!status.ok()) return {ErrorCode::io_error, status.message(), status.sys_errno};
  return sync_failed_ ? Status{ErrorCode::io_error, "an earlier sync of the database failed"} : status;
}

std::uint64_t Vfs::log_bytes() noexcept {
  std::uint64_t bytes = 0;
  return log_ != nullptr && self(log_).file->size(&bytes).ok() ? bytes : 0;
}

Vfs::~Vfs() { sqlite3_vfs_unregister(&vfs_); }

}  // namespace streambus::storage_sqlite
