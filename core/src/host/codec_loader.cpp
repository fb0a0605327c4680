#include "streambus/host/codec_loader.hpp"

#include <filesystem>

namespace streambus {
namespace {

Result<Instance<Codec>> load_codec(Services& services, PluginRegistry& registry, const PluginFile& file) {
  const std::string name = file.path.empty() ? std::string(file.stamp.name) : std::filesystem::absolute(file.path).string();
  STREAMBUS_TRY_ASSIGN(const LoadedPlugin* const plugin, registry.load(PluginKind::codec, name));
  Services::HostSpec spec;
  spec.instance_name = file.stamp.name;
  spec.component = "codec";
  return create_instance<Codec>(services, *plugin, OptionValues(plugin->options()), std::move(spec));
}

}  // namespace

LoadedCodecs load_codecs(Services& services, PluginRegistry& registry, const std::function<void(const Error&)>& complain) {
  LoadedCodecs codecs;
  for (const PluginFile& file : registry.scan()) {
    if (static_cast<PluginKind>(file.stamp.kind) != PluginKind::codec || !file.refusal.empty()) continue;
    auto codec = load_codec(services, registry, file);
    if (!codec) {
      complain(codec.error());
    } else if (const auto added = codecs.set.add(**codec); !added) {
      complain(added.error());
    } else {
      codecs.instances.push_back(std::move(*codec));
    }
  }
  return codecs;
}

}  // namespace streambus
