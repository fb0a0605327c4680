#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "codec_fixture.hpp"

namespace streambus::test {
namespace {

struct CodecCase {
  const char* name;
  CodecOwner (*make)();
  std::uint8_t id;
  const char* type;
  const PluginDescriptor* descriptor;
};

class CodecTest : public testing::TestWithParam<CodecCase> {
 protected:
  CodecOwner codec_ = GetParam().make();

  CodecResult decompress(const Blob& in, Blob& out) const { return codec_->decompress(in, out); }
};

INSTANTIATE_TEST_SUITE_P(
    All, CodecTest,
    testing::Values(CodecCase{"Lz4", [] { return make_lz4(); }, 3, "lz4", &streambus_plugin_codec_lz4},
                    CodecCase{"Lz4High", [] { return make_lz4(9); }, 3, "lz4", &streambus_plugin_codec_lz4},
                    CodecCase{"Zstd", [] { return make_zstd(); }, 4, "zstd", &streambus_plugin_codec_zstd},
                    CodecCase{"ZstdFast", [] { return make_zstd(-7); }, 4, "zstd", &streambus_plugin_codec_zstd}),
    [](const auto& one) { return std::string(one.param.name); });

TEST_P(CodecTest, SaysWhoItIs) {
  EXPECT_EQ(codec_->id(), GetParam().id);
  EXPECT_EQ(codec_->type(), GetParam().type);
  EXPECT_EQ(static_cast<PluginKind>(GetParam().descriptor->stamp->kind), PluginKind::codec);
  EXPECT_EQ(GetParam().descriptor->stamp->name, "codec-" + std::string(GetParam().type));
}

TEST_P(CodecTest, RoundTripsEverySize) {
  for (const std::size_t bytes : {500U, 1'000U, 65'535U, 65'536U, 65'537U, 262'144U, 262'145U, 1'000'000U, 16U << 20}) {
    const Blob in = text_of(bytes);
    const Blob stored = compressed(*codec_, in);
    EXPECT_LT(stored.size(), bytes) << bytes;
    EXPECT_EQ(codec_->decompressed_size(stored), bytes) << "the frame declares its size";
    Blob out(bytes);
    const CodecResult result = decompress(stored, out);
    ASSERT_EQ(result.outcome, CodecOutcome::done) << bytes;
    EXPECT_EQ(result.bytes, bytes);
    EXPECT_TRUE(out == in) << bytes;
  }
}

TEST_P(CodecTest, DeclinesWhatDoesNotShrink) {
  for (const std::size_t bytes : {0U, 1U, 7U, 1'000U, 100'000U, 1'000'000U}) {
    const Blob in = noise_of(bytes);
    Blob out(codec_->compress_bound(bytes));
    EXPECT_EQ(codec_->compress(in, out).outcome, CodecOutcome::declined) << bytes;
  }
}

TEST_P(CodecTest, RoundTripsNoiseWithSomeOrder) {
  Blob in = noise_of(300'000);
  std::fill_n(in.begin() + 100'000, 5'000, std::byte{0});  // blocks that shrink beside blocks that do not
  const Blob stored = compressed(*codec_, in);
  Blob out(in.size());
  ASSERT_EQ(decompress(stored, out).outcome, CodecOutcome::done);
  EXPECT_TRUE(out == in);
}

TEST_P(CodecTest, RespectsTheBoundOfItsOutput) {
  const Blob in = text_of(200'000);
  const Blob stored = compressed(*codec_, in);
  constexpr std::byte kGuard{0xa5};
  for (const std::size_t room : {std::size_t{0}, std::size_t{1}, std::size_t{65'535}, in.size() - 1, in.size()}) {
    Blob out(room + 64, kGuard);
    const CodecResult result = codec_->decompress(stored, MutableBytes(out).first(room));
    EXPECT_EQ(result.outcome, room == in.size() ? CodecOutcome::done : CodecOutcome::needs_space) << room;
    EXPECT_TRUE(std::all_of(out.begin() + static_cast<std::ptrdiff_t>(room), out.end(), [](std::byte byte) {
      return byte == kGuard;
    })) << room;
  }
  for (const std::size_t room : {std::size_t{0}, std::size_t{10}, stored.size() / 2, stored.size() - 1}) {
    Blob out(room + 64, kGuard);
    EXPECT_EQ(codec_->compress(in, MutableBytes(out).first(room)).outcome, CodecOutcome::needs_space) << room;
    EXPECT_TRUE(std::all_of(out.begin() + static_cast<std::ptrdiff_t>(room), out.end(), [](std::byte byte) {
      return byte == kGuard;
    })) << room;
  }
}

TEST_P(CodecTest, ReadsConcatenatedFrames) {
  const Blob first = text_of(70'000, 1);
  const Blob second = text_of(1'000, 2);
  Blob stored = compressed(*codec_, first);
  const Blob tail = compressed(*codec_, second);
  stored.insert(stored.end(), tail.begin(), tail.end());
  EXPECT_EQ(codec_->decompressed_size(stored), first.size() + second.size());
  Blob out(first.size() + second.size());
  const CodecResult result = decompress(stored, out);
  ASSERT_EQ(result.outcome, CodecOutcome::done);
  Blob expected = first;
  expected.insert(expected.end(), second.begin(), second.end());
  EXPECT_TRUE(out == expected);
}

/// Whatever comes back must lie within the room; the sanitizer builds watch the rest.
void must_not_crash(const Codec& codec, const Blob& stored, std::size_t room) {
  Blob out(room);
  (void)codec.decompressed_size(stored);
  const CodecResult result = codec.decompress(stored, out);
  EXPECT_TRUE(result.outcome != CodecOutcome::done || result.bytes <= room);
}

TEST_P(CodecTest, EveryTruncationOfAFrameIsAnError) {
  const Blob in = text_of(700);
  const Blob stored = compressed(*codec_, in);
  for (std::size_t length = 0; length < stored.size(); ++length) {
    const Blob cut(stored.begin(), stored.begin() + static_cast<std::ptrdiff_t>(length));
    Blob out(in.size() + 1'000);
    EXPECT_EQ(codec_->decompress(cut, out).outcome, CodecOutcome::corrupt) << length;
    EXPECT_EQ(codec_->decompressed_size(cut), 0U) << length;
    Blob exact(in.size());
    EXPECT_NE(codec_->decompress(cut, exact).outcome, CodecOutcome::done) << length;
  }
}

TEST_P(CodecTest, FlippedBitsNeverCrashOrOverrun) {
  std::mt19937 random(20'240'101);
  const Blob in = text_of(3'000);
  const Blob good = compressed(*codec_, in);
  for (int round = 0; round < 20'000; ++round) {
    Blob bad = good;
    for (unsigned flips = 1 + random() % 4; flips != 0; --flips)
      bad[random() % bad.size()] ^= static_cast<std::byte>(1U << (random() % 8));
    must_not_crash(*codec_, bad, in.size() + random() % 100);
  }
  Blob out(in.size());
  ASSERT_EQ(decompress(good, out).outcome, CodecOutcome::done) << "the context must recover from what it was fed";
  EXPECT_TRUE(out == in);
}

TEST_P(CodecTest, NoiseIsCorrupt) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    const Blob noise = noise_of(seed, seed);
    Blob out(10'000);
    EXPECT_EQ(decompress(noise, out).outcome, CodecOutcome::corrupt) << seed;
    EXPECT_EQ(codec_->decompressed_size(noise), 0U) << seed;
  }
}

TEST_P(CodecTest, OneObjectServesManyThreads) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 8; ++seed) {
    threads.emplace_back([&, seed] {
      for (unsigned round = 0; round < 30; ++round) {
        const Blob in = text_of(1'000 + 3'000 * round, seed * 100 + round);
        Blob stored(codec_->compress_bound(in.size()));
        const CodecResult result = codec_->compress(in, stored);
        stored.resize(result.bytes);
        Blob out(in.size());
        if (result.outcome != CodecOutcome::done || codec_->decompress(stored, out).outcome != CodecOutcome::done || out != in)
          ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(CodecLevelTest, HigherLevelsGiveSmallerOutput) {
  const Blob in = text_of(200'000);
  EXPECT_LT(compressed(*make_lz4(9), in).size(), compressed(*make_lz4(0), in).size());
  EXPECT_LT(compressed(*make_zstd(15), in).size(), compressed(*make_zstd(-5), in).size());
}

TEST(CodecLevelTest, DeclaresBoundsForTheLevel) {
  for (const PluginDescriptor* descriptor : {&streambus_plugin_codec_lz4, &streambus_plugin_codec_zstd}) {
    ASSERT_EQ(descriptor->option_count, 1U);
    EXPECT_STREQ(descriptor->options[0].key, "level");
    EXPECT_LT(descriptor->options[0].min, descriptor->options[0].max);
  }
}

/// A size that a frame declares is a claim of whoever sent it.
TEST(Lz4FrameTest, ADeclaredSizeThatTheBlocksCannotReachIsCapped) {
  const auto codec = make_lz4();
  Blob stored = compressed(*codec, text_of(700));
  constexpr std::size_t kContentSize = 6;  // magic, flags, block descriptor
  stored[kContentSize + 7] = std::byte{0x7f};
  EXPECT_LE(codec->decompressed_size(stored), stored.size() * 255);
  Blob out(10'000);
  EXPECT_EQ(codec->decompress(stored, out).outcome, CodecOutcome::corrupt);
}

}  // namespace
}  // namespace streambus::test
