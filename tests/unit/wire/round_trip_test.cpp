// Every message in every version with random content: what is written is read back; what is cut or damaged does no harm.

#include <gtest/gtest.h>

#include "walkers_for_tests.hpp"

namespace streambus::wire::test {
namespace {

/// Calls fn(version, message, its bytes) for seeded random content.
template <class M, class Fn>
void for_random_messages(int seeds, Fn&& fn) {
  for (int version = M::kMinVersion; version <= M::kMaxVersion; ++version) {
    for (int seed = 0; seed < seeds; ++seed) {
      SCOPED_TRACE(name_of_message<M>() + " version " + std::to_string(version) + " seed " + std::to_string(seed));
      Workbench bench;
      RandomSource source(static_cast<std::uint64_t>(seed));
      const auto v = static_cast<std::int16_t>(version);
      const M message = filled<M>(v, bench.arena, source);
      ASSERT_TRUE(bench.encodes(message, v));
      fn(v, message, bench.bytes_of(message, v), bench, source);
    }
  }
}

template <class T>
struct AsTypes;
template <class... M>
struct AsTypes<std::tuple<M...>> {
  using Types = testing::Types<M...>;
};

template <class M>
class RoundTrip : public testing::Test {};
TYPED_TEST_SUITE(RoundTrip, AsTypes<AllMessages>::Types);

TYPED_TEST(RoundTrip, WhatIsWrittenIsReadBack) {
  for_random_messages<TypeParam>(
      40, [](std::int16_t v, const TypeParam& message, const std::string& bytes, Workbench& bench, auto&) {
        EXPECT_EQ(encoded_size(message, v).total_bytes(), bytes.size());
        TypeParam decoded;
        ASSERT_TRUE(bench.decodes(bytes, v, decoded));
        EXPECT_EQ(print(decoded, v), print(message, v));
        EXPECT_EQ(bench.bytes_of(decoded, v), bytes);
      });
}

TYPED_TEST(RoundTrip, EveryTruncationIsRefused) {
  for_random_messages<TypeParam>(3, [](std::int16_t v, const TypeParam&, const std::string& bytes, Workbench& bench, auto&) {
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      const std::string cut = bytes.substr(0, length);  // a copy of that size, so that a sanitizer sees reads behind it
      TypeParam decoded;
      EXPECT_FALSE(bench.decodes(cut, v, decoded)) << length << " of " << bytes.size() << " bytes";
    }
  });
}

TYPED_TEST(RoundTrip, BytesBehindTheMessageAreLeft) {
  for_random_messages<TypeParam>(3, [](std::int16_t v, const TypeParam&, const std::string& bytes, Workbench& bench, auto&) {
    const std::string longer = bytes + "xyz";
    ByteReader in(as_bytes(longer));
    TypeParam decoded;
    ASSERT_TRUE(decode(in, v, bench.arena, decoded));
    EXPECT_EQ(in.remaining(), 3u);
  });
}

TYPED_TEST(RoundTrip, DamageIsRefusedOrReadsAsSomethingThatCanBeWritten) {
  for_random_messages<TypeParam>(
      20, [](std::int16_t v, const TypeParam&, const std::string& intact, Workbench& bench, auto& source) {
        std::string bytes = intact;
        if (bytes.empty()) return;
        for (int damage = 0; damage < 4; ++damage) {
          bytes[source.below(bytes.size())] = static_cast<char>(source.integer(1));
          TypeParam decoded;
          ByteReader in(as_bytes(bytes));
          if (decode(in, v, bench.arena, decoded)) {
            EXPECT_TRUE(bench.encodes(decoded, v));
          }
        }
      });
}

TYPED_TEST(RoundTrip, VersionsWithoutLayoutAreRefused) {
  Workbench bench;
  TypeParam message;
  for (const int version : {TypeParam::kMinVersion - 1, TypeParam::kMaxVersion + 1, -32768, 32767}) {
    const auto v = static_cast<std::int16_t>(version);
    ByteReader in(as_bytes("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
    EXPECT_FALSE(decode(in, v, bench.arena, message)) << v;
    EXPECT_FALSE(bench.encodes(message, v)) << v;
    EXPECT_EQ(encoded_size(message, v).total_bytes(), 0u) << v;
  }
}

}  // namespace
}  // namespace streambus::wire::test
