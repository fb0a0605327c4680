#pragma once
// Walkers over the generated layouts: one that fills messages, one that prints them for comparison.

#include <gtest/gtest.h>

#include <algorithm>
#include <concepts>
#include <random>
#include <string>
#include <tuple>
#include <type_traits>

#include "streambus/base/buffer_pool.hpp"
#include "streambus/wire/frame.hpp"
#include "streambus/wire/walk.hpp"

namespace streambus::wire::test {

/// Fills every field that the version has with what `source` says; arrays, texts and batches live in the arena.
template <class Source>
class Filler {
 public:
  Filler(std::int16_t version, Arena& arena, Source& source) : version_(version), arena_(arena), source_(source) {}

  [[nodiscard]] std::int16_t version() const { return version_; }

  template <std::integral T>
  void field(T& out) {
    out = static_cast<T>(source_.integer(sizeof(T)));
  }
  void field(bool& out) { out = source_.boolean(); }
  void field(std::string_view& out) { out = arena_.copy(source_.text()); }
  void field(std::optional<std::string_view>& out, bool nullable) {
    if (nullable && source_.null()) return out.reset();
    field(out.emplace());
  }
  template <class T>
  void field(std::span<T>& out) {
    out = arena_.array<T>(source_.count());
    for (T& element : out) field(element);
  }
  template <class T>
  void field(std::optional<std::span<T>>& out, bool nullable) {
    if (nullable && source_.null()) return out.reset();
    field(out.emplace());
  }
  void field(MutableBytes& out) { out = bytes(); }
  void field(Records& out) {
    const MutableBytes all = bytes();
    if (all.empty()) return;
    // Two slices, to see that their order and sum count; reading gives one.
    const std::span<Slice> slices = arena_.array<Slice>(2);
    slices[0] = Slice::memory(all.first(all.size() / 2));
    slices[1] = Slice::memory(all.subspan(all.size() / 2));
    out = {slices, all.size()};
  }
  template <class T>
  void field(T& out) {
    Layout<T>::walk(*this, out);
  }

  void no_tags() {}
  template <class Fields>
  void tags(Fields&& fields) {
    fields(*this);
  }
  template <class... Field>
  void field(int, bool, Field&&... field) {
    if (source_.tag()) this->field(std::forward<Field>(field)...);
  }

 private:
  MutableBytes bytes() {
    const std::string content = source_.records();
    const std::span<std::byte> copy = arena_.array<std::byte>(content.size());
    std::ranges::copy(std::as_bytes(std::span(content)), copy.begin());
    return copy;
  }

  std::int16_t version_;
  Arena& arena_;
  Source& source_;
};

/// The rule of make_golden.py: `full` counts the values in wire order, else all is as empty as the version allows.
struct GoldenSource {
  bool full;
  std::int64_t counted = 0;

  std::int64_t integer(std::size_t bytes) {
    ++counted;
    if (!full) return 0;
    switch (bytes) {
      case 1:
        return counted % 100;
      case 2:
        return counted % 90;
      case 4:
        return 100000 + counted;
      default:
        return 1000000000000 + counted;
    }
  }
  bool boolean() { return ++counted % 2 == 1 && full; }
  std::string text() {
    ++counted;
    return full ? "text-" + std::to_string(counted) : "";
  }
  std::string records() {
    ++counted;
    std::string bytes(full ? 20 : 0, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(counted + static_cast<std::int64_t>(i));
    return bytes;
  }
  [[nodiscard]] std::size_t count() const { return full ? 2 : 0; }
  [[nodiscard]] bool null() const { return !full; }
  [[nodiscard]] bool tag() const { return full; }
};

/// Anything at all, the same for the same seed.
struct RandomSource {
  std::mt19937_64 random;

  explicit RandomSource(std::uint64_t seed) : random(seed) {}
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random() % bound); }
  std::int64_t integer(std::size_t) { return static_cast<std::int64_t>(random()); }
  bool boolean() { return below(2) == 1; }
  std::string text() { return std::string(below(8) == 0 ? below(400) : below(12), static_cast<char>('a' + below(26))); }
  std::string records() { return text(); }
  std::size_t count() { return below(4); }
  bool null() { return below(3) == 0; }
  bool tag() { return below(2) == 1; }
};

/// Prints all values that the version has; equal messages print the same.
class Printer {
 public:
  explicit Printer(std::int16_t version) : version_(version) {}

  [[nodiscard]] std::int16_t version() const { return version_; }
  [[nodiscard]] const std::string& text() const { return text_; }

  template <std::integral T>
  void field(const T& value) {
    text_ += std::to_string(static_cast<std::int64_t>(value)) + ' ';
  }
  void field(const std::string_view& value) { (text_ += '"').append(value) += "\" "; }
  void field(const MutableBytes& records) { field(as_text(records)); }
  void field(const Records& records) {
    std::string all;
    for (const Slice& slice : records.slices) all += as_text(slice.as_memory());
    EXPECT_EQ(all.size(), records.bytes);
    field(std::string_view(all));
  }
  template <class T>
  void field(const std::span<T>& array) {
    text_ += "[ ";
    for (const T& element : array) field(element);
    text_ += "] ";
  }
  template <class T>
  void field(const std::optional<T>& value, bool) {
    if (value) return field(*value);
    text_ += "null ";
  }
  template <class T>
  void field(const T& structure) {
    text_ += "{ ";
    Layout<T>::walk(*this, structure);
    text_ += "} ";
  }

  void no_tags() {}
  template <class Fields>
  void tags(Fields&& fields) {
    fields(*this);
  }
  template <class... Field>
  void field(int, bool, const Field&... field) {
    this->field(field...);
  }

 private:
  std::int16_t version_;
  std::string text_;
};

template <class M>
std::string print(const M& message, std::int16_t version) {
  Printer printer(version);
  Layout<M>::walk(printer, message);
  return printer.text();
}

template <class M, class Source>
M filled(std::int16_t version, Arena& arena, Source& source) {
  M message;
  Filler<Source> filler(version, arena, source);
  Layout<M>::walk(filler, message);
  return message;
}

template <class M>
concept Request = requires { typename M::Response; };

/// "ProduceRequest"
template <class M>
std::string name_of_message() {
  return std::string(find_api(static_cast<std::int16_t>(M::kKey))->name) + (Request<M> ? "Request" : "Response");
}

/// Calls fn.operator()<M>() for every message.
template <class Fn>
void for_each_message(Fn&& fn) {
  [&]<class... M>(std::type_identity<std::tuple<M...>>) {
    (fn.template operator()<M>(), ...);
  }(std::type_identity<AllMessages>{});
}

/// All bytes of what was encoded, in sending order.
inline std::string flat(Encoder& encoder) {
  std::string all;
  for (const Slice& slice : encoder.slices()) all += as_text(slice.as_memory());
  return all;
}

/// Memory to encode into.
struct Workbench {
  BufferPool pool;
  Arena arena;
  MessageBuffer buffer{pool};

  /// The bytes of a message; empty where it cannot be encoded (and for messages without fields).
  template <class M>
  std::string bytes_of(const M& message, std::int16_t version) {
    buffer.reset();
    Encoder encoder(buffer, arena);
    encode(message, version, encoder);
    return flat(encoder);
  }
  template <class M>
  bool encodes(const M& message, std::int16_t version) {
    buffer.reset();
    Encoder encoder(buffer, arena);
    encode(message, version, encoder);
    return encoder.ok();
  }
  /// Decodes a message that must take all bytes.
  template <class M>
  bool decodes(std::string_view bytes, std::int16_t version, M& out) {
    ByteReader in(as_bytes(bytes));
    return decode(in, version, arena, out) && in.remaining() == 0;
  }
};

/// "00 12 ff" as bytes; blanks are only for the reader.
inline std::string hex(std::string_view digits) {
  std::string bytes;
  std::string pair;
  for (const char digit : digits) {
    if (digit == ' ' || digit == '\n') continue;
    pair += digit;
    if (pair.size() < 2) continue;
    bytes += static_cast<char>(std::stoi(pair, nullptr, 16));
    pair.clear();
  }
  return bytes;
}

inline std::string to_hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char byte : bytes) {
    text += kDigits[static_cast<unsigned char>(byte) >> 4];
    text += kDigits[static_cast<unsigned char>(byte) & 15];
  }
  return text;
}

}  // namespace streambus::wire::test
