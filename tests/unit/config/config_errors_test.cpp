// What is wrong with a configuration, and how it is said: place, expected, found, remedy.

#include "config_fixture.hpp"
#include "streambus/config/topic_settings.hpp"

namespace streambus {
namespace {

using namespace test;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TEST(ConfigErrors, SyntaxHasAPosition) {
  EXPECT_THAT(error_of("[broker]\ndata_dir = = 5\n"), AllOf(StartsWith("test.toml:2:12: "), HasSubstr("not TOML")));
  EXPECT_THAT(error_of("a = 1\na = 2\n"), StartsWith("test.toml:2:"));
  EXPECT_THAT(error_of(std::string("a = \"\xff\xfe\"")), StartsWith("test.toml:1:"));
}

TEST(ConfigErrors, WhatNoKeyBeginsWithIsAnErrorInEveryBuild) {
  EXPECT_THAT(error_of("[broker]\n[\x01]\n"), StartsWith("test.toml:2:"));
  EXPECT_THAT(error_of("[broker]\n[=x]\n"), StartsWith("test.toml:2:"));
  EXPECT_THAT(error_of("[broker]\nnode_id = 1 \xd0\xa0\n"), StartsWith("test.toml:2:")) << "a letter beyond U+0400";
  EXPECT_THAT(error_of("[broker]\n\xd0\xa0 = 1\n"), StartsWith("test.toml:2:"));
}

TEST(ConfigErrors, UnknownKeysSuggestAKnownOne) {
  EXPECT_EQ(error_of(kGood + "mod = \"calm\"\n"), "test.toml:6:1: unknown key 'mod' in [codec.probe]; did you mean 'mode'?");
  EXPECT_EQ(error_of(kGood + "[brokr]\n"), "test.toml:6:2: unknown section 'brokr'; did you mean 'broker'?");
  EXPECT_EQ(error_of(kGood + "[broker]\nflush_thread = 1\n"),
            "test.toml:7:1: unknown key 'flush_thread' in [broker]; did you mean 'flush_threads'?");
  EXPECT_EQ(error_of(kGood + "[topic_defaults]\nretension.ms = 1\n"),
            "test.toml:7:11: unknown key 'retension.ms' in [topic_defaults]; did you mean 'retention.ms'?");
  EXPECT_THAT(error_of(kGood + "zzzzzzzzz = 1\n"),
              HasSubstr("; it has: plugin, mode, room, pause, level, ratio, loud and password"));
}

TEST(ConfigErrors, BufferTiersAreSizesWithCounts) {
  const auto tiers = [](const std::string& text) { return kGood + "[broker]\nbuffer_tiers = \"" + text + "\"\n"; };
  EXPECT_TRUE(load(tiers("4KiB:10, 1MiB:0")).config.has_value());
  EXPECT_THAT(error_of(tiers("4KiB")),
              AllOf(StartsWith("test.toml:7:"), HasSubstr("buffer_tiers in [broker]: expected SIZE:COUNT"),
                    HasSubstr("found \"4KiB\"")));
  EXPECT_THAT(error_of(tiers("4KiB:10, x:3")), HasSubstr("found \"x:3\""));
  EXPECT_THAT(error_of(tiers("4KiB:-1")), HasSubstr("a count from 0"));
  EXPECT_THAT(error_of(tiers("64KiB:1, 4KiB:1")), HasSubstr("ascending order"));
}

TEST(ConfigErrors, TypesAreNamedWithTheRemedy) {
  const auto codec = [](const std::string& line) { return error_of(kGood + line + "\n"); };
  EXPECT_EQ(
      codec("level = \"7\""),
      "test.toml:6:9: level in [codec.probe]: expected a whole number from 1 to 9, found a string \"7\"; leave the quotes out");
  EXPECT_EQ(codec("mode = 5"),
            "test.toml:6:8: mode in [codec.probe]: expected calm or eager, found a whole number 5; write it in quotes");
  EXPECT_THAT(codec("loud = \"true\""), HasSubstr("expected true or false, found a string \"true\"; leave the quotes out"));
  EXPECT_THAT(codec("pause = 250"), HasSubstr("found the bare number 250; write \"250ms\" or \"250s\""));
  EXPECT_THAT(codec("room = [1]"), HasSubstr("found a list"));
  EXPECT_THAT(codec("ratio = 2024-01-01"), HasSubstr("found a date or a time 2024-01-01"));
  EXPECT_THAT(codec("level = {a = 1}"), HasSubstr("found a table"));
  EXPECT_THAT(error_of(kGood + "[broker]\nplugin_dirs = [\"relative\"]\n"),
              AllOf(HasSubstr("test.toml:7:16"), HasSubstr("absolute paths")));
}

TEST(ConfigErrors, BoundsAreInTheirUnits) {
  const auto codec = [](const std::string& line) { return error_of(kGood + line + "\n"); };
  EXPECT_THAT(codec("room = 100"), HasSubstr("from 4KiB to 1MiB, found 100"));
  EXPECT_THAT(codec("room = \"1GiB\""), HasSubstr("from 4KiB to 1MiB, found 1GiB"));
  EXPECT_THAT(codec("pause = \"2h\""), HasSubstr("from 0s to 1m, found 2h"));
  EXPECT_THAT(codec("level = 0"), HasSubstr("from 1 to 9, found 0"));
  EXPECT_THAT(codec("ratio = 1.5"), HasSubstr("from 0 to 1, found 1.5"));
  EXPECT_THAT(codec("ratio = nan"), HasSubstr("expected a number"));
  EXPECT_THAT(codec("mode = \"clam\""), HasSubstr("found \"clam\"; did you mean 'calm'?"));
}

TEST(ConfigErrors, AllAreReportedInOrderOfPosition) {
  const ConfigOutcome outcome = load(R"([topic_defaults]
partitions = 0
compression.type = "zstd"
[codec.probe]
level = 10
nonsense_of_some_kind = 1
[storage.probe]
[listener.main]
transport = "probe"
protocol = "probe"
advertised = "a b:1"
[broker]
node_id = -1
)",
                                     {"broker.node_idd=1", "codec.probe.room=1B"});
  EXPECT_FALSE(outcome.config.has_value());
  EXPECT_THAT(errors(outcome),
              ElementsAre(StartsWith("test.toml:2:14: partitions"), StartsWith("test.toml:3:20: compression.type"),
                          StartsWith("test.toml:5:9: level"), StartsWith("test.toml:6:1: unknown key"),
                          StartsWith("test.toml:11:14: advertised"), StartsWith("test.toml:13:11: node_id"),
                          StartsWith("--set broker.node_idd=1: unknown key 'node_idd'"),
                          StartsWith("--set codec.probe.room=1B: room in [codec.probe]: expected a size")));
}

TEST(ConfigErrors, OverridesAreChecked) {
  const auto with = [](const std::string& change) { return error_of(kGood, {change}); };
  EXPECT_THAT(with("nothing"), HasSubstr("expected SECTION.KEY=VALUE"));
  EXPECT_THAT(with("=5"), HasSubstr("expected SECTION.KEY=VALUE"));
  EXPECT_THAT(with("a..b=5"), HasSubstr("expected SECTION.KEY=VALUE"));
  EXPECT_THAT(with("codec.probe.mode=\"calm"), HasSubstr("check quotes and brackets"));
  EXPECT_THAT(with("codec.probe.mode=1\nx=2"), HasSubstr("expected calm or eager"));
  EXPECT_THAT(with("broker.data_dir.x=1"), testing::Not(HasSubstr("unknown section")));
  EXPECT_THAT(with("broker=5"), HasSubstr("expected a section [broker], found a whole number"));
  EXPECT_THAT(with("listener.main.transport.deep=1"), HasSubstr("'listener.main.transport' is a string, expected a section"));
}

TEST(ConfigErrors, PluginsAreCheckedInTheirSections) {
  EXPECT_THAT(
      error_of(kGood + "plugin = \"codec-prob\"\n"),
      AllOf(StartsWith("test.toml:6:10: [codec.probe]: plugin 'codec-prob'"), HasSubstr("did you mean 'codec-probe'?")));
  EXPECT_THAT(error_of(kGood + "plugin = \"storage-probe\"\n"),
              HasSubstr("expected a codec plugin for this section, found 'storage-probe', a storage plugin"));
  EXPECT_THAT(error_of(kGood + "plugin = \"./codec.so\"\n"), HasSubstr("found a relative path"));
  EXPECT_THAT(error_of(kGood + "plugin = 5\n"), HasSubstr("expected a string, found a whole number 5"));
  EXPECT_THAT(
      error_of(kGood + "[storage.needy]\n[topic_defaults]\nstorage = \"probe\"\n"),
      AllOf(StartsWith("test.toml:6:10: [storage.needy] needs the key 'where': expected a string"), HasSubstr("add it")));
  EXPECT_THAT(error_of(kGood + "[codec.\"a b\"]\n"), HasSubstr("expected at most 60 letters, digits"));
}

TEST(ConfigErrors, NamesMustLeadSomewhere) {
  EXPECT_THAT(error_of(kGood + "[topic_defaults]\nstorage = \"prob\"\n"),
              AllOf(StartsWith("test.toml:7:11: storage in [topic_defaults]"),
                    HasSubstr("(probe), found \"prob\"; did you mean 'probe'?")));
  EXPECT_THAT(error_of(kGood + "[[topic]]\nname = \"t\"\ncompression.type = \"lz5\"\n"),
              AllOf(StartsWith("test.toml:8:20: compression.type"),
                    HasSubstr("expected producer, none or probe, found \"lz5\""), HasSubstr("[codec.lz5]")));
  EXPECT_THAT(
      error_of("[listener.main]\ntransport = \"pigeon\"\nprotocol = \"probe\"\n[storage.probe]\n"),
      AllOf(StartsWith("test.toml:2:13: there is no [transport.pigeon] section"), HasSubstr("plugin 'transport-pigeon'")));
  EXPECT_THAT(error_of("[listener.main]\ntransport = \"/a/b.so\"\nprotocol = \"probe\"\n[storage.probe]\n"),
              HasSubstr("a path goes into the key 'plugin'"));
  EXPECT_THAT(error_of("[listener.main]\ntransport = \"probe\"\nprotocol = \"probe\"\n"),
              HasSubstr("expected at least one [storage.NAME] section"));
  EXPECT_THAT(error_of(kGood + "[storage.needy]\nwhere = \"x\"\n"),
              HasSubstr("[topic_defaults] needs the key 'storage' where there is more than one"));
}

TEST(ConfigErrors, ListenersDoNotCollide) {
  EXPECT_THAT(error_of(kGood + "[listener.again]\ntransport = \"probe\"\nprotocol = \"probe\"\n"),
              AllOf(StartsWith("test.toml:6:11: address in [listener.again]"), HasSubstr("which [listener.main] has")));
  EXPECT_THAT(error_of(kGood, {"listener.main.advertised=host:99999"}), HasSubstr("port from 1 to 65535"));
  EXPECT_THAT(error_of(kGood, {"listener.main.address=\"\""}), HasSubstr("expected where to listen"));
}

TEST(ConfigErrors, TopicsAreChecked) {
  const auto topic = [](const std::string& lines) { return error_of(kGood + "[[topic]]\n" + lines + "\n"); };
  EXPECT_THAT(topic("partitions = 1"), AllOf(StartsWith("test.toml:6:1: "), HasSubstr("needs the key 'name'")));
  EXPECT_THAT(topic("name = \"a/b\""), HasSubstr("1 to 249 letters, digits, '.', '_' and '-', found \"a/b\""));
  EXPECT_THAT(topic("name = \"..\""), HasSubstr("found \"..\""));
  EXPECT_THAT(topic("name = \"a\"\n[[topic]]\nname = \"a\""), HasSubstr("found \"a\" again"));
  EXPECT_THAT(topic("name = \"a\"\npartitions = 20000"), HasSubstr("from 1 to 10000, found 20000"));
  EXPECT_THAT(topic("name = \"a\"\nretention.ms = 1\n\"retention.ms\" = 2"),
              HasSubstr("key 'retention.ms' in [[topic]] is given twice"));
  EXPECT_THAT(topic("name = \"a\"\nstreambus.storage = \"probe\""), HasSubstr("write storage = ..."));
  EXPECT_THAT(error_of(kGood + "[topic]\nname = \"a\"\n"), HasSubstr("write [[topic]]"));
}

TEST(ConfigErrors, SecretsAreNeverWrittenNorShown) {
  const std::string text = error_of(kGood + "password = \"hunter2\"\n");
  EXPECT_THAT(text, AllOf(HasSubstr("\"env:NAME\" or \"file:PATH\""), testing::Not(HasSubstr("hunter2"))));
  ::unsetenv("STREAMBUS_TEST_UNSET");
  EXPECT_THAT(error_of(kGood + "password = \"env:STREAMBUS_TEST_UNSET\"\n"), HasSubstr("'STREAMBUS_TEST_UNSET'"));
  EXPECT_THAT(error_of(kGood + "password = \"file:/dev/zero\"\n"), HasSubstr("expected a regular file"));
}

TEST(TopicSettings, AreSortedAndTheirDefaultsPassTheirOwnCheck) {
  std::string_view previous;
  for (const TopicSettingSpec& spec : kTopicSettings) {
    EXPECT_LT(previous, spec.name);
    previous = spec.name;
    const auto checked = check_topic_setting(spec.name, spec.default_value);
    ASSERT_TRUE(checked.has_value()) << checked.error().message;
    EXPECT_EQ(*checked, spec.default_value) << "normalized";
    EXPECT_EQ(find_topic_setting(spec.name), &spec);
  }
}

TEST(TopicSettings, AreNormalized) {
  EXPECT_EQ(check_topic_setting("retention.ms", "7d"), "604800000");
  EXPECT_EQ(check_topic_setting("retention.ms", "-1"), "-1");
  EXPECT_EQ(check_topic_setting("retention.ms", "0060"), "60");
  EXPECT_EQ(check_topic_setting("segment.bytes", "1MiB"), "1048576");
  EXPECT_EQ(check_topic_setting("compression.type", "uncompressed"), "none");
  EXPECT_EQ(check_topic_setting("message.timestamp.type", "LogAppendTime"), "LogAppendTime");
  EXPECT_EQ(check_topic_setting("min.insync.replicas", "1"), "1");
}

TEST(TopicSettings, RefuseWithExpectedFoundAndRemedy) {
  const auto refusal = [](std::string_view name, std::string_view value) {
    const auto checked = check_topic_setting(name, value);
    return checked ? "accepted " + *checked : checked.error().message;
  };
  EXPECT_THAT(refusal("retention.mss", "1"), HasSubstr("unknown topic setting 'retention.mss'; did you mean 'retention.ms'?"));
  EXPECT_EQ(check_topic_setting("x", "1").error().code, ErrorCode::not_found);
  EXPECT_THAT(refusal("retention.ms", "-2"),
              AllOf(HasSubstr("retention.ms: expected milliseconds"), HasSubstr("found \"-2\"")));
  EXPECT_THAT(refusal("retention.ms", "1us"), HasSubstr("found \"1us\""));
  EXPECT_THAT(refusal("segment.bytes", "100"), HasSubstr("from 4KiB to 2147483647, found \"100\""));
  EXPECT_THAT(refusal("segment.bytes", "9223372036854775808"), HasSubstr("segment.bytes"));
  EXPECT_THAT(refusal("cleanup.policy", "compacted"),
              HasSubstr("one or more of compact or delete, separated by commas, found \"compacted\""));
  for (const char* list : {"", "compact,", "compact,compact", "compact;delete"}) {
    EXPECT_THAT(refusal("cleanup.policy", list), HasSubstr("cleanup.policy: expected one or more of")) << list;
  }
  for (const char* ratio : {"-0.1", "1.01", "half", "", "1e-1", "nan"}) {
    EXPECT_THAT(refusal("min.cleanable.dirty.ratio", ratio), HasSubstr("a number from 0 to 1")) << ratio;
  }
  EXPECT_THAT(refusal("min.insync.replicas", "2"), HasSubstr("found \"2\""));
  EXPECT_THAT(refusal("unclean.leader.election.enable", "true"), HasSubstr("is fixed at false"));
  EXPECT_THAT(refusal("message.timestamp.type", "createtime"), HasSubstr("CreateTime or LogAppendTime"));
  EXPECT_THAT(refusal("compression.type", ""), HasSubstr("compression.type"));
}

}  // namespace
}  // namespace streambus
