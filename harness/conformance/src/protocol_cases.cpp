// What every protocol must survive.

#include "case_lists.hpp"
#include "protocol_fixture.hpp"
#include "streambus/base/bytes.hpp"

namespace streambus::conformance {
namespace {

using Blob = std::vector<std::byte>;

Blob noise_of(std::size_t bytes, std::mt19937_64& random) {
  Blob blob(bytes);
  for (std::byte& one : blob) one = static_cast<std::byte>(random());
  return blob;
}

/// Looks like a frame to most protocols: a length, two small numbers, an id, and then anything.
Blob framed_noise(std::mt19937_64& random) {
  const std::size_t body = 8 + random() % 200;
  Blob frame = noise_of(4 + body, random);
  const auto length = random() % 8 == 0 ? static_cast<std::int32_t>(random()) : static_cast<std::int32_t>(body);
  store_be(frame.data(), length);
  store_be(frame.data() + 4, static_cast<std::int16_t>(random() % 70));
  store_be(frame.data() + 6, static_cast<std::int16_t>(random() % 18));
  return frame;
}

void lifecycle(CaseContext& context) {
  for (int i = 0; i < 3; ++i) {
    ProtocolFixture fixture(context);
    for (int session = 0; session < 10; ++session) fixture.converse({}, 1);
    fixture.finish();
  }
}

void garbage(CaseContext& context) {
  ProtocolFixture fixture(context);
  std::mt19937_64 random(context.seed);
  for (std::uint64_t i = 0; i < context.rounds(300, 3000, 100'000); ++i) {
    context.at(fmt::format("connection {}", i));
    fixture.converse(noise_of(random() % 2000, random), 1 + random() % 500);
  }
  fixture.finish();
}

void frames(CaseContext& context) {
  ProtocolFixture fixture(context);
  std::mt19937_64 random(context.seed);
  for (std::uint64_t i = 0; i < context.rounds(500, 5000, 200'000); ++i) {
    context.at(fmt::format("connection {}", i));
    Blob stream;
    for (std::uint64_t count = 1 + random() % 4; count != 0; --count) {
      const Blob frame = framed_noise(random);
      stream.insert(stream.end(), frame.begin(), frame.end());
    }
    fixture.converse(stream, 1 + random() % 300);
  }
  fixture.finish();
}

void truncated(CaseContext& context) {
  ProtocolFixture fixture(context);
  std::mt19937_64 random(context.seed);
  for (std::uint64_t i = 0; i < context.rounds(3, 20, 500); ++i) {
    const Blob frame = framed_noise(random);
    for (std::size_t length = 0; length <= frame.size(); ++length) {
      context.at(fmt::format("frame {} cut to {} of {} bytes", i, length, frame.size()));
      fixture.converse(Bytes(frame).first(length), 1 + i % 7);
    }
  }
  fixture.finish();
}

void lengths(CaseContext& context) {
  ProtocolFixture fixture(context);
  for (const std::uint32_t length : {0U, 1U, 0x7fff'ffffU, 0x8000'0000U, 0xffff'ffffU,
                                     0x1603'0100U /* the start of a TLS hello */, 0x4745'5420U /* "GET " */}) {
    context.at(fmt::format("a frame that says it has {:#x} bytes", length));
    Blob frame(64);
    store_be(frame.data(), length);
    fixture.converse(frame, 64);
  }
  fixture.finish();
}

constexpr Case kCases[] = {
    {"protocol.lifecycle", "A factory makes sessions; each gives its connection back after closed().", Level::basic, kNothing,
     &lifecycle},
    {"protocol.garbage", "Whatever bytes a peer sends, a session survives or closes.", Level::basic, kNothing, &garbage},
    {"protocol.frames", "The same for bytes that look like requests.", Level::basic, kNothing, &frames},
    {"protocol.truncated", "A request may stop after any byte.", Level::basic, kNothing, &truncated},
    {"protocol.lengths", "Absurd lengths cost neither memory nor the process.", Level::basic, kNothing, &lengths},
};

}  // namespace

std::span<const Case> protocol_cases() { return kCases; }

}  // namespace streambus::conformance
