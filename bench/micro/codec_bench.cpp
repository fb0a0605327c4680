// The codec plugins on text like that of logs: codec/lz4/compress/BYTES, codec/lz4/decompress/BYTES, the same for zstd.
// Bytes per second are those of the uncompressed side; "ratio" is uncompressed to compressed.

#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "streambus/base/bytes.hpp"
#include "streambus/host/plugin_registry.hpp"
#include "streambus/host/services.hpp"
#include "streambus/plugin/codec.hpp"

namespace streambus::bench {
namespace {

/// Loads codec plugins of this build; null where there is none. Lives until the program ends, as the plugins do.
const Codec* codec_named(const std::string& name) {
  static PluginRegistry registry({STREAMBUS_PLUGIN_DIRECTORY});
  static Services services{ServiceSettings{}};
  static std::map<std::string, Instance<Codec>> instances;
  if (!instances.contains(name)) {
    const auto plugin = registry.load(PluginKind::codec, "codec-" + name);
    if (!plugin) return nullptr;
    Services::HostSpec spec;
    spec.instance_name = name;
    spec.component = "codec." + name;
    auto instance = create_instance<Codec>(services, **plugin, OptionValues((*plugin)->options()), std::move(spec));
    if (!instance) return nullptr;
    instances.emplace(name, std::move(*instance));
  }
  return instances.at(name).get();
}

std::string text_of(std::size_t bytes) {
  constexpr std::string_view kWords[] = {"broker ",   "partition ", "offset ", "error\n", "2024-11-24T08:00:00Z ",
                                         "consumer ", "latency=",   "42 "};
  std::mt19937 random(1);
  std::string text;
  while (text.size() < bytes) text += kWords[random() % std::size(kWords)];
  text.resize(bytes);
  return text;
}

void run(benchmark::State& state, const char* name, bool decompress) {
  const Codec* const codec = codec_named(name);
  if (codec == nullptr) {
    state.SkipWithError("the plugin is not in this build's plugin folder");
    return;
  }
  const std::string text = text_of(static_cast<std::size_t>(state.range(0)));
  std::vector<std::byte> stored(codec->compress_bound(text.size()));
  std::vector<std::byte> plain(text.size());
  CodecResult result = codec->compress(as_bytes(text), stored);
  const std::size_t stored_bytes = result.bytes;
  for (auto _ : state) {
    result = decompress ? codec->decompress(Bytes(stored).first(stored_bytes), plain) : codec->compress(as_bytes(text), stored);
    if (result.outcome != CodecOutcome::done) {
      state.SkipWithError("the codec declined or failed");
      return;
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
  state.counters["ratio"] = static_cast<double>(text.size()) / static_cast<double>(stored_bytes);
}

void sizes(benchmark::internal::Benchmark* benchmark) { benchmark->Arg(1 << 10)->Arg(16 << 10)->Arg(64 << 10)->Arg(1 << 20); }

BENCHMARK_CAPTURE(run, lz4_compress, "lz4", false)->Name("codec/lz4/compress")->Apply(sizes);
BENCHMARK_CAPTURE(run, lz4_decompress, "lz4", true)->Name("codec/lz4/decompress")->Apply(sizes);
BENCHMARK_CAPTURE(run, zstd_compress, "zstd", false)->Name("codec/zstd/compress")->Apply(sizes);
BENCHMARK_CAPTURE(run, zstd_decompress, "zstd", true)->Name("codec/zstd/decompress")->Apply(sizes);

}  // namespace
}  // namespace streambus::bench
