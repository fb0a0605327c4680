#include "../plugin_loader.hpp"

#include <dlfcn.h>

#include <boost/dll/shared_library.hpp>
#include <mutex>
#include <vector>

namespace streambus {

std::span<const PluginDescriptor* const> linked_plugins() noexcept { return {}; }

Result<const PluginDescriptor*> load_plugin_file(const std::filesystem::path& path) {
  // Never destroyed: objects of a plugin, and static data they left behind, may outlive any owner we could think of.
  static std::mutex& mutex = *new std::mutex;
  static std::vector<boost::dll::shared_library>& mapped = *new std::vector<boost::dll::shared_library>;

  boost::dll::shared_library library;
  std::error_code failure;
  const std::lock_guard lock(mutex);
  library.load(path, failure, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
  if (failure) {
    const char* const words = ::dlerror();
    return fail(ErrorCode::incompatible, words != nullptr ? words : failure.message());
  }
  if (!library.has(kDescriptorSymbol)) {
    return fail(ErrorCode::incompatible, std::string("the symbol '") + kDescriptorSymbol + "' is missing");
  }
  const PluginDescriptor& descriptor = library.get<const PluginDescriptor>(kDescriptorSymbol);
  mapped.push_back(std::move(library));
  return &descriptor;
}

}  // namespace streambus
