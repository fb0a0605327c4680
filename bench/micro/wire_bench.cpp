// Encoding and decoding of whole frames with a payload of about 100 B, 1 KB and 10 KB, against a bare write of as many bytes.
//
// wire/API/MESSAGE/VERSION/encode  the frame is built, as slices
// wire/API/MESSAGE/VERSION/write   the same, and the slices are written into memory of the kernel (a memfd)
// wire/API/MESSAGE/VERSION/decode  header and message are read
// wire/bare_write                  what a write of as many bytes takes, to set the others against
// wire/record_batch/check          structure and checksum of a batch; .../records walks its records as well

#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "allocations.hpp"
#include "streambus/base/batch_builder.hpp"
#include "streambus/base/buffer_pool.hpp"
#include "streambus/wire/frame.hpp"

namespace streambus::bench {
namespace {

using namespace wire;

constexpr std::array<std::int64_t, 3> kPayloads{100, 1024, 10240};
constexpr std::size_t kSlicesMax = 16;

/// A batch of one record with a value of that size.
class Batch {
 public:
  explicit Batch(std::size_t value_bytes) : builder_(pool_) {
    const std::string value(value_bytes, 'x');
    Record record;
    record.timestamp_ms = 1700000000000;
    record.value = as_bytes(value);
    if (!builder_.append(record)) std::abort();
    MessageBuffer out(pool_);
    if (!builder_.finish({}, out).ok()) std::abort();
    bytes_.assign(out.view().begin(), out.view().end());
  }
  [[nodiscard]] MutableBytes bytes() { return bytes_; }

 private:
  BufferPool pool_;
  BatchBuilder builder_;
  std::vector<std::byte> bytes_;
};

/// Messages with about `bytes` of payload, in memory that lives as long as this object.
class Messages {
 public:
  explicit Messages(std::size_t bytes) : bytes_(bytes), batch_(bytes), batch_slice_(Slice::memory(batch_.bytes())) {}

  ProduceRequest make(std::type_identity<ProduceRequest>) {
    const auto topics = one<ProduceRequest::Topic>();
    const auto partitions = one<ProduceRequest::Partition>();
    partitions[0].records = batch_.bytes();
    topics[0] = {.name = "metrics", .partition_data = partitions};
    return {.acks = -1, .timeout_ms = 30000, .topic_data = topics};
  }
  FetchRequest make(std::type_identity<FetchRequest>) {
    const auto topics = one<FetchRequest::Topic>();
    const auto partitions = arena_.array<FetchRequest::Partition>(count_of(40));
    topics[0] = {.topic = "metrics", .partitions = partitions};
    return {.max_wait_ms = 500, .min_bytes = 1, .topics = topics};
  }
  FetchResponse make(std::type_identity<FetchResponse>) {
    const auto topics = one<FetchResponse::Topic>();
    const auto partitions = one<FetchResponse::Partition>();
    partitions[0].records = {{&batch_slice_, 1}, batch_slice_.bytes};
    topics[0] = {.topic = "metrics", .partitions = partitions};
    return {.responses = topics};
  }
  ProduceResponse make(std::type_identity<ProduceResponse>) {
    const auto topics = one<ProduceResponse::Topic>();
    topics[0] = {.name = "metrics", .partition_responses = arena_.array<ProduceResponse::Partition>(count_of(32))};
    return {.responses = topics};
  }
  MetadataRequest make(std::type_identity<MetadataRequest>) {
    const auto topics = arena_.array<MetadataRequest::Topic>(count_of(12));
    for (auto& topic : topics) topic.name = "metrics-01";
    return {.topics = topics};
  }
  MetadataResponse make(std::type_identity<MetadataResponse>) {
    const auto brokers = one<MetadataResponse::Broker>();
    brokers[0] = {.node_id = 1, .host = "broker.example.org", .port = 9092};
    const auto topics = arena_.array<MetadataResponse::Topic>(count_of(58));
    for (auto& topic : topics) {
      const auto partitions = one<MetadataResponse::Partition>();
      partitions[0].replica_nodes = one<std::int32_t>();
      partitions[0].isr_nodes = one<std::int32_t>();
      topic.name = "metrics-01";
      topic.partitions = partitions;
    }
    return {.brokers = brokers, .topics = topics};
  }

 private:
  template <class T>
  std::span<T> one() {
    return arena_.array<T>(1);
  }
  [[nodiscard]] std::size_t count_of(std::size_t element_bytes) const {
    return std::max<std::size_t>(1, bytes_ / element_bytes);
  }

  std::size_t bytes_;
  Batch batch_;
  Slice batch_slice_;
  Arena arena_;
};

template <class M>
constexpr bool kIsRequest = requires { typename M::Response; };

template <class M>
void encode_frame(const M& message, std::int16_t version, Encoder& out) {
  if constexpr (kIsRequest<M>) {
    encode_request(message, version, 1, "bench", out);
  } else {
    encode_response(message, version, 1, out);
  }
}

/// A file in memory that is written over and over at its start.
class Sink {
 public:
  Sink() : fd_(::memfd_create("wire_bench", MFD_CLOEXEC)) {}
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;
  ~Sink() { ::close(fd_); }
  [[nodiscard]] bool write(std::span<const Slice> slices) const {
    std::array<iovec, kSlicesMax> parts;
    ssize_t total = 0;
    for (std::size_t i = 0; i < slices.size(); ++i) {
      parts[i] = {const_cast<std::byte*>(slices[i].data), slices[i].bytes};
      total += static_cast<ssize_t>(slices[i].bytes);
    }
    return ::pwritev(fd_, parts.data(), static_cast<int>(slices.size()), 0) == total;
  }
  [[nodiscard]] bool write(Bytes bytes) const {
    return ::pwrite(fd_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
  }

 private:
  int fd_;
};

template <class M, bool kWrite>
void encode_bench(benchmark::State& state, std::int16_t version) {
  Messages messages(static_cast<std::size_t>(state.range(0)));
  const M message = messages.make(std::type_identity<M>{});
  const Sink sink;
  BufferPool pool;
  MessageBuffer buffer(pool);
  Arena arena;
  std::uint64_t bytes = 0;
  const auto once = [&] {
    buffer.reset();
    arena.reset();
    Encoder encoder(buffer, arena);
    encode_frame(message, version, encoder);
    const std::span<const Slice> slices = encoder.slices();
    if (slices.empty() || slices.size() > kSlicesMax) return state.SkipWithError("not encoded");
    benchmark::DoNotOptimize(slices.data());
    bytes += encoder.total_bytes();
    if constexpr (kWrite) {
      if (!sink.write(slices)) state.SkipWithError("not written");
    }
  };
  once();
  bytes = 0;
  {
    const CountAllocations count(state);
    for (auto _ : state) once();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}

template <class M>
void decode_bench(benchmark::State& state, std::int16_t version) {
  Messages messages(static_cast<std::size_t>(state.range(0)));
  BufferPool pool;
  MessageBuffer buffer(pool);
  Arena arena;
  Encoder encoder(buffer, arena);
  encode_frame(messages.make(std::type_identity<M>{}), version, encoder);
  std::vector<std::byte> frame;
  for (const Slice& slice : encoder.slices()) frame.insert(frame.end(), slice.data, slice.data + slice.bytes);
  const auto once = [&] {
    arena.reset();
    ByteReader in(frame);
    in.skip(kFrameLengthBytes);
    bool good = false;
    if constexpr (kIsRequest<M>) {
      RequestHeader header;
      good = decode(in, header);
    } else {
      ResponseHeader header;
      good = decode(in, M::kKey, version, header);
    }
    M message;
    good = good && decode(in, version, arena, message) && in.remaining() == 0;
    benchmark::DoNotOptimize(message);
    if (!good) state.SkipWithError("not decoded");
  };
  once();
  {
    const CountAllocations count(state);
    for (auto _ : state) once();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * frame.size()));
}

void bare_write(benchmark::State& state) {
  const std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)));
  const Sink sink;
  for (auto _ : state) {
    if (!sink.write(bytes)) state.SkipWithError("not written");
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes.size()));
}

template <bool kRecords>
void check_bench(benchmark::State& state) {
  Batch batch(static_cast<std::size_t>(state.range(0)));
  const Bytes bytes = batch.bytes();
  const CountAllocations count(state);
  for (auto _ : state) {
    std::size_t total = 0;
    bool good = check_batch(bytes, &total).ok();
    if constexpr (kRecords) {
      RecordReader reader(bytes.subspan(kBatchHeaderBytes), BatchHeader(bytes.data()).record_count());
      RecordView record;
      while (reader.next(record)) benchmark::DoNotOptimize(record);
      good = good && reader.ok();
    }
    if (!good) state.SkipWithError("batch refused");
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes.size()));
}

template <class Fn>
void add(const std::string& name, Fn fn) {
  auto* const registered = benchmark::RegisterBenchmark(name.c_str(), fn);
  for (const std::int64_t payload : kPayloads) registered->Arg(payload);
}

template <class M>
void add_message(std::int16_t version) {
  const std::string name = "wire/" + std::string(find_api(static_cast<std::int16_t>(M::kKey))->name) +
                           (kIsRequest<M> ? "/request/" : "/response/") + std::to_string(version);
  add(name + "/encode", [version](benchmark::State& state) { encode_bench<M, false>(state, version); });
  add(name + "/write", [version](benchmark::State& state) { encode_bench<M, true>(state, version); });
  add(name + "/decode", [version](benchmark::State& state) { decode_bench<M>(state, version); });
}

const bool kAdded = [] {
  add("wire/bare_write", bare_write);
  add_message<ProduceRequest>(7);
  add_message<ProduceRequest>(9);
  add_message<ProduceResponse>(9);
  add_message<FetchRequest>(12);
  add_message<FetchResponse>(11);
  add_message<FetchResponse>(12);
  add_message<MetadataRequest>(9);
  add_message<MetadataResponse>(9);
  add("wire/record_batch/check", check_bench<false>);
  add("wire/record_batch/records", check_bench<true>);
  return true;
}();

}  // namespace
}  // namespace streambus::bench
