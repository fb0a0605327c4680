#pragma once
// What identifies a plugin file: a stamp in an ELF note, read before the file is loaded, and a descriptor, read after.
//
// The note lives in section `.note.streambus`: name "StreamBus", type kNoteType, description = AbiStamp.
// The host refuses a file whose stamp does not fit before any code of it runs.

#include <cstdint>
#include <string_view>

#include "streambus/base/error.hpp"
#include "streambus/plugin/options.hpp"

namespace streambus {

class Host;

/// Raised when an existing virtual or struct changes: no plugin of another major loads.
inline constexpr std::uint16_t kAbiMajor = 1;
/// Raised when a virtual or field is added at an end: a plugin with a newer minor than the host's is refused.
inline constexpr std::uint16_t kAbiMinor = 0;
inline constexpr std::uint32_t kNoteType = 1;

enum class PluginKind : std::uint8_t { storage = 1, codec = 2, transport = 3, protocol = 4 };

[[nodiscard]] constexpr std::string_view name_of(PluginKind kind) noexcept {
  switch (kind) {
    case PluginKind::storage:
      return "storage";
    case PluginKind::codec:
      return "codec";
    case PluginKind::transport:
      return "transport";
    case PluginKind::protocol:
      return "protocol";
  }
  return "unknown";
}

/// How a binary was compiled, as far as it decides whether two binaries can share C++ objects. Plain data.
struct AbiStamp {
  static constexpr std::uint8_t kAddressSanitizer = 1;
  static constexpr std::uint8_t kThreadSanitizer = 2;
  static constexpr std::uint8_t kMemorySanitizer = 4;

  std::uint32_t stamp_bytes;  ///< sizeof(AbiStamp) of the plugin
  std::uint16_t abi_major;
  std::uint16_t abi_minor;
  std::uint8_t kind;           ///< a PluginKind
  std::uint8_t pointer_bytes;  ///< 8
  std::uint8_t sanitizers;     ///< bit set of k*Sanitizer
  std::uint8_t glibcxx_debug;  ///< 1 with _GLIBCXX_DEBUG
  std::uint8_t cxx11_abi;      ///< _GLIBCXX_USE_CXX11_ABI
  std::uint8_t reserved;
  std::uint16_t glibcxx_release;  ///< _GLIBCXX_RELEASE
  char architecture[16];          ///< "x86_64", "aarch64"
  char compiler[32];              ///< shown, never a reason to refuse
  char api_hash[20];              ///< of the SDK's headers; shown, never a reason to refuse
  char name[40];                  ///< "storage-wal"
  char version[24];
};

/// What a loaded plugin offers. One constant object with static lifetime per plugin.
struct PluginDescriptor {
  std::uint32_t descriptor_bytes;  ///< sizeof(PluginDescriptor) of the plugin
  const AbiStamp* stamp;
  const char* summary;  ///< one sentence
  const char* license;  ///< SPDX identifier
  const OptionSpec* options;
  std::uint32_t option_count;

  /// Makes the plugin object: a StorageEngine, Codec, Transport or Protocol according to the kind.
  /// `host` outlives the object; `options` is validated against the table and valid during the call only.
  /// On failure *out stays null and the Status says what to do. Never throws (the SDK catches).
  Status (*create)(Host& host, const Options& options, void** out) noexcept;
  /// Destroys what create() made. The plugin file stays mapped.
  void (*destroy)(void* object) noexcept;
};

/// Name of the exported descriptor symbol (in the static variant: kDescriptorSymbol + "_" + name with '_' for '-').
inline constexpr const char* kDescriptorSymbol = "streambus_plugin";

}  // namespace streambus
