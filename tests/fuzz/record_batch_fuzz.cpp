// Any bytes as a RecordBatch: its check, and the records behind it, also when the checksum would have refused them.

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "streambus/base/record_batch.hpp"

namespace streambus {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

bool inside(Bytes part, Bytes whole) {
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void read_records(Bytes body, std::int32_t count) {
  RecordReader reader(body, count);
  RecordView record;
  std::int64_t seen = 0;
  while (reader.next(record)) {
    ++seen;
    require(inside(record.key, body) && inside(record.value, body) && inside(record.headers, body));
    RecordHeaderReader headers(record);
    RecordHeaderView header;
    std::int64_t headers_seen = 0;
    while (headers.next(header)) {
      ++headers_seen;
      require(inside(as_bytes(header.key), record.headers) && inside(header.value, record.headers));
    }
    require(!headers.ok() || headers_seen == record.header_count);
  }
  require(!reader.ok() || seen == count || count < 0);
}

void run(Bytes input) {
  std::vector<std::byte> bytes(input.begin(), input.end());
  std::size_t total = 0;
  if (check_batch(bytes, &total).ok()) require(total <= bytes.size() && total >= kBatchHeaderBytes);
  if (!frame_batch(bytes, &total).ok()) return;
  require(total <= bytes.size() && total >= kBatchHeaderBytes);

  // Past the checksum, which a fuzzer cannot guess.
  const MutableBytes batch(bytes.data(), total);
  stamp_batch_crc(batch);
  std::size_t checked = 0;
  const Status status = check_batch(batch, &checked);
  require(status.ok() ? checked == total : status.code == ErrorCode::invalid_record);
  stamp_batch(batch.data(), {42}, 7);
  require(check_batch(batch, &checked).code == status.code);
  read_records(batch.subspan(kBatchHeaderBytes), BatchHeader(batch.data()).record_count());
}

}  // namespace
}  // namespace streambus

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  streambus::run(std::as_bytes(std::span(data, size)));
  return 0;
}
