#include "response_burst.hpp"

#include <cstdlib>
#include <new>

namespace streambus::protocol_kafka {
namespace {

class HeapBuffer final : public Buffer {
 public:
  HeapBuffer(std::byte* data, std::size_t capacity) noexcept : Buffer(data, capacity) {}

 private:
  void dispose() noexcept override {
    std::free(data());
    delete this;
  }
};

}  // namespace

Status ResponseMemory::get(std::size_t bytes, Buffer** out) noexcept {
  const Status status = pool_->get(bytes, out);
  if (status.ok()) return status;
  auto* const data = static_cast<std::byte*>(std::malloc(bytes == 0 ? 1 : bytes));
  if (data == nullptr) return status;
  *out = new (std::nothrow) HeapBuffer(data, bytes);
  if (*out == nullptr) {
    std::free(data);
    return status;
  }
  return {};
}

Burst::Burst(Ref<BurstPool> pool, BufferSource& source) noexcept
    : pool_(std::move(pool)), message_(source), arena_({.block_bytes = 1024, .keep_bytes = 16 << 10}) {}

void Burst::begin() noexcept { encoder_.emplace(message_, arena_); }

bool Burst::add_pin(Pin* pin) noexcept {
  try {
    pins_.push_back(pin);
    return true;
  } catch (...) {
    return false;
  }
}

void Burst::dispose() noexcept {
  for (Pin* const pin : pins_) pin->release();
  pins_.clear();
  encoder_.reset();
  arena_.reset();
  const bool reusable = message_.ok() && pins_.capacity() <= 1024;
  message_.take().reset();
  // The pool may end with this reference: it is dropped last, after the burst has left it or is deleted.
  const Ref<BurstPool> pool = std::move(pool_);
  if (!reusable || !pool->give_back(this)) delete this;
}

Ref<Burst> BurstPool::take() noexcept {
  Burst* burst = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (idle_count_ != 0) burst = idle_[--idle_count_];
  }
  if (burst == nullptr) {
    burst = new (std::nothrow) Burst(Ref<BurstPool>::share(this), memory_);
    if (burst == nullptr) return {};
  } else {
    burst->reset_reference();
    burst->pool_ = Ref<BurstPool>::share(this);
  }
  burst->begin();
  return Ref<Burst>::adopt(burst);
}

bool BurstPool::give_back(Burst* burst) noexcept {
  const std::lock_guard lock(mutex_);
  if (idle_count_ == kIdleMax) return false;
  idle_[idle_count_++] = burst;
  return true;
}

BurstPool::~BurstPool() {
  while (idle_count_ != 0) delete idle_[--idle_count_];
}

}  // namespace streambus::protocol_kafka
