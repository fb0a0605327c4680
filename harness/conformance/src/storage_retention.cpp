// Search by time, deletion and retention.

#include "case_lists.hpp"
#include "storage_fixture.hpp"

namespace streambus::conformance {
namespace {

void time_search(CaseContext& context) {
  StorageFixture fixture(context, kSmallSegments);
  for (int round = 0; round < 20; ++round) {
    for (const TimestampMs time : {100, 300, 200, 200, 400, 400, 350, 900})  // producers' clocks differ
      fixture.append_many(1, {.records = 2, .body_bytes = 200, .max_timestamp = time + round * 1000});
  }
  const auto check = [&](std::string_view when) {
    context.at(when);
    constexpr std::pair<TimestampMs, std::int64_t> kFound[] = {{0, 0},    {100, 0},   {101, 2},      {300, 2},
                                                               {301, 8},  {400, 8},   {401, 14},     {900, 14},
                                                               {901, 16}, {1301, 24}, {19'900, 318}, {19'901, -1}};
    for (const auto& [time, base] : kFound)
      expect_equal(fmt::format("base of the first batch that reaches time {}", time), fixture.found_at(time), base);
  };
  check("right after appending");
  fixture.host().wait_idle();
  check("when nothing runs in the background");
  if (fixture.keeps()) {
    fixture.restart(kSmallSegments);
    check("after a restart");
  }
  expect_ok(fixture.log().delete_before({10}), "delete_before");
  expect_equal("what a time before the start finds", fixture.found_at(100), 10);
  fixture.finish();
}

constexpr Case kTimeCases[] = {
    {"storage.time.search",
     "find_time gives the first batch whose max_timestamp reaches the time, also where timestamps are not in order.",
     Level::basic, kNothing, &time_search},
};

void delete_before(CaseContext& context) {
  StorageFixture fixture(context, kSmallSegments);
  fixture.append_many(60, {.records = 2, .body_bytes = 500});
  fixture.host().wait_idle();  // space is freed "when it can": full segments may be sealed by posted work
  expect_code(fixture.log().delete_before({121}), ErrorCode::out_of_range, "delete_before beyond the end");
  expect_ok(fixture.log().delete_before({51}), "delete_before(51)");
  expect_equal("start", fixture.log().state().start, Offset{51});
  expect_code(read_once(fixture.log(), {.from = {50}, .limit = {120}, .bytes_max = 1000}).status, ErrorCode::out_of_range,
              "read of what was deleted");
  const Copied copied = read_once(fixture.log(), {.from = {51}, .limit = {120}, .bytes_max = 600});
  expect_ok(copied.status, "read from the start");
  expect_equal("base of the batch that contains the start: it stays whole", copied.base(), Offset{50});
  expect_ok(fixture.log().delete_before({20}), "delete_before below the start");
  expect_equal("start, which never goes back", fixture.log().state().start, Offset{51});
  if (fixture.keeps()) {
    expect(fixture.log().state().bytes < fixture.expected.size(), "whole segments to be freed by delete_before");
    fixture.restart(kSmallSegments);
    expect_equal("start after a restart", fixture.log().state().start, Offset{51});
    expect_equal("end after a restart", fixture.log().state().end, Offset{120});
  }
  fixture.finish();
}

void delete_all(CaseContext& context) {
  StorageFixture fixture(context);
  fixture.append_many(10, {.records = 3});
  expect_ok(fixture.log().delete_before({30}), "delete_before(end)");
  expect_equal("bytes", fixture.log().state().bytes, 0U);
  const auto check = [&] {
    expect_equal("start", fixture.log().state().start, Offset{30});
    expect_equal("end", fixture.log().state().end, Offset{30});
  };
  check();
  if (fixture.keeps()) {
    fixture.restart();
    check();
  }
  fixture.expected.clear();
  fixture.append_many(4, {.records = 3});
  fixture.expect_content();
  fixture.finish();
}

/// What an engine may keep above a bound: a segment, or in memory a few chunks.
struct Sizes {
  explicit Sizes(bool in_memory)
      : body(in_memory ? 100'000 : 500), keep(in_memory ? 4 << 20 : 10'000), over(in_memory ? 2'200'000 : 4096 + 561) {}
  std::size_t body;
  std::int64_t keep;
  std::uint64_t over;
};

void by_bytes(CaseContext& context) {
  const Sizes sizes(context.traits.durability == Durability::memory);
  StorageFixture fixture(context, {.retention_bytes = sizes.keep, .segment_bytes = 4096});
  fixture.append_many(100, {.body_bytes = sizes.body});
  fixture.host().wait_idle();
  expect_ok(fixture.log().retain(fixture.host().wall_ms()), "retain");
  const LogState state = fixture.log().state();
  expect_at_least("bytes kept", state.bytes, static_cast<std::uint64_t>(sizes.keep));
  expect_at_most("bytes kept: at most one segment too much", state.bytes, static_cast<std::uint64_t>(sizes.keep) + sizes.over);
  expect_equal("end", state.end, Offset{100});
  expect_at_least("start", state.start, Offset{1});
  fixture.expected.erase(fixture.expected.begin(), fixture.expected.end() - static_cast<std::ptrdiff_t>(state.bytes));
  fixture.expect_content();
  if (fixture.keeps()) {
    fixture.restart({.segment_bytes = 4096});
    expect_equal("start after a restart", fixture.log().state().start, state.start);
    fixture.expect_content();
  }
  fixture.finish();
}

void active_segment(CaseContext& context) {
  StorageFixture fixture(context, {.retention_bytes = 1, .segment_bytes = 1 << 20});
  fixture.append_many(5, {.body_bytes = 400});
  fixture.host().wait_idle();
  expect_ok(fixture.log().retain(fixture.host().wall_ms()), "retain");
  expect_at_least("bytes kept where retention.bytes is 1", fixture.log().state().bytes, 1U);
  expect_equal("end", fixture.log().state().end, Offset{5});
  const std::vector<std::byte> newest = make_batch({.base = 4, .body_bytes = 400});
  expect_bytes("the newest batch", read_once(fixture.log(), {.from = {4}, .limit = {5}, .bytes_max = 1000}).bytes, newest);
  fixture.append_many(5, {.body_bytes = 400});
  expect_equal("end", fixture.log().state().end, Offset{10});
  fixture.finish();
}

void by_time(CaseContext& context) {
  StorageFixture fixture(context, {.retention_ms = 1000, .segment_bytes = 4096});
  fixture.append_many(20, {.body_bytes = 1000, .max_timestamp = 10'000});
  if (!fixture.in_memory()) {
    fixture.append_many(20, {.body_bytes = 1000, .max_timestamp = 12'000});
    fixture.host().wait_idle();
    expect_ok(fixture.log().retain(11'000), "retain");
    expect_equal("start while nothing is older than retention.ms", fixture.log().state().start, Offset{0});
    expect_ok(fixture.log().retain(11'001), "retain");
    expect_at_least("start when 20 batches have expired", fixture.log().state().start, Offset{16});
    expect_at_most("start: nothing that is still wanted goes", fixture.log().state().start, Offset{20});
    expect_ok(fixture.log().retain(13'000), "retain");
    expect_equal("end", fixture.log().state().end, Offset{40});
    expect_at_most("start", fixture.log().state().start, Offset{20});
  }
  expect_ok(fixture.log().retain(20'000), "retain");
  expect_equal("start: what is being appended to expires as well", fixture.log().state().start, fixture.log().state().end);
  fixture.append_many(1, {.max_timestamp = 20'000});
  expect_equal("bytes", fixture.log().state().bytes, 125U);
  fixture.finish();
}

void changed_settings(CaseContext& context) {
  StorageFixture fixture(context);
  const BatchSpec spec{.body_bytes = fixture.in_memory() ? 100'000U : 1000U};
  fixture.append_many(40, spec);
  expect_ok(fixture.log().retain(fixture.host().wall_ms()), "retain");
  expect_equal("start without a bound", fixture.log().state().start, Offset{0});
  expect_ok(fixture.log().apply({.retention_bytes = 1, .segment_bytes = 4096}), "apply");
  fixture.append_many(40, spec);
  fixture.host().wait_idle();
  expect_ok(fixture.log().retain(fixture.host().wall_ms()), "retain");
  expect_at_least("start with retention.bytes 1", fixture.log().state().start, Offset{40});
  fixture.finish();
}

void slices_outlive(CaseContext& context) {
  StorageFixture fixture(context, kSmallSegments);
  fixture.append_many(10, {.body_bytes = 1500});
  std::vector<ReadResult> held;
  for (Offset from{0}; from < Offset{10};) {
    ReadResult result;
    expect_ok(fixture.log().read({.from = from, .limit = {10}, .bytes_max = 4000}, &result), "read");
    expect(result.slice_count > 0, "slices");
    from = result.next;
    held.push_back(result);
  }
  expect_ok(fixture.log().delete_before({10}), "delete_before(end)");
  fixture.append_many(20, {.body_bytes = 1500, .seed = context.seed + 1});  // reuses what it can
  fixture.close();
  (void)fixture.engine().remove(kKey);
  std::vector<std::byte> found;
  for (const ReadResult& result : held) {
    const std::vector<std::byte> bytes = bytes_of(result);
    found.insert(found.end(), bytes.begin(), bytes.end());
    result.pin->release();
  }
  fixture.expected.resize(found.size());
  expect_equal("bytes of the slices", found.size(), 15'610U);
  expect_bytes("slices that were held over deletion, close and removal", found, fixture.expected);
  fixture.open();
  fixture.finish();
}

constexpr Case kRetentionCases[] = {
    {"storage.retention.delete_before",
     "delete_before makes offsets unreadable at once and for good, and frees whole segments.", Level::basic, kNothing,
     &delete_before},
    {"storage.retention.delete_all", "A log whose batches were all deleted goes on at its end, also after a restart.",
     Level::basic, kNothing, &delete_all},
    {"storage.retention.bytes", "Retention by bytes keeps the newest batches, at least the bound and at most a segment more.",
     Level::basic, kNothing, &by_bytes},
    {"storage.retention.active", "Retention by bytes never takes the newest batch, nor the segment that is appended to.",
     Level::basic, kNothing, &active_segment},
    {"storage.retention.time",
     "Retention by time follows the timestamps of the batches; what is wanted stays, also beside what has expired.",
     Level::basic, kNothing, &by_time},
    {"storage.retention.apply", "Changed settings count from the next append or retain() on.", Level::basic, kNothing,
     &changed_settings},
    {"storage.retention.slices",
     "Slices that were handed out stay valid over deletion, close() and remove(), until their pin is released.", Level::basic,
     kNothing, &slices_outlive},
};

}  // namespace

std::span<const Case> storage_time_cases() { return kTimeCases; }
std::span<const Case> storage_retention_cases() { return kRetentionCases; }

}  // namespace streambus::conformance
