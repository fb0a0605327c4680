// Crashes, power cuts, and every operation failing once.

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <new>

#include "case_lists.hpp"
#include "fault_run.hpp"
#include "streambus/host/services.hpp"

namespace streambus::conformance {
namespace {

void killed_everywhere(CaseContext& context) {
  for (const std::uint32_t torn : {0U, 500U, 950U}) {
    for_every_operation(context, fmt::format("killed, {} permille of a write done,", torn), kChanges, [&](std::uint64_t at) {
      FaultFileSystem files;
      FaultRun run(context, files);
      files.plan({.at = at, .kinds = kChanges, .halt = true, .torn_permille = torn});
      run.live(true);
      const bool fired = files.fired();
      files.heal();
      run.expect_recovered();  // the page cache outlives the process: every class keeps what it answered
      return fired;
    });
  }
}

void killed_while_recovering(CaseContext& context) {
  for_every_operation(context, "killed at operation 60, then in recovery", kChanges, [&](std::uint64_t at) {
    FaultFileSystem files;
    FaultRun run(context, files);
    files.plan({.at = 60, .kinds = kChanges, .halt = true, .torn_permille = 700});
    run.live(false);
    files.plan({.at = at, .kinds = kChanges, .halt = true, .torn_permille = 300});
    run.live(true);
    const bool fired = files.fired();
    files.heal();
    run.expect_recovered();
    return fired;
  });
}

void power_cut_everywhere(CaseContext& context) {
  const PowerCut cuts[] = {PowerCut::nothing, PowerCut::any, PowerCut::any};
  std::uint64_t seed = context.seed * 1'000'000;
  for (const PowerCut cut : cuts) {
    for_every_operation(context,
                        cut == PowerCut::nothing ? "power cut, only what was synced is left," : "power cut, any part is left,",
                        kChanges, [&](std::uint64_t at) {
                          FaultFileSystem files;
                          FaultRun run(context, files);
                          files.plan({.at = at, .kinds = kChanges, .halt = true, .torn_permille = 600});
                          run.live(true);
                          const bool fired = files.fired();
                          files.heal();
                          files.cut_power(cut, ++seed);
                          run.power_was_cut();
                          run.expect_recovered();
                          return fired;
                        });
  }
}

void power_cut_schedules(CaseContext& context) {
  const std::uint64_t operations = operations_of_a_run(context, kChanges);
  const std::uint64_t schedules = context.rounds(60, 600, 10'000);
  for (std::uint64_t i = 0; i < schedules; ++i) {
    context.at(fmt::format("schedule {} of {}", i, schedules));
    std::mt19937_64 random(context.seed * 1'000'003 + i);
    FaultFileSystem files;
    FaultRun run(context, files);
    const std::uint64_t cuts = 1 + random() % 3;  // the power may go again while the engine recovers
    for (std::uint64_t cut = 0; cut < cuts; ++cut) {
      const std::uint64_t within = cut == 0 ? operations : 40;
      files.plan({.at = 1 + random() % within,
                  .kinds = kChanges,
                  .halt = true,
                  .torn_permille = static_cast<std::uint32_t>(random() % 1001)});
      run.live(true);
      files.heal();
      files.cut_power(random() % 4 == 0 ? PowerCut::nothing : PowerCut::any, random());
      run.power_was_cut();
    }
    run.expect_recovered();
  }
}

void lying_disk(CaseContext& context) {
  FaultFileSystem files;
  files.skip_syncs(true);
  FaultRun run(context, files);
  run.live(false);
  files.cut_power(PowerCut::nothing, 1);
  expect_at_least("batches acknowledged", run.acked(), 1);
  const int found = run.recovered();
  expect(found < run.acked(),
         fmt::format("{} acknowledged batches to be lost with a disk that answers syncs and does nothing, found "
                     "{} of them: then the cases of this group prove nothing",
                     run.acked(), found));
}

void every_operation_fails(CaseContext& context) {
  for (const int error : {EIO, ENOSPC, EMFILE}) {
    for_every_operation(context, std::string(strerrorname_np(error)), kAnyOperation, [&](std::uint64_t at) {
      FaultFileSystem files;
      FaultRun run(context, files);
      files.plan({.at = at, .errno_value = error, .torn_permille = 500});
      run.live(true);
      const bool fired = files.fired();
      files.heal();
      run.live(true);  // an administrator opens it again
      run.expect_recovered();
      if (context.traits.durability == Durability::fsync_batch) {
        // Nothing was answered that a power cut could take away.
        FaultFileSystem other;
        FaultRun again(context, other);
        other.plan({.at = at, .errno_value = error, .torn_permille = 500});
        again.live(true);
        other.heal();
        other.cut_power(PowerCut::nothing, at);
        again.power_was_cut();
        again.expect_recovered();
      }
      return fired;
    });
  }
}

constexpr Case kErrorCases[] = {
    {"storage.errors.every_operation",
     "Whichever file operation of starting, appending, rolling, retention, deletion or replacement fails (EIO, ENOSPC, "
     "EMFILE): no false answer, no wrong bytes, and the next opening recovers.",
     Level::basic, kFileLayer | kKeeps, &every_operation_fails},
};

// ---- kill -9 of a real process

/// What a process that will be killed tells about itself.
struct KillBoard {
  std::atomic<std::int64_t> appended{0};  ///< end of the log
  std::atomic<std::int64_t> acked{0};     ///< all below it were acknowledged
};

std::vector<std::byte> kill_batch(std::int64_t base, std::uint64_t seed) {
  return make_batch({.base = base, .body_bytes = 50 + static_cast<std::size_t>(base * 37 % 700), .seed = seed});
}

/// Recovers, checks, and appends until killed; or stops in order where `last`.
void killed_life(CaseContext& context, KillBoard& board, bool last) {
  const auto files = make_file_system(std::filesystem::current_path() / "data");
  const EngineCase engine = engine_of(context);
  EngineUnderTest under_test(engine, *files);
  expect_ok(under_test.start(), "start() after kill -9");
  PartitionLog* log = nullptr;
  const PartitionSettings settings{.segment_bytes = 65536};
  expect_ok(under_test.engine().open(kKey, {}, settings, &log), "open() after kill -9");
  const std::int64_t end = log->state().end.value;
  expect_at_least("end after kill -9, of what was acknowledged", end, board.acked.load());
  expect_at_most("end after kill -9", end, board.appended.load() + 1);
  std::vector<std::byte> expected;
  for (std::int64_t base = 0; base < end; ++base) {
    const std::vector<std::byte> batch = kill_batch(base, context.seed);
    expected.insert(expected.end(), batch.begin(), batch.end());
  }
  expect_bytes("content after kill -9", read_range(*log, {0}, {end}, 1 << 20), expected);
  if (last) {
    expect_ok(log->close(), "close()");
    expect_ok(under_test.stop(), "stop()");
    return;
  }
  RecordingSink& sink = under_test.host().sink;
  for (std::int64_t base = end;; ++base) {
    AppendResult result;
    expect_ok(log->append(kill_batch(base, context.seed), {base}, {base + 1}, 1000, &result), "append");
    board.appended = base + 1;
    if (base % 16 == 15 && result.position != 0)
      expect(sink.wait(log->durability_domain(), result.position), "a durability report");
    if (result.position == 0 || base % 16 == 15) board.acked = base + 1;
  }
}

void kill_9(CaseContext& context) {
  void* const shared = ::mmap(nullptr, sizeof(KillBoard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  expect(shared != MAP_FAILED, "memory to share with a process");
  auto& board = *new (shared) KillBoard;
  std::mt19937_64 random(context.seed);
  const std::uint64_t cycles = context.rounds(3, 20, 2000);
  for (std::uint64_t cycle = 0; cycle <= cycles; ++cycle) {
    context.at(fmt::format("cycle {} of {}", cycle, cycles));
    const bool last = cycle == cycles;
    const std::int64_t enough = board.appended + 1 + static_cast<std::int64_t>(random() % 200);
    const pid_t process = ::fork();
    expect(process >= 0, "a new process");
    if (process == 0) {
      killed_life(context, board, last);
      std::_Exit(0);
    }
    int status = 0;
    while (!last && board.appended < enough && ::waitpid(process, &status, WNOHANG) == 0) ::usleep(200);
    if (!last) ::kill(process, SIGKILL);
    ::waitpid(process, &status, 0);
    if (last ? status != 0 : !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) {
      if (WIFEXITED(status)) std::_Exit(WEXITSTATUS(status));  // it has said why
      fail_case(fmt::format("a process that appends: expected to live until it is killed, found it ended by signal {}",
                            WTERMSIG(status)));
    }
  }
}

constexpr Case kCrashCases[] = {
    {"storage.crash.killed",
     "Killed at any file operation, with any part of a write done: the next opening serves every acknowledged batch, byte for "
     "byte, and nothing beyond the last whole one.",
     Level::basic, kFileLayer | kKeeps, &killed_everywhere},
    {"storage.crash.killed_again", "The same where the process is killed again while it recovers.", Level::basic,
     kFileLayer | kKeeps, &killed_while_recovering},
    {"storage.crash.power_cut",
     "The power cut at any file operation, only synced data or any part of the rest left: as promised by the class; never a "
     "refused start, never other bytes.",
     Level::basic, kFileLayer | kKeeps, &power_cut_everywhere},
    {"storage.crash.schedules",
     "The same for random schedules of dropped and torn writes, lost renames and repeated cuts (10,000 at level stress).",
     Level::basic, kFileLayer | kKeeps, &power_cut_schedules},
    {"storage.crash.syncs_matter",
     "On a disk that answers syncs without doing them acknowledged batches are lost: this engine's syncs are what the cases "
     "above see.",
     Level::basic, kFileLayer | kKeeps | kSyncs, &lying_disk},
    {"storage.crash.kill_9", "A process killed with SIGKILL while it appends to real files loses nothing that it acknowledged.",
     Level::basic, kKeeps, &kill_9},
};

}  // namespace

std::span<const Case> storage_error_cases() { return kErrorCases; }
std::span<const Case> storage_crash_cases() { return kCrashCases; }

}  // namespace streambus::conformance
