#pragma once
// A Connection for tests of sessions: keeps what was written, and the pins, until the test says that the peer took it.
// The test's thread is the connection's thread.

#include <cstring>
#include <deque>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "streambus/plugin/transport.hpp"

namespace streambus::test {

class FakeConnection final : public Connection {
 public:
  /// `alive` turns false when the last reference is gone.
  explicit FakeConnection(bool* alive) : alive_(alive) { *alive_ = true; }

  void write(std::span<const Slice> slices, Pin* keep) noexcept override {
    ++writes;
    for (const Slice& slice : slices) {
      sent_slices.push_back(slice);
      if (!slice.is_file()) {
        sent.append(reinterpret_cast<const char*>(slice.data), slice.bytes);
      } else {
        sent.append(slice.bytes, '?');
      }
      if (hold_output) queued += slice.bytes;
    }
    if (keep != nullptr && hold_output) {
      keep->add_ref();
      kept_.push_back(keep);
    }
  }
  [[nodiscard]] std::uint64_t queued_bytes() const noexcept override { return queued; }
  void pause_reading() noexcept override { paused = true; }
  void resume_reading() noexcept override {
    paused = false;
    ++resumed;
  }
  void set_deadline(std::int64_t monotonic_ns) noexcept override {
    deadline_ns = monotonic_ns;
    ++deadlines_set;
  }
  void close(bool flush) noexcept override {
    close_called = true;
    close_flushed = flush;
  }
  void post(void (*fn)(void*) noexcept, void* context) noexcept override {
    const std::lock_guard lock(mutex_);
    posts_.push_back({fn, context});
  }
  [[nodiscard]] std::string_view peer() const noexcept override { return "10.0.0.1:5555"; }

  // For the test.
  /// Runs what was posted. Returns how much.
  std::size_t run_posts() {
    std::size_t count = 0;
    while (true) {
      Post post{};
      {
        const std::lock_guard lock(mutex_);
        if (posts_.empty()) return count;
        post = posts_.front();
        posts_.pop_front();
      }
      post.fn(post.context);
      ++count;
    }
  }
  /// The peer took everything.
  void send_all() {
    queued = 0;
    for (Pin* const pin : std::exchange(kept_, {})) pin->release();
  }

  std::string sent;
  std::vector<Slice> sent_slices;
  std::size_t writes = 0;
  std::uint64_t queued = 0;
  bool hold_output = false;  ///< true: what is written stays queued until send_all()
  bool paused = false;
  std::size_t resumed = 0;
  std::int64_t deadline_ns = std::numeric_limits<std::int64_t>::max();
  std::size_t deadlines_set = 0;
  bool close_called = false;
  bool close_flushed = false;

 private:
  struct Post {
    void (*fn)(void*) noexcept;
    void* context;
  };
  void dispose() noexcept override {
    send_all();
    *alive_ = false;
    delete this;
  }

  bool* alive_;
  std::vector<Pin*> kept_;
  std::mutex mutex_;
  std::deque<Post> posts_;
};

}  // namespace streambus::test
