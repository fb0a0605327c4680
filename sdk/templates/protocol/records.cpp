#include "records.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <vector>

#include "streambus/base/batch_builder.hpp"
#include "streambus/base/record_batch.hpp"

namespace streambus::protocol_acme {
namespace {

constexpr std::uint64_t kFetchBytes = 64 << 10;

/// A slice is memory or a range of a file.
Status read_slice(const Slice& slice, std::vector<std::byte>* out) {
  if (!slice.is_file()) {
    const Bytes memory = slice.as_memory();
    out->insert(out->end(), memory.begin(), memory.end());
    return {};
  }
  std::size_t done = out->size();
  const std::size_t end = done + slice.bytes;
  out->resize(end);
  for (std::uint64_t position = slice.file_position; done < end;) {
    const ssize_t read = ::pread(slice.fd, out->data() + done, end - done, static_cast<off_t>(position));
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) return errno_status("cannot read a batch", errno);
    if (read == 0) return {ErrorCode::corrupt, "a file ends inside of a batch"};
    done += static_cast<std::size_t>(read);
    position += static_cast<std::uint64_t>(read);
  }
  return {};
}

Status read_batches(const ReadResult& data, std::vector<std::byte>* out) {
  for (std::uint32_t i = 0; i < data.slice_count; ++i) STREAMBUS_TRY_STATUS(read_slice(data.slices[i], out));
  return {};
}

/// The first record at or behind `from` in whole batches.
Status search(Bytes batches, Offset from, FoundRecord* record) {
  while (!batches.empty()) {
    std::size_t bytes = 0;
    STREAMBUS_TRY_STATUS(check_batch(batches, &bytes));
    const BatchHeader header(batches.data());
    if (header.next_offset() > from && !header.control()) {
      if (header.compression() != 0)
        return {ErrorCode::unsupported, "the record is compressed, which this protocol cannot read"};
      RecordReader reader(batches.subspan(kBatchHeaderBytes, bytes - kBatchHeaderBytes), header.record_count());
      for (RecordView view; reader.next(view);) {
        const Offset offset = header.base_offset() + view.offset_delta;
        if (offset < from) continue;
        *record = {true, offset, std::string(as_text(view.value))};
        return {};
      }
    }
    batches = batches.subspan(bytes);
  }
  return {};
}

}  // namespace

ProduceOutcome produce_text(Host& host, Broker& broker, std::string_view topic, std::string_view text, ProduceWaiter& waiter) {
  BatchBuilder builder(host.buffers());
  MessageBuffer batch(host.buffers());
  const bool added = builder.append({.timestamp_ms = host.wall_ms(), .key = {}, .value = as_bytes(text), .headers = {}});
  if (!added || !builder.finish({}, batch).ok()) {
    waiter.error = ErrorCode::busy;
    std::snprintf(waiter.error_text, sizeof waiter.error_text, "out of memory for the record");
    return ProduceOutcome::done;
  }
  const ProduceCall call{.topic = topic, .partition = 0, .batches = {batch.at(0), batch.size()}};
  return broker.produce(call, waiter);
}

Status find_record(Broker& broker, std::string_view topic, Offset from, FoundRecord* record) {
  for (;;) {
    FetchCall call{.topic = topic, .from = from, .bytes_max = kFetchBytes, .at_least_one = true, .data = {}};
    broker.fetch(call);
    const PinRef pin = PinRef::adopt(call.data.pin);
    if (call.error != ErrorCode::ok) return {call.error, name_of(call.error)};
    if (call.data.slice_count == 0) {
      *record = {false, call.high_watermark, {}};
      return {};
    }
    std::vector<std::byte> batches;
    STREAMBUS_TRY_STATUS(read_batches(call.data, &batches));
    STREAMBUS_TRY_STATUS(search(batches, from, record));
    if (record->found) return {};
    from = call.data.next;  // only what compaction left empty
  }
}

}  // namespace streambus::protocol_acme
