// Opening, listing, removing, restarting; many partitions.

#include "case_lists.hpp"
#include "storage_fixture.hpp"

namespace streambus::conformance {
namespace {

/// "topic_id/partition" of all that an engine lists, sorted.
std::vector<std::string> listed(StorageEngine& engine) {
  struct Names final : public PartitionVisitor {
    void partition(std::string_view topic_id, PartitionId partition) noexcept override {
      found.push_back(fmt::format("{}/{}", topic_id, partition));
    }
    std::vector<std::string> found;
  } names;
  expect_ok(engine.list(names), "list");
  std::ranges::sort(names.found);
  return std::move(names.found);
}

void open_twice(CaseContext& context) {
  StorageFixture fixture(context);
  PartitionLog* second = nullptr;
  expect_code(fixture.engine().open(kKey, {}, {}, &second), ErrorCode::already_exists, "open() of an open partition");
  expect(second == nullptr, "no log from an open() that failed");
  const PartitionKey other{"orders", kTopicId, 1};
  expect_ok(fixture.engine().open(other, {}, {}, &second), "open() of another partition");
  fixture.append_many(3);
  expect_equal("end of the other partition", second->state().end, Offset{0});
  expect_ok(second->close(), "close()");
  fixture.expect_content();
  fixture.finish();
}

void remove(CaseContext& context) {
  StorageFixture fixture(context);
  fixture.append_many(5);
  expect(!fixture.engine().remove(kKey).ok(), "remove() of an open partition to be refused");
  fixture.expect_content();
  fixture.close();
  const Status removed = fixture.engine().remove(kKey);
  if (fixture.keeps()) {
    expect_ok(removed, "remove()");
  } else {
    expect_code(removed, ErrorCode::not_found, "remove() where a closed partition is gone already");
  }
  expect_code(fixture.engine().remove(kKey), ErrorCode::not_found, "remove() of what is not there");
  expect_equal("partitions listed after the removal", listed(fixture.engine()).size(), 0U);
  fixture.expected.clear();
  fixture.open();
  expect_equal("end of a partition that was removed and created again", fixture.log().state().end, Offset{0});
  fixture.append_many(2);
  if (fixture.keeps()) fixture.restart();
  if (fixture.keeps()) fixture.expect_content();
  fixture.finish();
}

void list(CaseContext& context) {
  StorageFixture fixture(context);
  constexpr const char* kOther = "ffffffffffffffffffffffffffffffff";
  PartitionLog* other = nullptr;
  expect_ok(fixture.engine().open({"x", kOther, 12}, {}, {}, &other), "open()");
  const std::vector<std::string> expected = {std::string(kTopicId) + "/0", std::string(kOther) + "/12"};
  const auto check = [&](std::string_view when) {
    context.at(when);
    const std::vector<std::string> found = listed(fixture.engine());
    expect_equal("partitions listed", fmt::format("{}", fmt::join(found, ", ")), fmt::format("{}", fmt::join(expected, ", ")));
  };
  check("while they are open");
  expect_ok(other->close(), "close()");
  if (fixture.keeps()) {
    fixture.restart();
    check("after a restart");
  }
  fixture.finish();
}

void reopen(CaseContext& context) {
  StorageFixture fixture(context, kSmallSegments);
  for (int round = 0; round < 6; ++round) {
    context.at(fmt::format("round {}", round));
    fixture.append_many(13, {.records = 3, .body_bytes = 700, .seed = context.seed + static_cast<std::uint64_t>(round)});
    const LogState before = fixture.log().state();
    round % 2 == 0 ? fixture.reopen(kSmallSegments) : fixture.restart(kSmallSegments);
    const LogState after = fixture.log().state();
    expect_equal("start", after.start, before.start);
    expect_equal("end", after.end, before.end);
    expect_equal("durable", after.durable, after.end);
    expect_equal("bytes", after.bytes, before.bytes);
    expect(after.clean, "a partition that was closed in order to be clean");
    fixture.expect_content(5000);
  }
  fixture.finish();
}

void many_partitions(CaseContext& context) {
  StorageFixture fixture(context);
  const auto count = static_cast<PartitionId>(context.rounds(50, 500, 10'000));
  std::vector<PartitionLog*> logs(static_cast<std::size_t>(count));
  constexpr const char* kMany = "abababababababababababababababab";
  const auto open_all = [&] {
    for (PartitionId i = 0; i < count; ++i) {
      context.at(fmt::format("partition {} of {}", i, count));
      expect_ok(fixture.engine().open({"many", kMany, i}, {i}, {.segment_bytes = 65536}, &logs[static_cast<std::size_t>(i)]),
                "open()");
    }
  };
  open_all();
  for (PartitionId i = 0; i < count; ++i) {
    AppendResult result;
    expect_ok(logs[static_cast<std::size_t>(i)]->append(make_batch({.base = i}), {i}, {i + 1}, 1000, &result), "append");
  }
  const auto close_all = [&] {
    for (PartitionLog* const log : logs) expect_ok(log->close(), "close()");
  };
  if (fixture.keeps()) {
    close_all();
    fixture.restart();
    expect_equal("partitions listed", listed(fixture.engine()).size(), logs.size() + 1);
    open_all();
  }
  for (PartitionId i = 0; i < count; ++i) {
    context.at(fmt::format("partition {} of {}", i, count));
    expect_bytes("content", read_range(*logs[static_cast<std::size_t>(i)], {i}, {i + 1}, 1 << 20), make_batch({.base = i}));
  }
  close_all();
  fixture.finish();
}

constexpr Case kCases[] = {
    {"storage.life.open_twice",
     "A partition that is open is not opened again: already_exists; partitions do not share offsets.", Level::basic, kNothing,
     &open_twice},
    {"storage.life.remove",
     "remove() refuses an open partition and forgets a closed one for good; not_found where there is none.", Level::basic,
     kNothing, &remove},
    {"storage.life.list", "list() names every partition that is stored, open or not, once.", Level::basic, kNothing, &list},
    {"storage.life.reopen", "What was closed in order comes back byte for byte, clean, wholly durable, and goes on.",
     Level::basic, kKeeps, &reopen},
    {"storage.life.many", "Many partitions (50, 500 or 10,000 by level) can be open at once.", Level::basic, kNothing,
     &many_partitions},
};

}  // namespace

std::span<const Case> storage_life_cases() { return kCases; }

}  // namespace streambus::conformance
