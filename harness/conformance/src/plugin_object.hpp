#pragma once

#include <memory>

#include "streambus/conformance/case.hpp"
#include "streambus/conformance/fault_file_system.hpp"
#include "streambus/conformance/storage_host.hpp"

namespace streambus::conformance {

/// One created object of a plugin with a host of its own. T: Codec, Transport or Protocol.
template <class T>
class PluginObject {
 public:
  PluginObject(const LoadedPlugin& plugin, const OptionTexts& options)
      : plugin_(plugin), host_(std::make_unique<StorageHost>(files_)) {
    auto values = checked_options(plugin, options);
    if (!values) {
      created_ = values.error().to_status();
      return;
    }
    void* object = nullptr;
    created_ = plugin.descriptor().create(*host_, *values, &object);
    object_ = static_cast<T*>(object);
  }
  PluginObject(const PluginObject&) = delete;
  PluginObject& operator=(const PluginObject&) = delete;
  ~PluginObject() {
    host_->wait_idle();
    if (object_ != nullptr) plugin_.descriptor().destroy(object_);
  }

  /// What create() said.
  [[nodiscard]] const Status& created() const noexcept { return created_; }
  [[nodiscard]] T* operator->() const noexcept { return object_; }
  [[nodiscard]] T& operator*() const noexcept { return *object_; }
  [[nodiscard]] T* get() const noexcept { return object_; }
  [[nodiscard]] StorageHost& host() noexcept { return *host_; }

 private:
  const LoadedPlugin& plugin_;
  FaultFileSystem files_;
  std::unique_ptr<StorageHost> host_;
  Status created_;
  T* object_ = nullptr;
};

}  // namespace streambus::conformance
