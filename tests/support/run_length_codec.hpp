#pragma once
// A codec that a reader can check by eye: pairs of a count and a byte.

#include <algorithm>
#include <string>

#include "streambus/plugin/codec.hpp"

namespace streambus::test {

class RunLengthCodec final : public Codec {
 public:
  RunLengthCodec(std::uint8_t id, std::string type) : id_(id), type_(std::move(type)) {}

  [[nodiscard]] std::uint8_t id() const noexcept override { return id_; }
  [[nodiscard]] std::string_view type() const noexcept override { return type_; }
  [[nodiscard]] std::size_t compress_bound(std::size_t bytes) const noexcept override { return 2 * bytes; }

  CodecResult compress(Bytes in, MutableBytes out) const noexcept override {
    std::size_t written = 0;
    for (std::size_t at = 0; at < in.size();) {
      std::size_t run = 1;
      while (run < 255 && at + run < in.size() && in[at + run] == in[at]) ++run;
      if (written + 2 > out.size()) return {CodecOutcome::needs_space};
      out[written++] = static_cast<std::byte>(run);
      out[written++] = in[at];
      at += run;
    }
    return written < in.size() ? CodecResult{CodecOutcome::done, written} : CodecResult{CodecOutcome::declined};
  }

  [[nodiscard]] std::size_t decompressed_size(Bytes in) const noexcept override {
    std::size_t bytes = 0;
    for (std::size_t at = 0; at + 1 < in.size(); at += 2) bytes += std::to_integer<std::size_t>(in[at]);
    return bytes;
  }
  CodecResult decompress(Bytes in, MutableBytes out) const noexcept override {
    if (in.size() % 2 != 0) return {CodecOutcome::corrupt};
    std::size_t written = 0;
    for (std::size_t at = 0; at < in.size(); at += 2) {
      const auto run = std::to_integer<std::size_t>(in[at]);
      if (run == 0) return {CodecOutcome::corrupt};
      if (written + run > out.size()) return {CodecOutcome::needs_space};
      std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(written), run, in[at + 1]);
      written += run;
    }
    return {CodecOutcome::done, written};
  }

 private:
  const std::uint8_t id_;
  const std::string type_;
};

}  // namespace streambus::test
