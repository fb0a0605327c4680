#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "streambus/plugin/transport.hpp"
#include "transport-common/accept_group.hpp"
#include "transport-common/event_thread.hpp"

namespace streambus::transport_common {

/// When a connection stops reading for the sake of what it has not sent yet.
struct WaterMarks {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
};

/// The part of a connection that does not depend on how bytes move: the session's calls, their deferred effect, reading
/// pauses, deadlines, closing. The derived class moves the bytes.
///
/// A connection has one reference of its own (given up when its input and output are released) and one of its session.
class ConnectionBase : public Connection, public ThreadMember {
 public:
  /// `group` is null on the connecting side. `thread` is kept alive for post().
  ConnectionBase(std::shared_ptr<EventThread> thread, const WaterMarks& marks, std::shared_ptr<AcceptGroup> group,
                 std::string peer)
      : thread_(std::move(thread)), marks_(marks), group_(std::move(group)), peer_(std::move(peer)) {
    thread_->add_live();
  }

  // Connection
  void pause_reading() noexcept final { paused_ = true; }
  void resume_reading() noexcept final {
    if (!std::exchange(paused_, false) || is_closed()) return;
    touch();
  }
  void set_deadline(std::int64_t monotonic_ns) noexcept final {
    if (is_closed()) return;
    session_deadline_ = monotonic_ns;
    thread_->schedule(*this, monotonic_ns);
  }
  void close(bool flush) noexcept final { request_close(flush ? Closing::flush : Closing::now, {}); }
  void post(void (*fn)(void*) noexcept, void* context) noexcept final { thread_->post(fn, context); }
  [[nodiscard]] std::string_view peer() const noexcept final { return peer_; }

  /// Tells the session to drain, once. On the thread, outside of session callbacks.
  void drain() noexcept {
    if (session_ == nullptr || !open_ || closing_ != Closing::no) return;
    session_->drain();
    touch();
  }

  [[nodiscard]] const AcceptGroup* group() const noexcept { return group_.get(); }
  [[nodiscard]] EventThread& thread() const noexcept { return *thread_; }

  /// Closes without sending more; `reason` goes to the session. On the thread.
  void abort(const Status& reason) noexcept { request_close(Closing::now, reason); }

  // ThreadMember
  void settle() noexcept final {
    int rounds_left = kRoundsPerTurn;
    settling_ = true;
    do {
      again_ = false;
      if (is_closed()) break;
      if (open_ && closing_ != Closing::now) flush_output();
      if (closing_ == Closing::now || (closing_ == Closing::flush && (!open_ || queued_bytes() == 0))) {
        finish();
        return;
      }
      if (take_writable()) {
        session_->writable();
        again_ = true;
        continue;
      }
      if (open_) continue_reading();
    } while (again_ && --rounds_left > 0);
    settling_ = false;
    settled();
    if (again_) touch();  // the others come first
  }

  void shut_down() noexcept override { abort({ErrorCode::cancelled, "the transport was stopped"}); }

  void due(std::int64_t now_ns) noexcept final {
    if (transport_deadline_ <= now_ns) {
      transport_deadline_ = kNever;
      transport_due(now_ns);
    }
    if (session_ != nullptr && session_deadline_ <= now_ns) {
      session_deadline_ = kNever;
      session_->deadline();
      touch();
    }
    thread_->schedule(*this, std::min(session_deadline_, transport_deadline_));
  }

 protected:
  enum class Closing : std::uint8_t { no, flush, now };
  /// A session that writes in writable() whatever the peer takes would else never let go of its thread.
  static constexpr int kRoundsPerTurn = 16;

  ~ConnectionBase() override {
    EventThread& thread = *thread_;
    thread.remove_live();
  }

  // What the derived class does. All on the thread, outside of session callbacks.

  /// Sends what can be sent without waiting. May call abort().
  virtual void flush_output() noexcept = 0;
  /// Reads, or sees to it that input is noticed, as long as wants_input().
  virtual void continue_reading() noexcept = 0;
  /// Lets go of everything but the reference count. `flushed`: all that was written was sent, and sent data must arrive.
  /// The derived class gives up its own reference (release()) once nothing of it is under way.
  virtual void release_io(bool flushed) noexcept = 0;
  /// The end of a settle(): tell the other side, once, what changed.
  virtual void settled() noexcept {}
  /// The time of set_transport_deadline() came.
  virtual void transport_due(std::int64_t /*now_ns*/) noexcept {}

  /// Hands the open connection to the session.
  void attach(Session* session) noexcept {
    session_ = session;
    open_ = true;
    add_ref();
    session_->opened(*this);
    touch();
  }
  /// A session whose connection is not open yet.
  void expect(Session* session) noexcept { session_ = session; }

  [[nodiscard]] Session* session() const noexcept { return session_; }
  [[nodiscard]] bool is_open() const noexcept { return open_ && !is_closed(); }
  [[nodiscard]] bool is_closed() const noexcept { return finished_; }
  [[nodiscard]] const WaterMarks& marks() const noexcept { return marks_; }

  /// Whether the session shall get more input. Only accepted connections wait for their output: were both ends to do so,
  /// each could wait for the other for ever.
  [[nodiscard]] bool wants_input() const noexcept {
    return is_open() && !paused_ && closing_ == Closing::no && !(above_high_ && group_ != nullptr);
  }

  /// Asks the session for memory to receive into; empty: it pauses.
  [[nodiscard]] MutableBytes ask_for_buffer() noexcept {
    const MutableBytes buffer = session_->receive_buffer();
    if (buffer.empty()) paused_ = true;
    return buffer;
  }

  /// To be called after every write() of the session, with what is queued now.
  void note_queued(std::uint64_t queued) noexcept {
    wrote_ = true;
    if (queued > marks_.high) above_high_ = true;
    touch();
  }

  /// Marks the connection for settle().
  void touch() noexcept {
    if (settling_) {
      again_ = true;
    } else {
      thread_->mark_dirty(*this);
    }
  }

  void set_transport_deadline(std::int64_t at_ns) noexcept {
    transport_deadline_ = at_ns;
    thread_->schedule(*this, at_ns);
  }

  /// A stronger request replaces a weaker one; the first reason stays.
  void request_close(Closing how, const Status& reason) noexcept {
    if (is_closed() || how <= closing_) return;
    if (reason_.ok()) reason_ = reason;
    closing_ = how;
    touch();
  }

 private:
  /// True when writable() is due: the queue ran empty, or fell to the low-water mark after it was above the high one.
  [[nodiscard]] bool take_writable() noexcept {
    if (!wrote_ || !open_) return false;
    const std::uint64_t queued = queued_bytes();
    if (queued == 0) {
      wrote_ = above_high_ = false;
      return true;
    }
    if (!above_high_ || queued > marks_.low) return false;
    above_high_ = false;
    return true;
  }

  void finish() noexcept {
    const bool flushed = closing_ == Closing::flush && reason_.ok();
    finished_ = true;
    session_deadline_ = kNever;
    transport_deadline_ = kNever;
    thread_->quiet(*this);
    const Ref<ConnectionBase> hold = Ref<ConnectionBase>::share(this);  // release_io() and the session let go of theirs
    release_io(flushed);
    if (Session* session = std::exchange(session_, nullptr); session != nullptr) session->closed(reason_);
    if (group_ != nullptr) group_->left();
    settling_ = false;
    settled();
  }

  const std::shared_ptr<EventThread> thread_;
  const WaterMarks marks_;
  const std::shared_ptr<AcceptGroup> group_;
  const std::string peer_;

  Session* session_ = nullptr;
  std::int64_t session_deadline_ = kNever;
  std::int64_t transport_deadline_ = kNever;
  Status reason_;
  Closing closing_ = Closing::no;
  bool open_ = false;        // the session knows the connection
  bool finished_ = false;    // the session was told that it is gone
  bool paused_ = false;      // the session takes no input
  bool wrote_ = false;       // writable() is owed once the queue is empty
  bool above_high_ = false;  // until the queue falls to the low-water mark
  bool settling_ = false;
  bool again_ = false;
};

/// Calls visit(ConnectionBase&) for the group's connections on each of the threads, there, and does not wait for it.
template <class Threads, class Visit>
void visit_group(const Threads& threads, const std::shared_ptr<AcceptGroup>& group, Visit visit) {
  struct Call {
    EventThread& thread;
    std::shared_ptr<AcceptGroup> group;
    Visit visit;
  };
  for (const auto& thread : threads) {
    auto run = [](void* context) noexcept {
      const std::unique_ptr<Call> call(static_cast<Call*>(context));
      for (ThreadMember* member : call->thread.members()) {
        auto& connection = static_cast<ConnectionBase&>(*member);
        if (connection.group() == call->group.get()) call->visit(connection);
      }
    };
    thread->post(run, new Call{*thread, group, visit});
  }
}

/// Drains the connections of a group that accepts no more: blocks until all are closed, at the deadline closes the rest.
template <class Threads>
void drain_group(const Threads& threads, const std::shared_ptr<AcceptGroup>& group, Host& host, std::int64_t deadline_ns) {
  visit_group(threads, group, [](ConnectionBase& connection) { connection.drain(); });
  if (group->wait_empty(host, deadline_ns)) return;
  visit_group(threads, group, [](ConnectionBase& connection) {
    connection.abort({ErrorCode::timeout, "the connection was still open when the time to drain was over"});
  });
  constexpr std::int64_t kPatienceNs = 10'000'000'000;
  if (!group->wait_empty(host, host.monotonic_ns() + kPatienceNs)) {
    host.log(LogLevel::error, "a session blocks its thread: connections are still open 10 s after they were told to close");
  }
}

/// Closes all connections of the threads and waits until the sessions have let go of them, for half a second at most:
/// what is posted later runs on the thread that posts it.
template <class Threads>
void shut_down_threads(const Threads& threads) {
  constexpr int kStepsMax = 2500;
  constexpr auto kStep = std::chrono::microseconds(200);
  for (const auto& thread : threads) {
    thread->post([](void* context) noexcept { static_cast<EventThread*>(context)->shut_down_members(); }, thread.get());
  }
  for (const auto& thread : threads) {
    while (thread->load() > 0) std::this_thread::sleep_for(kStep);
    for (int step = 0; thread->live() > 0 && step < kStepsMax; ++step) std::this_thread::sleep_for(kStep);
  }
}

}  // namespace streambus::transport_common
