#pragma once
// What the broker knows of topics and must not forget: data_dir/meta/topics, one file replaced atomically.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "leader_epochs.hpp"
#include "streambus/base/error.hpp"
#include "streambus/plugin/files.hpp"

namespace streambus::broker {

struct StoredTopic {
  std::string id;                                            ///< 32 hexadecimal digits
  std::string storage;                                       ///< name of a storage section
  std::string migrating_to;                                  ///< name of the section that is to keep it; empty: stays
  std::map<std::string, std::string, std::less<>> settings;  ///< those given for the topic, normalized
  std::vector<std::vector<EpochStart>> partitions;           ///< their leader epochs
};

struct StoredState {
  std::string cluster_id;             ///< 22 characters, base64url
  std::int64_t next_producer_id = 0;  ///< none at or above it was ever handed out
  std::map<std::string, StoredTopic, std::less<>> topics;
};

/// The stored state of one data directory. Not thread-safe: used under the broker's administration lock.
class TopicStore {
 public:
  /// `files` is rooted at data_dir/meta.
  explicit TopicStore(FileSystem& files) noexcept : files_(files) {}

  /// What the file says; nothing without one. Changes nothing. Errors as load().
  [[nodiscard]] static Result<std::optional<StoredState>> read(FileSystem& files);

  /// Reads the file; without one, makes a new state with a random cluster id and writes it. Blocks.
  /// Errors: corrupt, unsupported (a newer format), io_error, no_space.
  [[nodiscard]] Result<> load();

  /// True where load() found no file.
  [[nodiscard]] bool created() const noexcept { return created_; }

  [[nodiscard]] const StoredState& state() const noexcept { return state_; }

  /// Replaces the state, durable on success; as before on failure. Blocks.
  [[nodiscard]] Result<> commit(StoredState next);

 private:
  FileSystem& files_;
  StoredState state_;
  bool created_ = false;
};

/// A random topic id.
[[nodiscard]] Result<std::string> make_topic_id();

}  // namespace streambus::broker
