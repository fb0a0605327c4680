#include "streambus/host/option_values.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "streambus/host/units.hpp"

namespace streambus {
namespace {

using testing::HasSubstr;

TEST(Units, DurationsHaveAUnit) {
  EXPECT_EQ(parse_duration_ns("250ms"), 250'000'000);
  EXPECT_EQ(parse_duration_ns("7d"), 7 * 86'400'000'000'000);
  EXPECT_EQ(parse_duration_ns("5 s"), 5'000'000'000);
  EXPECT_EQ(parse_duration_ns("0"), 0);
  EXPECT_EQ(parse_duration_ns("-1s"), -1'000'000'000);
  EXPECT_THAT(parse_duration_ns("250").error().message, HasSubstr("write \"250ms\" or \"250s\""));
  for (const char* bad : {"", "ms", "5x", "5ms5", "1.5s", "99999999999999999999s", "9223372036854775807d", "5S"}) {
    EXPECT_FALSE(parse_duration_ns(bad).has_value()) << bad;
  }
}

TEST(Units, SizesAreBytesUnlessTheySayOtherwise) {
  EXPECT_EQ(parse_size_bytes("65536"), 65536);
  EXPECT_EQ(parse_size_bytes("64KiB"), 65536);
  EXPECT_EQ(parse_size_bytes("64 kib"), 65536);
  EXPECT_EQ(parse_size_bytes("1GB"), 1'000'000'000);
  EXPECT_EQ(parse_size_bytes("7B"), 7);
  for (const char* bad : {"", "KiB", "5X", "1.5MB", "9999999TiB", "5 5"})
    EXPECT_FALSE(parse_size_bytes(bad).has_value()) << bad;
}

TEST(Units, FormatsExactlyAndBack) {
  for (const std::int64_t ns : {0LL, 1LL, 1'500LL, 90'000'000'000LL, 3'600'000'000'000LL, 86'400'000'000'000LL}) {
    EXPECT_EQ(parse_duration_ns(format_duration(ns)), ns) << format_duration(ns);
  }
  for (const std::int64_t bytes : {0LL, 1LL, 1'000LL, 65'536LL, 3LL << 30})
    EXPECT_EQ(parse_size_bytes(format_size(bytes)), bytes);
  EXPECT_EQ(format_duration(90'000'000'000), "90s");
  EXPECT_EQ(format_size(65'536), "64KiB");
}

TEST(Units, SuggestsOnlyWhatIsNear) {
  const std::string_view words[] = {"durability", "segment_bytes", "level"};
  EXPECT_EQ(did_you_mean("durabilty", words), "; did you mean 'durability'?");
  EXPECT_EQ(did_you_mean("levle", words), "; did you mean 'level'?") << "a swap is one mistake";
  EXPECT_EQ(did_you_mean("password", words), "");
  EXPECT_EQ(did_you_mean(std::string(100'000, 'x'), words), "");
}

constexpr OptionSpec kTable[] = {
    {.key = "flag", .type = OptionType::boolean, .default_value = "true", .doc = ""},
    {.key = "count", .type = OptionType::integer, .default_value = "3", .doc = "", .min = 1, .max = 9},
    {.key = "ratio", .type = OptionType::real, .default_value = "0.5", .doc = "", .min = 0, .max = 1},
    {.key = "word", .type = OptionType::text, .default_value = "", .doc = ""},
    {.key = "room", .type = OptionType::size, .default_value = "64KiB", .doc = "", .min = 4096, .max = 1 << 20},
    {.key = "pause", .type = OptionType::duration, .default_value = "250ms", .doc = "", .min = 1'000'000, .max = 1'000'000'000},
    {.key = "mode", .type = OptionType::choice, .default_value = "calm", .doc = "", .choices = "calm|eager"},
    {.key = "must", .type = OptionType::text, .default_value = nullptr, .doc = ""},
};

TEST(OptionValues, StartsWithDefaults) {
  OptionValues values(kTable);
  EXPECT_TRUE(values.boolean("flag"));
  EXPECT_EQ(values.integer("count"), 3);
  EXPECT_EQ(values.real("ratio"), 0.5);
  EXPECT_EQ(values.text("word"), "");
  EXPECT_EQ(values.size("room"), 65536U);
  EXPECT_EQ(values.duration_ns("pause"), 250'000'000);
  EXPECT_EQ(values.text("mode"), "calm");
  EXPECT_FALSE(values.is_set("mode"));
  EXPECT_EQ(values.find("must"), nullptr);
  values.set("mode", std::string("eager"));
  EXPECT_EQ(values.text("mode"), "eager");
  EXPECT_TRUE(values.is_set("mode"));
}

TEST(OptionValues, KeepsItsValuesWhenMoved) {
  OptionValues from(kTable);
  from.set("count", std::int64_t{7});
  const OptionValues to(std::move(from));
  EXPECT_EQ(to.integer("count"), 7);
  EXPECT_EQ(to.table().size(), std::size(kTable));
}

TEST(OptionValuesDeathTest, MisuseIsAProgrammerError) {
  const OptionValues values(kTable);
  EXPECT_DEATH((void)values.integer("nothing"), "");
  EXPECT_DEATH((void)values.integer("word"), "");
  EXPECT_DEATH((void)values.text("must"), "");
}

TEST(ParseOption, ChecksBoundsInTheirUnits) {
  const auto refusal = [](std::size_t index, std::string_view text) {
    const auto value = parse_option(kTable[index], text);
    return value ? std::string("accepted") : value.error().message;
  };
  EXPECT_THAT(refusal(1, "10"), HasSubstr("a whole number from 1 to 9, found 10"));
  EXPECT_THAT(refusal(2, "1.5"), HasSubstr("from 0 to 1, found 1.5"));
  EXPECT_THAT(refusal(2, "nan"), HasSubstr("expected a number"));
  EXPECT_THAT(refusal(4, "2MiB"), HasSubstr("from 4KiB to 1MiB, found 2MiB"));
  EXPECT_THAT(refusal(5, "2s"), HasSubstr("from 1ms to 1s, found 2s"));
  EXPECT_THAT(refusal(6, "egaer"), HasSubstr("expected calm or eager, found \"egaer\"; did you mean 'eager'?"));
  EXPECT_THAT(refusal(0, "yes"), HasSubstr("expected true or false"));
  EXPECT_EQ(refusal(1, "9"), "accepted");
  EXPECT_EQ(refusal(4, "4096"), "accepted");
}

}  // namespace
}  // namespace streambus
