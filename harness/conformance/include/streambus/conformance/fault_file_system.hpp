#pragma once
// A model of a file system for breaking storage engines: every operation can be counted, failed, torn or be the last one of
// its process; a power cut leaves what was synced and any part of what was not. Contents live in memory files, so that
// slices have real descriptors and mappings are real ones: what is stored to a mapping is found by comparison whenever it
// matters which bytes changed.

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "streambus/plugin/files.hpp"

namespace streambus::conformance {

enum class FileOperation : std::uint8_t {
  open,
  create_directory,
  sync_directory,
  rename,
  remove,
  remove_directory,
  list,
  read,
  write,
  sync,
  size,
  truncate,
  reserve,
  map,
  populate,
  access,  ///< of a mapping, counted by check(): a page fails, and the mapping with it
};
[[nodiscard]] constexpr std::uint32_t only(FileOperation operation) noexcept { return 1U << static_cast<unsigned>(operation); }
/// Every call; accesses to mappings are none.
inline constexpr std::uint32_t kAnyOperation = UINT32_MAX & ~only(FileOperation::access);
/// What changes the disk: where a crash makes a difference.
inline constexpr std::uint32_t kChanges =
    only(FileOperation::open) | only(FileOperation::create_directory) | only(FileOperation::sync_directory) |
    only(FileOperation::rename) | only(FileOperation::remove) | only(FileOperation::remove_directory) |
    only(FileOperation::write) | only(FileOperation::sync) | only(FileOperation::truncate) | only(FileOperation::reserve);

/// What goes wrong at the operation that is counted down to.
struct FaultPlan {
  std::uint64_t at = 0;  ///< the how-manieth operation of `kinds` from now on; 0: none
  std::uint32_t kinds = kAnyOperation;
  int errno_value = EIO;
  bool halt = false;                ///< nothing has any effect from then on, stores to mappings neither: the process is dead
  bool for_good = false;            ///< all later operations of the kinds fail as well
  std::uint32_t torn_permille = 0;  ///< of a write that fails, this part arrives
};

/// What a power cut leaves of unsynced changes.
enum class PowerCut : std::uint8_t {
  nothing,  ///< only what was synced
  any,      ///< any subset of directory entries, sizes, 4 KiB pages and, at random, 512-byte sectors
};

class FaultFileSystem final : public FileSystem {
 public:
  FaultFileSystem() : root_(std::make_shared<Directory>()) {}

  // For the test.
  void plan(const FaultPlan& fault) {
    const std::lock_guard lock(mutex_);
    thaw();
    fault_ = fault;
    counted_ = 0;
    fired_ = false;
    halted_ = false;
  }
  void heal() { plan({}); }
  /// Operations of the planned kinds since plan().
  [[nodiscard]] std::uint64_t counted() {
    const std::lock_guard lock(mutex_);
    return counted_;
  }
  [[nodiscard]] bool fired() {
    const std::lock_guard lock(mutex_);
    return fired_;
  }
  /// Bytes that files may hold together; writes beyond arrive in part and fail with ENOSPC.
  void set_capacity(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    capacity_ = bytes;
  }
  /// Syncs answer "done" and do nothing: for proving that a test notices.
  void skip_syncs(bool skip) {
    const std::lock_guard lock(mutex_);
    skip_syncs_ = skip;
  }
  /// Syncs wait until they are let go: a device that takes its time.
  void hold_syncs(bool hold) {
    const std::lock_guard lock(mutex_);
    hold_syncs_ = hold;
    released_.notify_all();
  }
  /// Syncs that wait because of hold_syncs().
  [[nodiscard]] int waiting_syncs() {
    const std::lock_guard lock(mutex_);
    return waiting_syncs_;
  }
  /// Operations of any kind since the beginning.
  [[nodiscard]] std::uint64_t operations() {
    const std::lock_guard lock(mutex_);
    return operations_;
  }
  /// Forgets what was not synced, or a random part of it. Files that are open are worthless afterwards.
  void cut_power(PowerCut what, std::uint64_t seed) {
    const std::lock_guard lock(mutex_);
    std::mt19937_64 random(seed);
    thaw();
    cut(*root_, what, random);
  }
  /// Handles that are open now.
  [[nodiscard]] int open_files() {
    const std::lock_guard lock(mutex_);
    return open_files_;
  }
  /// Mappings that are open now.
  [[nodiscard]] int mappings() {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(mappings_.size());
  }
  /// At most so many mappings at a time; more are refused with no_space.
  void set_mappings_max(std::size_t mappings) {
    const std::lock_guard lock(mutex_);
    mappings_max_ = mappings;
  }
  /// As the device of a mapped file fails: the pages of the range read as zeros in every mapping of it, which says so.
  void fail_pages(const std::string& path, std::uint64_t position, std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    const std::shared_ptr<Inode> inode = file_at(path);
    for (OpenMapping* const mapping : mappings_) {
      if (mapping->inode() == inode) mapping->fail_pages(position, bytes);
    }
  }
  /// The bytes of a file; the test fails where there is none.
  [[nodiscard]] std::vector<std::byte> content(const std::string& path) {
    const std::lock_guard lock(mutex_);
    const std::shared_ptr<Inode> inode = file_at(path);
    if (inode == nullptr) return {};
    std::vector<std::byte> bytes(inode->size());
    (void)!::pread(inode->fd, bytes.data(), bytes.size(), 0);
    return bytes;
  }
  /// Overwrites a file, synced, as damage does.
  void set_content(const std::string& path, Bytes bytes) {
    const std::lock_guard lock(mutex_);
    const std::shared_ptr<Inode> inode = file_at(path);
    if (inode == nullptr) return;
    inode->resize(0);
    inode->put(0, bytes);
    inode->settle();
  }
  [[nodiscard]] bool exists(const std::string& path) {
    const std::lock_guard lock(mutex_);
    return file_at(path) != nullptr;
  }
  /// As set_content(), for a file that need not be there; its directory must be.
  void put_file(const std::string& path, Bytes bytes) {
    {
      const std::lock_guard lock(mutex_);
      std::string name;
      if (Directory* const directory = parent_of(path, name); directory != nullptr && !directory->now.contains(name)) {
        directory->now[name].file = std::make_shared<Inode>();
        directory->durable[name] = directory->now[name];
      }
    }
    set_content(path, bytes);
  }
  [[nodiscard]] std::vector<std::string> paths() {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> all;
    collect(*root_, "", all);
    return all;
  }

  Status open(std::string_view path, OpenMode mode, File** out) noexcept override {
    const std::lock_guard lock(mutex_);
    STREAMBUS_TRY_STATUS(operation(FileOperation::open, path));
    std::string name;
    Directory* const directory = parent_of(path, name);
    if (directory == nullptr) return errno_status(path, ENOENT);
    const auto found = directory->now.find(name);
    const bool there = found != directory->now.end();
    if (there && found->second.directory != nullptr) return errno_status(path, EISDIR);
    if (there && mode == OpenMode::create_new) return errno_status(path, EEXIST);
    if (!there && (mode == OpenMode::read || mode == OpenMode::write)) return errno_status(path, ENOENT);
    if (!there) directory->now[name].file = std::make_shared<Inode>();
    *out = new OpenFile(*this, directory->now[name].file, std::string(path));
    return {};
  }
  Status create_directory(std::string_view path) noexcept override {
    const std::lock_guard lock(mutex_);
    STREAMBUS_TRY_STATUS(operation(FileOperation::create_directory, path));
    Directory* directory = root_.get();
    for (const std::string& part : split(path)) {
      Entry& entry = directory->now[part];
      if (entry.file != nullptr) return errno_status(path, ENOTDIR);
      if (entry.directory == nullptr) entry.directory = std::make_shared<Directory>();
      directory = entry.directory.get();
    }
    return {};
  }
  Status sync_directory(std::string_view path) noexcept override {
    const std::lock_guard lock(mutex_);
    STREAMBUS_TRY_STATUS(operation(FileOperation::sync_directory, path));
    Directory* const directory = directory_at(path);
    if (directory == nullptr) return errno_status(path, ENOENT);
    directory->durable = directory->now;
    return {};
  }
  Status rename(std::string_view from, std::string_view to) noexcept override {
    const std::lock_guard lock(mutex_);
    STREAMBUS_TRY_STATUS(operation(FileOperation::rename, from));
    std::string from_name;
    std::string to_name;
    Directory* const source = parent_of(from, from_name);
    Directory* const target = parent_of(to, to_name);
    if (source == nullptr || target == nullptr || !source->now.contains(from_name)) return errno_status(from, ENOENT);
    target->now[to_name] = source->now[from_name];
    source->now.erase(from_name);
    return {};
  }
  Status remove(std::string_view path) noexcept override {
    const std::lock_guard lock(mutex_);
    STREAMBUS_TRY_STATUS(operation(FileOperation::remove, path));
    std::string name;
    Directory* const directory = parent_of(path, name);
    if (directory == nullptr || !directory->now.contains(name)) return errno_status(path, ENOENT);
    directory->now.erase(name);
    return {};
  }
  Status remove_directory(std::string_view path) noexcept override {
    const std::lock_guard lock(mutex_);
    STREAMBUS_TRY_STATUS(operation(FileOperation::remove_directory, path));
    std::string name;
    Directory* const directory = parent_of(path, name);
    if (directory == nullptr || !directory->now.contains(name)) return errno_status(path, ENOENT);
    const Entry& entry = directory->now[name];
    if (entry.directory == nullptr || !entry.directory->now.empty()) return errno_status(path, ENOTEMPTY);
    directory->now.erase(name);
    return {};
  }
  Status list(std::string_view path, DirectoryVisitor& visitor) noexcept override {
    const std::lock_guard lock(mutex_);
    STREAMBUS_TRY_STATUS(operation(FileOperation::list, path));
    const Directory* const directory = directory_at(path);
    if (directory == nullptr) return errno_status(path, ENOENT);
    for (const auto& [name, entry] : directory->now) visitor.entry(name, entry.directory != nullptr);
    return {};
  }
  Status free_space(std::uint64_t* bytes) noexcept override {
    const std::lock_guard lock(mutex_);
    *bytes = capacity_ - std::min(capacity_, used(*root_));
    return {};
  }

 private:
  static constexpr std::uint64_t kSector = 512;
  static constexpr std::uint64_t kSectorsOfPage = 8;
  static constexpr std::uint64_t kPage = kSector * kSectorsOfPage;

  struct Inode {
    Inode() : fd(::memfd_create("streambus-test", MFD_CLOEXEC)) {
      if (fd < 0) std::abort();
    }
    Inode(const Inode&) = delete;
    Inode& operator=(const Inode&) = delete;
    ~Inode() { ::close(fd); }

    [[nodiscard]] std::uint64_t size() const {
      struct stat info{};
      (void)::fstat(fd, &info);
      return static_cast<std::uint64_t>(info.st_size);
    }
    void resize(std::uint64_t bytes) const {
      if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) std::abort();
    }
    void put(std::uint64_t position, Bytes bytes) {
      if (bytes.empty()) return;
      if (::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(position)) < 0) std::abort();
      for (std::uint64_t sector = position / kSector; sector <= (position + bytes.size() - 1) / kSector; ++sector)
        dirty.insert(sector);
    }
    [[nodiscard]] std::vector<std::byte> sector_now(std::uint64_t sector) const {
      std::vector<std::byte> bytes(kSector);
      (void)!::pread(fd, bytes.data(), kSector, static_cast<off_t>(sector * kSector));
      return bytes;
    }
    void keep(std::uint64_t sector) {
      if (durable.size() < (sector + 1) * kSector) durable.resize((sector + 1) * kSector);
      const std::vector<std::byte> bytes = sector_now(sector);
      std::memcpy(durable.data() + sector * kSector, bytes.data(), kSector);
    }
    [[nodiscard]] std::vector<std::byte> now() const {
      std::vector<std::byte> bytes(static_cast<std::size_t>(size()));
      (void)!::pread(fd, bytes.data(), bytes.size(), 0);
      return bytes;
    }
    /// Finds what was stored to mappings since the last time.
    void gather() {
      if (mapped == 0) return;
      std::vector<std::byte> bytes = now();
      seen.resize(bytes.size());
      for (std::size_t at = 0; at < bytes.size(); at += kSector) {
        if (std::memcmp(bytes.data() + at, seen.data() + at, std::min<std::size_t>(kSector, bytes.size() - at)) != 0)
          dirty.insert(at / kSector);
      }
      seen = std::move(bytes);
    }
    /// All that is there now is on the device; of the contents, those of [position, position + bytes), whole pages.
    void settle(std::uint64_t position = 0, std::uint64_t bytes = UINT64_MAX) {
      gather();
      for_dirty(position, bytes, [this](std::uint64_t sector) { keep(sector); });
      durable_size = size();
      durable.resize(std::max<std::size_t>(durable.size(), durable_size));
      std::fill(durable.begin() + static_cast<std::ptrdiff_t>(durable_size), durable.end(), std::byte{0});
    }

    /// As Linux does where a sync fails: what could not be written counts as clean from then on, and is lost with the power.
    void forget(std::uint64_t position = 0, std::uint64_t bytes = UINT64_MAX) {
      gather();
      for_dirty(position, bytes, [](std::uint64_t) {});
    }
    template <class Function>
    void for_dirty(std::uint64_t position, std::uint64_t bytes, Function&& function) {
      const std::uint64_t first = position / kPage * kSectorsOfPage;
      const std::uint64_t last = bytes == UINT64_MAX ? bytes : (position + bytes + kPage - 1) / kPage * kSectorsOfPage;
      const auto begin = dirty.lower_bound(first);
      const auto end = dirty.lower_bound(last);
      for (auto sector = begin; sector != end; ++sector) function(*sector);
      dirty.erase(begin, end);
    }

    const int fd;
    std::vector<std::byte> durable;  ///< whole sectors, zeros behind durable_size
    std::uint64_t durable_size = 0;
    std::uint64_t reserved = 0;     ///< bytes that have room on the device, also behind the end
    std::set<std::uint64_t> dirty;  ///< sectors written since the last sync
    int mapped = 0;                 ///< mappings of the file that are open
    std::vector<std::byte> seen;    ///< while it is mapped: its contents when they were last looked at
    std::vector<std::byte> frozen;  ///< its contents when the process died
    bool is_frozen = false;
  };
  struct Directory;
  struct Entry {
    std::shared_ptr<Inode> file;
    std::shared_ptr<Directory> directory;
    bool operator==(const Entry&) const = default;
  };
  struct Directory {
    std::map<std::string, Entry> now;
    std::map<std::string, Entry> durable;
  };

  class OpenFile final : public File {
   public:
    OpenFile(FaultFileSystem& files, std::shared_ptr<Inode> inode, std::string path)
        : files_(files), inode_(std::move(inode)), path_(std::move(path)) {
      ++files_.open_files_;
    }

    Status read_at(std::uint64_t position, MutableBytes out, std::size_t* read) noexcept override {
      const std::lock_guard lock(files_.mutex_);
      STREAMBUS_TRY_STATUS(files_.operation(FileOperation::read, path_));
      const ssize_t got = ::pread(inode_->fd, out.data(), out.size(), static_cast<off_t>(position));
      *read = got < 0 ? 0 : static_cast<std::size_t>(got);
      return {};
    }
    Status write_at(std::uint64_t position, const Slice* slices, std::size_t count) noexcept override {
      const std::lock_guard lock(files_.mutex_);
      std::vector<std::byte> bytes;
      for (std::size_t i = 0; i < count; ++i) bytes.insert(bytes.end(), slices[i].data, slices[i].data + slices[i].bytes);
      const Status status = files_.operation(FileOperation::write, path_);
      std::size_t arrives = bytes.size();
      if (!status.ok()) arrives = files_.torn_ ? bytes.size() * files_.fault_.torn_permille / 1000 : 0;
      const std::uint64_t growth = position + arrives > inode_->size() ? position + arrives - inode_->size() : 0;
      const std::uint64_t used = files_.used(*files_.root_);
      if (status.ok() && growth > 0 && used + growth > files_.capacity_) {
        const std::uint64_t room = files_.capacity_ - std::min(files_.capacity_, used);
        inode_->put(position,
                    Bytes(bytes).first(arrives - static_cast<std::size_t>(std::min<std::uint64_t>(growth - room, arrives))));
        return errno_status(path_, ENOSPC);
      }
      inode_->put(position, Bytes(bytes).first(arrives));
      files_.torn_ = false;
      return status;
    }
    Status sync() noexcept override {
      std::unique_lock lock(files_.mutex_);
      files_.wait_while_held(lock);
      if (const Status status = files_.operation(FileOperation::sync, path_); !status.ok()) {
        if (!files_.halted_) inode_->forget();
        return status;
      }
      if (!files_.skip_syncs_) inode_->settle();
      return {};
    }
    Status size(std::uint64_t* bytes) noexcept override {
      const std::lock_guard lock(files_.mutex_);
      STREAMBUS_TRY_STATUS(files_.operation(FileOperation::size, path_));
      *bytes = inode_->size();
      return {};
    }
    Status truncate(std::uint64_t bytes) noexcept override {
      const std::lock_guard lock(files_.mutex_);
      STREAMBUS_TRY_STATUS(files_.operation(FileOperation::truncate, path_));
      inode_->resize(bytes);
      inode_->reserved = std::min(inode_->reserved, bytes);
      return {};
    }
    Status start_writeback(std::uint64_t, std::uint64_t) noexcept override { return {}; }
    Status reserve(std::uint64_t bytes) noexcept override {
      const std::lock_guard lock(files_.mutex_);
      STREAMBUS_TRY_STATUS(files_.operation(FileOperation::reserve, path_));
      const std::uint64_t has = std::max(inode_->reserved, inode_->size());
      if (bytes > has && files_.used(*files_.root_) + (bytes - has) > files_.capacity_) return errno_status(path_, ENOSPC);
      inode_->reserved = std::max(inode_->reserved, bytes);
      return {};
    }
    Status map(std::uint64_t position, std::uint64_t bytes, Mapping** out) noexcept override {
      const std::lock_guard lock(files_.mutex_);
      *out = nullptr;
      STREAMBUS_TRY_STATUS(files_.operation(FileOperation::map, path_));
      if (position % kPage != 0) return {ErrorCode::invalid_argument, "map: no multiple of the page size"};
      const std::uint64_t size = inode_->size();
      if (bytes == 0 || position > size || bytes > size - position) return {ErrorCode::out_of_range, "map: not in the file"};
      if (files_.mappings_.size() >= files_.mappings_max_) return {ErrorCode::no_space, "map: too many mappings"};
      *out = new OpenMapping(files_, inode_, path_, position, bytes);
      return {};
    }
    [[nodiscard]] int descriptor() const noexcept override { return inode_->fd; }
    void close() noexcept override {
      {
        const std::lock_guard lock(files_.mutex_);
        --files_.open_files_;
      }
      delete this;
    }

   private:
    ~OpenFile() = default;
    FaultFileSystem& files_;
    const std::shared_ptr<Inode> inode_;
    const std::string path_;
  };

  class OpenMapping final : public Mapping {
   public:
    /// Under the mutex, as fail_pages() and inode().
    OpenMapping(FaultFileSystem& files, std::shared_ptr<Inode> inode, std::string path, std::uint64_t position,
                std::uint64_t bytes)
        : files_(files), inode_(std::move(inode)), path_(std::move(path)), position_(position), bytes_(bytes) {
      void* const data = ::mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, inode_->fd,
                                static_cast<off_t>(position));
      if (data == MAP_FAILED) std::abort();
      data_ = static_cast<std::byte*>(data);
      if (inode_->mapped++ == 0) inode_->seen = inode_->now();
      files_.mappings_.push_back(this);
    }

    [[nodiscard]] MutableBytes bytes() const noexcept override { return {data_, static_cast<std::size_t>(bytes_)}; }
    Status sync(std::uint64_t offset, std::uint64_t bytes) noexcept override {
      std::unique_lock lock(files_.mutex_);
      files_.wait_while_held(lock);
      if (offset > bytes_ || bytes > bytes_ - offset) return {ErrorCode::out_of_range, "sync: beyond the mapping"};
      if (failed_) return errno_status(path_, EIO);
      if (const Status status = files_.operation(FileOperation::sync, path_); !status.ok()) {
        if (!files_.halted_) inode_->forget(position_ + offset, bytes);
        return status;
      }
      if (!files_.skip_syncs_) inode_->settle(position_ + offset, bytes);
      return {};
    }
    void populate(std::uint64_t, std::uint64_t) noexcept override {
      const std::lock_guard lock(files_.mutex_);
      (void)files_.operation(FileOperation::populate, path_);
    }
    [[nodiscard]] Status check() const noexcept override {
      const std::lock_guard lock(files_.mutex_);
      if (!failed_ && files_.operation(FileOperation::access, path_).ok()) return {};
      failed_ = true;
      return errno_status(path_, EIO);
    }
    void close() noexcept override {
      {
        const std::lock_guard lock(files_.mutex_);
        inode_->gather();
        --inode_->mapped;
        std::erase(files_.mappings_, this);
        ::munmap(data_, static_cast<std::size_t>(bytes_));
      }
      delete this;
    }

    [[nodiscard]] const std::shared_ptr<Inode>& inode() const noexcept { return inode_; }
    void fail_pages(std::uint64_t position, std::uint64_t bytes) noexcept {
      for (std::uint64_t page = 0; page < bytes_; page += kPage) {
        if (position_ + page + kPage <= position || position_ + page >= position + bytes) continue;
        if (::mmap(data_ + page, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
          std::abort();
        failed_ = true;
      }
    }

   private:
    ~OpenMapping() = default;
    FaultFileSystem& files_;
    const std::shared_ptr<Inode> inode_;
    const std::string path_;
    const std::uint64_t position_;
    const std::uint64_t bytes_;
    std::byte* data_ = nullptr;
    mutable bool failed_ = false;
  };

  /// The process died: what is stored to its mappings from now on never was. Under the mutex.
  void freeze() {
    for (OpenMapping* const mapping : mappings_) {
      Inode& inode = *mapping->inode();
      if (std::exchange(inode.is_frozen, true)) continue;
      inode.gather();
      inode.frozen = inode.seen;
      frozen_.push_back(mapping->inode());
    }
  }
  void thaw() {
    for (const std::shared_ptr<Inode>& inode : frozen_) {
      if (::pwrite(inode->fd, inode->frozen.data(), inode->frozen.size(), 0) < 0) std::abort();
      inode->seen = std::move(inode->frozen);
      inode->is_frozen = false;
    }
    frozen_.clear();
  }

  void wait_while_held(std::unique_lock<std::mutex>& lock) {
    ++waiting_syncs_;
    released_.wait(lock, [this] { return !hold_syncs_; });
    --waiting_syncs_;
  }

  /// Counts an operation and says how it ends. Under the mutex.
  Status operation(FileOperation kind, std::string_view path) {
    torn_ = false;
    ++operations_;
    if (halted_) return errno_status(path, EIO);
    if ((fault_.kinds & only(kind)) == 0) return {};
    ++counted_;
    if (fault_.at == 0 || (counted_ != fault_.at && !(fault_.for_good && fired_))) return {};
    fired_ = true;
    if (fault_.halt) {
      halted_ = true;
      freeze();
    }
    torn_ = fault_.torn_permille > 0;
    return errno_status(path, fault_.errno_value);
  }

  static std::vector<std::string> split(std::string_view path) {
    std::vector<std::string> parts;
    while (!path.empty()) {
      const std::size_t slash = path.find('/');
      const std::string_view part = path.substr(0, slash);
      if (!part.empty() && part != ".") parts.emplace_back(part);
      path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
    }
    return parts;
  }
  Directory* directory_at(std::string_view path) const {
    Directory* directory = root_.get();
    for (const std::string& part : split(path)) {
      const auto found = directory->now.find(part);
      if (found == directory->now.end() || found->second.directory == nullptr) return nullptr;
      directory = found->second.directory.get();
    }
    return directory;
  }
  Directory* parent_of(std::string_view path, std::string& name) const {
    const std::size_t slash = path.rfind('/');
    name = path.substr(slash == std::string_view::npos ? 0 : slash + 1);
    return directory_at(slash == std::string_view::npos ? std::string_view{} : path.substr(0, slash));
  }
  std::shared_ptr<Inode> file_at(std::string_view path) const {
    std::string name;
    const Directory* const directory = parent_of(path, name);
    if (directory == nullptr || !directory->now.contains(name)) return nullptr;
    return directory->now.at(name).file;
  }
  static std::uint64_t used(const Directory& directory) {
    std::uint64_t bytes = 0;
    for (const auto& [name, entry] : directory.now)
      bytes += entry.file != nullptr ? std::max(entry.file->size(), entry.file->reserved) : used(*entry.directory);
    return bytes;
  }
  static void collect(const Directory& directory, const std::string& prefix, std::vector<std::string>& all) {
    for (const auto& [name, entry] : directory.now) {
      if (entry.file != nullptr) {
        all.push_back(prefix + name);
      } else {
        collect(*entry.directory, prefix + name + "/", all);
      }
    }
  }

  static void cut(Directory& directory, PowerCut what, std::mt19937_64& random) {
    std::map<std::string, Entry> left = directory.durable;
    if (what == PowerCut::any) {
      for (const auto& [name, entry] : directory.now) {
        const auto old = directory.durable.find(name);
        if ((old == directory.durable.end() || !(old->second == entry)) && random() % 2 == 0) left[name] = entry;
      }
      for (const auto& [name, entry] : directory.durable) {
        if (!directory.now.contains(name) && random() % 2 == 0) left.erase(name);
      }
    }
    directory.now = directory.durable = left;
    for (const auto& [name, entry] : left) {
      if (entry.file != nullptr) {
        cut(*entry.file, what, random);
      } else {
        cut(*entry.directory, what, random);
      }
    }
  }
  static void cut(Inode& inode, PowerCut what, std::mt19937_64& random) {
    inode.gather();
    std::uint64_t size = inode.durable_size;
    if (what == PowerCut::any) {
      const std::uint64_t now = inode.size();
      if (random() % 2 == 0) size = now;
      const auto mode = random() % 4;  // all pages, none, whole pages, sectors
      std::uint64_t page = UINT64_MAX;
      bool page_kept = false;
      for (const std::uint64_t sector : inode.dirty) {
        if (sector / kSectorsOfPage != page) {
          page = sector / kSectorsOfPage;
          page_kept = random() % 2 == 0;
        }
        if (mode == 0 || (mode == 2 && page_kept) || (mode == 3 && random() % 2 == 0)) inode.keep(sector);
      }
    }
    std::vector<std::byte> bytes = inode.durable;
    bytes.resize(static_cast<std::size_t>(size));
    inode.resize(0);
    inode.put(0, bytes);
    inode.resize(size);
    inode.settle();
  }

  std::mutex mutex_;
  const std::shared_ptr<Directory> root_;
  FaultPlan fault_;
  std::uint64_t counted_ = 0;
  bool fired_ = false;
  bool halted_ = false;
  bool torn_ = false;
  bool skip_syncs_ = false;
  bool hold_syncs_ = false;
  int waiting_syncs_ = 0;
  std::condition_variable released_;
  std::uint64_t operations_ = 0;
  int open_files_ = 0;
  std::vector<OpenMapping*> mappings_;
  std::size_t mappings_max_ = SIZE_MAX;
  std::vector<std::shared_ptr<Inode>> frozen_;  ///< of the process that died
  std::uint64_t capacity_ = UINT64_MAX / 2;
};

}  // namespace streambus::conformance

namespace streambus::test {
using namespace streambus::conformance;  // unit tests name their doubles here
}
