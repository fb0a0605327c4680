#pragma once
// The engines that the suite runs against, and the scaffold around one of them. A new engine is one more line in engines().

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "streambus/conformance/engine_under_test.hpp"
#include "streambus/conformance/fault_file_system.hpp"
#include "streambus/conformance/storage_batches.hpp"

extern "C" const streambus::PluginDescriptor streambus_plugin_storage_wal;
extern "C" const streambus::PluginDescriptor streambus_plugin_storage_mmap;
extern "C" const streambus::PluginDescriptor streambus_plugin_storage_memory;

namespace streambus::test {

[[nodiscard]] inline std::vector<EngineCase> engines() {
  return {
      {"wal_pagecache", &streambus_plugin_storage_wal, {{"durability", "pagecache"}, {"open_files_max", "4"}}},
      {"wal_fsync_interval",
       &streambus_plugin_storage_wal,
       {{"durability", "fsync-interval"}, {"interval", "1ms"}, {"open_files_max", "4"}}},
      {"wal_fsync_batch", &streambus_plugin_storage_wal, {{"durability", "fsync-batch"}, {"open_files_max", "4"}}},
      {"wal_fsync_batch_growing",
       &streambus_plugin_storage_wal,
       {{"durability", "fsync-batch"}, {"zero_ahead", "0"}, {"verify_on_read", "true"}}},
      {"mmap_pagecache", &streambus_plugin_storage_mmap, {{"durability", "pagecache"}, {"windows_max", "4"}}},
      {"mmap_fsync_interval",
       &streambus_plugin_storage_mmap,
       {{"durability", "fsync-interval"}, {"interval", "1ms"}, {"windows_max", "4"}}},
      {"mmap_fsync_batch", &streambus_plugin_storage_mmap, {{"durability", "fsync-batch"}, {"windows_max", "4"}}},
      {"mmap_fsync_batch_reserving",
       &streambus_plugin_storage_mmap,
       {{"durability", "fsync-batch"}, {"zero_fill", "0"}, {"window_bytes", "4KiB"}, {"verify_on_read", "true"}}},
      {"memory_reject", &streambus_plugin_storage_memory, {{"capacity", "16MiB"}, {"when_full", "reject"}}, false, true},
      {"memory_evict", &streambus_plugin_storage_memory, {{"capacity", "16MiB"}, {"when_full", "evict"}}, false, true},
  };
}

/// A suite over all engines.
class StorageConformance : public testing::TestWithParam<EngineCase> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(under_test_.start().ok());
    open();
  }
  void TearDown() override {
    if (log_ != nullptr) {
      EXPECT_TRUE(log_->close().ok());
    }
  }

  [[nodiscard]] StorageEngine& engine() { return under_test_.engine(); }
  [[nodiscard]] StorageHost& host() { return under_test_.host(); }
  [[nodiscard]] PartitionLog& log() { return *log_; }

  void open(Offset start = {}, const PartitionSettings& settings = {}) {
    const Status status = engine().open(kKey, start, settings, &log_);
    ASSERT_TRUE(status.ok()) << status.text;
  }
  void close() {
    const Status status = std::exchange(log_, nullptr)->close();
    ASSERT_TRUE(status.ok()) << status.text;
  }
  void reopen(const PartitionSettings& settings = {}) {
    close();
    open({}, settings);
  }
  void restart(const PartitionSettings& settings = {}) {
    close();
    const Status stopped = under_test_.stop();
    ASSERT_TRUE(stopped.ok()) << stopped.text;
    const Status started = under_test_.start();
    ASSERT_TRUE(started.ok()) << started.text;
    open({}, settings);
  }

  /// Appends a batch at the end (or where the spec says, if that is beyond) and remembers its bytes.
  Status append(BatchSpec spec) {
    spec.base = std::max(spec.base, log().state().end.value);
    const std::vector<std::byte> batch = make_batch(spec);
    const Status status = log().append(batch, {spec.base}, Offset{spec.base} + spec.records, spec.max_timestamp, &last_);
    if (status.ok()) expected_.insert(expected_.end(), batch.begin(), batch.end());
    return status;
  }
  void append_many(int count, BatchSpec spec = {}) {
    for (int i = 0; i < count; ++i) {
      const Status status = append(spec);
      ASSERT_TRUE(status.ok()) << status.text;
    }
  }
  /// The log holds exactly what was appended since its start.
  void expect_content(std::uint64_t bytes_max = 1 << 20) {
    Status status;
    const LogState state = log().state();
    const std::vector<std::byte> found = read_all(log(), state.start, state.end, bytes_max, &status);
    ASSERT_TRUE(status.ok()) << status.text;
    ASSERT_EQ(found.size(), expected_.size());
    EXPECT_EQ(found, expected_);
  }

  FaultFileSystem files_;
  EngineUnderTest under_test_{GetParam(), files_};
  PartitionLog* log_ = nullptr;
  AppendResult last_;
  std::vector<std::byte> expected_;
};

}  // namespace streambus::test
