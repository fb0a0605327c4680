#include "streambus/client/partitioner.hpp"

#include <gtest/gtest.h>

#include "streambus/base/bytes.hpp"

namespace streambus::client {
namespace {

// The vectors of Kafka's own test (clients, UtilsTest.testMurmur2).
TEST(PartitionerTest, HashesAsKafkasJavaClientDoes) {
  const std::pair<const char*, std::int32_t> vectors[] = {
      {"21", -973932308},
      {"foobar", -790332482},
      {"a-little-bit-long-string", -985981536},
      {"a-little-bit-longer-string", -1486304829},
      {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
      {"abc", 479470107},
  };
  for (const auto& [text, hash] : vectors) EXPECT_EQ(static_cast<std::int32_t>(murmur2(as_bytes(text))), hash) << text;
}

TEST(PartitionerTest, MasksTheSignAndStaysInRange) {
  // (-973932308 & 0x7fffffff) % 10, as Java's toPositive(murmur2(key)) % partitions.
  EXPECT_EQ(partition_of_key(as_bytes("21"), 10), (-973932308 & 0x7fffffff) % 10);
  EXPECT_EQ(partition_of_key(as_bytes("abc"), 7), 479470107 % 7);
  EXPECT_EQ(partition_of_key({}, 1), 0);
}

}  // namespace
}  // namespace streambus::client
