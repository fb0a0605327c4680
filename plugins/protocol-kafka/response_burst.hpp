#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "streambus/base/buffer.hpp"
#include "streambus/base/message_buffer.hpp"
#include "streambus/base/pin.hpp"
#include "streambus/wire/codec.hpp"

namespace streambus::protocol_kafka {

/// Lends from the host's pool and, where that is exhausted, from the heap: a response that is made already must not fail for
/// want of a small buffer, and what responses take is bounded per connection.
class ResponseMemory final : public BufferSource {
 public:
  explicit ResponseMemory(BufferSource& pool) noexcept : pool_(&pool) {}
  Status get(std::size_t bytes, Buffer** out) noexcept override;

 private:
  BufferSource* pool_;
};

class BurstPool;

/// Responses that leave in one write: their fields in one buffer, batches as slices between, and the pins that keep these
/// alive. Filled by one session on its thread, then handed to the connection as the `keep` of the write; recycled by the last
/// reference, on any thread.
class Burst final : public Pin {
 public:
  Burst(Ref<BurstPool> pool, BufferSource& source) noexcept;

  [[nodiscard]] wire::Encoder& encoder() noexcept { return *encoder_; }
  /// Takes over one reference, released when the burst was sent.
  [[nodiscard]] bool add_pin(Pin* pin) noexcept;

 private:
  friend class BurstPool;
  void dispose() noexcept override;
  void begin() noexcept;

  Ref<BurstPool> pool_;
  MessageBuffer message_;
  wire::Arena arena_;
  std::optional<wire::Encoder> encoder_;
  std::vector<Pin*> pins_;
};

/// Keeps bursts for reuse, without their buffers. Thread-safe. Lives until the last burst is back.
class BurstPool final : public Pin {
 public:
  explicit BurstPool(BufferSource& host_buffers) noexcept : memory_(host_buffers) {}

  /// An empty burst. Null: out of memory.
  [[nodiscard]] Ref<Burst> take() noexcept;

 private:
  friend class Burst;
  static constexpr std::size_t kIdleMax = 64;

  ~BurstPool() override;
  void dispose() noexcept override { delete this; }
  /// False where enough are kept: the caller deletes it.
  [[nodiscard]] bool give_back(Burst* burst) noexcept;

  ResponseMemory memory_;
  std::mutex mutex_;
  Burst* idle_[kIdleMax] = {};  ///< guarded by mutex_
  std::size_t idle_count_ = 0;  ///< guarded by mutex_
};

}  // namespace streambus::protocol_kafka
