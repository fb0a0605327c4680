#pragma once

#include <functional>
#include <string>
#include <vector>

#include "streambus/host/batch_codec.hpp"
#include "streambus/host/services.hpp"

namespace streambus {

/// Every codec plugin that the registry finds, with its defaults: for programs that read what any broker wrote.
struct LoadedCodecs {
  std::vector<Instance<Codec>> instances;
  CodecSet set;
};

/// What cannot be loaded or is there twice is left out and told to `complain`. The registry and the services outlive the
/// result.
[[nodiscard]] LoadedCodecs load_codecs(Services& services, PluginRegistry& registry,
                                       const std::function<void(const Error&)>& complain);

}  // namespace streambus
