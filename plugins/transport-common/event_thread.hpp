#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

#include "streambus/plugin/host.hpp"
#include "transport-common/deadline_queue.hpp"

namespace streambus::transport_common {

class EventThread;

/// What an EventThread knows of a connection. The list links and flags belong to the thread.
class ThreadMember : public DeadlineQueue::Item {
 public:
  ThreadMember(const ThreadMember&) = delete;
  ThreadMember& operator=(const ThreadMember&) = delete;

  /// Does what the connection's calls since the last settle() asked for: sends, calls writable(), reads on, closes.
  virtual void settle() noexcept = 0;
  /// The scheduled time came.
  virtual void due(std::int64_t now_ns) noexcept = 0;
  /// The transport stops: close at once.
  virtual void shut_down() noexcept = 0;

 protected:
  ThreadMember() = default;
  virtual ~ThreadMember() = default;

 private:
  friend class EventThread;
  std::size_t index_ = 0;  // in the thread's members
  bool dirty_ = false;
};

/// One thread of a transport, without its way of waiting: posted calls, deadlines, and the connections that have
/// something left to do. Calls of a session on its connection only change state and mark it dirty; settle_all(), at the
/// end of each event, acts on it. That is why session callbacks never nest, and why all that a session writes in one
/// callback leaves in one system call.
class EventThread {
 public:
  explicit EventThread(Host& host) : host_(host) {}
  EventThread(const EventThread&) = delete;
  EventThread& operator=(const EventThread&) = delete;

  [[nodiscard]] Host& host() const noexcept { return host_; }

  /// Runs fn(context) on the thread, after what was posted before. Any thread; a short lock. Once the thread has ended,
  /// fn runs on the caller, one at a time: whoever still waits for its call gets it.
  void post(void (*fn)(void*) noexcept, void* context) noexcept {
    std::unique_lock lock(mutex_);
    if (ended_) {
      lock.unlock();
      const std::lock_guard late(late_mutex_);
      fn(context);
      return;
    }
    const bool first = posted_.empty();
    posted_.push_back({fn, context});
    lock.unlock();
    if (first) wake();
  }

  /// Calls settle() of the member before the thread waits again. On the thread.
  void mark_dirty(ThreadMember& member) {
    if (std::exchange(member.dirty_, true)) return;
    dirty_.push_back(&member);
  }

  /// Makes sure that due() of the member is called at `at_ns` or a little later; may be called earlier too. Cheap when the
  /// member is looked at before that time anyway. On the thread.
  void schedule(ThreadMember& member, std::int64_t at_ns) {
    if (at_ns >= member.scheduled_at()) return;
    deadlines_.schedule(member, at_ns);
    arm_earliest();
  }

  /// Drops the member's deadline and what it was marked for. On the thread, from the member's own settle() or due().
  void quiet(ThreadMember& member) noexcept {
    deadlines_.remove(member);
    if (std::exchange(member.dirty_, false)) std::erase(dirty_, &member);
  }

  /// Members are what drain and stop reach. On the thread.
  void add(ThreadMember& member) {
    member.index_ = members_.size();
    members_.push_back(&member);
    if (stopping_) member.shut_down();
  }
  void remove(ThreadMember& member) noexcept {
    quiet(member);
    members_[member.index_] = members_.back();
    members_[member.index_]->index_ = member.index_;
    members_.pop_back();
    remove_load();
  }
  [[nodiscard]] const std::vector<ThreadMember*>& members() const noexcept { return members_; }

  /// Closes every member that there is or will be. On the thread.
  void shut_down_members() noexcept {
    stopping_ = true;
    // From the back: a member may remove itself, which moves the last one into its place.
    for (std::size_t i = members_.size(); i-- > 0;) members_[i]->shut_down();
  }

  /// Connections that the thread was chosen for and that are not removed; any thread.
  [[nodiscard]] std::uint32_t load() const noexcept { return load_.load(std::memory_order_relaxed); }
  void add_load() noexcept { load_.fetch_add(1, std::memory_order_relaxed); }
  void remove_load() noexcept { load_.fetch_sub(1, std::memory_order_relaxed); }

  /// Connection objects that somebody still references; any thread.
  [[nodiscard]] std::uint32_t live() const noexcept { return live_.load(std::memory_order_acquire); }
  void add_live() noexcept { live_.fetch_add(1, std::memory_order_relaxed); }
  void remove_live() noexcept { live_.fetch_sub(1, std::memory_order_release); }

 protected:
  ~EventThread() = default;

  /// Makes the thread call run_posted() soon. Any thread; called once per batch of posted calls.
  virtual void wake() noexcept = 0;
  /// Makes the thread call run_due() at that time; replaces an earlier request. On the thread.
  virtual void arm_timer(std::int64_t at_ns) noexcept = 0;

  [[nodiscard]] bool has_dirty() const noexcept { return !dirty_.empty(); }

  /// Runs what was posted before the call. On the thread.
  void run_posted() noexcept {
    {
      const std::lock_guard lock(mutex_);
      running_.swap(posted_);
    }
    for (const Call& call : running_) call.fn(call.context);
    running_.clear();
  }

  /// Calls due() of every member whose time came. On the thread.
  void run_due() noexcept {
    armed_at_ = kNow;  // nothing is armed before the loop is done
    const std::int64_t now = host_.monotonic_ns();
    while (!deadlines_.empty() && deadlines_.earliest() <= now) {
      ThreadMember& member = static_cast<ThreadMember&>(deadlines_.top());
      deadlines_.remove(member);
      member.due(now);
    }
    armed_at_ = kNever;
    arm_earliest();
  }

  /// Settles the members that are dirty now; what gets dirty meanwhile waits for the next round. On the thread.
  void settle_round() noexcept {
    settling_.swap(dirty_);
    for (ThreadMember* member : settling_) {
      member->dirty_ = false;
      member->settle();
    }
    settling_.clear();
  }

  /// From now on posted calls run on their callers. Runs what is still queued. Called when the thread's loop has ended.
  void end() noexcept {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    const std::lock_guard lock(late_mutex_);
    run_posted();
  }

 private:
  static constexpr std::int64_t kNow = std::numeric_limits<std::int64_t>::min();

  struct Call {
    void (*fn)(void*) noexcept;
    void* context;
  };

  void arm_earliest() noexcept {
    if (deadlines_.earliest() >= armed_at_) return;
    armed_at_ = deadlines_.earliest();
    arm_timer(armed_at_);
  }

  Host& host_;
  std::atomic<std::uint32_t> load_{0};
  std::atomic<std::uint32_t> live_{0};

  std::mutex mutex_;
  std::vector<Call> posted_;         // guarded by mutex_
  bool ended_ = false;               // guarded by mutex_
  std::recursive_mutex late_mutex_;  // makes late calls one at a time; taken with no other lock of ours held

  // Used by the thread alone.
  std::vector<Call> running_;
  std::vector<ThreadMember*> members_;
  bool stopping_ = false;
  std::vector<ThreadMember*> dirty_;
  std::vector<ThreadMember*> settling_;
  DeadlineQueue deadlines_;
  std::int64_t armed_at_ = kNever;
};

}  // namespace streambus::transport_common
