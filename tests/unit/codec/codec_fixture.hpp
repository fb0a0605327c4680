#pragma once
// Codecs as a program gets them: through the descriptor that the plugin's STREAMBUS_PLUGIN makes.

#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "streambus/base/assert.hpp"
#include "streambus/base/bytes.hpp"
#include "streambus/plugin/abi.hpp"
#include "streambus/plugin/codec.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/options.hpp"

extern "C" const streambus::PluginDescriptor streambus_plugin_codec_lz4;
extern "C" const streambus::PluginDescriptor streambus_plugin_codec_zstd;

namespace streambus::test {

/// A host for plugins that ask for nothing: every service stops the test.
class NoHost final : public Host {
 public:
  [[nodiscard]] std::string_view instance_name() const noexcept override { return "test"; }
  [[nodiscard]] bool log_enabled(LogLevel) const noexcept override { return false; }
  void log(LogLevel, std::string_view) noexcept override {}
  [[nodiscard]] Metric& metric(MetricKind, std::string_view, std::string_view) noexcept override { unexpected(); }
  [[nodiscard]] std::int64_t monotonic_ns() noexcept override { unexpected(); }
  [[nodiscard]] TimestampMs wall_ms() noexcept override { unexpected(); }
  [[nodiscard]] BufferSource& buffers() noexcept override { unexpected(); }
  void post(WorkClass, void (*)(void*) noexcept, void*) noexcept override { unexpected(); }
  [[nodiscard]] FileSystem& files() noexcept override { unexpected(); }
  [[nodiscard]] DurabilitySink& durability() noexcept override { unexpected(); }

 private:
  [[noreturn]] static void unexpected() noexcept { assertion_failed("a codec needs no such service", __FILE__, __LINE__); }
};

/// Integer options only.
class IntegerOptions final : public Options {
 public:
  explicit IntegerOptions(std::map<std::string, std::int64_t, std::less<>> values) : values_(std::move(values)) {}

  [[nodiscard]] bool boolean(std::string_view) const noexcept override { return false; }
  [[nodiscard]] std::int64_t integer(std::string_view key) const noexcept override {
    const auto found = values_.find(key);
    STREAMBUS_ASSERT(found != values_.end());
    return found->second;
  }
  [[nodiscard]] double real(std::string_view) const noexcept override { return 0; }
  [[nodiscard]] std::string_view text(std::string_view) const noexcept override { return {}; }
  [[nodiscard]] std::uint64_t size(std::string_view) const noexcept override { return 0; }
  [[nodiscard]] std::int64_t duration_ns(std::string_view) const noexcept override { return 0; }
  [[nodiscard]] bool is_set(std::string_view key) const noexcept override { return values_.contains(key); }

 private:
  std::map<std::string, std::int64_t, std::less<>> values_;
};

using CodecOwner = std::unique_ptr<Codec, void (*)(Codec*)>;

template <const PluginDescriptor& descriptor>
CodecOwner make_codec(std::int64_t level) {
  static NoHost host;
  void* object = nullptr;
  const Status status = descriptor.create(host, IntegerOptions({{"level", level}}), &object);
  STREAMBUS_ASSERT(status.ok() && object != nullptr);
  return {static_cast<Codec*>(object), [](Codec* codec) { descriptor.destroy(codec); }};
}

inline CodecOwner make_lz4(std::int64_t level = 0) { return make_codec<streambus_plugin_codec_lz4>(level); }
inline CodecOwner make_zstd(std::int64_t level = 3) { return make_codec<streambus_plugin_codec_zstd>(level); }

using Blob = std::vector<std::byte>;

inline Blob blob(std::string_view text) {
  const Bytes bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

/// Words drawn at random: compresses about as log lines do.
inline Blob text_of(std::size_t bytes, unsigned seed = 1) {
  constexpr std::string_view kWords[] = {"broker ",   "partition ", "offset ", "error\n", "2024-11-24T08:00:00Z ",
                                         "consumer ", "latency=",   "42 "};
  std::mt19937 random(seed);
  std::string text;
  while (text.size() < bytes) text += kWords[random() % std::size(kWords)];
  text.resize(bytes);
  return blob(text);
}

inline Blob noise_of(std::size_t bytes, unsigned seed = 1) {
  std::mt19937_64 random(seed);
  Blob result(bytes);
  for (std::byte& byte : result) byte = static_cast<std::byte>(random());
  return result;
}

/// Compresses what must not be declined.
inline Blob compressed(const Codec& codec, const Blob& in) {
  Blob out(codec.compress_bound(in.size()));
  const CodecResult result = codec.compress(in, out);
  STREAMBUS_ASSERT(result.outcome == CodecOutcome::done);
  out.resize(result.bytes);
  return out;
}

}  // namespace streambus::test
