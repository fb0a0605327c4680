#include "engine.hpp"

#include "streambus/base/crc32c.hpp"
#include "streambus/plugin/sdk.hpp"

namespace streambus::storage_reference {

/// Collects the names in a directory: the visitor must not call back.
class Names final : public DirectoryVisitor {
 public:
  void entry(std::string_view name, bool is_directory) noexcept override {
    (is_directory ? directories : files).emplace_back(name);
  }
  std::vector<std::string> directories;
  std::vector<std::string> files;
};

std::string directory_of(const PartitionKey& key) { return std::string(key.topic_id) + "/" + std::to_string(key.partition); }

Engine::Engine(Host& host, const Options& options) : host_(host), mutation_(mutation_of(options.text("mutation"))) {}

Engine::~Engine() = default;

Status Engine::start() noexcept {
  if (mutation_ == Mutation::thread_left) std::thread([] { std::this_thread::sleep_for(std::chrono::hours(1)); }).detach();
  return {};
}

Status Engine::open(const PartitionKey& key, Offset start, const PartitionSettings& settings, PartitionLog** log) noexcept {
  const std::string name = directory_of(key);
  const std::lock_guard lock(mutex_);
  if (open_.contains(name) && mutation_ != Mutation::double_open)
    return {ErrorCode::already_exists, std::string(key.topic) + "-" + std::to_string(key.partition) + " is open already"};
  auto opened = std::make_shared<Log>(*this, key, settings);
  if (const Status status = opened->recover(start); !status.ok()) return status;
  if (mutation_ == Mutation::files_left) {
    File* left = nullptr;
    (void)host_.files().open(name + "/manifest", OpenMode::read, &left);
  }
  *log = opened.get();
  open_[name] = std::move(opened);
  return {};
}

void Engine::closed(const std::string& key) {
  const std::lock_guard lock(mutex_);
  open_.erase(key);
}

Status Engine::remove(const PartitionKey& key) noexcept {
  const std::string directory = directory_of(key);
  const std::lock_guard lock(mutex_);
  if (open_.contains(directory)) return {ErrorCode::busy, directory + " is open: close it before it is removed"};
  Names names;
  STREAMBUS_TRY_STATUS(host_.files().list(directory, names));
  if (mutation_ == Mutation::remove_keeps) return {};
  // Without a manifest it counts as never made: whatever is left of an interrupted removal goes with the next opening.
  (void)host_.files().remove(directory + "/manifest");
  STREAMBUS_TRY_STATUS(host_.files().sync_directory(directory));
  for (const std::string& name : names.files) {
    if (name != "manifest") STREAMBUS_TRY_STATUS(host_.files().remove(directory + "/" + name));
  }
  STREAMBUS_TRY_STATUS(host_.files().remove_directory(directory));
  const std::string topic(key.topic_id);
  STREAMBUS_TRY_STATUS(host_.files().sync_directory(topic));
  if (host_.files().remove_directory(topic).ok()) STREAMBUS_TRY_STATUS(host_.files().sync_directory("."));
  return {};
}

Status Engine::list(PartitionVisitor& visitor) noexcept {
  Names topics;
  STREAMBUS_TRY_STATUS(host_.files().list(".", topics));
  for (const std::string& topic : topics.directories) {
    Names partitions;
    STREAMBUS_TRY_STATUS(host_.files().list(topic, partitions));
    for (const std::string& partition : partitions.directories) {
      visitor.partition(topic, static_cast<PartitionId>(std::stol(partition)));
      if (mutation_ == Mutation::list_twice) visitor.partition(topic, static_cast<PartitionId>(std::stol(partition)));
    }
  }
  return {};
}

constexpr OptionSpec kOptions[] = {{.key = "mutation",
                                    .type = OptionType::choice,
                                    .default_value = "none",
                                    .doc = "What to do wrong; for proving that a test notices.",
                                    .choices = kMutationNames}};

}  // namespace streambus::storage_reference

STREAMBUS_PLUGIN(storage, "storage-reference", "1.0.0", "Apache-2.0", "A small right engine that can be made wrong on purpose.",
                 streambus::storage_reference::Engine, streambus::storage_reference::kOptions)
