#include "streambus/wire/codec.hpp"

#include <algorithm>

#include "streambus/base/assert.hpp"

namespace streambus::wire {

std::byte* Encoder::reserve(const EncodedSize& size) noexcept {
  if (!ok()) return nullptr;
  const std::size_t wanted = cut_count_ + size.external_slices;
  if (wanted > cuts_.size()) {
    const std::span<Cut> grown = arena_->array<Cut>(std::max(wanted, 2 * cut_count_));
    if (grown.empty()) {
      mark_bad();
      return nullptr;
    }
    std::ranges::copy(cuts_.first(cut_count_), grown.begin());
    cuts_ = grown;
  }
  return size.bytes == 0 ? nullptr : buffer_->extend(size.bytes);
}

void Encoder::place(std::size_t position, const Slice& slice) noexcept {
  STREAMBUS_ASSERT(cut_count_ < cuts_.size());
  cuts_[cut_count_++] = {position, slice};
  external_bytes_ += slice.bytes;
}

std::span<const Slice> Encoder::slices() noexcept {
  if (!ok()) return {};
  const std::span<Slice> all = arena_->array<Slice>(2 * cut_count_ + 1);
  if (all.empty()) {
    mark_bad();
    return {};
  }
  const Bytes text = buffer_->view();
  std::size_t count = 0;
  std::size_t done = 0;
  const auto add_text_until = [&](std::size_t end) {
    if (end > done) all[count++] = Slice::memory(text.subspan(done, end - done));
    done = end;
  };
  for (const Cut& cut : cuts_.first(cut_count_)) {
    add_text_until(cut.position);
    if (cut.slice.bytes > 0) all[count++] = cut.slice;
  }
  add_text_until(text.size());
  return all.first(count);
}

bool skip_tags(ByteReader& in) noexcept {
  for (std::uint64_t left = in.varint(); left > 0 && in.ok(); --left) {
    (void)in.varint();
    in.skip(in.varint());
  }
  return in.ok();
}

}  // namespace streambus::wire
