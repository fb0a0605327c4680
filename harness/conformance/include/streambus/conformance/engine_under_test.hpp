#pragma once
// A storage engine as tests drive it: made from its descriptor, started over any file system, ended in order or not.

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "streambus/conformance/storage_host.hpp"
#include "streambus/host/option_values.hpp"
#include "streambus/plugin/sdk.hpp"

namespace streambus::conformance {

struct EngineCase {
  std::string name;
  const PluginDescriptor* descriptor = nullptr;
  std::vector<std::pair<std::string, std::string>> options;
  bool persistent = true;         ///< keeps data when it is closed and opened again
  bool retains_by_chunk = false;  ///< frees memory, not segments of the configured size
  bool replaces = false;          ///< can_replace()
};

inline std::ostream& operator<<(std::ostream& out, const EngineCase& engine) { return out << engine.name; }

/// One instance of an engine over a file system, started. Restarting makes a new instance over the same files.
class EngineUnderTest {
 public:
  EngineUnderTest(const EngineCase& engine, FileSystem& files, StorageHost::Workers workers = StorageHost::Workers::threads)
      : case_(engine), files_(files), workers_(workers) {}
  ~EngineUnderTest() { destroy(); }
  EngineUnderTest(const EngineUnderTest&) = delete;
  EngineUnderTest& operator=(const EngineUnderTest&) = delete;

  /// Makes and starts an instance. `prepare` may change the host before the engine knows it.
  [[nodiscard]] Status start(const std::function<void(StorageHost&)>& prepare = {}) {
    host_ = std::make_unique<StorageHost>(files_, workers_);
    if (prepare) prepare(*host_);
    OptionValues values({case_.descriptor->options, case_.descriptor->option_count});
    for (const auto& [key, text] : case_.options) {
      for (const OptionSpec& spec : values.table()) {
        if (key == spec.key) values.set(key, parse_option(spec, text).value());
      }
    }
    void* object = nullptr;
    STREAMBUS_TRY_STATUS(case_.descriptor->create(*host_, values, &object));
    engine_ = static_cast<StorageEngine*>(object);
    return engine_->start();
  }
  /// The orderly end; logs are closed by the test.
  [[nodiscard]] Status stop() {
    const Status status = engine_->stop();
    destroy();
    return status;
  }
  /// Ends the instance without stop(), as far as a living process can.
  void destroy() {
    destroy_engine();
    host_.reset();
  }
  /// The same, and keeps the host, for what it recorded.
  void destroy_engine() {
    if (engine_ == nullptr) return;
    if (workers_ == StorageHost::Workers::test) {
      (void)host_->run_work();
    } else {
      host_->wait_idle();
    }
    case_.descriptor->destroy(engine_);
    engine_ = nullptr;
  }

  [[nodiscard]] StorageEngine& engine() { return *engine_; }
  [[nodiscard]] StorageHost& host() { return *host_; }

 private:
  const EngineCase& case_;
  FileSystem& files_;
  const StorageHost::Workers workers_;
  std::unique_ptr<StorageHost> host_;
  StorageEngine* engine_ = nullptr;
};

inline constexpr const char* kTopicId = "00112233445566778899aabbccddeeff";
inline constexpr PartitionKey kKey{"orders", kTopicId, 0};

}  // namespace streambus::conformance

namespace streambus::test {
using namespace streambus::conformance;  // unit tests name their doubles here
}
