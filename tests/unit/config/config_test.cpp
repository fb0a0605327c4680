// What a good configuration becomes.

#include "config_fixture.hpp"
#include "temporary_directory.hpp"

namespace streambus {
namespace {

using namespace test;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Config, ReadsEverySection) {
  const ConfigOutcome outcome = load(R"(
[broker]
data_dir = "/var/lib/x"
node_id = 7
auto_create_topics = false
retention_check_interval = "5s"
shutdown_timeout = "1500ms"
buffer_bytes_max = "64MiB"
buffer_tiers = "8KiB:100, 128KiB:64"
flush_threads = 3
plugin_dirs = ["/opt/none"]
[log]
level = "warning"
format = "json"
[log.components]
"storage.wal" = "debug"
protocol = "trace"
[listener.main]
transport = "probe"
protocol = "probe"
address = "127.0.0.1:0"
advertised = "[2001:db8::1]:9092"
[listener.second]
transport = "fast"
protocol = "probe"
address = "here"
advertised = "broker.example.org"
[transport.fast]
plugin = "transport-probe"
[storage.a]
plugin = "storage-probe"
[storage.b]
plugin = "storage-needy"
where = "there"
[codec.probe]
mode = "eager"
room = 8192
pause = "1s"
level = 9
ratio = 1
loud = true
[topic_defaults]
storage = "a"
partitions = 4
"retention.ms" = "7d"
compression.type = "probe"
[[topic]]
name = "one"
storage = "b"
partitions = 2
segment.bytes = "64MiB"
[[topic]]
name = "two"
)");
  ASSERT_THAT(errors(outcome), IsEmpty());
  EXPECT_THAT(warnings(outcome), IsEmpty());
  const BrokerConfig& config = *outcome.config;
  EXPECT_EQ(config.data_dir, "/var/lib/x");
  EXPECT_EQ(config.node_id, 7);
  EXPECT_FALSE(config.auto_create_topics);
  EXPECT_EQ(config.retention_check_interval_ms, 5000);
  EXPECT_EQ(config.shutdown_timeout_ms, 1500);
  EXPECT_EQ(config.services.buffers.bytes_max, std::size_t{64} << 20);
  ASSERT_EQ(config.services.buffers.tiers.size(), 2U);
  EXPECT_EQ(config.services.buffers.tiers[1].bytes, std::size_t{128} << 10);
  EXPECT_EQ(config.services.buffers.tiers[1].idle_count, 64U);
  EXPECT_EQ(config.services.flush_threads, 3U);
  EXPECT_EQ(config.services.background_threads, 2U);
  EXPECT_EQ(outcome.registry->directories()[1], "/opt/none") << "after --plugin-dir, before the installation";
  EXPECT_EQ(config.services.log.level, LogLevel::warning);
  EXPECT_EQ(config.services.log.format, LogFormat::json);
  EXPECT_EQ(config.services.log.component_levels.at("storage.wal"), LogLevel::debug);
  EXPECT_EQ(config.services.log.component_levels.at("protocol"), LogLevel::trace);

  ASSERT_EQ(config.listeners.size(), 2U);
  EXPECT_EQ(config.listeners[0].name, "main");
  EXPECT_EQ(config.listeners[0].advertised_host, "2001:db8::1");
  EXPECT_EQ(config.listeners[0].advertised_port, 9092);
  EXPECT_EQ(config.listeners[1].transport, "fast");
  EXPECT_EQ(config.listeners[1].advertised_host, "broker.example.org");
  EXPECT_EQ(config.listeners[1].advertised_port, 0);
  ASSERT_EQ(config.transports.size(), 2U);
  EXPECT_EQ(config.transports[0].name, "fast");
  EXPECT_EQ(config.transports[1].name, "probe") << "made because a listener names it";
  ASSERT_EQ(config.protocols.size(), 1U);

  ASSERT_EQ(config.storages.size(), 2U);
  EXPECT_EQ(config.storages[1].plugin->name(), "storage-needy");
  EXPECT_EQ(config.storages[1].options.text("where"), "there");
  ASSERT_EQ(config.codecs.size(), 1U);
  const OptionValues& codec = config.codecs[0].options;
  EXPECT_EQ(codec.text("mode"), "eager");
  EXPECT_EQ(codec.size("room"), 8192U);
  EXPECT_EQ(codec.duration_ns("pause"), 1'000'000'000);
  EXPECT_EQ(codec.integer("level"), 9);
  EXPECT_EQ(codec.real("ratio"), 1.0);
  EXPECT_TRUE(codec.boolean("loud"));

  EXPECT_EQ(config.topic_defaults.storage, "a");
  EXPECT_EQ(config.topic_defaults.partitions, 4);
  EXPECT_THAT(config.topic_defaults.settings,
              ElementsAre(testing::Pair("compression.type", "probe"), testing::Pair("retention.ms", "604800000")));
  ASSERT_EQ(config.topics.size(), 2U);
  EXPECT_EQ(config.topics[0].storage, "b");
  EXPECT_EQ(config.topics[0].partitions, 2);
  EXPECT_THAT(config.topics[0].settings, ElementsAre(testing::Pair("segment.bytes", "67108864")));
  EXPECT_EQ(config.topics[1].storage, "a");
  EXPECT_EQ(config.topics[1].partitions, 4);
  EXPECT_THAT(config.topics[1].settings, IsEmpty()) << "what the topic itself does not say comes from the defaults later";
}

TEST(Config, StorageCodecAndTransportAloneAreEnough) {
  const ConfigOutcome outcome =
      load("[storage.probe]\n[codec.probe]\n[transport.probe]\n[listener.main]\nprotocol = \"probe\"\ntransport = \"probe\"\n");
  ASSERT_THAT(errors(outcome), IsEmpty());
  EXPECT_EQ(outcome.config->listeners[0].address, "127.0.0.1:9092") << "loopback by default";
  EXPECT_EQ(outcome.config->topic_defaults.storage, "probe") << "the only storage need not be named";
  EXPECT_EQ(outcome.config->storages[0].plugin->name(), "storage-probe") << "kind and section name make the plugin's name";
}

TEST(Config, WithoutAListenerThereIsOneOnTheDeclaredTransport) {
  // The protocol defaults to kafka, whose plugin this build may not have: only the listener is looked at.
  const ConfigOutcome outcome = load("[storage.probe]\n[transport.probe]\n");
  const ResolvedValue* const transport = resolved(outcome, "listener.main.transport");
  ASSERT_NE(transport, nullptr);
  EXPECT_EQ(transport->value, "\"probe\"");
  EXPECT_EQ(resolved(outcome, "listener.main.protocol")->value, "\"kafka\"");
}

TEST(Config, OverridesTakeTomlAndBareWords) {
  const ConfigOutcome outcome =
      load(kGood, {"codec.probe.mode=eager", "codec.probe.room=8KiB", "codec.probe.loud=true", "codec.probe.level=4",
                   "listener.main.address=127.0.0.1:19092", "broker.data_dir=\"/tmp/with space\"",
                   "broker.plugin_dirs=[\"/opt/x\"]", "topic_defaults.retention.ms=5000", "topic.orders.partitions=3",
                   "topic.\"a.b\".compression.type=none", "log.components.storage.probe=trace"});
  ASSERT_THAT(errors(outcome), IsEmpty());
  const BrokerConfig& config = *outcome.config;
  EXPECT_EQ(config.codecs[0].options.text("mode"), "eager");
  EXPECT_EQ(config.codecs[0].options.size("room"), 8192U);
  EXPECT_TRUE(config.codecs[0].options.boolean("loud"));
  EXPECT_EQ(config.codecs[0].options.integer("level"), 4);
  EXPECT_EQ(config.listeners[0].address, "127.0.0.1:19092");
  EXPECT_EQ(config.data_dir, "/tmp/with space");
  EXPECT_EQ(config.topic_defaults.settings.at("retention.ms"), "5000");
  ASSERT_EQ(config.topics.size(), 2U);
  EXPECT_EQ(config.topics[0].name, "orders");
  EXPECT_EQ(config.topics[0].partitions, 3);
  EXPECT_EQ(config.topics[1].name, "a.b");
  EXPECT_EQ(config.topics[1].settings.at("compression.type"), "none");
  EXPECT_EQ(config.services.log.component_levels.at("storage.probe"), LogLevel::trace);
}

TEST(Config, OverridesReplaceWhatTheFileSaysHoweverItIsWritten) {
  for (const std::string line : {"retention.ms = 1", "\"retention.ms\" = 1"}) {
    const ConfigOutcome outcome = load(kGood + "[topic_defaults]\n" + line + "\n[[topic]]\nname = \"t\"\n" + line,
                                       {"topic_defaults.retention.ms=2", "topic.t.retention.ms=3"});
    ASSERT_THAT(errors(outcome), IsEmpty()) << line;
    EXPECT_EQ(outcome.config->topic_defaults.settings.at("retention.ms"), "2");
    ASSERT_EQ(outcome.config->topics.size(), 1U);
    EXPECT_EQ(outcome.config->topics[0].settings.at("retention.ms"), "3");
  }
}

TEST(Config, EveryValueKnowsItsOrigin) {
  const ConfigOutcome outcome = load(kGood + "[topic_defaults]\n\"retention.ms\" = \"1h\"\n", {"codec.probe.mode=eager"});
  ASSERT_THAT(errors(outcome), IsEmpty());
  EXPECT_EQ(resolved(outcome, "listener.main.transport")->origin, "test.toml:2");
  EXPECT_EQ(resolved(outcome, "codec.probe.mode")->origin, "--set");
  EXPECT_EQ(resolved(outcome, "codec.probe.room")->origin, "default");
  EXPECT_EQ(resolved(outcome, "codec.probe.room")->value, "\"64KiB\"");
  EXPECT_EQ(resolved(outcome, "topic_defaults.retention.ms")->origin, "test.toml:7");
  EXPECT_EQ(resolved(outcome, "topic_defaults.retention.ms")->value, "3600000");
  EXPECT_EQ(resolved(outcome, "topic_defaults.compression.type")->origin, "default");
}

TEST(Config, ThePrintedConfigurationReadsBackAsItself) {
  const std::string file = kGood + R"([broker]
data_dir = "a \"quoted\" dir"
[log.components]
"storage.probe" = "debug"
[topic_defaults]
segment.bytes = "1MiB"
[[topic]]
name = "one"
[[topic]]
name = "two"
cleanup.policy = "delete"
)";
  const ConfigOutcome first = load(file, {"codec.probe.pause=3s"});
  ASSERT_THAT(errors(first), IsEmpty());
  const std::string printed = print_config(first);
  EXPECT_THAT(printed, AllOf(HasSubstr("[codec.probe]\n"), HasSubstr("pause = \"3s\""), HasSubstr("# --set"),
                             HasSubstr("# test.toml:"), HasSubstr("# default")));
  const ConfigOutcome second = load(printed);
  ASSERT_THAT(errors(second), IsEmpty()) << printed;
  ASSERT_EQ(second.resolved.size(), first.resolved.size()) << printed << print_config(second);
  for (std::size_t i = 0; i < first.resolved.size(); ++i) {
    const auto& again = *resolved(second, first.resolved[i].key);
    EXPECT_EQ(again.value, first.resolved[i].value) << again.key;
  }
}

TEST(Config, SecretsComeByReference) {
  TemporaryDirectory directory;
  write_file(directory / "secret", "from a file\n");
  ::setenv("STREAMBUS_TEST_SECRET", "from the environment", 1);
  const auto outcome = load(kGood + "password = \"env:STREAMBUS_TEST_SECRET\"\n");
  ASSERT_THAT(errors(outcome), IsEmpty());
  EXPECT_EQ(outcome.config->codecs[0].options.text("password"), "from the environment");
  EXPECT_EQ(resolved(outcome, "codec.probe.password")->value, "\"env:STREAMBUS_TEST_SECRET\"");
  const auto other = load(kGood, {"codec.probe.password=file:" + (directory / "secret").string()});
  ASSERT_THAT(errors(other), IsEmpty());
  EXPECT_EQ(other.config->codecs[0].options.text("password"), "from a file");
}

TEST(Config, WarnsOfWhatNothingUses) {
  const std::string file = R"([listener.main]
transport = "probe"
protocol = "probe"
[storage.probe]
[storage.needy]
where = "x"
[codec.probe]
[transport.other]
plugin = "transport-probe"
[topic_defaults]
storage = "probe"
)";
  EXPECT_THAT(warnings(load(file)), ElementsAre(AllOf(HasSubstr("test.toml:5:10: [storage.needy] is used by no topic"),
                                                      HasSubstr("streambus.storage=needy")),
                                                AllOf(HasSubstr("test.toml:8:12: [transport.other] is used by no listener"))))
      << "the codec is used: topics pass batches through as producers send them";
  EXPECT_THAT(
      warnings(load(file, {"topic_defaults.compression.type=none", "topic.t.storage=needy"})),
      ElementsAre(AllOf(HasSubstr("test.toml:7:8: [codec.probe]"), HasSubstr("only decodes")), HasSubstr("[transport.other]")));
}

TEST(Config, WarnsOfListeningBeyondThisMachine) {
  for (const char* address : {"0.0.0.0:9092", "192.0.2.1:9092", "[::]:9092", "example.org:9092"}) {
    const auto outcome = load(kGood, {std::string("listener.main.address=") + (*address == '[' ? "\"" : "") + address +
                                      (*address == '[' ? "\"" : "")});
    ASSERT_THAT(errors(outcome), IsEmpty()) << address;
    EXPECT_THAT(warnings(outcome), ElementsAre(HasSubstr("no authentication yet"))) << address;
  }
  for (const char* address : {"127.0.0.1:9092", "localhost:1", "inproc-name"}) {
    EXPECT_THAT(warnings(load(kGood, {std::string("listener.main.address=") + address})), IsEmpty()) << address;
  }
}

TEST(Config, ReadsAFile) {
  TemporaryDirectory directory;
  write_file(directory / "x.toml", kGood);
  const auto source = read_config_file(directory / "x.toml");
  ASSERT_TRUE(source.has_value());
  EXPECT_EQ(source->text, kGood);
  EXPECT_EQ(source->name, (directory / "x.toml").string());
  EXPECT_THAT(read_config_file(directory / "none.toml").error().message, HasSubstr((directory / "none.toml").string()));
  EXPECT_THAT(read_config_file(directory.path()).error().message, HasSubstr("expected a regular file"));
}

TEST(Config, TheReferenceHasEverySectionOptionAndSetting) {
  PluginRegistry registry({std::filesystem::path(STREAMBUS_TEST_BUILD_DIR) / "tests" / "probes"});
  EXPECT_THAT(config_reference(registry),
              AllOf(HasSubstr("## [broker]"), HasSubstr("`data_dir`"), HasSubstr("#### `codec-probe`"),
                    HasSubstr("calm or eager"), HasSubstr("| `where` | string | required |"), HasSubstr("from 4KiB to 1MiB"),
                    HasSubstr("`retention.ms`"), HasSubstr("`password` | string, secret")));
}

}  // namespace
}  // namespace streambus
