#pragma once

#include <gtest/gtest.h>

#include "streambus/conformance/engine_under_test.hpp"
#include "streambus/conformance/fault_file_system.hpp"
#include "streambus/conformance/storage_batches.hpp"

extern "C" const streambus::PluginDescriptor streambus_plugin_storage_wal;

namespace streambus::storage_wal {

using test::BatchSpec;
using test::EngineCase;
using test::EngineUnderTest;
using test::FaultFileSystem;
using test::FileOperation;
using test::kKey;
using test::make_batch;
using test::only;
using test::PowerCut;
using test::read_all;
using test::StorageHost;

inline const std::string kDirectory = std::string(test::kTopicId) + "/0/";

/// An engine over a model of a file system; posted work runs when the test says so.
class WalTest : public testing::Test {
 protected:
  void make(std::vector<std::pair<std::string, std::string>> options = {}) {
    case_ = {"wal", &streambus_plugin_storage_wal, std::move(options)};
    under_test_ = std::make_unique<EngineUnderTest>(case_, files_, StorageHost::Workers::test);
  }
  void start(std::vector<std::pair<std::string, std::string>> options = {}) {
    make(std::move(options));
    const Status status = under_test_->start();
    ASSERT_TRUE(status.ok()) << status.text;
  }
  void TearDown() override {
    if (log_ != nullptr) (void)log_->close();
  }
  [[nodiscard]] StorageHost& host() { return under_test_->host(); }
  [[nodiscard]] Status try_open(const PartitionSettings& settings = {}) {
    return under_test_->engine().open(kKey, {}, settings, &log_);
  }
  void open(const PartitionSettings& settings = {}) {
    const Status status = try_open(settings);
    ASSERT_TRUE(status.ok()) << status.text;
  }
  void append(std::int64_t base, BatchSpec spec = {}) {
    spec.base = base;
    const std::vector<std::byte> batch = make_batch(spec);
    AppendResult result;
    const Status status = log_->append(batch, {base}, Offset{base} + spec.records, spec.max_timestamp, &result);
    ASSERT_TRUE(status.ok()) << status.text;
    appended_.insert(appended_.end(), batch.begin(), batch.end());
  }
  void flush() { (void)host().run_work(); }
  /// What a killed process leaves: files as they are, no orderly end.
  void crash() {
    files_.plan({.at = 1, .kinds = test::kAnyOperation, .halt = true});
    (void)std::exchange(log_, nullptr)->close();
    under_test_->destroy();
    files_.heal();
  }
  void close_and_stop() {
    const Status closed = std::exchange(log_, nullptr)->close();
    ASSERT_TRUE(closed.ok()) << closed.text;
    const Status stopped = under_test_->stop();
    ASSERT_TRUE(stopped.ok()) << stopped.text;
  }
  [[nodiscard]] std::vector<std::byte> content() {
    Status status;
    std::vector<std::byte> found = read_all(*log_, log_->state().start, log_->state().end, 1 << 20, &status);
    EXPECT_TRUE(status.ok()) << status.text;
    return found;
  }
  [[nodiscard]] static std::string segment(std::int64_t base, const char* kind = "log") {
    char name[40];
    std::snprintf(name, sizeof name, "%020lld.%s", static_cast<long long>(base), kind);
    return kDirectory + name;
  }

  FaultFileSystem files_;
  EngineCase case_;
  std::unique_ptr<EngineUnderTest> under_test_;
  PartitionLog* log_ = nullptr;
  std::vector<std::byte> appended_;
};

}  // namespace streambus::storage_wal
