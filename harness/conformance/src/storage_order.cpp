// Order and shape of reads, and which appends are refused.

#include "case_lists.hpp"
#include "storage_fixture.hpp"

namespace streambus::conformance {
namespace {

void empty(CaseContext& context) {
  StorageFixture fixture(context);
  const PartitionKey other{"orders", kTopicId, 7};
  PartitionLog* log = nullptr;
  expect_ok(fixture.engine().open(other, {1000}, {}, &log), "open() of a partition that starts at 1000");
  const LogState state = log->state();
  expect_equal("start", state.start, Offset{1000});
  expect_equal("end", state.end, Offset{1000});
  expect_equal("durable", state.durable, Offset{1000});
  expect_equal("bytes", state.bytes, 0U);
  expect_equal("slices of an empty log", read_once(*log, {.from = {1000}, .limit = {1000}, .bytes_max = 100}).slices, 0U);
  expect_code(read_once(*log, {.from = {999}, .limit = {1000}, .bytes_max = 100}).status, ErrorCode::out_of_range,
              "read before the start");
  expect_code(read_once(*log, {.from = {1001}, .limit = {1001}, .bytes_max = 100}).status, ErrorCode::out_of_range,
              "read beyond the end");
  expect_ok(log->close(), "close()");
  if (fixture.keeps()) {
    expect_ok(fixture.engine().open(other, {}, {}, &log), "open() again");
    expect_equal("start of a partition that was created at 1000 and opened again", log->state().start, Offset{1000});
    expect_ok(log->close(), "close()");
  }
  fixture.finish();
}

void sequence(CaseContext& context) {
  StorageFixture fixture(context);
  fixture.append_many(200, {.records = 3, .body_bytes = 200, .seed = context.seed});
  expect_equal("end", fixture.log().state().end, Offset{600});
  expect_equal("bytes", fixture.log().state().bytes, fixture.expected.size());
  for (const std::uint64_t bytes_max : {1ULL, 261ULL, 262ULL, 1000ULL, 5000ULL, 100'000'000ULL})
    fixture.expect_content(bytes_max);
  fixture.finish();
}

void segments(CaseContext& context) {
  StorageFixture fixture(context, kSmallSegments);
  fixture.append_many(100, {.records = 2, .body_bytes = 500, .seed = context.seed});
  for (const std::uint64_t bytes_max : {1ULL, 1500ULL, 100'000'000ULL}) fixture.expect_content(bytes_max);
  fixture.host().wait_idle();
  fixture.expect_content();
  fixture.finish();
}

void several_in_one(CaseContext& context) {
  StorageFixture fixture(context);
  for (int i = 0; i < 40; ++i) {
    const std::vector<std::byte> batch = make_batch({.base = i * 5, .records = 5, .body_bytes = 300});
    fixture.expected.insert(fixture.expected.end(), batch.begin(), batch.end());
  }
  expect_ok(fixture.log().append(fixture.expected, {0}, {200}, 1000, &fixture.last), "append of 40 batches at once");
  expect_equal("end", fixture.log().state().end, Offset{200});
  fixture.expect_content(1);
  const Copied middle = read_once(fixture.log(), {.from = {102}, .limit = {200}, .bytes_max = 1, .at_least_one = true});
  expect_ok(middle.status, "read from the middle");
  expect_equal("base of the batch that holds offset 102", middle.base(), Offset{100});
  expect_equal("next", middle.next, Offset{105});
  fixture.finish();
}

void inside_a_batch(CaseContext& context) {
  StorageFixture fixture(context, kSmallSegments);
  fixture.append_many(50, {.records = 10, .body_bytes = 300});
  for (int round = 0; round < (fixture.keeps() ? 2 : 1); ++round) {
    for (std::int64_t from = 0; from < 500; ++from) {
      context.at(fmt::format("read from offset {}{}", from, round == 0 ? "" : " after a restart"));
      const Copied copied = read_once(fixture.log(), {.from = {from}, .limit = {500}, .bytes_max = 400});
      expect_ok(copied.status, "read");
      expect_equal("slices", copied.slices, 1U);
      expect_equal("base of the first batch", copied.base().value, from / 10 * 10);
      expect_equal("next", copied.next.value, from / 10 * 10 + 10);
      expect_equal("bytes", copied.bytes.size(), 361U);
    }
    if (fixture.keeps()) fixture.restart(kSmallSegments);
  }
  fixture.finish();
}

void at_least_one(CaseContext& context) {
  StorageFixture fixture(context);
  fixture.append_many(3, {.body_bytes = 1000});
  Copied copied = read_once(fixture.log(), {.from = {0}, .limit = {3}, .bytes_max = 1060});
  expect_ok(copied.status, "read");
  expect_equal("slices where the first batch is larger than bytes_max", copied.slices, 0U);
  copied = read_once(fixture.log(), {.from = {0}, .limit = {3}, .bytes_max = 1060, .at_least_one = true});
  expect_equal("bytes with at_least_one", copied.bytes.size(), 1061U);
  copied = read_once(fixture.log(), {.from = {1}, .limit = {3}, .bytes_max = 1061});
  expect_equal("bytes where bytes_max is one batch", copied.bytes.size(), 1061U);
  expect_equal("next", copied.next, Offset{2});
  fixture.finish();
}

void limit(CaseContext& context) {
  StorageFixture fixture(context);
  fixture.append_many(20, {.records = 5, .body_bytes = 100});
  for (std::int64_t below = 0; below <= 100; ++below) {
    const std::vector<std::byte> found = read_range(fixture.log(), {0}, {below}, 1 << 20);
    expect_equal(fmt::format("bytes below the limit {}", below), found.size(), static_cast<std::size_t>(below / 5) * 161);
  }
  expect_code(read_once(fixture.log(), {.from = {101}, .limit = {200}, .bytes_max = 1000}).status, ErrorCode::out_of_range,
              "read beyond the end");
  expect_equal("slices from the end on", read_once(fixture.log(), {.from = {100}, .limit = {200}, .bytes_max = 1000}).slices,
               0U);
  fixture.finish();
}

void gaps(CaseContext& context) {
  StorageFixture fixture(context, kSmallSegments);
  for (const std::int64_t base : {5LL, 10LL, 30LL, 31LL, 500LL, 6'000'000'000LL, 6'000'000'010LL})
    expect_ok(fixture.append({.base = base, .records = base == 30 ? 1 : 5, .body_bytes = 900}), "append behind a gap");
  const auto check = [&] {
    fixture.expect_content(1);
    constexpr std::pair<std::int64_t, std::int64_t> kFirst[] = {
        {0, 5}, {5, 5}, {15, 30}, {36, 500}, {505, 6'000'000'000}, {6'000'000'005, 6'000'000'010}};
    for (const auto& [from, base] : kFirst) {
      const Copied copied = read_once(fixture.log(), {.from = {from}, .limit = fixture.log().state().end, .bytes_max = 1000});
      expect_ok(copied.status, fmt::format("read from the gap at {}", from));
      expect_equal("slices", copied.slices, 1U);
      expect_equal(fmt::format("base of the first batch from {} on", from), copied.base().value, base);
    }
  };
  check();
  if (fixture.keeps()) {
    fixture.restart(kSmallSegments);
    check();
  }
  fixture.finish();
}

void refused_appends(CaseContext& context) {
  StorageFixture fixture(context);
  fixture.append_many(2, {.records = 4});
  const std::vector<std::byte> low = make_batch({.base = 7, .records = 1});
  std::vector<std::byte> good = make_batch({.base = 8, .records = 2});
  const auto refused = [&](std::string_view what, Bytes batches, std::int64_t first, std::int64_t next) {
    expect_code(fixture.log().append(batches, {first}, {next}, 0, &fixture.last), ErrorCode::invalid_argument, what);
  };
  refused("append below the end", low, 7, 8);
  refused("append whose first is not the batch's", good, 9, 11);
  refused("append whose next is not the batch's", good, 8, 11);
  refused("append of a batch that is cut off", Bytes(good).first(good.size() - 1), 8, 10);
  refused("append of nothing", {}, 8, 8);
  good[16] = std::byte{1};
  refused("append of a batch of magic 1", good, 8, 10);
  expect_equal("end after refused appends", fixture.log().state().end, Offset{8});
  fixture.append_many(1, {.records = 4});
  fixture.expect_content();
  fixture.finish();
}

void bytes_are_taken(CaseContext& context) {
  StorageFixture fixture(context);
  std::vector<std::byte> batch = make_batch({.records = 1, .body_bytes = 5000});
  fixture.expected = batch;
  expect_ok(fixture.log().append(batch, {0}, {1}, 0, &fixture.last), "append");
  std::ranges::fill(batch, std::byte{0xee});
  fixture.expect_content();
  fixture.finish();
}

void large(CaseContext& context) {
  StorageFixture fixture(context);
  for (const std::size_t bytes : {std::size_t{3} << 20, std::size_t{10}, std::size_t{5} << 20})
    fixture.append_many(1, {.body_bytes = bytes});
  fixture.expect_content(1);
  fixture.finish();
}

constexpr Case kCases[] = {
    {"storage.order.empty",
     "A partition can be created at any start offset; an empty one reads as empty, and outside of [start, end] as "
     "out_of_range.",
     Level::basic, kNothing, &empty},
    {"storage.order.sequence", "Batches come back whole, unchanged and in offset order, whatever bytes_max a read asks for.",
     Level::basic, kNothing, &sequence},
    {"storage.order.segments", "Reads go on from one segment to the next as if there were none.", Level::basic, kNothing,
     &segments},
    {"storage.order.multi_append", "One append may hold many batches, and each can be read alone.", Level::basic, kNothing,
     &several_in_one},
    {"storage.order.inside_batch", "A read from any offset begins with the batch that contains it.", Level::basic, kNothing,
     &inside_a_batch},
    {"storage.order.at_least_one", "The first batch may be larger than bytes_max only where the request says at_least_one.",
     Level::basic, kNothing, &at_least_one},
    {"storage.order.limit", "Only batches that lie wholly below the limit are read, and nothing beyond the end.", Level::basic,
     kNothing, &limit},
    {"storage.order.gaps", "Gaps between batches are legal; a read from inside a gap begins behind it.", Level::basic, kNothing,
     &gaps},
    {"storage.order.refused",
     "An append below the end, or whose arguments are not those of its batches, is invalid_argument and changes nothing.",
     Level::basic, kNothing, &refused_appends},
    {"storage.order.bytes_taken", "The bytes of an append are read before the call returns.", Level::basic, kNothing,
     &bytes_are_taken},
    {"storage.order.large", "Batches of several MiB are kept like small ones.", Level::basic, kNothing, &large},
};

}  // namespace

std::span<const Case> storage_order_cases() { return kCases; }

}  // namespace streambus::conformance
