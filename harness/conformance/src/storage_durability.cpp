// What is reported as durable, and when.

#include <atomic>
#include <thread>

#include "case_lists.hpp"
#include "storage_fixture.hpp"

namespace streambus::conformance {
namespace {

/// Waits for the last append's report where the class gives one.
void wait_durable(StorageFixture& fixture) {
  if (fixture.last.position != 0)
    expect(fixture.host().sink.wait(fixture.log().durability_domain(), fixture.last.position),
           "a durability report for the last append within a minute");
}

void reports(CaseContext& context) {
  StorageFixture fixture(context, {.segment_bytes = 30'000});
  const std::uint64_t batches = context.rounds(1000, 4000, 50'000);
  for (std::uint64_t i = 0; i < batches; ++i) expect_ok(fixture.append({.body_bytes = 100}), "append");
  const std::uint64_t highest = fixture.last.position;
  wait_durable(fixture);
  fixture.host().wait_idle();
  const RecordingSink::Domain domain = fixture.host().sink.of(fixture.log().durability_domain());
  expect_equal("reports that went back", domain.went_back, 0U);
  expect_at_most("position reported, of the highest that an append was given", domain.position, highest);
  expect_at_most("reports", domain.reports, batches);
  expect_equal("durable when all is reported", fixture.log().state().durable, fixture.log().state().end);
  expect_ok(fixture.log().delete_before(fixture.log().state().end), "delete_before(end)");
  fixture.append_many(1);
  wait_durable(fixture);
  fixture.finish();
}

void by_class(CaseContext& context) {
  StorageFixture fixture(context);
  fixture.append_many(50, {.records = 2});
  if (context.traits.durability != Durability::fsync_batch) {
    expect_equal("position of an append in a class that answers at once", fixture.last.position, 0U);
    expect_equal("durable", fixture.log().state().durable, fixture.log().state().end);
  } else {
    expect_at_least("position of an append in the class fsync-batch", fixture.last.position, 1U);
    wait_durable(fixture);
    fixture.host().wait_idle();
    expect_equal("durable", fixture.log().state().durable, fixture.log().state().end);
  }
  fixture.finish();
}

void not_before_the_sync(CaseContext& context) {
  StorageFixture fixture(context, {}, StorageHost::Workers::test);
  fixture.append_many(1);
  (void)fixture.host().run_work();
  const std::uint32_t domain = fixture.log().durability_domain();
  const std::uint64_t before = fixture.host().sink.of(domain).position;
  fixture.files.hold_syncs(true);
  std::atomic<bool> done{false};
  std::thread worker([&] {
    fixture.append_many(1);
    (void)fixture.host().run_work();  // waits in the sync
    done = true;
  });
  while (!done && fixture.files.waiting_syncs() == 0) std::this_thread::yield();
  const std::uint64_t meanwhile = fixture.host().sink.of(domain).position;
  fixture.files.hold_syncs(false);
  worker.join();
  expect_equal("position reported while every sync is still waiting for the device", meanwhile, before);
  expect_at_least("position reported after the sync", fixture.host().sink.of(domain).position, fixture.last.position);
  fixture.finish();
}

void close_makes_durable(CaseContext& context) {
  for (const PowerCut cut : {PowerCut::nothing, PowerCut::any}) {
    context.at(cut == PowerCut::nothing ? "nothing kept but what was synced" : "any part kept");
    StorageFixture fixture(context, {.segment_bytes = 3000}, StorageHost::Workers::test);
    fixture.append_many(20, {.body_bytes = 300});
    fixture.close();
    fixture.files.cut_power(cut, context.seed);
    fixture.under_test().destroy();
    fixture.start();
    fixture.open({.segment_bytes = 3000});
    fixture.expect_content();
    fixture.finish();
  }
}

void failed_sync(CaseContext& context) {
  FaultFileSystem files;
  const EngineCase engine = engine_of(context);
  EngineUnderTest under_test(engine, files, StorageHost::Workers::test);
  expect_ok(under_test.start(), "start()");
  PartitionLog* log = nullptr;
  expect_ok(under_test.engine().open(kKey, {}, {}, &log), "open()");
  AppendResult result;
  const std::vector<std::byte> first = make_batch({.base = 0});
  const std::vector<std::byte> second = make_batch({.base = 1});
  expect_ok(log->append(first, {0}, {1}, 0, &result), "append");
  (void)under_test.host().run_work();
  const std::uint64_t acked = under_test.host().sink.of(log->durability_domain()).position;
  expect_at_least("position reported", acked, result.position);
  files.plan({.at = 1, .kinds = only(FileOperation::sync), .errno_value = EIO, .for_good = true});
  expect_ok(log->append(second, {1}, {2}, 0, &result), "append before the sync that fails");
  (void)under_test.host().run_work();
  expect(files.fired(), "a sync of what was appended");
  RecordingSink::Domain domain = under_test.host().sink.of(log->durability_domain());
  expect_equal("position reported after a sync that failed", domain.position, acked);
  expect(!domain.failure.ok(), "domain_failed() after a sync that failed");
  files.heal();
  const Status later = log->append(second, {log->state().end.value}, {log->state().end.value + 1}, 0, &result);
  expect_code(later, later.code == ErrorCode::invalid_argument ? ErrorCode::invalid_argument : ErrorCode::offline,
              "append after a sync that failed: no retry into success");
  const std::vector<std::byte> third = make_batch({.base = log->state().end.value});
  const Status refused = log->append(third, log->state().end, log->state().end + 1, 0, &result);
  expect_code(refused, ErrorCode::offline, "append after a sync that failed: no retry into success");
  expect(std::string_view(refused.text).contains("orders-0"),
         fmt::format("the refusal to name the partition orders-0, found '{}'", refused.text));
  (void)under_test.host().run_work();
  domain = under_test.host().sink.of(log->durability_domain());
  expect_equal("position reported after a sync that failed", domain.position, acked);
  expect_bytes("reads go on", read_range(*log, {0}, {1}, 1000), first);
  expect(!log->close().ok(), "close() to say that not all is durable");
  expect_ok(under_test.engine().open(kKey, {}, {}, &log), "open() again, without a restart of the engine");
  // What comes back was written again: the sync that failed has dropped it from what is still to be written.
  const Offset end = log->state().end;
  expect_ok(log->close(), "close()");
  files.cut_power(PowerCut::nothing, 1);
  under_test.destroy();
  expect_ok(under_test.start(), "start() after a power cut");
  expect_ok(under_test.engine().open(kKey, {}, {}, &log), "open() after a power cut");
  expect_equal("end after a power cut, of what close() made durable", log->state().end, end);
  expect_ok(log->close(), "close()");
}

void full_disk(CaseContext& context) {
  StorageFixture fixture(context, {.segment_bytes = 20'000}, StorageHost::Workers::test);
  fixture.files.set_capacity(100'000);
  const auto fill = [&] {
    for (int i = 0; i < 1000; ++i) {
      const LogState before = fixture.log().state();
      const Status status = fixture.append({.body_bytes = 700});
      if (!status.ok()) {
        expect_code(status, ErrorCode::no_space, "append on a full disk");
        expect_equal("end after an append that found no space", fixture.log().state().end, before.end);
        expect_equal("bytes after an append that found no space", fixture.log().state().bytes, before.bytes);
        return;
      }
      if (i % 10 == 0) (void)fixture.host().run_work();
    }
    fail_case("appends on a disk of limited capacity: expected no_space at some time, found none");
  };
  fill();
  expect_at_least("batches of 761 bytes on a disk of 100,000", fixture.log().state().end, Offset{80});
  fixture.expect_content(5000);
  fill();  // still full
  fixture.expect_content(5000);
  const Offset before = fixture.log().state().end;
  fixture.files.set_capacity(200'000);
  fill();
  expect_at_least("end when there is room again", fixture.log().state().end, before + 50);
  (void)fixture.host().run_work();
  fixture.expect_content(5000);
  fixture.files.set_capacity(1 << 20);
  fixture.restart();
  fixture.expect_content(5000);
  fixture.finish();
}

constexpr Case kCases[] = {
    {"storage.durability.reports",
     "Durability is reported at most once per append, never goes back, never beyond what was appended, and reaches the end.",
     Level::basic, kNothing, &reports},
    {"storage.durability.class",
     "In the class fsync-batch an append names the position that a report will reach; in the others it is durable at once and "
     "none follows.",
     Level::basic, kNothing, &by_class},
    {"storage.durability.after_sync", "Nothing is reported as durable before the sync that covers it has returned.",
     Level::basic, kFileLayer | kSyncs, &not_before_the_sync},
    {"storage.durability.close", "close() makes all that was appended durable.", Level::basic, kFileLayer | kKeeps | kSyncs,
     &close_makes_durable},
    {"storage.durability.failed_sync",
     "A sync that failed is final: no report, the domain fails, appends are refused as offline, reads go on, and opening again "
     "brings back what can be made durable.",
     Level::basic, kFileLayer | kSyncs, &failed_sync},
    {"storage.durability.full_disk",
     "no_space leaves the log as it was, reads go on, and appends work again when there is room.", Level::basic,
     kFileLayer | kKeeps, &full_disk},
};

}  // namespace

std::span<const Case> storage_durability_cases() { return kCases; }

}  // namespace streambus::conformance
