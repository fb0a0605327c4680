// Names every type that crosses the boundary between the host and a plugin, so that its debug information holds their layout:
// what abidw writes down and abidiff compares. Never linked into anything.

#include "streambus/base/buffer.hpp"
#include "streambus/plugin/abi.hpp"
#include "streambus/plugin/broker.hpp"
#include "streambus/plugin/codec.hpp"
#include "streambus/plugin/files.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/options.hpp"
#include "streambus/plugin/protocol.hpp"
#include "streambus/plugin/storage.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus {

extern "C" [[gnu::visibility("default")]] void streambus_plugin_api(
    // storage
    StorageEngine&, PartitionLog&, PartitionVisitor&, BatchSource&, PartitionKey, PartitionSettings, LogState, AppendResult,
    ReadRequest, ReadResult&,
    // codec
    Codec&, CodecResult,
    // transport
    Transport&, Listener&, Connection&, Session&, SessionFactory&,
    // protocol
    Protocol&, ListenerInfo, Broker&, TopicVisitor&, SettingVisitor&, TopicSpec, ProduceWaiter&, ProduceCall, FetchCall&,
    FetchWatch&, OffsetCall, BrokerIdentity, TopicView, PartitionView, SettingView, ProduceOutcome,
    // host
    Host&, Metric&, DurabilitySink&, FileSystem&, File&, Mapping&, DirectoryVisitor&, Options&, OptionSpec, BufferSource&,
    Buffer&, Pin&, Slice, Status&, LogLevel, WorkClass, MetricKind,
    // the file itself
    AbiStamp, PluginDescriptor, PluginKind, Durability, ErrorCode) {}

}  // namespace streambus
