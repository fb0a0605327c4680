#include "engine.hpp"

#include <cstdio>
#include <new>
#include <vector>

#include "log.hpp"

namespace streambus::storage_acme {
namespace {

constexpr std::string_view kSuffix = ".log";
constexpr std::size_t kTopicIdBytes = 32;

std::string path_of(const PartitionKey& key) {
  return std::string(key.topic_id) + "-" + std::to_string(key.partition) + std::string(kSuffix);
}

bool only_of(std::string_view text, std::string_view characters) noexcept {
  return text.find_first_not_of(characters) == std::string_view::npos;
}

Status check_key(const PartitionKey& key) noexcept {
  if (key.topic_id.size() == kTopicIdBytes && only_of(key.topic_id, "0123456789abcdef") && key.partition >= 0) return {};
  return {ErrorCode::invalid_argument, "partition key: expected a topic id of 32 hexadecimal digits and an index from 0 on"};
}

/// "<topic id>-<partition>.log", taken apart.
bool parse_name(std::string_view name, std::string_view* topic_id, PartitionId* partition) noexcept {
  if (name.size() < kTopicIdBytes + 2 + kSuffix.size() || !name.ends_with(kSuffix) || name[kTopicIdBytes] != '-') return false;
  *topic_id = name.substr(0, kTopicIdBytes);
  const std::string_view digits = name.substr(kTopicIdBytes + 1, name.size() - kTopicIdBytes - 1 - kSuffix.size());
  if (!only_of(*topic_id, "0123456789abcdef") || !only_of(digits, "0123456789") || digits.size() > 9) return false;
  *partition = 0;
  for (const char digit : digits) *partition = *partition * 10 + (digit - '0');
  return true;
}

/// The files of a directory, copied: a visitor must not call back.
struct Names final : public DirectoryVisitor {
  void entry(std::string_view name, bool is_directory) noexcept override {
    try {
      if (!is_directory) files.emplace_back(name);
    } catch (const std::bad_alloc&) {
      complete = false;
    }
  }
  std::vector<std::string> files;
  bool complete = true;
};

Status out_of_memory() noexcept { return {ErrorCode::no_space, "out of memory"}; }

}  // namespace

Engine::Engine(Host& host, const Options& options)
    : host_(host), metrics_(host), rewrite_bytes_(options.size("rewrite_bytes")) {}

Status Engine::start() noexcept {
  try {
    Names names;
    STREAMBUS_TRY_STATUS(files().list(".", names));
    if (!names.complete) return out_of_memory();
    for (const std::string& name : names.files) {  // what an interrupted rewrite left
      if (name.ends_with(Log::kNewSuffix)) STREAMBUS_TRY_STATUS(files().remove(name));
    }
    return {};
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

Status Engine::open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept {
  *log = nullptr;
  STREAMBUS_TRY_STATUS(check_key(key));
  if (start < Offset{0}) return {ErrorCode::invalid_argument, "a partition cannot start at a negative offset"};
  try {
    std::string path = path_of(key);
    {
      const std::lock_guard lock(mutex_);
      if (!open_.insert(path).second)
        return {ErrorCode::already_exists, std::string(key.topic) + ": the partition is open already"};
    }
    Status status;
    try {
      auto opened = Ref<Log>::adopt(new Log(*this, key, path, settings));
      status = opened->recover(start);
      if (status.ok()) *log = opened.detach();
    } catch (const std::bad_alloc&) {
      status = out_of_memory();
    }
    if (!status.ok()) closed(path);
    return status;
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

void Engine::closed(const std::string& path) noexcept {
  const std::lock_guard lock(mutex_);
  open_.erase(path);
}

Status Engine::remove(const PartitionKey& key) noexcept {
  STREAMBUS_TRY_STATUS(check_key(key));
  try {
    const std::string path = path_of(key);
    {
      const std::lock_guard lock(mutex_);
      if (open_.contains(path)) return {ErrorCode::busy, std::string(key.topic) + ": the partition is open: close it first"};
    }
    STREAMBUS_TRY_STATUS(files().remove(path));
    return files().sync_directory(".");
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

Status Engine::list(PartitionVisitor& visitor) noexcept {
  Names names;
  STREAMBUS_TRY_STATUS(files().list(".", names));
  if (!names.complete) return out_of_memory();
  for (const std::string& name : names.files) {
    std::string_view topic_id;
    PartitionId partition = 0;
    if (parse_name(name, &topic_id, &partition)) visitor.partition(topic_id, partition);
  }
  return {};
}

}  // namespace streambus::storage_acme
