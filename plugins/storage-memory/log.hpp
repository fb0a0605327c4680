#pragma once

#include <deque>
#include <mutex>
#include <string>

#include "engine.hpp"

namespace streambus::storage_memory {

/// One partition: a row of chunks, the last of them appended to. Copies run outside the mutex; `appending_` keeps the
/// chunk from being evicted meanwhile.
class MemoryLog final : public PartitionLog {
 public:
  MemoryLog(MemoryEngine& engine, const PartitionKey& key, Offset start, const PartitionSettings& settings);

  [[nodiscard]] LogState state() noexcept override;
  [[nodiscard]] std::uint32_t durability_domain() const noexcept override { return domain_; }
  Status append(Bytes batches, Offset first, Offset next, TimestampMs max_timestamp, AppendResult* result) noexcept override;
  Status read(const ReadRequest& request, ReadResult* result) noexcept override;
  Status find_time(TimestampMs timestamp, Offset* batch_base) noexcept override;
  Status apply(const PartitionSettings& settings) noexcept override;
  Status delete_before(Offset start) noexcept override;
  Status retain(TimestampMs now) noexcept override;
  Status close() noexcept override;
  [[nodiscard]] Offset segment_end(Offset from) noexcept override;
  Status replace(Offset from, Offset to, BatchSource& batches) noexcept override;

  // For the engine.
  [[nodiscard]] bool is(std::string_view topic_id, PartitionId partition) const noexcept {
    return partition_ == partition && topic_id_ == topic_id;
  }
  [[nodiscard]] std::string_view topic_id() const noexcept { return topic_id_; }
  [[nodiscard]] PartitionId partition() const noexcept { return partition_; }
  /// Of the chunk that evict_oldest() would drop; UINT64_MAX where there is none.
  [[nodiscard]] std::uint64_t oldest_sequence() noexcept;
  [[nodiscard]] bool evict_oldest() noexcept;

 private:
  /// A batch boundary that is likely to be asked for again.
  struct Hint {
    const Chunk* chunk = nullptr;
    Offset offset{-1};
    std::size_t position = 0;
  };
  static constexpr std::size_t kHints = 4;

  ~MemoryLog() = default;

  [[nodiscard]] Status append_batches(Bytes batches, Offset first, Offset next);
  [[nodiscard]] bool evictable() const noexcept { return chunks_.size() > (appending_ ? 1U : 0U); }
  [[nodiscard]] static std::size_t wanted_chunk_bytes(std::uint64_t stored_bytes) noexcept;
  [[nodiscard]] Status write_replacement(Offset from, Offset to, BatchSource& batches, std::vector<Ref<Chunk>>* chunks);
  [[nodiscard]] Status put_in_place(Offset from, Offset to, std::vector<Ref<Chunk>>& chunks);
  void drop_first() noexcept;

  MemoryEngine& engine_;
  const std::string topic_id_;
  const PartitionId partition_;
  const std::uint32_t domain_;

  std::mutex mutex_;
  PartitionSettings settings_;
  std::deque<Ref<Chunk>> chunks_;
  bool appending_ = false;
  Offset start_;
  Offset end_;
  std::uint64_t bytes_ = 0;
  Hint hints_[kHints];
  std::uint32_t next_hint_ = 0;
};

}  // namespace streambus::storage_memory
