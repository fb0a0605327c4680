// replace(): what compaction is made of.

#include <atomic>
#include <thread>

#include "case_lists.hpp"
#include "fault_run.hpp"

namespace streambus::conformance {
namespace {

constexpr PartitionSettings kSegments{.segment_bytes = 3000};
constexpr int kBatches = 60;
constexpr int kRecords = 2;

std::vector<std::byte> original(int index) {
  return make_batch({.base = index * kRecords, .records = kRecords, .body_bytes = 300, .max_timestamp = 1000 + index});
}

/// A log of kBatches batches in several segments, all durable, background work done.
class ReplaceFixture : public StorageFixture {
 public:
  explicit ReplaceFixture(CaseContext& context) : StorageFixture(context, kSegments) {
    for (int i = 0; i < kBatches; ++i) append_many(1, {.records = kRecords, .body_bytes = 300, .max_timestamp = 1000 + i});
    host().wait_idle();
    for (Offset from = log().state().start;;) {
      const Offset end = log().segment_end(from);
      if (end == kNoOffset) break;
      expect(end > from && end <= log().state().end,
             fmt::format("segment_end({}) behind it and not beyond the end, found {}", from.value, end.value));
      expect_equal("remainder of a segment's end, where every batch has two offsets", end.value % kRecords, 0);
      expect_equal("segment_end of an offset inside a segment", log().segment_end(end - 1), end);
      ends.push_back(end);
      from = end;
      if (from == log().state().end) break;
    }
    expect_at_least("segments that replace() takes, of 60 batches of 361 bytes in segments of 3000", ends.size(), 3U);
  }

  /// Replaces [from, to) by the batches of it whose index is a multiple of `keep_every` (0: none).
  Status replace(Offset from, Offset to, int keep_every) {
    std::vector<Bytes> kept;
    std::vector<std::byte> all;
    for (int i = 0; i < kBatches; ++i) {
      const bool inside = Offset{i * kRecords} >= from && Offset{i * kRecords} < to;
      if (inside && gone_.contains(i)) continue;
      if (inside && (keep_every == 0 || i % keep_every != 0)) {
        dropped_.insert(i);
      } else if (inside) {
        kept.emplace_back(batches_[i]);
      }
    }
    ChosenBatches source(std::move(kept));
    const Status status = log().replace(from, to, source);
    if (!status.ok()) return status;
    gone_.insert(dropped_.begin(), dropped_.end());
    expected.clear();
    for (int i = 0; i < kBatches; ++i) {
      if (!gone_.contains(i)) expected.insert(expected.end(), batches_[i].begin(), batches_[i].end());
    }
    return status;
  }
  /// Starts, reads from everywhere, times: as if the batches that are gone had never been.
  void check(std::string_view when) {
    context().at(when);
    const LogState state = log().state();
    expect_equal("start, which replace() leaves", state.start, Offset{0});
    expect_equal("end, which replace() leaves", state.end, Offset{kBatches * kRecords});
    expect_equal("bytes", state.bytes, expected.size());
    for (const std::uint64_t bytes_max : {1ULL, 1000ULL, 1'000'000ULL}) expect_content(bytes_max);
    for (int i = 0; i < kBatches; ++i) {
      int there = i;
      while (there < kBatches && gone_.contains(there)) ++there;
      const Copied copied =
          read_once(log(), {.from = {i * kRecords}, .limit = state.end, .bytes_max = 1, .at_least_one = true});
      expect_ok(copied.status, fmt::format("read from {}", i * kRecords));
      if (there == kBatches) {
        expect_equal("slices behind the last batch", copied.slices, 0U);
        continue;
      }
      expect_equal(fmt::format("base of the first batch from {} on", i * kRecords), copied.base(), Offset{there * kRecords});
      expect_equal(fmt::format("base of the first batch that reaches time {}", 1000 + i), found_at(1000 + i), there * kRecords);
    }
  }

  std::vector<Offset> ends;

 private:
  static std::vector<std::vector<std::byte>> originals() {
    std::vector<std::vector<std::byte>> all;
    for (int i = 0; i < kBatches; ++i) all.push_back(original(i));
    return all;
  }
  const std::vector<std::vector<std::byte>> batches_ = originals();
  std::set<int> dropped_;
  std::set<int> gone_;
};

void keeps_offsets(CaseContext& context) {
  ReplaceFixture fixture(context);
  const auto again = [&](std::string_view when) {
    fixture.check(when);
    if (!fixture.keeps()) return;
    fixture.restart(kSegments);
    fixture.check(fmt::format("{}, after a restart", when));
  };
  expect_ok(fixture.replace({0}, fixture.ends[0], 2), "replace() of the first segment");
  again("every second batch of the first segment kept");
  expect_ok(fixture.replace(fixture.ends[0], fixture.ends[2], 3), "replace() of two segments");
  again("every third batch of two further segments kept");
  Offset to = fixture.log().segment_end({0});
  expect(to != kNoOffset, "segment_end() of what was replaced");
  expect_ok(fixture.replace({0}, to, 4), "replace() of what was replaced before");
  again("every fourth batch of what was replaced before kept");
  fixture.host().wait_idle();
  to = fixture.log().segment_end({0});
  expect_ok(fixture.replace({0}, to, 0), "replace() by nothing");
  again("nothing kept");
  fixture.finish();
}

void refuses(CaseContext& context) {
  ReplaceFixture fixture(context);
  const Offset first = fixture.ends[0];
  const Offset second = fixture.ends[1];
  const auto refused = [&](std::string_view what, Offset from, Offset to, std::vector<Bytes> batches) {
    ChosenBatches source(std::move(batches));
    expect_code(fixture.log().replace(from, to, source), ErrorCode::invalid_argument, what);
    fixture.expect_content();
  };
  refused("replace() from inside a segment", {kRecords}, first, {});
  refused("replace() to inside a segment", {0}, first - kRecords, {});
  refused("replace() of nothing", first, first, {});
  refused("replace() backwards", second, first, {});
  refused("replace() up to the end, which is appended to", {0}, fixture.log().state().end + 10, {});
  const std::vector<std::byte> behind = original(static_cast<int>(first.value / kRecords));
  refused("replace() by a batch behind the range", {0}, first, {behind});
  const std::vector<std::byte> zero = original(0);
  const std::vector<std::byte> one = original(1);
  refused("replace() by batches that are not in order", {0}, first, {one, zero});
  struct Failing final : public BatchSource {
    Status next(Bytes* batches) noexcept override {
      if (++calls > 1) return {ErrorCode::unsupported_compression, "no codec for this batch"};
      *batches = first_batch;
      return {};
    }
    int calls = 0;
    Bytes first_batch;
  } failing;
  failing.first_batch = zero;
  expect_code(fixture.log().replace({0}, first, failing), ErrorCode::unsupported_compression, "replace() whose batches fail");
  fixture.expect_content();
  if (fixture.keeps()) {
    fixture.restart(kSegments);
    fixture.expect_content();
  }
  fixture.finish();
}

void slices_stay(CaseContext& context) {
  ReplaceFixture fixture(context);
  std::vector<ReadResult> held;
  std::vector<std::byte> before;
  for (Offset from{0}; from < fixture.ends[1];) {
    ReadResult result;
    expect_ok(fixture.log().read({.from = from, .limit = fixture.ends[1], .bytes_max = 2000, .at_least_one = true}, &result),
              "read");
    expect(result.slice_count > 0, "slices");
    from = result.next;
    held.push_back(result);
  }
  for (Offset from{0}; from < fixture.ends[1]; from = from + kRecords) {
    const std::vector<std::byte> batch = original(static_cast<int>(from.value / kRecords));
    before.insert(before.end(), batch.begin(), batch.end());
  }
  expect_ok(fixture.replace({0}, fixture.ends[1], 5), "replace()");
  std::vector<std::byte> found;
  for (const ReadResult& result : held) {
    const std::vector<std::byte> bytes = bytes_of(result);
    found.insert(found.end(), bytes.begin(), bytes.end());
    result.pin->release();
  }
  expect_bytes("slices that were held over replace()", found, before);
  fixture.finish();
}

void beside_others(CaseContext& context) {
  ReplaceFixture fixture(context);
  PartitionLog& log = fixture.log();
  const Offset to = fixture.ends.back();
  std::vector<std::byte> old_bytes;
  std::vector<std::byte> new_bytes;
  for (int i = 0; i < to.value / kRecords; ++i) {
    const std::vector<std::byte> batch = original(i);
    old_bytes.insert(old_bytes.end(), batch.begin(), batch.end());
    if (i % 2 == 0) new_bytes.insert(new_bytes.end(), batch.begin(), batch.end());
  }
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) {
      // One call sees the old batches or the new ones; only calls that follow each other may differ.
      const Copied copied = read_once(log, {.from = {0}, .limit = to, .bytes_max = 1 << 20, .at_least_one = true});
      expect_ok(copied.status, "a read beside replace()");
      expect(!copied.bytes.empty(), "batches");
      const auto begins = [&](const std::vector<std::byte>& whole) {
        return copied.bytes.size() <= whole.size() && std::equal(copied.bytes.begin(), copied.bytes.end(), whole.begin());
      };
      expect(begins(old_bytes) || begins(new_bytes),
             "a read beside replace() to give old batches or new ones, found a mixture");
    }
  });
  std::thread appender([&] {
    for (std::int64_t i = kBatches; !done || i < kBatches + 50; ++i) {
      AppendResult result;
      const std::int64_t base = i * kRecords;
      if (i >= kBatches + 3000) break;
      expect_ok(log.append(make_batch({.base = base, .records = kRecords}), {base}, Offset{base} + kRecords, 1000, &result),
                "append beside replace()");
    }
  });
  expect_ok(fixture.replace({0}, to, 2), "replace() beside reads and appends");
  done = true;
  reader.join();
  appender.join();
  expect_bytes("what was replaced", read_range(log, {0}, to, 5000), new_bytes);
  fixture.finish();
}

void start_inside(CaseContext& context) {
  ReplaceFixture fixture(context);
  const Offset start{5};
  const Offset first = fixture.ends[0];
  expect_ok(fixture.log().delete_before(start), "delete_before inside a segment");
  expect_equal("segment_end of the start", fixture.log().segment_end(start), first);
  std::vector<std::byte> kept = original(3);
  ChosenBatches source({kept});
  expect_ok(fixture.log().replace(start, first, source), "replace() from a start inside a segment");
  for (std::int64_t i = first.value / kRecords; i < kBatches; ++i) {
    const std::vector<std::byte> batch = original(static_cast<int>(i));
    kept.insert(kept.end(), batch.begin(), batch.end());
  }
  const auto check = [&] {
    expect_equal("start", fixture.log().state().start, start);
    expect_bytes("what the log holds", read_range(fixture.log(), start, fixture.log().state().end, 1000), kept);
  };
  check();
  if (fixture.keeps()) {
    fixture.restart(kSegments);
    check();
  }
  fixture.finish();
}

void full_disk(CaseContext& context) {
  ReplaceFixture fixture(context);
  const std::size_t files_before = fixture.files.paths().size();
  std::uint64_t used = 0;
  for (const std::string& path : fixture.files.paths()) used += fixture.files.content(path).size();
  fixture.files.set_capacity(used + 500);
  expect_code(fixture.replace({0}, fixture.ends.back(), 1), ErrorCode::no_space, "replace() on a full disk");
  fixture.expect_content();
  expect_at_most("files after a replace() that found no space", fixture.files.paths().size(), files_before);
  fixture.files.set_capacity(1 << 30);
  expect_ok(fixture.replace({0}, fixture.ends.back(), 2), "replace() when there is room again");
  fixture.check("after replace() when there was room again");
  fixture.finish();
}

constexpr Case kCases[] = {
    {"storage.replace.offsets",
     "replace() puts other batches in the place of whole segments; start, end and all offsets stay, reads and times go on to "
     "the next batch that is left, also after a restart.",
     Level::basic, kReplaces, &keeps_offsets},
    {"storage.replace.refused",
     "replace() refuses ranges that are no segments and batches outside of the range or out of order; whatever fails, the old "
     "batches stay.",
     Level::basic, kReplaces, &refuses},
    {"storage.replace.slices", "Slices that were handed out stay valid over replace().", Level::basic, kReplaces, &slices_stay},
    {"storage.replace.start", "replace() may begin at a start that lies inside a segment.", Level::basic, kReplaces,
     &start_inside},
    {"storage.replace.full_disk",
     "A replace() that finds no space leaves the old batches, removes what it wrote, and works when there is room.",
     Level::basic, kReplaces | kFileLayer | kKeeps, &full_disk},
    {"storage.replace.concurrent", "replace() runs beside reads and appends; a read sees the old batches or the new ones.",
     Level::basic, kReplaces, &beside_others},
};

}  // namespace

std::span<const Case> storage_replace_cases() { return kCases; }

}  // namespace streambus::conformance
