#pragma once
// Record batches for storage tests, and a log that is compared with what it should hold.

#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "streambus/base/record_batch.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::conformance {

struct BatchSpec {
  std::int64_t base = 0;
  std::int32_t records = 1;
  std::size_t body_bytes = 64;
  TimestampMs max_timestamp = 1'000;
  LeaderEpoch epoch = 0;
  std::uint64_t seed = 0;  ///< of the body's bytes, on top of the base offset
};

/// A batch with a valid header and checksum around a body of pseudo-random bytes: engines do not look inside.
[[nodiscard]] inline std::vector<std::byte> make_batch(const BatchSpec& spec) {
  std::vector<std::byte> batch(kBatchHeaderBytes + spec.body_bytes);
  ByteWriter out(batch);
  out.write(spec.base);
  out.write(static_cast<std::int32_t>(batch.size() - kBatchLengthPrefixBytes));
  out.write(spec.epoch);
  out.write(std::int8_t{2});
  out.write(std::uint32_t{0});  // checksum
  out.write(std::int16_t{0});
  out.write(spec.records - 1);
  out.write(spec.max_timestamp);
  out.write(spec.max_timestamp);
  out.write(kNoProducerId);
  out.write(std::int16_t{-1});
  out.write(std::int32_t{-1});
  out.write(spec.records);
  std::uint64_t state = spec.seed * 0x9e3779b97f4a7c15 + static_cast<std::uint64_t>(spec.base) + 1;
  for (std::size_t i = kBatchHeaderBytes; i < batch.size(); ++i) {
    state = state * 6364136223846793005 + 1442695040888963407;
    batch[i] = static_cast<std::byte>(state >> 56);
  }
  stamp_batch_crc(batch);
  return batch;
}

/// The bytes that a read returned.
[[nodiscard]] inline std::vector<std::byte> bytes_of(const ReadResult& result) {
  std::vector<std::byte> bytes;
  for (std::uint32_t i = 0; i < result.slice_count; ++i) {
    const Slice& slice = result.slices[i];
    const std::size_t before = bytes.size();
    bytes.resize(before + static_cast<std::size_t>(slice.bytes));
    if (!slice.is_file()) {
      std::memcpy(bytes.data() + before, slice.data, static_cast<std::size_t>(slice.bytes));
      continue;
    }
    std::size_t done = 0;
    while (done < slice.bytes) {
      const ssize_t got = ::pread(slice.fd, bytes.data() + before + done, static_cast<std::size_t>(slice.bytes) - done,
                                  static_cast<off_t>(slice.file_position + done));
      if (got <= 0) break;
      done += static_cast<std::size_t>(got);
    }
    bytes.resize(before + done);
  }
  return bytes;
}

/// Reads [from, limit) with reads of at most `bytes_max`, one batch at least; releases every pin. On an error *status says it.
[[nodiscard]] inline std::vector<std::byte> read_all(PartitionLog& log, Offset from, Offset limit, std::uint64_t bytes_max,
                                                     Status* status) {
  std::vector<std::byte> all;
  while (from < limit) {
    ReadResult result;
    *status = log.read({.from = from, .limit = limit, .bytes_max = bytes_max, .at_least_one = true}, &result);
    if (!status->ok() || result.slice_count == 0) break;
    const std::vector<std::byte> bytes = bytes_of(result);
    all.insert(all.end(), bytes.begin(), bytes.end());
    if (result.pin != nullptr) result.pin->release();
    if (result.next <= from) {
      *status = {ErrorCode::internal, "a read made no progress"};
      break;
    }
    from = result.next;
  }
  return all;
}

}  // namespace streambus::conformance

namespace streambus::test {
using namespace streambus::conformance;  // unit tests name their doubles here
}
