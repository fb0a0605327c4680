#include "streambus/host/batch_codec.hpp"

#include <gtest/gtest.h>

#include <string>

#include "codec_fixture.hpp"
#include "librdkafka_batches.hpp"
#include "streambus/base/batch_builder.hpp"
#include "streambus/base/buffer_pool.hpp"

namespace streambus::test {
namespace {

constexpr std::size_t kCap = std::size_t{64} << 20;

/// A codec whose answers the test decides.
class ScriptedCodec final : public Codec {
 public:
  ScriptedCodec(std::uint8_t id, std::string_view type) : id_(id), type_(type) {}
  CodecResult compressing{CodecOutcome::declined, 0};
  CodecResult decompressing{CodecOutcome::corrupt, 0};

  [[nodiscard]] std::uint8_t id() const noexcept override { return id_; }
  [[nodiscard]] std::string_view type() const noexcept override { return type_; }
  [[nodiscard]] std::size_t compress_bound(std::size_t bytes) const noexcept override { return bytes; }
  CodecResult compress(Bytes, MutableBytes) const noexcept override { return compressing; }
  [[nodiscard]] std::size_t decompressed_size(Bytes) const noexcept override { return 0; }
  CodecResult decompress(Bytes, MutableBytes) const noexcept override { return decompressing; }

 private:
  std::uint8_t id_;
  std::string_view type_;
};

class BatchCodecTest : public testing::Test {
 protected:
  BatchCodecTest() {
    EXPECT_TRUE(codecs_.add(*lz4_).has_value());
    EXPECT_TRUE(codecs_.add(*zstd_).has_value());
  }
  Bytes built(const Codec* codec, std::string_view value, int records = 10) {
    BatchBuilder builder(pool_);
    for (int i = 0; i < records; ++i) {
      EXPECT_TRUE(builder.append({.timestamp_ms = 1'000 + i, .key = {}, .value = as_bytes(value), .headers = {}}));
    }
    batch_.reset();
    EXPECT_TRUE(
        builder
            .finish(
                {.base_offset = Offset{5}, .producer_id = 9, .producer_epoch = 1, .base_sequence = 2, .transactional = true},
                codec, batch_)
            .ok());
    return batch_.view();
  }

  BufferPool pool_;
  CodecOwner lz4_ = make_lz4();
  CodecOwner zstd_ = make_zstd();
  CodecSet codecs_;
  MessageBuffer batch_{pool_};
  MessageBuffer scratch_{pool_};
  MessageBuffer out_{pool_};
  Bytes body_;
};

TEST_F(BatchCodecTest, FindsCodecsByIdAndWord) {
  EXPECT_EQ(codecs_.by_id(3), lz4_.get());
  EXPECT_EQ(codecs_.by_type("zstd"), zstd_.get());
  EXPECT_EQ(codecs_.by_id(0), nullptr);
  EXPECT_EQ(codecs_.by_id(1), nullptr);
  EXPECT_EQ(codecs_.by_id(255), nullptr);
  EXPECT_EQ(codecs_.by_type("none"), nullptr);
}

TEST_F(BatchCodecTest, RefusesCodecsThatCollide) {
  EXPECT_EQ(codecs_.add(ScriptedCodec(3, "other")).error().message,
            "codec 'other' (id 3): codec 'lz4' (id 3) has that id or name");
  EXPECT_EQ(codecs_.add(ScriptedCodec(6, "zstd")).error().code, ErrorCode::already_exists);
  EXPECT_EQ(codecs_.add(ScriptedCodec(0, "zero")).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(codecs_.add(ScriptedCodec(8, "eight")).error().code, ErrorCode::invalid_argument);
}

TEST_F(BatchCodecTest, NamesEveryId) {
  EXPECT_EQ(compression_name(0), "none");
  EXPECT_EQ(compression_name(4), "zstd");
  EXPECT_EQ(compression_name(7), "codec 7");
  EXPECT_EQ(compression_name(200), "unknown codec");
}

TEST_F(BatchCodecTest, ViewsUncompressedRecordsWhereTheyAre) {
  const Bytes batch = built(nullptr, "abc");
  ASSERT_TRUE(decompress_batch(codecs_, batch, kCap, scratch_, &body_).ok());
  EXPECT_EQ(body_.data(), batch.data() + kBatchHeaderBytes);
  EXPECT_EQ(body_.size(), batch.size() - kBatchHeaderBytes);
}

TEST_F(BatchCodecTest, DecompressesTheBatchesOfLibrdkafka) {
  const Blob plain = from_hex(kLibrdkafkaNone);
  for (const std::string_view hex : {kLibrdkafkaLz4, kLibrdkafkaZstd}) {
    const Blob batch = from_hex(hex);
    const Status status = decompress_batch(codecs_, batch, kCap, scratch_, &body_);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(Blob(body_.begin(), body_.end()) == Blob(plain.begin() + kBatchHeaderBytes, plain.end()));
  }
}

TEST_F(BatchCodecTest, SaysWhichCodecIsMissing) {
  const Blob batch = from_hex(kLibrdkafkaGzip);
  const Status status = decompress_batch(codecs_, batch, kCap, scratch_, &body_);
  EXPECT_EQ(status.code, ErrorCode::unsupported_compression);
  EXPECT_EQ(status.message(), "a batch is compressed with gzip, for which no codec is loaded; load codec-gzip");
}

TEST_F(BatchCodecTest, GrowsForFramesThatDoNotDeclareTheirSize) {
  // Two zstd frames, the second without a size: the whole declares none, and is larger than the first guess.
  const std::string value(3'000'000, 'x');
  Blob batch;
  {
    const Bytes whole = built(zstd_.get(), value, 1);
    batch.assign(whole.begin(), whole.end());
  }
  constexpr std::size_t kFrame = kBatchHeaderBytes;
  // Frame header: magic, descriptor (size flag in the two top bits, single segment bit 5), size. Rewrite it as a frame with a
  // window descriptor and no size (RFC 8878, 3.1.1.1).
  const auto descriptor = std::to_integer<unsigned>(batch[kFrame + 4]);
  ASSERT_EQ(descriptor >> 6, 2U) << "a four-byte content size";
  const bool single_segment = (descriptor & 0x20) != 0;
  const auto header_end = batch.begin() + kFrame + 5 + (single_segment ? 0 : 1) + 4;
  Blob rewritten(batch.begin(), batch.begin() + kFrame + 4);
  rewritten.push_back(std::byte{0});
  rewritten.push_back(std::byte{0x60});  // window of 4 MiB
  rewritten.insert(rewritten.end(), header_end, batch.end());
  store_be(rewritten.data() + 8, static_cast<std::int32_t>(rewritten.size() - kBatchLengthPrefixBytes));
  ASSERT_EQ(zstd_->decompressed_size(Bytes(rewritten).subspan(kBatchHeaderBytes)), 0U);

  const Status status = decompress_batch(codecs_, rewritten, kCap, scratch_, &body_);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_GT(body_.size(), value.size());
  EXPECT_EQ(decompress_batch(codecs_, rewritten, value.size(), scratch_, &body_).code, ErrorCode::too_large);
}

TEST_F(BatchCodecTest, RespectsTheCapToTheByte) {
  const Bytes batch = built(lz4_.get(), std::string(1'000, 'x'));
  ASSERT_TRUE(decompress_batch(codecs_, batch, kCap, scratch_, &body_).ok());
  const std::size_t bytes = body_.size();
  EXPECT_TRUE(decompress_batch(codecs_, batch, bytes, scratch_, &body_).ok());
  const Status status = decompress_batch(codecs_, batch, bytes - 1, scratch_, &body_);
  EXPECT_EQ(status.code, ErrorCode::too_large);
  EXPECT_NE(status.message().find(std::to_string(bytes - 1)), std::string_view::npos) << status.message();
}

TEST_F(BatchCodecTest, ReportsCorruptRecords) {
  const Bytes good = built(lz4_.get(), std::string(1'000, 'x'));
  Blob batch(good.begin(), good.end());
  batch[kBatchHeaderBytes] ^= std::byte{0xff};
  EXPECT_EQ(decompress_batch(codecs_, batch, kCap, scratch_, &body_).code, ErrorCode::corrupt);
}

TEST_F(BatchCodecTest, ReportsWantOfMemoryAsBusy) {
  BufferPoolSettings settings;
  settings.bytes_max = std::size_t{1} << 20;
  BufferPool small(settings);
  MessageBuffer scratch(small);
  const Bytes batch = built(lz4_.get(), std::string(1'000'000, 'x'), 3);
  EXPECT_EQ(decompress_batch(codecs_, batch, kCap, scratch, &body_).code, ErrorCode::busy);
}

TEST_F(BatchCodecTest, RecompressesBetweenAllCodecsAndKeepsTheHeader) {
  const Codec* const all[] = {nullptr, lz4_.get(), zstd_.get()};
  const std::string value(1'000, 'x');
  const Bytes plain_batch = built(nullptr, value);
  const Blob plain(plain_batch.begin() + kBatchHeaderBytes, plain_batch.end());
  for (const Codec* from : all) {
    for (const Codec* to : all) {
      const Bytes batch = built(from, value);
      out_.reset();
      out_.bytes(as_bytes("before"));
      const Status status = recompress_batch(codecs_, batch, to, kCap, scratch_, out_);
      ASSERT_TRUE(status.ok()) << status.message();
      const Bytes result = out_.view().subspan(6);
      std::size_t bytes = 0;
      ASSERT_TRUE(check_batch(result, &bytes).ok());
      EXPECT_EQ(bytes, result.size());
      const BatchHeader was(batch.data());
      const BatchHeader is(result.data());
      EXPECT_EQ(is.compression(), to == nullptr ? 0 : to->id());
      EXPECT_EQ(is.attributes() & ~7, was.attributes() & ~7);
      EXPECT_TRUE(is.transactional());
      EXPECT_EQ(is.base_offset(), was.base_offset());
      EXPECT_EQ(is.leader_epoch(), was.leader_epoch());
      EXPECT_TRUE(std::equal(result.begin() + 23, result.begin() + kBatchHeaderBytes, batch.begin() + 23))
          << "fields behind the attributes";
      ASSERT_TRUE(decompress_batch(codecs_, result, kCap, scratch_, &body_).ok());
      EXPECT_TRUE(Blob(body_.begin(), body_.end()) == plain);
    }
  }
}

TEST_F(BatchCodecTest, StoresPlainWhatTheTargetDeclines) {
  const Blob noise = noise_of(5'000);
  const Bytes batch = built(nullptr, as_text(noise), 1);
  ASSERT_TRUE(recompress_batch(codecs_, batch, lz4_.get(), kCap, scratch_, out_).ok());
  EXPECT_EQ(BatchHeader(out_.view().data()).compression(), 0);
  EXPECT_TRUE(std::equal(batch.begin(), batch.end(), out_.view().begin(), out_.view().end()));
}

TEST_F(BatchCodecTest, FailuresLeaveTheOutputAsItWas) {
  out_.bytes(as_bytes("before"));
  ScriptedCodec broken(7, "broken");
  broken.compressing = {CodecOutcome::failed, 0};
  EXPECT_EQ(recompress_batch(codecs_, built(nullptr, "abc"), &broken, kCap, scratch_, out_).code, ErrorCode::internal);
  EXPECT_EQ(recompress_batch(codecs_, from_hex(kLibrdkafkaGzip), nullptr, kCap, scratch_, out_).code,
            ErrorCode::unsupported_compression);
  EXPECT_EQ(as_text(out_.view()), "before");
}

TEST_F(BatchCodecTest, TheBuilderCompressesAndFallsBack) {
  EXPECT_EQ(BatchHeader(built(lz4_.get(), std::string(500, 'x')).data()).compression(), 3);
  std::size_t bytes = 0;
  EXPECT_TRUE(check_batch(batch_.view(), &bytes).ok());
  const Blob noise = noise_of(500);
  EXPECT_EQ(BatchHeader(built(lz4_.get(), as_text(noise), 1).data()).compression(), 0);
  EXPECT_TRUE(check_batch(batch_.view(), &bytes).ok());
  EXPECT_EQ(bytes, batch_.size());
}

}  // namespace
}  // namespace streambus::test
