#include "streambus/client/record.hpp"

namespace streambus::client {

bool HeaderReader::next() noexcept {
  if (left_ <= 0) return false;
  --left_;
  key_ = as_text(reader_.bytes(static_cast<std::size_t>(reader_.signed_varint())));
  const std::int64_t value_bytes = reader_.signed_varint();
  value_ = value_bytes < 0 ? std::nullopt : std::optional(reader_.bytes(static_cast<std::size_t>(value_bytes)));
  return reader_.ok();
}

ConsumedBatch::Cursor::Cursor(const ConsumedBatch& batch) noexcept
    : reader_(batch.body_, batch.header().record_count()),
      base_(batch.header().base_offset()),
      from_(batch.from_),
      base_timestamp_(batch.header().base_timestamp()),
      append_time_(batch.header().log_append_time() ? batch.header().max_timestamp() : kNoTimestamp) {}

bool ConsumedBatch::Cursor::next(ConsumedRecord& record) noexcept {
  RecordView view;
  while (reader_.next(view)) {
    const Offset offset = base_ + view.offset_delta;
    if (offset < from_) continue;
    const bool untimed = base_timestamp_ == kNoTimestamp;
    record = {.offset = offset,
              .timestamp_ms = append_time_ != kNoTimestamp
                                  ? append_time_
                                  : (untimed ? kNoTimestamp : base_timestamp_ + view.timestamp_delta_ms),
              .has_key = view.has_key,
              .has_value = view.has_value,
              .key = view.key,
              .value = view.value,
              .header_count = view.header_count,
              .headers = view.headers};
    return true;
  }
  return false;
}

}  // namespace streambus::client
