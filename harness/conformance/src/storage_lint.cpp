// Rules of the contract that a working engine can break unnoticed: locks, waiting, what is left behind.

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "case_lists.hpp"
#include "storage_fixture.hpp"

namespace streambus::conformance {
namespace {

/// Time after which something that must not wait is taken to wait for ever. Only a broken engine uses it up.
constexpr auto kStuck = std::chrono::seconds(10);

/// Runs a function on a thread of its own. True when it ended within kStuck.
template <class Function>
bool ends_elsewhere(Function function) {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::thread thread([&] {
    function();
    const std::lock_guard lock(mutex);
    done = true;
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  const bool in_time = changed.wait_for(lock, kStuck, [&] { return done; });
  lock.unlock();
  if (!in_time) return (void)thread.detach(), false;  // the caller ends the case
  thread.join();
  return true;
}

void under_lock(CaseContext& context) {
  StorageFixture* current = nullptr;
  int reports = 0;
  const auto answer = [&](std::uint32_t, std::uint64_t) {
    if (current == nullptr || ++reports > 5) return;
    PartitionLog& log = current->log();
    const bool free = ends_elsewhere([&] {
      const Offset end = log.state().end;
      expect_ok(read_once(log, {.from = {0}, .limit = end, .bytes_max = 1000, .at_least_one = true}).status, "read");
      AppendResult result;
      expect_ok(log.append(make_batch({.base = end.value}), end, end + 1, 1000, &result), "append");
    });
    expect(free,
           "durable_advanced() outside of every lock, found that state(), read() and append() on another thread wait for it");
  };
  StorageFixture fixture(context, {}, StorageHost::Workers::test, [&](StorageHost& host) { host.sink.on_advanced = answer; });
  current = &fixture;
  for (int i = 0; i < 3; ++i) {
    fixture.append_many(2);
    (void)fixture.host().run_work();
  }
  expect_at_least("durability reports", reports, 1);
  current = nullptr;
  fixture.finish();
}

void append_waits(CaseContext& context) {
  StorageFixture fixture(context);
  fixture.append_many(1);
  fixture.host().wait_idle();
  fixture.files.hold_syncs(true);
  const bool free = ends_elsewhere([&] { fixture.append_many(100); });
  if (!free) fail_case("append while every sync waits for the device: expected it to return, found that it waits as well");
  expect_equal("end", fixture.log().state().end, Offset{101});
  fixture.expect_content();
  fixture.files.hold_syncs(false);
  fixture.finish();
}

void threads_left(CaseContext& context) {
  const auto threads = [] {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) ++count;
    return count;
  };
  const std::size_t before = threads();
  std::size_t allowed = before;
  for (int round = 0; round < 2; ++round) {
    StorageFixture fixture(context, {}, StorageHost::Workers::test);
    fixture.append_many(10);
    (void)fixture.host().run_work();
    fixture.finish();
    std::size_t left = threads();
    // A joined thread may be listed for a moment longer.
    for (int i = 0; left > before && i < 1000; ++i, left = threads()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    // What the first instance leaves may be a pool of the whole process; what each leaves adds up.
    if (round == 0) allowed = left;
    expect_at_most("threads left by a second engine that was destroyed", left, allowed);
  }
}

void create_is_quiet(CaseContext& context) {
  FaultFileSystem files;
  StorageHost host(files, StorageHost::Workers::test);
  auto values = checked_options(context.plugin, context.options);
  expect(values.has_value(), "options that are valid");
  void* object = nullptr;
  expect_ok(context.plugin.descriptor().create(host, *values, &object), "create()");
  expect(object != nullptr, "an object when create() says ok, found none");
  expect_equal("file operations of create(), which takes options only", files.operations(), 0U);
  auto* const engine = static_cast<StorageEngine*>(object);
  expect_equal("durability() before start()", name_of(engine->durability()), name_of(context.traits.durability));
  expect_equal("can_replace() before start()", engine->can_replace(), context.traits.replaces);
  context.plugin.descriptor().destroy(object);
  expect_equal("work posted by an engine that was never started", host.run_work(), 0U);
}

void work_ends(CaseContext& context) {
  StorageFixture fixture(context, kSmallSegments, StorageHost::Workers::test);
  fixture.append_many(40, {.body_bytes = 500});
  fixture.close();  // with a flush, and perhaps more, still posted
  expect_ok(fixture.engine().stop(), "stop() with posted work outstanding");
  (void)fixture.host().run_work();
  expect_equal("work that follows work posted before stop()", fixture.host().run_work(), 0U);
  fixture.under_test().destroy();
  expect_equal("files left open", fixture.files.open_files(), 0);
  fixture.start();
  if (fixture.keeps()) {
    fixture.open(kSmallSegments);
    fixture.expect_content();
  } else {
    fixture.open(kSmallSegments);
  }
  fixture.finish();
}

constexpr Case kCases[] = {
    {"storage.lint.under_lock", "durable_advanced() is called under no lock: whoever it wakes may read and append at once.",
     Level::basic, kSyncs, &under_lock},
    {"storage.lint.append_waits", "append() does not wait for the device.", Level::basic, kFileLayer | kSyncs, &append_waits},
    {"storage.lint.threads", "Every thread that an engine started has ended when it is destroyed.", Level::basic, kNothing,
     &threads_left},
    {"storage.lint.create", "create() takes the options and does no I/O; durability() and can_replace() are constant.",
     Level::basic, kNothing, &create_is_quiet},
    {"storage.lint.work",
     "Work that was posted completes before destroy() and posts no more; stop() may come with work outstanding.", Level::basic,
     kNothing, &work_ends},
};

}  // namespace

std::span<const Case> storage_lint_cases() { return kCases; }

}  // namespace streambus::conformance
