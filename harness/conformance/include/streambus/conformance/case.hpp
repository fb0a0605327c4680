#pragma once
// A conformance case as data, and what it is run with.

#include <filesystem>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "streambus/conformance/expect.hpp"
#include "streambus/host/option_values.hpp"
#include "streambus/host/plugin_registry.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::conformance {

/// How much is tried: basic in seconds, durable in under a minute, stress as long as it takes.
enum class Level : std::uint8_t { basic, durable, stress };
[[nodiscard]] std::string_view name_of(Level level) noexcept;

/// What a case needs of a storage engine beyond the contract that all share. Bit set.
enum Need : std::uint32_t {
  kNothing = 0,
  kKeeps = 1,      ///< batches outlive the process
  kFileLayer = 2,  ///< the engine's I/O goes through Host::files(): it can be failed and recorded
  kSyncs = 4,      ///< the class is fsync-batch: acknowledged means on the device
  kReplaces = 8,   ///< StorageEngine::can_replace()
};

/// What the kit found out about a plugin before the cases run. Plain data: it crosses from one process to another.
struct Traits {
  Durability durability = Durability::memory;
  bool keeps = false;
  bool file_layer = false;
  bool replaces = false;
  char build_id[64] = "";  ///< the linker's, in hexadecimal; empty where the file has none
  char address[108] = "";  ///< of transports: one that listen() takes

  [[nodiscard]] std::uint32_t gives() const noexcept {
    return (keeps ? kKeeps : 0U) | (file_layer ? kFileLayer : 0U) | (durability == Durability::fsync_batch ? kSyncs : 0U) |
           (replaces ? kReplaces : 0U);
  }
};

using OptionTexts = std::vector<std::pair<std::string, std::string>>;

/// What a running case knows. Lives in the case's own process.
class CaseContext {
 public:
  CaseContext(const LoadedPlugin& loaded, OptionTexts option_texts, std::uint64_t seed_value, Level wanted, const Traits& known,
              std::span<char> detail)
      : plugin(loaded), options(std::move(option_texts)), seed(seed_value), level(wanted), traits(known), detail_(detail) {}
  CaseContext(const CaseContext&) = delete;
  CaseContext& operator=(const CaseContext&) = delete;

  const LoadedPlugin& plugin;
  const OptionTexts options;  ///< as given, "{dir}" replaced
  const std::uint64_t seed;
  const Level level;
  const Traits traits;

  /// Says where in the case we are ("fault at operation 17"): shown with a failure, a crash or a hang. Not thread-safe.
  void at(std::string_view where) noexcept;

  [[nodiscard]] std::uint64_t rounds(std::uint64_t basic, std::uint64_t durable, std::uint64_t stress) const noexcept {
    return level == Level::basic ? basic : level == Level::durable ? durable : stress;
  }
  /// True where the plugin has an option of this name.
  [[nodiscard]] bool has_option(std::string_view key) const noexcept;
  /// The given options with another one in front of them or in the place of one.
  [[nodiscard]] OptionTexts options_with(std::string_view key, std::string_view value) const;

 private:
  std::span<char> detail_;
};

/// One case. `run` returns where all expectations held.
struct Case {
  const char* id;        ///< "storage.order.gaps"
  const char* contract;  ///< the sentence of the contract that it proves
  Level level;           ///< the lowest level that runs it
  std::uint32_t needs;   ///< Need bits
  void (*run)(CaseContext&);
};

/// All cases of a kind, in the order in which they run.
[[nodiscard]] std::vector<Case> cases_of(PluginKind kind);

/// Checks the texts against the plugin's table and fills in defaults. Errors: invalid_argument, says which and what to do.
[[nodiscard]] Result<OptionValues> checked_options(const LoadedPlugin& plugin, const OptionTexts& texts);

}  // namespace streambus::conformance
