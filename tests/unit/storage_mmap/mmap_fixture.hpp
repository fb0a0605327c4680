#pragma once

#include <gtest/gtest.h>

#include <utility>

#include "streambus/conformance/engine_under_test.hpp"
#include "streambus/conformance/fault_file_system.hpp"
#include "streambus/conformance/storage_batches.hpp"

extern "C" const streambus::PluginDescriptor streambus_plugin_storage_mmap;

namespace streambus::storage_mmap {

using test::BatchSpec;
using test::bytes_of;
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

/// An engine over a file system; posted work runs when the test says so.
class MmapTest : public testing::Test {
 protected:
  void start(std::vector<std::pair<std::string, std::string>> options = {}) {
    case_ = {"mmap", &streambus_plugin_storage_mmap, std::move(options)};
    under_test_ = std::make_unique<EngineUnderTest>(case_, file_system(), StorageHost::Workers::test);
    restart();
  }
  /// Another instance over what is there, after the one before was destroyed.
  void restart() {
    const Status status = under_test_->start();
    ASSERT_TRUE(status.ok()) << status.text;
  }
  void TearDown() override {
    if (log_ != nullptr) (void)log_->close();
  }
  /// What the engine runs over.
  [[nodiscard]] virtual FileSystem& file_system() { return files_; }
  [[nodiscard]] StorageHost& host() { return under_test_->host(); }
  [[nodiscard]] Status try_open(const PartitionSettings& settings = {}) {
    return under_test_->engine().open(kKey, {}, settings, &log_);
  }
  void open(const PartitionSettings& settings = {}) {
    const Status status = try_open(settings);
    ASSERT_TRUE(status.ok()) << status.text;
  }
  [[nodiscard]] Status try_append(std::int64_t base, BatchSpec spec = {}) {
    spec.base = base;
    const std::vector<std::byte> batch = make_batch(spec);
    AppendResult result;
    const Status status = log_->append(batch, {base}, Offset{base} + spec.records, spec.max_timestamp, &result);
    if (status.ok()) appended_.insert(appended_.end(), batch.begin(), batch.end());
    return status;
  }
  void append(std::int64_t base, BatchSpec spec = {}) {
    const Status status = try_append(base, spec);
    ASSERT_TRUE(status.ok()) << status.text;
  }
  void work() { (void)host().run_work(); }
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
  [[nodiscard]] std::vector<std::byte> content(std::uint64_t bytes_max = 1 << 20) {
    Status status;
    std::vector<std::byte> found = read_all(*log_, log_->state().start, log_->state().end, bytes_max, &status);
    EXPECT_TRUE(status.ok()) << status.text;
    return found;
  }
  [[nodiscard]] ReadResult read(std::int64_t from, std::uint64_t bytes_max = 1 << 20) {
    ReadResult result;
    const Status status = log_->read({.from = {from}, .limit = log_->state().end, .bytes_max = bytes_max}, &result);
    EXPECT_TRUE(status.ok()) << status.text;
    return result;
  }
  [[nodiscard]] static std::string segment(std::int64_t base, int generation = 0, const char* kind = "seg") {
    char name[48];
    std::snprintf(name, sizeof name, "%020lld-%08d.%s", static_cast<long long>(base), generation, kind);
    return std::string(test::kTopicId) + "/0/" + name;
  }

  FaultFileSystem files_;
  EngineCase case_;
  std::unique_ptr<EngineUnderTest> under_test_;
  PartitionLog* log_ = nullptr;
  std::vector<std::byte> appended_;
};

}  // namespace streambus::storage_mmap
