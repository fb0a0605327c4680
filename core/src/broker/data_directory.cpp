#include "streambus/broker/data_directory.hpp"

#include "meta_file.hpp"
#include "producer_snapshots.hpp"
#include "storage_record.hpp"
#include "streambus/host/services.hpp"
#include "topic_store.hpp"

namespace streambus {
namespace {

/// Takes a read that failed: damage becomes a problem, anything else stays an error.
template <class T>
Result<> note_damage(const Result<T>& read, DataDirectory::Problem problem, DataDirectory& found) {
  if (read) return {};
  if (read.error().code != ErrorCode::corrupt) return std::unexpected(read.error());
  problem.text = read.error().message;
  found.problems.push_back(std::move(problem));
  return {};
}

Result<> read_topics(FileSystem& meta, DataDirectory& found) {
  const auto state = broker::TopicStore::read(meta);
  ++found.files;
  STREAMBUS_TRY(
      note_damage(state,
                  {.kind = FindingKind::damage,
                   .file = "meta/topics",
                   .text = {},
                   .repair = "the broker does not start; the records are in the storages, under the topics' ids; names, "
                             "settings and leader epochs are lost: restore the file"},
                  found));
  if (!state || !*state) return {};
  found.has_topics = true;
  for (const auto& [name, topic] : (*state)->topics) {
    found.topics.push_back({name, topic.id, topic.storage, static_cast<std::int32_t>(topic.partitions.size())});
  }
  return {};
}

Result<> read_storages(FileSystem& meta, DataDirectory& found) {
  auto instances = broker::read_storage_record(meta);
  ++found.files;
  STREAMBUS_TRY(note_damage(instances,
                            {.kind = FindingKind::derived_damaged,
                             .file = "meta/storages",
                             .text = {},
                             .repair = "no record is lost: the next start writes it again"},
                            found));
  if (instances && *instances) found.storages = std::move(**instances);
  return {};
}

Result<> read_producers(FileSystem& meta, DataDirectory& found) {
  const std::string directory(broker::ProducerSnapshots::kDirectory);
  STREAMBUS_TRY_ASSIGN(const auto names, broker::list_files(meta, directory));
  for (const std::string& name : names) {
    ++found.files;
    STREAMBUS_TRY(note_damage(broker::ProducerSnapshots::check(meta, directory + "/" + name),
                              {.kind = FindingKind::derived_damaged,
                               .file = "meta/" + directory + "/" + name,
                               .text = {},
                               .repair = "no record is lost: the next start takes the other snapshot, or reads the whole log"},
                              found));
  }
  return {};
}

}  // namespace

bool is_data_directory(const std::filesystem::path& directory) {
  std::error_code ignored;
  return std::filesystem::is_directory(directory / "meta", ignored);
}

Result<DataDirectory> read_data_directory(const std::filesystem::path& directory) {
  const auto meta = make_read_only_file_system(directory / "meta");
  DataDirectory found;
  STREAMBUS_TRY(read_topics(*meta, found));
  STREAMBUS_TRY(read_storages(*meta, found));
  STREAMBUS_TRY(read_producers(*meta, found));
  return found;
}

}  // namespace streambus
