#include "topic_store.hpp"

#include <sys/random.h>

#include <array>
#include <cerrno>

#include "meta_file.hpp"

namespace streambus::broker {
namespace {

constexpr MetaFormat kFormat{.magic = "SBTOPICS", .version = 2, .what = "list of topics"};
constexpr const char* kFileName = "topics";

using RandomId = std::array<unsigned char, 16>;

Result<RandomId> random_id() {
  RandomId id;
  if (::getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) {
    return std::unexpected(errno_error("getrandom", errno));
  }
  return id;
}

std::string as_base64url(const RandomId& id) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text;
  unsigned bits = 0;
  unsigned value = 0;
  for (const unsigned char byte : id) {
    value = (value << 8) | byte;
    for (bits += 8; bits >= 6; bits -= 6) text += kDigits[(value >> (bits - 6)) & 0x3f];
  }
  text += kDigits[(value << (6 - bits)) & 0x3f];
  return text;
}

void encode(const StoredTopic& topic, MetaWriter& out) {
  out.text(topic.id);
  out.text(topic.storage);
  out.text(topic.migrating_to);
  out.write(static_cast<std::uint32_t>(topic.settings.size()));
  for (const auto& [name, value] : topic.settings) {
    out.text(name);
    out.text(value);
  }
  out.write(static_cast<std::uint32_t>(topic.partitions.size()));
  for (const auto& epochs : topic.partitions) {
    out.write(static_cast<std::uint32_t>(epochs.size()));
    for (const EpochStart& start : epochs) {
      out.write(start.epoch);
      out.write(start.start.value);
    }
  }
}

StoredTopic decode_topic(ByteReader& in, std::uint32_t version) {
  StoredTopic topic;
  topic.id = read_text(in);
  topic.storage = read_text(in);
  if (version >= 2) topic.migrating_to = read_text(in);
  for (auto count = in.read<std::uint32_t>(); count > 0 && in.ok(); --count) {
    std::string name(read_text(in));
    topic.settings[std::move(name)] = read_text(in);
  }
  for (auto count = in.read<std::uint32_t>(); count > 0 && in.ok(); --count) {
    std::vector<EpochStart>& epochs = topic.partitions.emplace_back();
    for (auto entries = in.read<std::uint32_t>(); entries > 0 && in.ok(); --entries) {
      const auto epoch = in.read<LeaderEpoch>();
      epochs.push_back({epoch, {in.read<std::int64_t>()}});
    }
  }
  return topic;
}

MetaWriter encode(const StoredState& state) {
  MetaWriter out;
  out.text(state.cluster_id);
  out.write(state.next_producer_id);
  out.write(static_cast<std::uint32_t>(state.topics.size()));
  for (const auto& [name, topic] : state.topics) {
    out.text(name);
    encode(topic, out);
  }
  return out;
}

/// Version 1 knew no migration.
Result<StoredState> decode(const MetaFile& file) {
  ByteReader in(file.payload);
  StoredState state;
  state.cluster_id = read_text(in);
  state.next_producer_id = in.read<std::int64_t>();
  for (auto count = in.read<std::uint32_t>(); count > 0 && in.ok(); --count) {
    std::string name(read_text(in));
    state.topics[std::move(name)] = decode_topic(in, file.version);
  }
  if (!in.ok() || in.remaining() != 0) return fail(ErrorCode::corrupt, "the list of topics does not decode");
  return state;
}

}  // namespace

Result<std::optional<StoredState>> TopicStore::read(FileSystem& files) {
  STREAMBUS_TRY_ASSIGN(const auto file, read_meta_file(files, kFileName, kFormat));
  if (!file) return std::optional<StoredState>();
  STREAMBUS_TRY_ASSIGN(StoredState state, decode(*file));
  return std::optional(std::move(state));
}

Result<> TopicStore::load() {
  STREAMBUS_TRY_ASSIGN(auto stored, read(files_));
  if (stored) {
    state_ = std::move(*stored);
    return {};
  }
  STREAMBUS_TRY_ASSIGN(const RandomId id, random_id());
  StoredState fresh;
  fresh.cluster_id = as_base64url(id);
  STREAMBUS_TRY(commit(std::move(fresh)));
  created_ = true;
  return {};
}

Result<> TopicStore::commit(StoredState next) {
  STREAMBUS_TRY(write_meta_file(files_, kFileName, kFormat, encode(next).bytes(), MetaWrite::durable));
  state_ = std::move(next);
  return {};
}

Result<std::string> make_topic_id() {
  STREAMBUS_TRY_ASSIGN(const RandomId id, random_id());
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : id) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 0xf];
  }
  return text;
}

}  // namespace streambus::broker
