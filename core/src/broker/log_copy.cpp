#include "log_copy.hpp"

#include <algorithm>
#include <cstdio>

#include "log_scan.hpp"

namespace streambus::broker {
namespace {

Status damaged(const char* what, Offset at) noexcept {
  char text[96];
  std::snprintf(text, sizeof text, "%s at offset %lld", what, static_cast<long long>(at.value));
  return {ErrorCode::corrupt, text};
}

Status check(Bytes batch) noexcept {
  std::size_t bytes = 0;
  if (check_stored_batch(batch, &bytes).ok()) return {};
  return damaged("a stored batch does not hold its checksum", BatchHeader(batch.data()).base_offset());
}

}  // namespace

Status copy_batches(PartitionLog& from, PartitionLog& to, Offset limit, std::uint64_t bytes_max, std::uint64_t* copied) {
  *copied = 0;
  BatchCursor batches(from, std::max(to.state().end, from.state().start), limit);
  while (*copied < bytes_max) {
    Bytes batch;
    STREAMBUS_TRY_STATUS(batches.next(&batch));
    if (batch.empty()) return {};
    STREAMBUS_TRY_STATUS(check(batch));
    const BatchHeader header(batch.data());
    AppendResult ignored;
    STREAMBUS_TRY_STATUS(to.append(batch, header.base_offset(), header.next_offset(), header.max_timestamp(), &ignored));
    *copied += batch.size();
  }
  return {};
}

Status compare_batches(PartitionLog& original, PartitionLog& copy, Offset limit, std::uint64_t bytes_max, Offset* at) {
  BatchCursor left(original, *at, limit);
  BatchCursor right(copy, *at, limit);
  for (std::uint64_t compared = 0; compared < bytes_max;) {
    Bytes expected;
    Bytes found;
    STREAMBUS_TRY_STATUS(left.next(&expected));
    STREAMBUS_TRY_STATUS(right.next(&found));
    if (expected.empty() && found.empty()) {
      *at = limit;
      return {};
    }
    const BatchHeader header(expected.empty() ? found.data() : expected.data());
    if (!std::ranges::equal(expected, found)) return damaged("the copy differs from the original", header.base_offset());
    STREAMBUS_TRY_STATUS(check(found));
    compared += found.size();
    *at = header.next_offset();
  }
  return {};
}

}  // namespace streambus::broker
