#pragma once
// An engine's life that may be cut short anywhere, and the book of what every later life must find.

#include <functional>
#include <vector>

#include "storage_fixture.hpp"

namespace streambus::conformance {

/// Gives some of a row of batches, one at a time.
class ChosenBatches final : public BatchSource {
 public:
  explicit ChosenBatches(std::vector<Bytes> batches) : batches_(std::move(batches)) {}
  Status next(Bytes* batches) noexcept override {
    *batches = given_ < batches_.size() ? batches_[given_++] : Bytes{};
    return {};
  }

 private:
  const std::vector<Bytes> batches_;
  std::size_t given_ = 0;
};

/// Appends a fixed row of batches in small segments, deletes and replaces some on the way, and books what was answered.
/// Posted work runs on the calling thread, so that a run is the same every time.
class FaultRun {
 public:
  static constexpr int kBatches = 24;
  static constexpr PartitionSettings kSettings{.segment_bytes = 3000};

  FaultRun(const CaseContext& context, FaultFileSystem& files);

  /// One life of a process. Returns when everything is appended or nothing goes on.
  void live(bool orderly_end);

  /// The next life finds what the book says, goes on to the end of the row, and is found again, clean.
  void expect_recovered();

  /// How many batches the next life finds; -1 where it refuses to open the log.
  [[nodiscard]] int recovered();

  /// Batches that were acknowledged.
  [[nodiscard]] int acked() const noexcept { return acked_; }

  /// The power went: only the class fsync-batch still owes what it answered.
  void power_was_cut() noexcept;

 private:
  enum class Replaced : std::uint8_t { no, perhaps, yes };

  [[nodiscard]] int index_of(Offset end) const;
  void note(EngineUnderTest& under_test, PartitionLog& log);
  void administer(EngineUnderTest& under_test, PartitionLog& log, int appended);
  void replace(PartitionLog& log, int appended);
  [[nodiscard]] std::vector<std::byte> content(Offset start, int count, bool replaced) const;
  /// The first `count` batches are there as far as they were not deleted or replaced. A disk that fails may fail the read,
  /// but never gives other bytes.
  void expect_readable(PartitionLog& log, int count);

  const EngineCase case_;
  const bool promises_;  ///< what was answered outlives the power
  FaultFileSystem& files_;
  std::vector<std::vector<std::byte>> batches_;
  std::vector<std::int64_t> bases_;
  int acked_ = 0;
  Offset deleted_{0};        ///< a lower start was ruled out by an answer
  Offset deleted_tried_{0};  ///< no higher start was ever asked for
  Replaced replaced_ = Replaced::no;
  std::int64_t replaced_to_ = 0;  ///< odd batches below it were left out
};

/// File operations of the kinds in a run that nothing cuts short.
[[nodiscard]] std::uint64_t operations_of_a_run(CaseContext& context, std::uint32_t kinds);

/// Runs `one(n)` for the first, second, ... operation of the kinds until it returns false: the run has no more of them. At
/// level basic, and for engines with many operations at level durable, a sample that the seed shifts.
void for_every_operation(CaseContext& context, std::string_view what, std::uint32_t kinds,
                         const std::function<bool(std::uint64_t)>& one);

}  // namespace streambus::conformance
