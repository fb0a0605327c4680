#pragma once
// One engine with one open partition, and a book of what it must hold: what most storage cases start from.

#include <utility>
#include <vector>

#include "streambus/conformance/case.hpp"
#include "streambus/conformance/engine_under_test.hpp"
#include "streambus/conformance/fault_file_system.hpp"
#include "streambus/conformance/storage_batches.hpp"

namespace streambus::conformance {

/// Small segments, so that a few batches fill several.
inline constexpr PartitionSettings kSmallSegments{.segment_bytes = 4096};

/// The engine of a context, as EngineUnderTest takes it.
[[nodiscard]] EngineCase engine_of(const CaseContext& context);
[[nodiscard]] EngineCase engine_of(const CaseContext& context, OptionTexts options);

/// What a read gave, copied; its pin is released.
struct Copied {
  Status status;
  std::vector<std::byte> bytes;
  Offset next;
  std::uint32_t slices = 0;

  /// Of the first batch.
  [[nodiscard]] Offset base() const { return BatchHeader(bytes.data()).base_offset(); }
};
/// Reads once, and checks what every answer must be: whole valid batches in order, below the limit, counted rightly, a pin
/// exactly where there are slices.
[[nodiscard]] Copied read_once(PartitionLog& log, const ReadRequest& request);

/// Reads all of [from, limit) by read_once(); ends the case where a read fails or makes no progress.
[[nodiscard]] std::vector<std::byte> read_range(PartitionLog& log, Offset from, Offset limit, std::uint64_t bytes_max);

class StorageFixture {
 public:
  explicit StorageFixture(CaseContext& context, const PartitionSettings& settings = {},
                          StorageHost::Workers workers = StorageHost::Workers::threads,
                          std::function<void(StorageHost&)> prepare = {});
  StorageFixture(const StorageFixture&) = delete;
  StorageFixture& operator=(const StorageFixture&) = delete;

  /// Closes, stops, and checks that nothing is left: reports that no contract allows, domains, open files. The last call.
  void finish();

  [[nodiscard]] CaseContext& context() { return context_; }
  [[nodiscard]] StorageEngine& engine() { return under_test_.engine(); }
  [[nodiscard]] EngineUnderTest& under_test() { return under_test_; }
  [[nodiscard]] StorageHost& host() { return under_test_.host(); }
  [[nodiscard]] PartitionLog& log() { return *log_; }
  [[nodiscard]] bool keeps() const { return context_.traits.keeps; }
  /// True for an engine of the class memory, which frees memory in pieces of its own and not by segment.
  [[nodiscard]] bool in_memory() const { return context_.traits.durability == Durability::memory; }

  void start();
  void open(const PartitionSettings& settings = {});
  void close();
  void reopen(const PartitionSettings& settings = {});
  /// Closes, stops, and starts a new instance over the same files.
  void restart(const PartitionSettings& settings = {});

  /// Appends a batch at the end (or where the spec says, if that is beyond) and books it.
  Status append(BatchSpec spec = {});
  void append_many(int count, const BatchSpec& spec = {});
  /// The log holds exactly what was booked.
  void expect_content(std::uint64_t bytes_max = 1 << 20);
  /// The base offset that find_time() gives.
  [[nodiscard]] std::int64_t found_at(TimestampMs time);

  FaultFileSystem files;
  std::vector<std::byte> expected;  ///< what the log holds from its start on
  AppendResult last;                ///< of the last append

 private:
  void check_reports();

  CaseContext& context_;
  const EngineCase case_;
  const std::function<void(StorageHost&)> prepare_;
  EngineUnderTest under_test_;
  PartitionLog* log_ = nullptr;
};

}  // namespace streambus::conformance
