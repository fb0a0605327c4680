#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "rdkafka_client.hpp"

namespace streambus::test {

/// Every record that was sent is there once, in order, at the offset that its acknowledgement named.
inline void expect_exactly_once(const NumberedProducer& producer, const std::vector<ConsumedRecord>& records) {
  EXPECT_EQ(producer.fatal_error(), "");
  EXPECT_EQ(producer.failed(), 0U);
  EXPECT_EQ(producer.acknowledged(), producer.sent());
  ASSERT_EQ(records.size(), producer.sent());
  for (std::size_t i = 0; i < records.size(); ++i) {
    ASSERT_EQ(records[i].number, i) << "at offset " << records[i].offset;
    const std::int64_t told = producer.offsets()[i];
    if (told >= 0) {
      ASSERT_EQ(told, records[i].offset) << "record " << i;
    }
  }
}

/// Every record that was acknowledged is there, at its offset; first occurrences are in order. A producer that is not
/// idempotent may send again what was stored.
inline void expect_at_least_once(const NumberedProducer& producer, const std::vector<ConsumedRecord>& records) {
  std::uint64_t next = 0;
  std::map<std::int64_t, std::uint64_t> by_offset;
  for (const ConsumedRecord& record : records) {
    ASSERT_LE(record.number, next) << "record " << next << " is missing before offset " << record.offset;
    next = std::max(next, record.number + 1);
    ASSERT_TRUE(by_offset.emplace(record.offset, record.number).second) << "offset " << record.offset << " came twice";
  }
  for (std::uint64_t number = 0; number < producer.offsets().size(); ++number) {
    const std::int64_t told = producer.offsets()[number];
    if (told == -2) continue;
    ASSERT_LT(number, next) << "an acknowledged record is lost";
    if (told >= 0) {
      ASSERT_EQ(by_offset.at(told), number);
    }
  }
}

}  // namespace streambus::test
