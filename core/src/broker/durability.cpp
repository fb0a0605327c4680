#include "durability.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "streambus/base/assert.hpp"

namespace streambus::broker {
namespace {

DurableTarget& target_of(const ProduceWaiter& waiter) noexcept { return *static_cast<DurableTarget*>(waiter.context); }

/// Makes what the waiters waited for visible before any of them is answered: whoever reads after an ack finds the data.
void publish(const ProduceWaiter* waiter) noexcept {
  for (; waiter != nullptr; waiter = waiter->next) {
    // Neighbours of one partition ascend: the last of a run says it all.
    if (waiter->next == nullptr || waiter->next->context != waiter->context) target_of(*waiter).durable_to(waiter->end);
  }
}

void complete(ProduceWaiter* waiter) noexcept {
  while (waiter != nullptr) {
    ProduceWaiter* const next = waiter->next;  // the waiter may be gone once it is completed
    DurableTarget& target = target_of(*waiter);
    waiter->next = nullptr;
    waiter->context = nullptr;
    waiter->completed();
    target.release();
    waiter = next;
  }
}

}  // namespace

void set_error(ProduceWaiter& waiter, ErrorCode code, std::string_view text) noexcept {
  waiter.error = code;
  const std::size_t length = std::min(text.size(), sizeof waiter.error_text - 1);
  std::memcpy(waiter.error_text, text.data(), length);
  waiter.error_text[length] = '\0';
}

Domain::Wait Domain::wait(ProduceWaiter& waiter, DurableTarget& target) noexcept {
  const std::lock_guard lock(mutex_);
  if (waiter.position <= durable_position_) return Wait::durable;
  if (!failure_.ok()) {
    set_error(waiter, failure_.code, failure_.message());
    return Wait::failed;
  }
  target.add_ref();
  waiter.context = &target;
  waiter.next = nullptr;
  if (tail_ == nullptr) {
    head_ = tail_ = &waiter;
  } else if (tail_->position <= waiter.position) {
    tail_->next = &waiter;
    tail_ = &waiter;
  } else {  // overtaken on the way here by another partition of the domain
    ProduceWaiter** place = &head_;
    while ((*place)->position <= waiter.position) place = &(*place)->next;
    waiter.next = *place;
    *place = &waiter;
  }
  return Wait::pending;
}

void Domain::advance(std::uint64_t position) noexcept {
  ProduceWaiter* released = nullptr;
  {
    const std::lock_guard publishing(publish_mutex_);
    released = take_released(position);
    publish(released);
  }
  complete(released);
}

ProduceWaiter* Domain::take_released(std::uint64_t position) noexcept {
  const std::lock_guard lock(mutex_);
  if (position <= durable_position_ || !failure_.ok()) return nullptr;
  durable_position_ = position;
  ProduceWaiter* last = nullptr;
  for (ProduceWaiter* waiter = head_; waiter != nullptr && waiter->position <= position; waiter = waiter->next) last = waiter;
  if (last == nullptr) return nullptr;
  ProduceWaiter* const released = head_;
  head_ = last->next;
  if (head_ == nullptr) tail_ = nullptr;
  last->next = nullptr;
  return released;
}

void Domain::fail(const Status& status) noexcept {
  STREAMBUS_ASSERT(!status.ok());
  ProduceWaiter* released = nullptr;
  {
    const std::lock_guard publishing(publish_mutex_);
    const std::lock_guard lock(mutex_);
    if (!failure_.ok()) return;
    failure_ = status;
    failed_.store(true, std::memory_order_release);
    released = head_;
    head_ = tail_ = nullptr;
  }
  for (ProduceWaiter* waiter = released; waiter != nullptr; waiter = waiter->next) {
    set_error(*waiter, status.code, status.message());
  }
  complete(released);
}

Status Domain::failure() const noexcept {
  const std::lock_guard lock(mutex_);
  return failure_;
}

std::uint32_t DomainTable::open_domain() noexcept {
  const std::lock_guard lock(mutex_);
  const std::uint32_t id = next_id_++;
  domains_.emplace(id, Ref<Domain>::adopt(new Domain));
  return id;
}

void DomainTable::close_domain(std::uint32_t domain) noexcept {
  Ref<Domain> closed;
  {
    const std::lock_guard lock(mutex_);
    const auto found = domains_.find(domain);
    if (found == domains_.end()) return;
    closed = std::move(found->second);
    domains_.erase(found);
  }
  closed->fail({ErrorCode::cancelled, "the storage was closed before the data was durable"});
}

void DomainTable::durable_advanced(std::uint32_t domain, std::uint64_t position) noexcept {
  if (const Ref<Domain> found = find(domain)) found->advance(position);
}

void DomainTable::domain_failed(std::uint32_t domain, const Status& status) noexcept {
  const Status reason = status.ok() ? Status(ErrorCode::io_error, "the storage reported a failure without a reason") : status;
  char line[sizeof reason.text + 96];
  std::snprintf(line, sizeof line, "storage cannot make data durable (domain %u): its partitions take no more writes: %s",
                domain, reason.text);
  host_.log(LogLevel::error, line);
  if (const Ref<Domain> found = find(domain)) found->fail(reason);
}

Ref<Domain> DomainTable::find(std::uint32_t domain) const noexcept {
  const std::shared_lock lock(mutex_);
  const auto found = domains_.find(domain);
  return found == domains_.end() ? Ref<Domain>() : found->second;
}

}  // namespace streambus::broker
