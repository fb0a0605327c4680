// Any bytes as any message. Input: a selector (index into AllMessages, or 255: a request frame behind its length, header
// first), a version, and the bytes. What decodes must encode, and decode again to the same bytes.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "streambus/base/buffer_pool.hpp"
#include "streambus/wire/frame.hpp"
#include "streambus/wire/walk.hpp"

namespace streambus::wire {
namespace {

constexpr std::uint8_t kFrame = 255;

void require(bool condition) {
  if (!condition) std::abort();
}

struct State {
  BufferPool pool;
  Arena arena;
};

template <class M>
std::vector<std::byte> encoded(const M& message, std::int16_t version, State& state) {
  MessageBuffer buffer(state.pool);
  Encoder encoder(buffer, state.arena);
  encode(message, version, encoder);
  require(encoder.ok());
  std::vector<std::byte> all;
  for (const Slice& slice : encoder.slices()) all.insert(all.end(), slice.data, slice.data + slice.bytes);
  require(all.size() == encoded_size(message, version).total_bytes());
  return all;
}

template <class M>
void try_message(std::vector<std::byte>& bytes, std::int16_t version, State& state) {
  ByteReader in(bytes);
  M message;
  if (!decode(in, version, state.arena, message)) return;
  // Views cannot hold more than the frame did, save for their own fixed size: what bounds a hostile frame.
  require(state.arena.held_bytes() <= 8192 + 256 * bytes.size());
  const std::vector<std::byte> once = encoded(message, version, state);
  ByteReader again(once);
  M reread;
  require(decode(again, version, state.arena, reread) && again.remaining() == 0);
  require(encoded(reread, version, state) == once);
}

template <class... M>
void try_selected(std::size_t selector, std::vector<std::byte>& bytes, std::int16_t version, State& state, std::tuple<M...>*) {
  using Try = void (*)(std::vector<std::byte>&, std::int16_t, State&);
  constexpr Try kTries[] = {&try_message<M>...};
  kTries[selector % std::size(kTries)](bytes, version, state);
}

template <class... M>
std::size_t selector_of_request(std::int16_t key, std::tuple<M...>*) {
  const bool found[] = {(static_cast<std::int16_t>(M::kKey) == key && requires { typename M::Response; })...};
  return static_cast<std::size_t>(std::ranges::find(found, true) - std::begin(found));
}

void run(std::span<const std::uint8_t> input) {
  static State state;
  state.arena.trim();
  if (input.size() < 2) return;
  const std::uint8_t selector = input[0];
  const auto version = static_cast<std::int16_t>(input[1]);
  AllMessages* const all = nullptr;
  const Bytes rest = std::as_bytes(input.subspan(2));
  std::vector<std::byte> bytes(rest.begin(), rest.end());
  if (selector != kFrame) return try_selected(selector, bytes, version, state, all);

  ByteReader in(bytes);
  RequestHeader header;
  if (!decode(in, header) || find_api(header.api_key) == nullptr) return;
  std::vector<std::byte> body(in.position(), in.position() + in.remaining());
  try_selected(selector_of_request(header.api_key, all), body, header.api_version, state, all);
}

}  // namespace
}  // namespace streambus::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  streambus::wire::run({data, size});
  return 0;
}
