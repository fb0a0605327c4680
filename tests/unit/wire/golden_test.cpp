// Every message in every version, byte for byte, against golden.txt: made by an independent implementation (make_golden.py).

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "walkers_for_tests.hpp"

namespace streambus::wire::test {
namespace {

struct Golden {
  std::int16_t version = 0;
  bool full = false;
  std::string bytes;
};

const std::multimap<std::string, Golden>& golden_messages() {
  static const auto messages = [] {
    std::multimap<std::string, Golden> all;
    std::ifstream file(STREAMBUS_TEST_SOURCE_DIR "/tests/unit/wire/golden.txt");
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string name;
      std::string content;
      std::string digits;
      Golden golden;
      if (words >> name >> golden.version >> content >> digits) {
        golden.full = content == "full";
        if (digits != "-") golden.bytes = hex(digits);
        all.emplace(name, golden);
      }
    }
    return all;
  }();
  return messages;
}

template <class M>
void check(const Golden& golden) {
  SCOPED_TRACE(name_of_message<M>() + " version " + std::to_string(golden.version) + (golden.full ? " full" : " least"));
  Workbench bench;
  GoldenSource source{golden.full};
  const M expected = filled<M>(golden.version, bench.arena, source);
  EXPECT_EQ(to_hex(bench.bytes_of(expected, golden.version)), to_hex(golden.bytes));
  M decoded;
  ASSERT_TRUE(bench.decodes(golden.bytes, golden.version, decoded));
  EXPECT_EQ(print(decoded, golden.version), print(expected, golden.version));
}

TEST(Golden, EveryMessageInEveryVersionIsWhatAnotherImplementationMakes) {
  for_each_message([]<class M>() {
    // The other implementation has no Produce below 3.
    const int first = M::kKey == ApiKey::produce ? 3 : M::kMinVersion;
    const auto [begin, end] = golden_messages().equal_range(name_of_message<M>());
    EXPECT_EQ(std::distance(begin, end), 2 * (M::kMaxVersion - first + 1)) << name_of_message<M>() << ": run make_golden.py";
    for (auto entry = begin; entry != end; ++entry) check<M>(entry->second);
  });
}

// By hand, from the protocol guide.
TEST(Golden, ProduceOfTheOlderFormats) {
  Workbench bench;
  ProduceRequest request;
  const std::string bytes = hex("ffff 00007530 00000001 0001 74 00000001 00000000 00000003 616263");
  ASSERT_TRUE(bench.decodes(bytes, 0, request));
  EXPECT_FALSE(request.transactional_id.has_value());
  EXPECT_EQ(request.acks, -1);
  EXPECT_EQ(request.timeout_ms, 30000);
  ASSERT_EQ(request.topic_data.size(), 1u);
  EXPECT_EQ(as_text(request.topic_data[0].partition_data[0].records), "abc");
  EXPECT_EQ(bench.bytes_of(request, 0), bytes);
  EXPECT_EQ(bench.bytes_of(request, 2), bytes);

  ProduceResponse::Partition partition{.index = 1, .error_code = 43, .base_offset = -1};
  ProduceResponse::Topic topic{.name = "t", .partition_responses = {&partition, 1}};
  const ProduceResponse response{.responses = {&topic, 1}, .throttle_time_ms = 7};
  const std::string v0 = "00000001 0001 74 00000001 00000001 002b ffffffffffffffff";
  EXPECT_EQ(bench.bytes_of(response, 0), hex(v0));
  EXPECT_EQ(bench.bytes_of(response, 1), hex(v0 + "00000007"));
  EXPECT_EQ(bench.bytes_of(response, 2), hex(v0 + "ffffffffffffffff 00000007"));
}

}  // namespace
}  // namespace streambus::wire::test
