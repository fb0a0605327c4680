#include "fault_run.hpp"

namespace streambus::conformance {

FaultRun::FaultRun(const CaseContext& context, FaultFileSystem& files)
    : case_(engine_of(context)), promises_(context.traits.durability == Durability::fsync_batch), files_(files) {
  std::int64_t base = 0;
  for (int i = 0; i < kBatches; ++i) {
    const BatchSpec spec{.base = base, .records = 1 + i % 3, .body_bytes = 100 + static_cast<std::size_t>(i * 37 % 400)};
    batches_.push_back(make_batch(spec));
    bases_.push_back(base);
    base += spec.records;
  }
  bases_.push_back(base);
}

void FaultRun::live(bool orderly_end) {
  EngineUnderTest under_test(case_, files_, StorageHost::Workers::test);
  if (!under_test.start().ok()) return;
  PartitionLog* log = nullptr;
  if (!under_test.engine().open(kKey, {}, kSettings, &log).ok()) return;
  int tries = 0;
  for (int next = index_of(log->state().end); next < kBatches && tries < 4;) {
    expect(next >= 0, fmt::format("a log that ends between batches, found the end {}", log->state().end.value));
    AppendResult result;
    const Offset before = log->state().end;
    const Status status = log->append(batches_[next], {bases_[next]}, {bases_[next + 1]}, 1000, &result);
    if (!status.ok()) {
      expect_equal("end after an append that failed", log->state().end, before);
      if (!is_retriable(status.code) || status.code == ErrorCode::offline) break;
      ++tries;
      continue;
    }
    tries = 0;
    ++next;
    if (!promises_) acked_ = std::max(acked_, next);
    if (next % 3 == 0) (void)under_test.host().run_work();
    administer(under_test, *log, next);
    if (promises_) note(under_test, *log);
    expect_readable(*log, next);
  }
  (void)under_test.host().run_work();
  if (promises_) note(under_test, *log);
  const bool closed = log->close().ok();
  if (closed && orderly_end) (void)under_test.stop();
}

void FaultRun::administer(EngineUnderTest& under_test, PartitionLog& log, int appended) {
  if (appended == 15) (void)log.retain(under_test.host().wall_ms());
  if (appended == 18) replace(log, appended);
  if (appended == 21) {
    const Offset start{bases_[3] + 1};
    deleted_tried_ = std::max(deleted_tried_, start);
    if (log.delete_before(start).ok()) deleted_ = std::max(deleted_, start);
  }
}

void FaultRun::replace(PartitionLog& log, int appended) {
  if (!case_.replaces) return;
  const Offset from = log.state().start;
  Offset to = log.segment_end(from);
  if (to == kNoOffset) return;
  if (const Offset further = log.segment_end(to); further != kNoOffset) to = further;  // two segments become one
  if (to > Offset{bases_[appended]} || index_of(to) < 0)
    fail_case(fmt::format("segment_end: expected the end of a batch below {}, found {}", bases_[appended], to.value));
  if (replaced_ != Replaced::no && to.value != replaced_to_) return;  // the book holds one range
  std::vector<Bytes> kept;
  for (int i = 0; i < index_of(to); ++i) {
    if (Offset{bases_[i + 1]} > from && i % 2 == 0) kept.emplace_back(batches_[i]);
  }
  ChosenBatches source(std::move(kept));
  const bool was = replaced_ == Replaced::yes;
  replaced_to_ = to.value;
  replaced_ = Replaced::perhaps;
  const Status status = log.replace(from, to, source);
  if (status.ok() || was)
    replaced_ = Replaced::yes;
  else if (!files_.fired())
    expect_ok(status, "replace() of whole segments");
}

void FaultRun::expect_recovered() {
  EngineUnderTest under_test(case_, files_, StorageHost::Workers::test);
  expect_ok(under_test.start(), "start() after a crash");
  PartitionLog* log = nullptr;
  expect_ok(under_test.engine().open(kKey, {}, kSettings, &log), "open() after a crash");
  const int found = index_of(log->state().end);
  expect(found >= 0, fmt::format("a log that ends between batches, found the end {}", log->state().end.value));
  expect_at_least("batches found after a crash, of those acknowledged", found, acked_);
  expect_readable(*log, found);
  for (int next = found; next < kBatches; ++next) {
    AppendResult result;
    expect_ok(log->append(batches_[next], {bases_[next]}, {bases_[next + 1]}, 1000, &result), "append after recovery");
  }
  (void)under_test.host().run_work();
  expect_readable(*log, kBatches);
  expect_ok(log->close(), "close()");
  expect_ok(under_test.stop(), "stop()");
  expect_ok(under_test.start(), "start() after a clean stop");
  expect_ok(under_test.engine().open(kKey, {}, kSettings, &log), "open() after a clean stop");
  expect(log->state().clean, "a partition that was closed in order to be clean");
  expect_equal("end after a clean stop", log->state().end.value, bases_[kBatches]);
  expect_readable(*log, kBatches);
  expect_ok(log->close(), "close()");
}

int FaultRun::recovered() {
  EngineUnderTest under_test(case_, files_, StorageHost::Workers::test);
  PartitionLog* log = nullptr;
  if (!under_test.start().ok() || !under_test.engine().open(kKey, {}, kSettings, &log).ok()) return -1;
  const int found = index_of(log->state().end);
  (void)log->close();
  return found;
}

void FaultRun::power_was_cut() noexcept {
  if (promises_) return;
  acked_ = 0;
  deleted_ = {0};
  if (replaced_ == Replaced::yes) replaced_ = Replaced::perhaps;
}

int FaultRun::index_of(Offset end) const {
  const auto found = std::ranges::find(bases_, end.value);
  return found == bases_.end() ? -1 : static_cast<int>(found - bases_.begin());
}

void FaultRun::note(EngineUnderTest& under_test, PartitionLog& log) {
  const RecordingSink::Domain domain = under_test.host().sink.of(log.durability_domain());
  const int durable = domain.position == 0 ? 0 : index_of(log.state().durable);
  acked_ = std::max(acked_, durable);
}

std::vector<std::byte> FaultRun::content(Offset start, int count, bool replaced) const {
  std::vector<std::byte> bytes;
  for (int i = 0; i < count; ++i) {
    if (Offset{bases_[i + 1]} <= start || (replaced && i % 2 == 1 && bases_[i] < replaced_to_)) continue;
    bytes.insert(bytes.end(), batches_[i].begin(), batches_[i].end());
  }
  return bytes;
}

void FaultRun::expect_readable(PartitionLog& log, int count) {
  const Offset start = log.state().start;
  expect_at_least("start", start, deleted_);
  expect_at_most("start", start, deleted_tried_);
  Status status;
  const std::vector<std::byte> found = read_all(log, start, {bases_[count]}, 2000, &status);
  if (!status.ok() && files_.fired()) return;
  expect_ok(status, "read");
  const std::vector<std::byte> old = content(start, count, false);
  if (replaced_ == Replaced::no) return expect_bytes("what the log holds", found, old);
  if (replaced_ == Replaced::perhaps && found == old) return;
  expect_bytes(replaced_ == Replaced::yes
                   ? "what the log holds after replace()"
                   : "what the log holds after replace() did not return ok (the old batches or the new ones)",
               found, content(start, count, true));
}

std::uint64_t operations_of_a_run(CaseContext& context, std::uint32_t kinds) {
  FaultFileSystem files;
  FaultRun run(context, files);
  files.plan({.kinds = kinds});
  run.live(true);
  return files.counted();
}

void for_every_operation(CaseContext& context, std::string_view what, std::uint32_t kinds,
                         const std::function<bool(std::uint64_t)>& one) {
  const std::uint64_t total = operations_of_a_run(context, kinds);
  const std::uint64_t runs_max = context.rounds(25, 400, UINT64_MAX);
  const std::uint64_t stride = total / runs_max + 1;
  for (std::uint64_t at = 1 + context.seed % stride;; at += stride) {
    context.at(fmt::format("{} at operation {}", what, at));
    expect_at_most("operations of one run", at, total * 10 + 1000);
    if (!one(at)) return;
  }
}

}  // namespace streambus::conformance
