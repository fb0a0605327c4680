#pragma once
// A session whose behaviour a test writes down as functions, and which checks the transport's promises on every call.

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "streambus/plugin/transport.hpp"

namespace streambus::conformance {

inline constexpr auto kPatience = std::chrono::seconds(60);

/// Polls until the condition holds; false when it never did.
template <class Condition>
[[nodiscard]] bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

/// Hooks run on the connection's thread; they are set before the session is in use. Broken promises (nested calls, calls
/// after closed(), calls on another thread) are counted in `violations`.
class TestSession final : public Session {
 public:
  std::function<void(TestSession&)> on_opened = [](TestSession&) {};
  std::function<void(TestSession&, Bytes)> on_bytes = [](TestSession&, Bytes) {};
  std::function<void(TestSession&)> on_writable = [](TestSession&) {};
  std::function<void(TestSession&)> on_deadline = [](TestSession&) {};
  std::function<void(TestSession&)> on_drain = [](TestSession& self) { self.connection->close(true); };
  std::function<void(TestSession&)> on_closed = [](TestSession&) {};
  std::size_t buffer_bytes = 65536;
  bool keep_text = true;         ///< false: count the bytes only
  bool keep_connection = false;  ///< true: the test calls drop()

  Connection* connection = nullptr;  ///< on its thread; elsewhere only for post() while it is open
  std::atomic<bool> is_open{false};
  std::atomic<bool> is_closed{false};
  std::atomic<bool> gives_buffers{true};
  std::atomic<std::uint64_t> bytes_received{0};
  std::atomic<int> buffers_asked{0};
  std::atomic<int> violations{0};
  std::atomic<std::thread::id> thread{};

  ~TestSession() { drop(); }

  /// What came in so far.
  [[nodiscard]] std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }
  /// Why it was closed; valid when is_closed.
  [[nodiscard]] Status reason() const {
    const std::lock_guard lock(mutex_);
    return reason_;
  }
  void drop() {
    if (Connection* held = std::exchange(connection, nullptr); held != nullptr) held->release();
  }
  void send(std::string_view text) {
    // The bytes are static or outlive the connection in all tests that use this.
    const Slice slice = Slice::memory(std::as_bytes(std::span(text)));
    connection->write({&slice, 1}, nullptr);
  }
  /// Runs fn on the connection's thread and waits for it.
  void run(std::function<void()> fn) {
    struct Call {
      std::function<void()> fn;
      std::atomic<bool> done{false};
    } call{std::move(fn)};
    connection->post(
        [](void* context) noexcept {
          auto* posted = static_cast<Call*>(context);
          posted->fn();
          posted->done = true;
        },
        &call);
    if (!eventually([&] { return call.done.load(); })) std::abort();  // the call would refer to a dead frame
  }

  // Session
  void opened(Connection& opened) noexcept override {
    thread = std::this_thread::get_id();
    const Inside inside(*this);
    connection = &opened;
    on_opened(*this);
    is_open = true;
  }
  MutableBytes receive_buffer() noexcept override {
    const Inside inside(*this);
    ++buffers_asked;
    if (!gives_buffers) return {};
    buffer_.resize(buffer_bytes);
    return buffer_;
  }
  void received(std::size_t bytes) noexcept override {
    const Inside inside(*this);
    if (bytes == 0 || bytes > buffer_.size()) ++violations;
    if (keep_text) {
      const std::lock_guard lock(mutex_);
      text_.append(reinterpret_cast<const char*>(buffer_.data()), bytes);
    }
    bytes_received += bytes;
    on_bytes(*this, Bytes(buffer_.data(), bytes));
  }
  void writable() noexcept override {
    const Inside inside(*this);
    on_writable(*this);
  }
  void deadline() noexcept override {
    const Inside inside(*this);
    on_deadline(*this);
  }
  void drain() noexcept override {
    const Inside inside(*this);
    on_drain(*this);
  }
  void closed(const Status& reason) noexcept override {
    if (connection == nullptr) thread = std::this_thread::get_id();  // it never opened
    {
      const Inside inside(*this);
      const std::lock_guard lock(mutex_);
      reason_ = reason;
    }
    on_closed(*this);
    if (!keep_connection) drop();
    is_closed = true;
  }

 private:
  struct Inside {
    explicit Inside(TestSession& session) : self(session) {
      const bool nested = std::exchange(self.inside_, true);
      if (nested || self.is_closed || std::this_thread::get_id() != self.thread.load()) ++self.violations;
    }
    ~Inside() { self.inside_ = false; }
    TestSession& self;
  };

  mutable std::mutex mutex_;
  std::string text_;
  Status reason_;
  std::vector<std::byte> buffer_;
  bool inside_ = false;
};

/// Makes sessions with the given behaviour, and owns them. Outlives its listener.
class TestFactory final : public SessionFactory {
 public:
  explicit TestFactory(std::function<void(TestSession&)> prepare = [](TestSession&) {}) : prepare_(std::move(prepare)) {}

  Session* create_session() noexcept override {
    const std::lock_guard lock(mutex_);
    if (refuses) return nullptr;
    TestSession& session = sessions_.emplace_back();
    prepare_(session);
    return &session;
  }

  [[nodiscard]] std::size_t count() const {
    const std::lock_guard lock(mutex_);
    return sessions_.size();
  }
  /// The session made as the index-th; it must be there.
  [[nodiscard]] TestSession& at(std::size_t index) {
    const std::lock_guard lock(mutex_);
    return *std::next(sessions_.begin(), static_cast<std::ptrdiff_t>(index));
  }
  template <class Visit>
  void each(Visit visit) {
    const std::lock_guard lock(mutex_);
    for (TestSession& session : sessions_) visit(session);
  }

  std::atomic<bool> refuses{false};

 private:
  std::function<void(TestSession&)> prepare_;
  mutable std::mutex mutex_;
  std::list<TestSession> sessions_;
};

}  // namespace streambus::conformance

namespace streambus::test {
using namespace streambus::conformance;  // unit tests name their doubles here
}  // namespace streambus::test
