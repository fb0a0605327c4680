#include "record_format.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace streambus::command {
namespace {

client::ConsumedRecord record(std::string_view key, std::string_view value) {
  return {.offset = {7},
          .timestamp_ms = 1000,
          .has_key = true,
          .has_value = true,
          .key = as_bytes(key),
          .value = as_bytes(value),
          .header_count = 0,
          .headers = {}};
}

std::string formatted(std::string_view format, const client::ConsumedRecord& what) {
  const auto parsed = RecordFormat::parse(format);
  EXPECT_TRUE(parsed);
  std::string out;
  if (parsed) parsed->append(out, "topic", 3, what);
  return out;
}

TEST(RecordFormatTest, ReplacesFieldsAndEscapes) {
  EXPECT_EQ(formatted(R"(%t[%p]@%o %T %k=%v%%\n)", record("k", "v")), "topic[3]@7 1000 k=v%\n");
  EXPECT_EQ(formatted(R"(\x41\t\\\0)", record("", "")), std::string("A\t\\\0", 4));
}

TEST(RecordFormatTest, KeepsBytes) {
  const std::string value("\0\xff%v\n", 5);
  EXPECT_EQ(formatted("%v", record("", value)), value);
}

TEST(RecordFormatTest, PrintsHeaders) {
  // Two headers as RecordBatch encodes them: "a" = "1", "b" = null.
  const std::string headers(
      "\x02"
      "a"
      "\x02"
      "1"
      "\x02"
      "b"
      "\x01",
      7);
  client::ConsumedRecord what = record("", "");
  what.header_count = 2;
  what.headers = as_bytes(headers);
  EXPECT_EQ(formatted("%h", what), "a=1,b=");
}

TEST(RecordFormatTest, SaysWhatDoesNotExist) {
  for (const char* format : {"%q", "%", "\\q", "\\", "\\x4", "\\xzz"}) {
    const auto parsed = RecordFormat::parse(format);
    ASSERT_FALSE(parsed) << format;
    EXPECT_EQ(parsed.error().code, ErrorCode::invalid_argument);
  }
}

TEST(RecordFormatTest, JsonCarriesAnyBytes) {
  std::string out;
  append_json(out, "t", 1, record("key", "\xff\xfe"));
  const auto json = nlohmann::json::parse(out);
  EXPECT_EQ(json["key"], "key");
  EXPECT_EQ(json["value_base64"], "//4=");
  EXPECT_EQ(json["offset"], 7);
  out.clear();
  client::ConsumedRecord tombstone = record("\xc0\xaf", "");
  tombstone.has_value = false;
  append_json(out, "t", 1, tombstone);
  EXPECT_TRUE(nlohmann::json::parse(out)["value"].is_null());
  EXPECT_EQ(nlohmann::json::parse(out)["key_base64"], "wK8=") << "an overlong form is not UTF-8";
}

TEST(ParseTimeTest, ReadsIso8601) {
  EXPECT_EQ(*parse_time("1970-01-01"), 0);
  EXPECT_EQ(*parse_time("1970-01-01T00:00:01Z"), 1000);
  EXPECT_EQ(*parse_time("1970-01-01T01:00:00+01:00"), 0);
  EXPECT_EQ(*parse_time("2026-05-01T10:20:30.250"), 1777630830250);
  EXPECT_EQ(*parse_time("2026-05-01 10:20"), 1777630800000);
  for (const char* text : {"", "yesterday", "2026-13-01", "2026-02-30", "2026-05-01T", "2026-05-01T25:00",
                           "2026-05-01T10:00:00X", "2026-05-01T10:00:00."}) {
    EXPECT_FALSE(parse_time(text)) << text;
  }
}

}  // namespace
}  // namespace streambus::command
