#pragma once
// Who waits for which data to become durable.
//
// An engine reports by domain and position; a produce request waits for one position. Waiters are linked through
// themselves, so that waiting allocates nothing. For the place of these locks in the order see broker_core.hpp.

#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "streambus/base/pin.hpp"
#include "streambus/plugin/broker.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus::broker {

/// What becomes more visible when its data became durable: a partition. ProduceWaiter::context points to it while pending.
class DurableTarget : public Pin {
 public:
  /// All below `end` is durable. Any thread, no lock held; the ends of concurrent calls may come in any order.
  virtual void durable_to(Offset end) noexcept = 0;
};

/// One flush domain. Thread-safe.
class Domain final : public Pin {
 public:
  enum class Wait : std::uint8_t { pending, durable, failed };

  /// Waits for `waiter.position`, whose data ends at `waiter.end` in `target`. `pending`: the waiter is the domain's until
  /// completed() is called, which may be at once; a reference to the target is held that long. `failed`: waiter.error says why.
  [[nodiscard]] Wait wait(ProduceWaiter& waiter, DurableTarget& target) noexcept;

  /// Releases all waiters up to `position`: first all targets are told, then all waiters completed.
  void advance(std::uint64_t position) noexcept;

  /// Gives every waiter the error, and every later one. The first failure stays. After it returns no target is told anything.
  void fail(const Status& status) noexcept;

  [[nodiscard]] bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }
  /// ok unless failed.
  [[nodiscard]] Status failure() const noexcept;

 private:
  void dispose() noexcept override { delete this; }
  [[nodiscard]] ProduceWaiter* take_released(std::uint64_t position) noexcept;

  std::atomic<bool> failed_{false};
  std::mutex publish_mutex_;  ///< held while targets are told; before mutex_
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::uint64_t durable_position_ = 0;
  ProduceWaiter* head_ = nullptr;  ///< ascending by position
  ProduceWaiter* tail_ = nullptr;
  Status failure_;
};

/// Puts an outcome into a waiter; the text is cut to its size.
void set_error(ProduceWaiter& waiter, ErrorCode code, std::string_view text) noexcept;

/// The domains of all engines: what they report to.
class DomainTable final : public DurabilitySink {
 public:
  /// `host` gets the failures to log.
  explicit DomainTable(Host& host) noexcept : host_(host) {}

  [[nodiscard]] std::uint32_t open_domain() noexcept override;
  void close_domain(std::uint32_t domain) noexcept override;
  void durable_advanced(std::uint32_t domain, std::uint64_t position) noexcept override;
  void domain_failed(std::uint32_t domain, const Status& status) noexcept override;

  /// Empty when there is no such domain.
  [[nodiscard]] Ref<Domain> find(std::uint32_t domain) const noexcept;

 private:
  Host& host_;
  mutable std::shared_mutex mutex_;
  // Guarded by mutex_.
  std::unordered_map<std::uint32_t, Ref<Domain>> domains_;
  std::uint32_t next_id_ = 1;
};

}  // namespace streambus::broker
