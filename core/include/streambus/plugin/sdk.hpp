#pragma once
// For plugin authors: one macro makes a class a plugin. See docs/plugin-guide.md.
//
//   class Engine final : public streambus::StorageEngine {
//    public:
//     Engine(streambus::Host& host, const streambus::Options& options);   // may throw: becomes a clear Status
//     ...
//   };
//   constexpr streambus::OptionSpec kOptions[] = {...};
//   STREAMBUS_PLUGIN(storage, "storage-acme", "1.0.0", "Apache-2.0", "Keeps batches in ...", Engine, kOptions)

#include <cstddef>
#include <exception>
#include <iterator>
#include <new>
#include <type_traits>

#include "streambus/plugin/abi.hpp"
#include "streambus/plugin/api_hash.hpp"
#include "streambus/plugin/codec.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/options.hpp"
#include "streambus/plugin/protocol.hpp"
#include "streambus/plugin/storage.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::sdk {

template <PluginKind kind>
struct InterfaceOf;
template <>
struct InterfaceOf<PluginKind::storage> {
  using Type = StorageEngine;
};
template <>
struct InterfaceOf<PluginKind::codec> {
  using Type = Codec;
};
template <>
struct InterfaceOf<PluginKind::transport> {
  using Type = Transport;
};
template <>
struct InterfaceOf<PluginKind::protocol> {
  using Type = Protocol;
};

/// For plugins without options.
inline constexpr OptionSpec kNoOptions[1] = {};

template <PluginKind kind, class T>
Status create(Host& host, const Options& options, void** out) noexcept {
  using Interface = typename InterfaceOf<kind>::Type;
  static_assert(std::is_base_of_v<Interface, T>, "the class must implement the interface of its plugin kind");
  try {
    Interface* object = new T(host, options);
    *out = object;
    return {};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::no_space, "out of memory while creating the plugin"};
  } catch (const std::exception& error) {
    return {ErrorCode::invalid_argument, error.what()};
  } catch (...) {
    return {ErrorCode::internal, "the plugin's constructor threw something that is not a std::exception"};
  }
}

template <PluginKind kind>
void destroy(void* object) noexcept {
  delete static_cast<typename InterfaceOf<kind>::Type*>(object);
}

template <std::size_t N>
constexpr std::uint32_t count_of(const OptionSpec (&options)[N]) noexcept {
  return options[0].key == nullptr ? 0U : static_cast<std::uint32_t>(N);
}

/// The stamp of the binary that this header is compiled into.
constexpr AbiStamp stamp_here(PluginKind kind, const char* name, const char* version) noexcept {
  const auto copy = [](char* to, std::size_t size, const char* from) {
    std::size_t i = 0;
    for (; from[i] != '\0' && i + 1 < size; ++i) to[i] = from[i];
    for (; i < size; ++i) to[i] = '\0';
  };
  AbiStamp stamp{};
  stamp.stamp_bytes = sizeof(AbiStamp);
  stamp.abi_major = kAbiMajor;
  stamp.abi_minor = kAbiMinor;
  stamp.kind = static_cast<std::uint8_t>(kind);
  stamp.pointer_bytes = sizeof(void*);
#if defined(__SANITIZE_ADDRESS__)
  stamp.sanitizers |= AbiStamp::kAddressSanitizer;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
  stamp.sanitizers |= AbiStamp::kAddressSanitizer;
#endif
#endif
#if defined(__SANITIZE_THREAD__)
  stamp.sanitizers |= AbiStamp::kThreadSanitizer;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
  stamp.sanitizers |= AbiStamp::kThreadSanitizer;
#endif
#endif
#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
  stamp.sanitizers |= AbiStamp::kMemorySanitizer;
#endif
#endif
#ifdef _GLIBCXX_DEBUG
  stamp.glibcxx_debug = 1;
#endif
#ifdef _GLIBCXX_USE_CXX11_ABI
  stamp.cxx11_abi = _GLIBCXX_USE_CXX11_ABI;
#endif
#ifdef _GLIBCXX_RELEASE
  stamp.glibcxx_release = _GLIBCXX_RELEASE;
#endif
#if defined(__x86_64__)
  copy(stamp.architecture, sizeof stamp.architecture, "x86_64");
#elif defined(__aarch64__)
  copy(stamp.architecture, sizeof stamp.architecture, "aarch64");
#else
#error "name this architecture in AbiStamp"
#endif
#if defined(__clang__)
  copy(stamp.compiler, sizeof stamp.compiler, "clang " __clang_version__);
#else
  copy(stamp.compiler, sizeof stamp.compiler, "gcc " __VERSION__);
#endif
  copy(stamp.api_hash, sizeof stamp.api_hash, kApiHash);
  copy(stamp.name, sizeof stamp.name, name);
  copy(stamp.version, sizeof stamp.version, version);
  return stamp;
}

/// An ELF note, laid out as the ELF specification's "Note Section": sizes, type, name padded to 4 bytes, description.
struct Note {
  std::uint32_t name_bytes;
  std::uint32_t description_bytes;
  std::uint32_t type;
  char name[12];
  AbiStamp stamp;
};
static_assert(sizeof(AbiStamp) % 4 == 0 && offsetof(Note, stamp) == 24);

constexpr Note note_here(const AbiStamp& stamp) noexcept { return {10, sizeof(AbiStamp), kNoteType, "StreamBus", stamp}; }

}  // namespace streambus::sdk

#ifndef STREAMBUS_PLUGIN_SYMBOL
/// Defined by the build for static linking ("streambus_plugin_storage_wal"); the shared object exports the plain name.
#define STREAMBUS_PLUGIN_SYMBOL streambus_plugin
#endif

/// Defines the note and the descriptor of a plugin. Use once per plugin, at namespace scope.
#define STREAMBUS_PLUGIN(kind, name, version, license, summary, Class, option_table)                                       \
  namespace {                                                                                                              \
  [[gnu::used, gnu::section(".note.streambus"), gnu::aligned(4)]] constexpr ::streambus::sdk::Note streambus_plugin_note = \
      ::streambus::sdk::note_here(::streambus::sdk::stamp_here(::streambus::PluginKind::kind, name, version));             \
  }                                                                                                                        \
  extern "C" [[gnu::visibility("default"), gnu::used]] const ::streambus::PluginDescriptor STREAMBUS_PLUGIN_SYMBOL = {     \
      sizeof(::streambus::PluginDescriptor),                                                                               \
      &streambus_plugin_note.stamp,                                                                                        \
      summary,                                                                                                             \
      license,                                                                                                             \
      option_table,                                                                                                        \
      ::streambus::sdk::count_of(option_table),                                                                            \
      &::streambus::sdk::create<::streambus::PluginKind::kind, Class>,                                                     \
      &::streambus::sdk::destroy<::streambus::PluginKind::kind>};
