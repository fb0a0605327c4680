#pragma once

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
#include <thread>

#include "transport-common/event_thread.hpp"

namespace streambus::transport_tcp {

namespace asio = boost::asio;

/// Bound to the concrete executor: the type-erased default costs an indirection, and type information across binaries.
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                                         asio::io_context::executor_type>;

/// Memory for one pending Asio operation at a time, so that waiting again and again never allocates.
class OperationMemory {
 public:
  OperationMemory() = default;
  OperationMemory(const OperationMemory&) = delete;
  OperationMemory& operator=(const OperationMemory&) = delete;

  [[nodiscard]] void* allocate(std::size_t bytes) {
    if (in_use_ || bytes > sizeof storage_) return ::operator new(bytes);
    in_use_ = true;
    return storage_;
  }
  void deallocate(void* memory) noexcept {
    if (memory != storage_) return ::operator delete(memory);
    in_use_ = false;
  }

 private:
  alignas(std::max_align_t) std::byte storage_[128];
  bool in_use_ = false;
};

/// The standard allocator over OperationMemory.
template <class T>
struct OperationAllocator {
  using value_type = T;  // NOLINT(readability-identifier-naming): the standard's name
  explicit OperationAllocator(OperationMemory& from) noexcept : memory(&from) {}
  template <class U>
  OperationAllocator(const OperationAllocator<U>& other) noexcept : memory(other.memory) {}  // NOLINT: as allocators convert
  [[nodiscard]] T* allocate(std::size_t count) { return static_cast<T*>(memory->allocate(count * sizeof(T))); }
  void deallocate(T* pointer, std::size_t) noexcept { memory->deallocate(pointer); }
  friend bool operator==(const OperationAllocator&, const OperationAllocator&) noexcept = default;

  OperationMemory* memory;
};

/// Calls a member function when an operation is done; the operation lives in the given memory.
template <class Object, void (Object::*function)(const boost::system::error_code&) noexcept>
struct Completion {
  using allocator_type = OperationAllocator<std::byte>;  // NOLINT(readability-identifier-naming): Asio looks for it
  [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_type(*memory); }
  void operator()(const boost::system::error_code& error) const noexcept { (object->*function)(error); }

  Object* object;
  OperationMemory* memory;
};

/// An EventThread that waits in an io_context.
class IoThread final : public transport_common::EventThread {
 public:
  explicit IoThread(Host& host);
  ~IoThread();

  void start(std::uint32_t number);
  /// Ends the loop and joins the thread. All connections are closed.
  void join() noexcept;

  [[nodiscard]] asio::io_context& context() noexcept { return context_; }

  /// Every handler that runs on the thread ends with it: acts on what sessions asked for meanwhile.
  void settle_all() noexcept;

  /// Bytes received and sent so far, for choosing the thread of a new connection. Any thread may read.
  void count_traffic(std::uint64_t bytes) noexcept {
    traffic_.store(traffic_.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t traffic() const noexcept { return traffic_.load(std::memory_order_relaxed); }

 private:
  void wake() noexcept override;
  void arm_timer(std::int64_t at_ns) noexcept override;
  void on_wake() noexcept;
  void on_more() noexcept;
  void on_timer(const boost::system::error_code& error) noexcept;

  OperationMemory wake_memory_;
  OperationMemory timer_memory_;
  OperationMemory more_memory_;
  bool more_asked_ = false;  // used by the thread alone
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  Timer timer_;
  std::thread thread_;
  std::atomic<std::uint64_t> traffic_{0};
};

}  // namespace streambus::transport_tcp
