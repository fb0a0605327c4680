// Frames of others: the command-line tools of lz4 and zstd, and librdkafka.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "codec_fixture.hpp"
#include "librdkafka_batches.hpp"
#include "streambus/base/record_batch.hpp"

namespace streambus::test {
namespace {

class ToolTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void need(const char* tool) const {
    const std::string command = std::string("command -v ") + tool + " > /dev/null 2>&1";
    if (std::system(command.c_str()) != 0) GTEST_SKIP() << tool << " is not installed";
  }
  [[nodiscard]] std::string path(const char* name) const { return (folder_ / name).string(); }
  void write(const char* name, const Blob& content) const {
    std::ofstream(path(name), std::ios::binary)
        .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
  }
  [[nodiscard]] Blob read(const char* name) const {
    std::ifstream in(path(name), std::ios::binary);
    return blob(std::string(std::istreambuf_iterator<char>(in), {}));
  }
  void run(const std::string& command) const { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

  /// The tool must read what the codec writes, and the codec what the tool writes with each set of flags.
  void exchange(const Codec& codec, const char* tool, std::initializer_list<const char*> flag_sets) const {
    const Blob in = text_of(300'000);
    write("in", in);
    write("ours", compressed(codec, in));
    run(std::string(tool) + " -q -d -c < " + path("ours") + " > " + path("out"));
    EXPECT_TRUE(read("out") == in) << tool << " must read our frames";
    for (const char* flags : flag_sets) {
      run(std::string(tool) + " -q -c " + flags + " < " + path("in") + " > " + path("theirs"));
      const Blob stored = read("theirs");
      const std::size_t bound = codec.decompressed_size(stored);
      EXPECT_TRUE(bound == 0 || bound >= in.size()) << flags;
      Blob out(in.size());
      const CodecResult result = codec.decompress(stored, out);
      ASSERT_EQ(result.outcome, CodecOutcome::done) << tool << " " << flags;
      EXPECT_EQ(result.bytes, in.size());
      EXPECT_TRUE(out == in) << tool << " " << flags;
    }
    write("in", {});
    run(std::string(tool) + " -q -c < " + path("in") + " > " + path("theirs"));
    Blob out(1);
    EXPECT_EQ(codec.decompress(read("theirs"), out).outcome, CodecOutcome::done) << "a frame with nothing in it";
  }

 private:
  std::filesystem::path folder_ = std::filesystem::temp_directory_path() / ("streambus-codec-" + std::to_string(getpid()));
};

TEST_F(ToolTest, ExchangesFramesWithTheLz4Tool) {
  need("lz4");
  exchange(*make_lz4(), "lz4", {"-1", "-9", "-BD", "-BD -B4", "-B7", "--no-frame-crc", "-BX"});
}

TEST_F(ToolTest, ExchangesFramesWithTheZstdTool) {
  need("zstd");
  exchange(*make_zstd(), "zstd", {"-1", "-19", "--no-check", "--long=20"});
}

/// The records of the same batch in librdkafka's frames and without compression must be the same bytes.
void reads_librdkafka(const Codec& codec, std::string_view batch_hex) {
  const Blob plain = from_hex(kLibrdkafkaNone);
  const Blob expected(plain.begin() + kBatchHeaderBytes, plain.end());
  const Blob batch = from_hex(batch_hex);
  ASSERT_EQ(BatchHeader(batch.data()).compression(), codec.id());
  const Bytes stored = Bytes(batch).subspan(kBatchHeaderBytes);
  Blob out(expected.size());
  const CodecResult result = codec.decompress(stored, out);
  ASSERT_EQ(result.outcome, CodecOutcome::done);
  EXPECT_EQ(result.bytes, expected.size());
  EXPECT_TRUE(out == expected);
}

TEST(LibrdkafkaTest, ReadsItsLz4Frames) { reads_librdkafka(*make_lz4(), kLibrdkafkaLz4); }
TEST(LibrdkafkaTest, ReadsItsZstdFrames) { reads_librdkafka(*make_zstd(), kLibrdkafkaZstd); }

TEST(LibrdkafkaTest, BoundsTheSizeOfFramesThatDeclareNone) {
  const Blob batch = from_hex(kLibrdkafkaLz4);
  const std::size_t bound = make_lz4()->decompressed_size(Bytes(batch).subspan(kBatchHeaderBytes));
  EXPECT_GE(bound, from_hex(kLibrdkafkaNone).size() - kBatchHeaderBytes);
  EXPECT_LE(bound, std::size_t{64} << 10);
}

}  // namespace
}  // namespace streambus::test
