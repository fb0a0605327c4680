#pragma once
// The three walkers that make codecs of the generated layouts: each visits the fields of a message that a version has, in wire
// order. Decoder fills them from bytes, Sizer adds up what they take, Writer writes them.

#include <limits>
#include <utility>

#include "streambus/wire/walk.hpp"

namespace streambus::wire {

/// A version of a message, resolved once per message.
struct Form {
  template <class M>
  static Form of(std::int16_t version) noexcept {
    return {version, static_cast<std::size_t>(version - M::kMinVersion), version >= M::kFlexibleFrom};
  }
  template <class M>
  static bool known(std::int16_t version) noexcept {
    return version >= M::kMinVersion && version <= M::kMaxVersion;
  }

  std::int16_t version;
  std::size_t index;  ///< into tables by version
  bool flexible;      ///< compact lengths and tagged fields
};

/// Fewest bytes that one array element takes: what bounds a count before memory is taken for it.
template <class T>
[[nodiscard]] constexpr std::size_t min_element_bytes(const Form& form) noexcept {
  if constexpr (std::integral<T>) {
    return sizeof(T);
  } else if constexpr (std::same_as<T, std::string_view>) {
    return form.flexible ? 1 : sizeof(std::int16_t);
  } else {
    return Layout<T>::kMinBytes[form.index];
  }
}

class Decoder {
 public:
  Decoder(ByteReader& in, Arena& arena, const Form& form) noexcept : in_(&in), arena_(&arena), form_(form) {}

  [[nodiscard]] std::int16_t version() const noexcept { return form_.version; }

  template <std::integral T>
  void field(T& out) noexcept {
    out = in_->read<T>();
  }
  void field(bool& out) noexcept { out = in_->read<std::int8_t>() != 0; }
  void field(std::string_view& out) noexcept { out = as_text(in_->bytes(not_null(length<std::int16_t>()))); }
  void field(std::optional<std::string_view>& out, bool nullable) noexcept {
    const std::int64_t count = length<std::int16_t>();
    if (count == kNull && nullable) return out.reset();
    out = as_text(in_->bytes(not_null(count)));
  }
  template <class T>
  void field(std::span<T>& out) noexcept {
    elements(not_null(length<std::int32_t>()), out);
  }
  template <class T>
  void field(std::optional<std::span<T>>& out, bool nullable) noexcept {
    const std::int64_t count = length<std::int32_t>();
    if (count == kNull && nullable) return out.reset();
    elements(not_null(count), out.emplace());
  }
  void field(MutableBytes& out) noexcept {
    const Bytes records = records_bytes();
    out = {const_cast<std::byte*>(records.data()),
           records.size()};  // the frame is its reader's to write: see MutableBytes in messages
  }
  void field(Records& out) noexcept {
    const Bytes records = records_bytes();
    if (records.empty()) return;
    const std::span<Slice> slices = arena_->array<Slice>(1);
    if (slices.empty()) return in_->mark_bad();
    slices[0] = Slice::memory(records);
    out = {slices, records.size()};
  }
  template <class T>
  void field(T& out) noexcept {
    Layout<T>::walk(*this, out);
  }

  void no_tags() noexcept {
    if (form_.flexible && !skip_tags(*in_)) in_->mark_bad();
  }
  template <class Fields>
  void tags(Fields&& fields) noexcept {
    if (!form_.flexible) return;
    for (std::uint64_t left = in_->varint(); left > 0 && in_->ok(); --left) {
      const std::uint64_t tag = in_->varint();
      ByteReader body(in_->bytes(in_->varint()));
      Decoder inner(body, *arena_, form_);
      TagMatch match{inner, tag};
      fields(match);
      if (match.found && (!body.ok() || body.remaining() > 0)) in_->mark_bad();
    }
  }

 private:
  static constexpr std::int64_t kNull = -1;

  struct TagMatch {
    Decoder& inner;
    std::uint64_t tag;
    bool found = false;

    template <class... Field>
    void field(std::uint64_t number, bool, Field&&... field) noexcept {
      if (number != tag) return;
      found = true;
      inner.field(std::forward<Field>(field)...);
    }
  };

  /// The length in front of a text, an array or batches; kNull for null. Lengths below that are malformed.
  template <std::signed_integral Classic>
  [[nodiscard]] std::int64_t length() noexcept {
    if (form_.flexible) {
      const std::uint64_t count = in_->varint();
      if (count > std::numeric_limits<std::int32_t>::max()) in_->mark_bad();
      return in_->ok() ? static_cast<std::int64_t>(count) - 1 : 0;
    }
    const Classic count = in_->read<Classic>();
    if (count < kNull) in_->mark_bad();
    return in_->ok() ? count : 0;
  }

  [[nodiscard]] std::size_t not_null(std::int64_t count) noexcept {
    if (count == kNull) in_->mark_bad();
    return count == kNull ? 0 : static_cast<std::size_t>(count);
  }

  [[nodiscard]] Bytes records_bytes() noexcept {
    const std::int64_t count = length<std::int32_t>();
    return count == kNull ? Bytes{} : in_->bytes(static_cast<std::size_t>(count));
  }

  template <class T>
  void elements(std::size_t count, std::span<T>& out) noexcept {
    if (count > in_->remaining() / min_element_bytes<T>(form_)) return in_->mark_bad();
    out = arena_->array<T>(count);
    if (out.size() != count) return in_->mark_bad();
    for (T& element : out) {
      if (!in_->ok()) return;
      field(element);
    }
  }

  ByteReader* in_;
  Arena* arena_;
  Form form_;
};

class Sizer {
 public:
  explicit Sizer(const Form& form) noexcept : form_(form) {}

  [[nodiscard]] std::int16_t version() const noexcept { return form_.version; }
  [[nodiscard]] const EncodedSize& size() const noexcept { return size_; }

  template <std::integral T>
  void field(const T&) noexcept {
    size_.bytes += sizeof(T);
  }
  void field(const std::string_view& text) noexcept { size_.bytes += length_bytes<std::int16_t>(text.size()) + text.size(); }
  void field(const std::optional<std::string_view>& text, bool) noexcept { field(text.value_or(std::string_view{})); }
  template <class T>
  void field(const std::span<T>& array) noexcept {
    size_.bytes += length_bytes<std::int32_t>(array.size());
    if constexpr (std::integral<T>) {
      size_.bytes += array.size_bytes();
    } else {
      for (const T& element : array) field(element);
    }
  }
  template <class T>
  void field(const std::optional<std::span<T>>& array, bool) noexcept {
    field(array.value_or(std::span<T>{}));
  }
  void field(const MutableBytes& records) noexcept { external(records.size(), records.empty() ? 0 : 1); }
  void field(const Records& records) noexcept { external(records.bytes, records.slices.size()); }
  template <class T>
  void field(const T& structure) noexcept {
    Layout<T>::walk(*this, structure);
  }

  void no_tags() noexcept { size_.bytes += form_.flexible ? 1 : 0; }
  template <class Fields>
  void tags(Fields&& fields) noexcept;

 private:
  template <std::signed_integral Classic>
  [[nodiscard]] std::size_t length_bytes(std::uint64_t count) const noexcept {
    return form_.flexible ? varint_bytes(count + 1) : sizeof(Classic);
  }
  void external(std::uint64_t bytes, std::size_t slices) noexcept {
    size_.bytes += length_bytes<std::int32_t>(bytes);
    size_.external_bytes += bytes;
    size_.external_slices += slices;
  }

  Form form_;
  EncodedSize size_;
};

/// Adds up the tagged fields that differ from their defaults: only those are written.
struct TagSizer {
  const Form& form;
  std::uint64_t count = 0;
  std::size_t bytes = 0;

  template <class... Field>
  void field(std::uint64_t tag, bool present, const Field&... value) noexcept {
    if (!present) return;
    const std::size_t size = value_bytes(form, value...);
    bytes += varint_bytes(tag) + varint_bytes(size) + size;
    ++count;
  }

  /// What the value of a tagged field takes.
  template <class... Field>
  [[nodiscard]] static std::size_t value_bytes(const Form& form, const Field&... value) noexcept {
    Sizer sizer(form);
    sizer.field(value...);
    return sizer.size().bytes;
  }
};

template <class Fields>
void Sizer::tags(Fields&& fields) noexcept {
  if (!form_.flexible) return;
  TagSizer sizer{form_};
  fields(sizer);
  size_.bytes += varint_bytes(sizer.count) + sizer.bytes;
}

class Writer {
 public:
  /// `to` was reserved in `out`, for a message of that size, at `position`.
  Writer(MutableBytes to, std::size_t position, Encoder& out, const Form& form) noexcept
      : writer_(to), position_(position), out_(&out), form_(form) {}

  [[nodiscard]] std::int16_t version() const noexcept { return form_.version; }
  [[nodiscard]] bool complete() const noexcept { return writer_.ok() && writer_.remaining() == 0; }

  template <std::integral T>
  void field(const T& value) noexcept {
    writer_.write(value);
  }
  void field(const bool& value) noexcept { writer_.write(static_cast<std::int8_t>(value ? 1 : 0)); }
  void field(const std::string_view& text) noexcept {
    length<std::int16_t>(text.size());
    writer_.bytes(as_bytes(text));
  }
  void field(const std::optional<std::string_view>& text, bool nullable) noexcept {
    if (text) return field(*text);
    null<std::int16_t>(nullable);
  }
  template <class T>
  void field(const std::span<T>& array) noexcept {
    length<std::int32_t>(array.size());
    for (const T& element : array) field(element);
  }
  template <class T>
  void field(const std::optional<std::span<T>>& array, bool nullable) noexcept {
    if (array) return field(*array);
    null<std::int32_t>(nullable);
  }
  void field(const MutableBytes& records) noexcept {
    length<std::int32_t>(records.size());
    if (!records.empty()) out_->place(position_ + writer_.written(), Slice::memory(records));
  }
  void field(const Records& records) noexcept {
    length<std::int32_t>(records.bytes);
    std::uint64_t sum = 0;
    for (const Slice& slice : records.slices) {
      out_->place(position_ + writer_.written(), slice);
      sum += slice.bytes;
    }
    if (sum != records.bytes) out_->mark_bad();
  }
  template <class T>
  void field(const T& structure) noexcept {
    Layout<T>::walk(*this, structure);
  }

  void no_tags() noexcept {
    if (form_.flexible) writer_.varint(0);
  }
  template <class Fields>
  void tags(Fields&& fields) noexcept {
    if (!form_.flexible) return;
    TagSizer sizer{form_};
    fields(sizer);
    writer_.varint(sizer.count);
    TagWriter writer{*this};
    fields(writer);
  }

 private:
  struct TagWriter {
    Writer& writer;

    template <class... Field>
    void field(std::uint64_t tag, bool present, const Field&... value) noexcept {
      if (!present) return;
      writer.writer_.varint(tag);
      writer.writer_.varint(TagSizer::value_bytes(writer.form_, value...));
      writer.field(value...);
    }
  };

  template <std::signed_integral Classic>
  void length(std::uint64_t count) noexcept {
    const auto most = form_.flexible ? std::numeric_limits<std::int32_t>::max() - 1 : std::numeric_limits<Classic>::max();
    if (count > static_cast<std::uint64_t>(most)) return out_->mark_bad();
    if (form_.flexible) return writer_.varint(count + 1);
    writer_.write(static_cast<Classic>(count));
  }

  template <std::signed_integral Classic>
  void null(bool nullable) noexcept {
    if (!nullable) return out_->mark_bad();
    if (form_.flexible) return writer_.varint(0);
    writer_.write(Classic{-1});
  }

  ByteWriter writer_;
  std::size_t position_;
  Encoder* out_;
  Form form_;
};

template <class M>
bool decode(ByteReader& in, std::int16_t version, Arena& arena, M& out) noexcept {
  out = M{};
  if (!Form::known<M>(version)) return false;
  Decoder decoder(in, arena, Form::of<M>(version));
  Layout<M>::walk(decoder, out);
  return in.ok();
}

template <class M>
EncodedSize encoded_size(const M& message, std::int16_t version) noexcept {
  if (!Form::known<M>(version)) return {};
  Sizer sizer(Form::of<M>(version));
  Layout<M>::walk(sizer, message);
  return sizer.size();
}

template <class M>
void encode(const M& message, std::int16_t version, const EncodedSize& size, Encoder& out) noexcept {
  if (!Form::known<M>(version)) return out.mark_bad();
  const std::size_t position = out.position();
  std::byte* const to = out.reserve(size);
  if (to == nullptr) return;  // a failure, or a message without fields
  Writer writer({to, size.bytes}, position, out, Form::of<M>(version));
  Layout<M>::walk(writer, message);
  if (!writer.complete()) out.mark_bad();
}

template <class M>
void encode(const M& message, std::int16_t version, Encoder& out) noexcept {
  encode(message, version, encoded_size(message, version), out);
}

}  // namespace streambus::wire
