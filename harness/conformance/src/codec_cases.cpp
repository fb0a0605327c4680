// What every codec must do.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "case_lists.hpp"
#include "plugin_object.hpp"
#include "streambus/base/bytes.hpp"
#include "streambus/plugin/codec.hpp"

namespace streambus::conformance {
namespace {

using Blob = std::vector<std::byte>;

/// Words of a small vocabulary: shrinks under any codec that deserves the name.
Blob text_of(std::size_t bytes, std::uint64_t seed) {
  constexpr std::string_view kWords[] = {"offset ", "partition ", "record ", "batch ", "segment ", "topic ", "the ", "of "};
  std::mt19937_64 random(seed);
  Blob blob;
  blob.reserve(bytes + 16);
  while (blob.size() < bytes) {
    const Bytes word = as_bytes(kWords[random() % std::size(kWords)]);
    blob.insert(blob.end(), word.begin(), word.end());
  }
  blob.resize(bytes);
  return blob;
}

Blob noise_of(std::size_t bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Blob blob(bytes);
  for (std::byte& one : blob) one = static_cast<std::byte>(random());
  return blob;
}

/// Memory that ends where a page without access begins: a byte too far is a crash, in every build.
class Guarded {
 public:
  explicit Guarded(std::size_t bytes) : bytes_(bytes) {
    const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    mapped_ = (bytes + page - 1) / page * page + page;
    void* const memory = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(memory != MAP_FAILED, "memory");
    memory_ = static_cast<std::byte*>(memory);
    ::mprotect(memory_ + mapped_ - page, page, PROT_NONE);
    begin_ = memory_ + mapped_ - page - bytes;
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { ::munmap(memory_, mapped_); }

  [[nodiscard]] MutableBytes span() noexcept { return {begin_, bytes_}; }
  /// Fills it, and forbids to write to it from then on.
  Bytes hold(Bytes from) {
    std::ranges::copy(from, begin_);
    ::mprotect(memory_, mapped_ - static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), PROT_READ);
    return {begin_, bytes_};
  }

 private:
  std::size_t bytes_;
  std::size_t mapped_ = 0;
  std::byte* memory_ = nullptr;
  std::byte* begin_ = nullptr;
};

class CodecFixture {
 public:
  explicit CodecFixture(CaseContext& context) : object_(context.plugin, context.options) {
    expect_ok(object_.created(), "create()");
  }
  const Codec* operator->() const noexcept { return object_.get(); }

  /// The compressed bytes; none where the codec declined.
  [[nodiscard]] std::optional<Blob> compressed(const Blob& plain) const {
    Guarded in(plain.size());
    Guarded out(object_->compress_bound(plain.size()));
    const CodecResult result = object_->compress(in.hold(plain), out.span());
    if (result.outcome == CodecOutcome::declined) return std::nullopt;
    expect(result.outcome == CodecOutcome::done,
           fmt::format("compress() of {} bytes into compress_bound() bytes to be done or declined, found outcome {}",
                       plain.size(), static_cast<int>(result.outcome)));
    expect_at_most("bytes that compress() produced, of compress_bound()", result.bytes, out.span().size());
    return Blob(out.span().begin(), out.span().begin() + static_cast<std::ptrdiff_t>(result.bytes));
  }
  /// The same of text, which must shrink.
  [[nodiscard]] Blob shrunk(const Blob& plain) const {
    std::optional<Blob> stored = compressed(plain);
    expect(stored.has_value(), fmt::format("{} bytes of words to be compressed, found them declined", plain.size()));
    return std::move(*stored);
  }
  CodecResult decompress(Bytes stored, MutableBytes out) const {
    Guarded in(stored.size());
    return object_->decompress(in.hold(stored), out);
  }
  void expect_round_trip(const Blob& plain, std::string_view what) const {
    const std::optional<Blob> stored = compressed(plain);
    if (!stored) return;  // declined is no error: the batch stays as it is
    const std::size_t declared = object_->decompressed_size(*stored);
    expect(declared == 0 || declared >= plain.size(),
           fmt::format("decompressed_size() of 0 or at least {}, found {}", plain.size(), declared));
    Guarded out(plain.size());
    const CodecResult result = decompress(*stored, out.span());
    expect(result.outcome == CodecOutcome::done, fmt::format("decompress() of {} ({} bytes) to be done, found outcome {}", what,
                                                             plain.size(), static_cast<int>(result.outcome)));
    expect_bytes(what, Bytes(out.span()).first(std::min(result.bytes, plain.size())), plain);
  }

 private:
  PluginObject<Codec> object_;
};

void identity(CaseContext& context) {
  const CodecFixture codec(context);
  expect(codec->id() >= 1 && codec->id() <= 7,
         fmt::format("an id from 1 to 7 (0 is no compression, 3 bits in a RecordBatch), found {}", codec->id()));
  expect(!codec->type().empty(), "a word for compression.type, found none");
  const std::string type(codec->type());
  const CodecFixture other(context);
  expect_equal("type of another object", other->type(), std::string_view(type));
  expect_equal("id of another object", other->id(), codec->id());
}

void sizes(CaseContext& context) {
  const CodecFixture codec(context);
  std::vector<std::size_t> all = {0,   1,    2,    3,    7,    8,      15,     16,     31,      100,     255,       256,
                                  500, 1000, 4095, 4096, 4097, 65'535, 65'536, 65'537, 262'144, 262'145, 1'000'000, 16U << 20};
  std::mt19937_64 random(context.seed);
  for (std::uint64_t i = 0; i < context.rounds(20, 200, 2000); ++i) all.push_back(random() % 200'000);
  for (const std::size_t bytes : all) {
    context.at(fmt::format("{} bytes", bytes));
    codec.expect_round_trip(text_of(bytes, context.seed), "words");
    codec.expect_round_trip(noise_of(bytes, context.seed), "noise");
    codec.expect_round_trip(Blob(bytes, std::byte{0}), "zeros");
    Blob mixed = noise_of(bytes, context.seed);
    std::fill_n(mixed.begin() + static_cast<std::ptrdiff_t>(bytes / 3), bytes / 2, std::byte{7});
    codec.expect_round_trip(mixed, "noise with some order");
  }
}

void shrinks(CaseContext& context) {
  const CodecFixture codec(context);
  for (const std::size_t bytes : {1000U, 100'000U, 1'000'000U}) {
    const Blob plain = text_of(bytes, context.seed);
    expect(codec.shrunk(plain).size() < bytes, fmt::format("{} bytes of words to shrink", bytes));
  }
}

void bounded(CaseContext& context) {
  const CodecFixture codec(context);
  for (const std::size_t bytes : {100U, 5'000U, 200'000U}) {
    const Blob plain = text_of(bytes, context.seed);
    const Blob stored = codec.shrunk(plain);
    for (const std::size_t room : {std::size_t{0}, std::size_t{1}, std::size_t{10}, stored.size() / 2, stored.size() - 1}) {
      Guarded out(room);
      const CodecResult result = codec->compress(plain, out.span());
      expect(result.outcome == CodecOutcome::needs_space || result.outcome == CodecOutcome::declined,
             fmt::format("compress() into {} bytes where {} are needed to say needs_space, found outcome {}", room,
                         stored.size(), static_cast<int>(result.outcome)));
    }
    for (const std::size_t room : {std::size_t{0}, std::size_t{1}, plain.size() / 2, plain.size() - 1}) {
      Guarded out(room);
      const CodecResult result = codec.decompress(stored, out.span());
      expect(result.outcome == CodecOutcome::needs_space,
             fmt::format("decompress() into {} bytes where {} are needed to say needs_space, found outcome {}", room,
                         plain.size(), static_cast<int>(result.outcome)));
    }
    for (const std::size_t more : {1U, 1000U, 100'000U}) {
      Blob out(plain.size() + more);
      const CodecResult result = codec.decompress(stored, out);
      expect(result.outcome == CodecOutcome::done, "decompress() into more than is needed to be done");
      expect_bytes("what was decompressed into more than is needed", Bytes(out).first(std::min(out.size(), result.bytes)),
                   plain);
    }
  }
}

void concatenated(CaseContext& context) {
  const CodecFixture codec(context);
  Blob plain = text_of(70'000, context.seed);
  Blob stored = codec.shrunk(plain);
  for (const std::size_t bytes : {1'000U, 20'000U}) {
    const Blob more = text_of(bytes, context.seed + bytes);
    const Blob frame = codec.shrunk(more);
    plain.insert(plain.end(), more.begin(), more.end());
    stored.insert(stored.end(), frame.begin(), frame.end());
  }
  const std::size_t declared = codec->decompressed_size(stored);
  expect(declared == 0 || declared >= plain.size(),
         fmt::format("decompressed_size() of three frames: 0 or at least {}, found {}", plain.size(), declared));
  Guarded out(plain.size());
  const CodecResult result = codec.decompress(stored, out.span());
  expect(result.outcome == CodecOutcome::done, "decompress() of three frames to be done");
  expect_bytes("three frames", Bytes(out.span()).first(result.bytes), plain);
}

void truncated(CaseContext& context) {
  const CodecFixture codec(context);
  const Blob plain = text_of(context.rounds(700, 5000, 50'000), context.seed);
  const Blob stored = codec.shrunk(plain);
  for (std::size_t length = 0; length < stored.size(); ++length) {
    context.at(fmt::format("cut to {} of {} bytes", length, stored.size()));
    (void)codec->decompressed_size(Bytes(stored).first(length));
    Guarded out(plain.size());
    const CodecResult result = codec.decompress(Bytes(stored).first(length), out.span());
    if (result.outcome != CodecOutcome::done) continue;
    // Where the cut leaves whole frames, these are valid; the end is missing then, and nothing is made up.
    expect(
        result.bytes < plain.size() &&
            std::equal(out.span().begin(), out.span().begin() + static_cast<std::ptrdiff_t>(result.bytes), plain.begin()),
        fmt::format("a frame that was cut off to be corrupt, found it done with {} of {} bytes", result.bytes, plain.size()));
  }
}

/// Feeds damaged bytes. The answer is free, as long as it stays within the room.
void feed(const CodecFixture& codec, Bytes stored, std::size_t room) {
  (void)codec->decompressed_size(stored);
  Guarded out(room);
  const CodecResult result = codec.decompress(stored, out.span());
  if (result.outcome == CodecOutcome::done) expect_at_most("bytes that decompress() says it produced", result.bytes, room);
}

void corrupted(CaseContext& context) {
  const CodecFixture codec(context);
  const Blob plain = text_of(3000, context.seed);
  const Blob good = codec.shrunk(plain);
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      context.at(fmt::format("bit {} of byte {} flipped", bit, i));
      Blob bad = good;
      bad[i] ^= static_cast<std::byte>(1U << bit);
      feed(codec, bad, plain.size() + 50);
    }
  }
  std::mt19937_64 random(context.seed);
  const Blob large = codec.shrunk(text_of(100'000, context.seed));
  for (std::uint64_t i = 0; i < context.rounds(300, 3000, 100'000); ++i) {
    context.at(fmt::format("round {} of random damage", i));
    Blob bad = large;
    for (std::uint64_t flips = 1 + random() % 8; flips != 0; --flips)
      bad[random() % bad.size()] = static_cast<std::byte>(random());
    feed(codec, bad, 100'000 + random() % 100);
    feed(codec, noise_of(random() % 300, random()), 5000);
  }
  context.at("after all the damage");
  codec.expect_round_trip(plain, "good bytes after bad ones");
}

void threads(CaseContext& context) {
  const CodecFixture codec(context);
  std::vector<std::thread> all;
  for (std::uint64_t thread = 0; thread < 6; ++thread) {
    all.emplace_back([&, thread] {
      for (std::uint64_t round = 0; round < context.rounds(15, 60, 1000); ++round)
        codec.expect_round_trip(text_of(1'000 + 3'000 * (round % 30), context.seed + thread * 100 + round),
                                "words on many threads");
    });
  }
  for (std::thread& thread : all) thread.join();
}

constexpr Case kCases[] = {
    {"codec.identity", "A codec has an id that fits a RecordBatch and a word for compression.type, both constant.",
     Level::basic, kNothing, &identity},
    {"codec.sizes", "What is compressed comes back byte for byte, from 0 bytes to 16 MiB; declined is not an error.",
     Level::basic, kNothing, &sizes},
    {"codec.shrinks", "What repeats itself becomes smaller.", Level::basic, kNothing, &shrinks},
    {"codec.bounded", "Nothing is written beyond the output; too little room is needs_space, more than enough is done.",
     Level::basic, kNothing, &bounded},
    {"codec.frames", "decompress() takes all concatenated frames of its input.", Level::basic, kNothing, &concatenated},
    {"codec.truncated", "Input that is cut off anywhere is never taken for whole.", Level::basic, kNothing, &truncated},
    {"codec.corrupted", "Whatever byte is damaged: no crash, nothing beyond the output, and the codec goes on working.",
     Level::basic, kNothing, &corrupted},
    {"codec.threads", "One object serves many threads; the input is never written to.", Level::basic, kNothing, &threads},
};

}  // namespace

std::span<const Case> codec_cases() { return kCases; }

}  // namespace streambus::conformance
