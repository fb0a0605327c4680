// Everything that handle() touches is async-signal-safe: atomics of static storage, system calls made directly (a
// sanitizer's interceptors are not safe in there), no lock, no allocation.

#include "bus_guard.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>
#include <new>
#include <vector>

namespace streambus {
namespace {

constexpr std::size_t kBlockRanges = 256;
constexpr std::size_t kBlocksMax = 1024;

/// Blocks are allocated when they are needed and never freed: the handler may look at one at any time.
struct Block {
  std::array<BusGuard::Range, kBlockRanges> ranges;
};
std::array<std::atomic<Block*>, kBlocksMax> blocks;
std::atomic<std::size_t> block_count{0};
std::atomic<std::uintptr_t> page_bytes{0};
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free && std::atomic<Block*>::is_always_lock_free);

struct sigaction previous_action;  // written once, before the handler is installed

/// What add() and remove() need beside the table; never touched by the handler.
struct Register {
  std::mutex mutex;
  std::vector<BusGuard::Range*> free;
  std::uint64_t used = 0;
  bool installed = false;
};
Register& the_register() noexcept {
  static auto* const instance = new Register;  // outlives every static object
  return *instance;
}

/// The guarded range that contains the address. A range that is being exchanged for another at this moment cannot be the
/// one: whoever faults in a range keeps it from being removed.
BusGuard::Range* range_of(std::uintptr_t address) noexcept {
  const std::size_t count = block_count.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    for (BusGuard::Range& range : blocks[i].load(std::memory_order_acquire)->ranges) {
      const std::uintptr_t end = range.end.load(std::memory_order_acquire);
      const std::uintptr_t begin = range.begin.load(std::memory_order_acquire);
      if (address < begin || address >= end) continue;
      if (range.end.load(std::memory_order_acquire) == end) return &range;
    }
  }
  return nullptr;
}

/// Not ours: as if this handler did not exist.
void hand_over(int number, siginfo_t* info, void* context) noexcept {
  if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    previous_action.sa_sigaction(number, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(number);
  } else {
    struct sigaction standard{};
    standard.sa_handler = SIG_DFL;
    (void)::sigaction(SIGBUS, &standard, nullptr);
    // A fault happens again when this handler returns, with its address for whoever looks at the core; what was sent does not.
    const bool fault = info->si_code == BUS_ADRALN || info->si_code == BUS_ADRERR || info->si_code == BUS_MCEERR_AR;
    if (!fault) (void)::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), number);
  }
}

void handle(int number, siginfo_t* info, void* context) noexcept {
  const int errno_before = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  // A signal that a process sent has no address.
  BusGuard::Range* const range = info->si_code > 0 ? range_of(address) : nullptr;
  const std::uintptr_t page = page_bytes.load(std::memory_order_relaxed);
  if (range == nullptr || ::syscall(SYS_mmap, address & ~(page - 1), page, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == -1) {
    hand_over(number, info, context);
  } else {
    range->failed.store(true, std::memory_order_release);
  }
  errno = errno_before;
}

void install() noexcept {
  page_bytes.store(static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE)), std::memory_order_relaxed);
  (void)::sigaction(SIGBUS, nullptr, &previous_action);
  struct sigaction action{};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&action.sa_mask);
  (void)::sigaction(SIGBUS, &action, nullptr);
}

/// Under the register's mutex.
bool add_block(Register& all) {
  const std::size_t count = block_count.load(std::memory_order_relaxed);
  if (count == kBlocksMax) return false;
  all.free.reserve(all.free.size() + kBlockRanges * (count + 1));  // remove() must not allocate
  auto* const block = new Block;
  for (std::size_t i = kBlockRanges; i > 0; --i) all.free.push_back(&block->ranges[i - 1]);
  blocks[count].store(block, std::memory_order_release);
  block_count.store(count + 1, std::memory_order_release);
  return true;
}

}  // namespace

BusGuard::Range* BusGuard::add(const void* begin, std::size_t bytes) noexcept {
  Register& all = the_register();
  const std::lock_guard lock(all.mutex);
  try {
    if (all.free.empty() && !add_block(all)) return nullptr;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  if (!all.installed) {
    install();
    all.installed = true;
  }
  Range* const range = all.free.back();
  all.free.pop_back();
  ++all.used;
  range->failed.store(false, std::memory_order_relaxed);
  range->begin.store(reinterpret_cast<std::uintptr_t>(begin), std::memory_order_release);
  range->end.store(reinterpret_cast<std::uintptr_t>(begin) + bytes, std::memory_order_release);
  return range;
}

void BusGuard::remove(Range* range) noexcept {
  Register& all = the_register();
  const std::lock_guard lock(all.mutex);
  range->end.store(0, std::memory_order_release);
  all.free.push_back(range);
  --all.used;
}

std::uint64_t BusGuard::count() noexcept {
  Register& all = the_register();
  const std::lock_guard lock(all.mutex);
  return all.used;
}

}  // namespace streambus
