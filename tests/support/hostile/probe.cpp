// A small plugin of each kind, made only to be loaded: what the registry and the configuration are tested with.
// HOSTILE_* definitions make variants that a broker must refuse.

#include <cstdlib>
#include <stdexcept>

#include "streambus/plugin/sdk.hpp"

namespace streambus::probe {
namespace {

#ifdef HOSTILE_MARKER
/// Code that runs as soon as the file is loaded: a refusal must come before.
struct Marker {
  Marker() { ::setenv("STREAMBUS_HOSTILE_RAN", "1", 1); }
} const kMarker;
#endif

#ifdef HOSTILE_UNDEFINED
}  // namespace
extern "C" int streambus_probe_defined_nowhere();
namespace {
#endif

#ifdef HOSTILE_ABSENT
}  // namespace
extern "C" int streambus_probe_absent();
namespace {
#endif

class CodecProbe final : public Codec {
 public:
  CodecProbe(Host& host, const Options& options) {
#ifdef HOSTILE_THROW
    throw std::runtime_error("no licence for this machine; buy one");
#endif
#ifdef HOSTILE_THROW_INT
    throw 42;
#endif
#ifdef HOSTILE_UNDEFINED
    if (streambus_probe_defined_nowhere() != 0) return;
#endif
#ifdef HOSTILE_ABSENT
    if (streambus_probe_absent() != 0) return;
#endif
    host.log(LogLevel::debug, options.text("mode"));
  }
  ~CodecProbe() override { ::setenv("STREAMBUS_PROBE_DESTROYED", "1", 1); }
  std::uint8_t id() const noexcept override { return 5; }
  std::string_view type() const noexcept override { return "probe"; }
  std::size_t compress_bound(std::size_t bytes) const noexcept override { return bytes; }
  CodecResult compress(Bytes, MutableBytes) const noexcept override { return {CodecOutcome::declined, 0}; }
  std::size_t decompressed_size(Bytes) const noexcept override { return 0; }
  CodecResult decompress(Bytes, MutableBytes) const noexcept override { return {CodecOutcome::corrupt, 0}; }
};

class StorageProbe final : public StorageEngine {
 public:
  StorageProbe(Host&, const Options&) {}
  Durability durability() const noexcept override { return Durability::memory; }
  Status start() noexcept override { return {}; }
  Status open(const PartitionKey&, Offset, const PartitionSettings&, PartitionLog**) noexcept override { return refusal(); }
  Status remove(const PartitionKey&) noexcept override { return refusal(); }
  Status list(PartitionVisitor&) noexcept override { return {}; }
  Status stop() noexcept override { return {}; }

 private:
  static Status refusal() noexcept { return {ErrorCode::unsupported, "a probe keeps nothing"}; }
};

class TransportProbe final : public Transport {
 public:
  TransportProbe(Host&, const Options&) {}
  Status start() noexcept override { return {}; }
  Status listen(std::string_view, SessionFactory&, Listener**) noexcept override { return {ErrorCode::unsupported, "a probe"}; }
  Status connect(std::string_view, std::int64_t, Session&) noexcept override { return {ErrorCode::unsupported, "a probe"}; }
  void stop() noexcept override {}
};

class ProtocolProbe final : public Protocol {
 public:
  ProtocolProbe(Host&, const Options&) {}
  Status open_factory(Broker&, const ListenerInfo&, SessionFactory**) noexcept override {
    return {ErrorCode::unsupported, "a probe"};
  }
  void close_factory(SessionFactory*) noexcept override {}
};

#if defined(HOSTILE_BAD_DEFAULT)
constexpr OptionSpec kOptions[] = {
    {.key = "room", .type = OptionType::size, .default_value = "1KiB", .doc = "Room.", .min = 4096, .max = 8192}};
#elif defined(HOSTILE_TWICE)
constexpr OptionSpec kOptions[] = {{.key = "mode", .type = OptionType::text, .default_value = "a", .doc = "Mode."},
                                   {.key = "mode", .type = OptionType::text, .default_value = "b", .doc = "Mode."}};
#else
[[maybe_unused]] constexpr OptionSpec kOptions[] = {
    {.key = "mode",
     .type = OptionType::choice,
     .default_value = "calm",
     .doc = "How it goes about it.",
     .choices = "calm|eager"},
    {.key = "room", .type = OptionType::size, .default_value = "64KiB", .doc = "Room.", .min = 4096, .max = 1 << 20},
    {.key = "pause", .type = OptionType::duration, .default_value = "250ms", .doc = "Pause.", .min = 0, .max = 60'000'000'000},
    {.key = "level", .type = OptionType::integer, .default_value = "3", .doc = "Level.", .min = 1, .max = 9},
    {.key = "ratio", .type = OptionType::real, .default_value = "0.5", .doc = "Ratio.", .min = 0, .max = 1},
    {.key = "loud", .type = OptionType::boolean, .default_value = "false", .doc = "Loud."},
    {.key = "password", .type = OptionType::text, .default_value = "", .doc = "Password.", .secret = true},
};
#endif

/// One that cannot do without being told something.
[[maybe_unused]] constexpr OptionSpec kStorageOptions[] = {
    {.key = "where", .type = OptionType::text, .default_value = nullptr, .doc = "Where to keep it."}};

}  // namespace

#if defined(PROBE_STORAGE)
STREAMBUS_PLUGIN(storage, "storage-probe", "1.2.3", "Apache-2.0", "Keeps nothing.", StorageProbe, sdk::kNoOptions)
#elif defined(PROBE_STORAGE_NEEDY)
STREAMBUS_PLUGIN(storage, "storage-needy", "1.2.3", "Apache-2.0", "Needs an option.", StorageProbe, kStorageOptions)
#elif defined(PROBE_TRANSPORT)
STREAMBUS_PLUGIN(transport, "transport-probe", "1.2.3", "Apache-2.0", "Moves nothing.", TransportProbe, sdk::kNoOptions)
#elif defined(PROBE_PROTOCOL)
STREAMBUS_PLUGIN(protocol, "protocol-probe", "1.2.3", "Apache-2.0", "Says nothing.", ProtocolProbe, sdk::kNoOptions)
#elif defined(HOSTILE_NO_DESCRIPTOR)
#undef STREAMBUS_PLUGIN_SYMBOL
#define STREAMBUS_PLUGIN_SYMBOL streambus_plugin_elsewhere
STREAMBUS_PLUGIN(codec, "codec-probe", "1.2.3", "Apache-2.0", "Does nothing.", CodecProbe, kOptions)
#elif defined(HOSTILE_LIAR)
}  // namespace streambus::probe
namespace {
using namespace streambus;
[[gnu::used, gnu::section(".note.streambus"), gnu::aligned(4)]] constexpr sdk::Note kNote =
    sdk::note_here(sdk::stamp_here(PluginKind::codec, "codec-probe", "1.2.3"));
constexpr AbiStamp kOther = sdk::stamp_here(PluginKind::codec, "codec-other", "1.2.3");
}  // namespace
extern "C" [[gnu::visibility("default"), gnu::used]] const PluginDescriptor streambus_plugin = {
    sizeof(PluginDescriptor),
    &kOther,
    "Says one thing in the note and another here.",
    "Apache-2.0",
    nullptr,
    0,
    &sdk::create<PluginKind::codec, probe::CodecProbe>,
    &sdk::destroy<PluginKind::codec>};
namespace streambus::probe {
#elif defined(HOSTILE_NO_NOTE)
extern "C" [[gnu::visibility("default"), gnu::used]] const int streambus_plugin = 0;
#else
STREAMBUS_PLUGIN(codec, "codec-probe", "1.2.3", "Apache-2.0", "Does nothing.", CodecProbe, kOptions)
#endif

}  // namespace streambus::probe
