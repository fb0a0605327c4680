#include "producer_table.hpp"

#include <algorithm>
#include <new>
#include <vector>

#include "meta_file.hpp"

namespace streambus::broker {
namespace {

/// True where `sequence` was given out before or with `last`, on the circle of 2^31 numbers.
bool not_after(std::int32_t sequence, std::int32_t last) noexcept {
  return ((static_cast<std::uint32_t>(last) - static_cast<std::uint32_t>(sequence)) & 0x7fffffffU) < 0x40000000U;
}

}  // namespace

ProducerTable::Verdict ProducerTable::check(const ProducerStamp& stamp) const noexcept {
  const auto found = producers_.find(stamp.producer_id);
  if (found == producers_.end() || found->second.count == 0) {
    return {.error = stamp.first_sequence == 0 ? ErrorCode::ok : ErrorCode::unknown_producer};
  }
  const Producer& producer = found->second;
  if (stamp.epoch < producer.epoch) return {.error = ErrorCode::producer_fenced};
  if (stamp.epoch > producer.epoch) {
    return {.error = stamp.first_sequence == 0 ? ErrorCode::ok : ErrorCode::out_of_order_sequence};
  }
  const std::int32_t expected = advance_sequence(producer.last().last_sequence, 1);
  if (stamp.first_sequence == expected) return {};
  for (std::size_t i = 0; i < producer.count; ++i) {
    const ProducedBatch& batch = producer.batches[(producer.newest + kBatchesKept - i) % kBatchesKept];
    if (batch.first_sequence == stamp.first_sequence && batch.last_sequence == stamp.last_sequence())
      return {.duplicate = &batch};
  }
  const std::int32_t last = producer.last().last_sequence;
  const bool appended_before = not_after(stamp.first_sequence, last) && not_after(stamp.last_sequence(), last);
  return {.error = appended_before ? ErrorCode::duplicate_sequence : ErrorCode::out_of_order_sequence,
          .expected_sequence = expected};
}

bool ProducerTable::prepare(std::int64_t producer_id) noexcept {
  try {
    if (producers_.size() >= kProducersMax && !producers_.contains(producer_id)) forget_idle_quarter();
    producers_.try_emplace(producer_id);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void ProducerTable::discard_unused(std::int64_t producer_id) noexcept {
  const auto found = producers_.find(producer_id);
  if (found != producers_.end() && found->second.count == 0) producers_.erase(found);
}

void ProducerTable::record(const ProducerStamp& stamp, const ProducedBatch& batch, std::int64_t now_ns) {
  Producer& producer = producers_[stamp.producer_id];
  if (stamp.epoch != producer.epoch) producer.count = 0;  // sequences of an older epoch mean nothing now
  producer.epoch = stamp.epoch;
  producer.newest = static_cast<std::uint8_t>((producer.newest + 1) % kBatchesKept);
  producer.batches[producer.newest] = batch;
  producer.count = static_cast<std::uint8_t>(std::min<std::size_t>(producer.count + 1U, kBatchesKept));
  producer.used_ns = now_ns;
}

void ProducerTable::expire(std::int64_t before_ns) noexcept {
  std::erase_if(producers_, [before_ns](const auto& entry) { return entry.second.used_ns < before_ns; });
}

std::unordered_map<std::int64_t, Offset> ProducerTable::ends() const {
  std::unordered_map<std::int64_t, Offset> ends;
  for (const auto& [id, producer] : producers_) {
    if (producer.count > 0) ends.emplace(id, producer.last().last);
  }
  return ends;
}

void ProducerTable::forget_idle_quarter() {
  std::vector<std::int64_t> times;
  times.reserve(producers_.size());
  for (const auto& [id, producer] : producers_) times.push_back(producer.used_ns);
  const auto quarter = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 4);
  std::nth_element(times.begin(), quarter, times.end());
  std::size_t left = times.size() / 4 + 1;  // equal times must not empty the table
  std::erase_if(producers_, [&left, limit = *quarter](const auto& entry) {
    return entry.second.used_ns <= limit && left > 0 && left-- > 0;
  });
}

void ProducerTable::encode(MetaWriter& out) const {
  const auto used =
      std::count_if(producers_.begin(), producers_.end(), [](const auto& entry) { return entry.second.count > 0; });
  out.write(static_cast<std::uint32_t>(used));
  for (const auto& [id, producer] : producers_) {
    if (producer.count == 0) continue;
    out.write(id);
    out.write(producer.epoch);
    out.write(producer.count);
    for (std::size_t i = producer.count; i-- > 0;) {  // oldest first
      const ProducedBatch& batch = producer.batches[(producer.newest + kBatchesKept - i) % kBatchesKept];
      out.write(batch.first_sequence);
      out.write(batch.last_sequence);
      out.write(batch.first.value);
      out.write(batch.last.value);
      out.write(batch.max_timestamp);
    }
  }
}

Result<> ProducerTable::decode(ByteReader& in, std::int64_t now_ns) {
  producers_.clear();
  const auto count = in.read<std::uint32_t>();
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
    Producer& producer = producers_[in.read<std::int64_t>()];
    producer.epoch = in.read<std::int16_t>();
    producer.count = in.read<std::uint8_t>();
    producer.used_ns = now_ns;
    if (producer.count == 0 || producer.count > kBatchesKept) in.mark_bad();
    for (std::uint8_t place = 0; place < producer.count && in.ok(); ++place) {
      ProducedBatch& batch = producer.batches[place];
      batch.first_sequence = in.read<std::int32_t>();
      batch.last_sequence = in.read<std::int32_t>();
      batch.first = {in.read<std::int64_t>()};
      batch.last = {in.read<std::int64_t>()};
      batch.max_timestamp = in.read<std::int64_t>();
      producer.newest = place;
    }
  }
  if (in.ok() && in.remaining() == 0) return {};
  producers_.clear();
  return fail(ErrorCode::corrupt, "the producers of a partition do not decode");
}

}  // namespace streambus::broker
