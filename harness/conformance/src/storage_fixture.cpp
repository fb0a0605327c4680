#include "storage_fixture.hpp"

namespace streambus::conformance {

EngineCase engine_of(const CaseContext& context, OptionTexts options) {
  return {std::string(context.plugin.name()),
          &context.plugin.descriptor(),
          std::move(options),
          context.traits.keeps,
          context.traits.durability == Durability::memory,
          context.traits.replaces};
}

EngineCase engine_of(const CaseContext& context) {
  // A reserve that is right for a real disk is more than the whole of one that a case fills.
  constexpr std::string_view kReserve = "free_space_min";
  const bool given = std::ranges::find(context.options, kReserve, &OptionTexts::value_type::first) != context.options.end();
  return engine_of(context, context.has_option(kReserve) && !given ? context.options_with(kReserve, "0") : context.options);
}

Copied read_once(PartitionLog& log, const ReadRequest& request) {
  Copied copied;
  ReadResult result;
  copied.status = log.read(request, &result);
  if (!copied.status.ok()) return copied;
  expect_equal("whether a read with slices comes with a pin", result.pin != nullptr, result.slice_count > 0);
  expect_at_most("slices of a read", result.slice_count, ReadResult::kSlicesMax);
  copied.bytes = bytes_of(result);
  copied.next = result.next;
  copied.slices = result.slice_count;
  std::vector<std::size_t> ends;
  std::size_t end = 0;
  for (std::uint32_t i = 0; i < result.slice_count; ++i)
    ends.push_back(end += static_cast<std::size_t>(result.slices[i].bytes));
  if (result.pin != nullptr) result.pin->release();
  expect_equal("bytes that a read counts", result.bytes, copied.bytes.size());
  if (copied.slices == 0) {
    expect_equal("next of an empty read", copied.next, request.from);
    return copied;
  }
  Offset next{INT64_MIN};
  std::size_t slice = 0;
  for (std::size_t position = 0; position < copied.bytes.size();) {
    std::size_t total = 0;
    expect_ok(check_batch(Bytes(copied.bytes).subspan(position), &total),
              fmt::format("the batch at byte {} of a read", position));
    const BatchHeader header(copied.bytes.data() + position);
    expect_at_least("base offset of the batch after another", header.base_offset(), next);
    next = header.next_offset();
    expect(next > request.from, fmt::format("batches that hold offset {} or lie behind it, found one that ends at {}",
                                            request.from.value, next.value));
    expect(next <= request.limit,
           fmt::format("only batches wholly below the limit {}, found one that ends at {}", request.limit.value, next.value));
    expect(position == 0 || position + total <= request.bytes_max,
           fmt::format("at most {} bytes after the first batch, found {}", request.bytes_max, position + total));
    position += total;
    while (slice < ends.size() && ends[slice] < position) ++slice;
    expect(position <= ends[slice], "slices that end between batches, found one that ends inside a batch");
  }
  expect(request.at_least_one || copied.bytes.size() <= request.bytes_max,
         fmt::format("at most {} bytes, found {}", request.bytes_max, copied.bytes.size()));
  // It may skip a gap, whose end the engine knows; what it must not skip shows in the content.
  expect_at_least("next of a read", copied.next, next);
  expect_at_most("next of a read", copied.next, request.limit);
  return copied;
}

std::vector<std::byte> read_range(PartitionLog& log, Offset from, Offset limit, std::uint64_t bytes_max) {
  std::vector<std::byte> all;
  while (from < limit) {
    const Copied copied = read_once(log, {.from = from, .limit = limit, .bytes_max = bytes_max, .at_least_one = true});
    expect_ok(copied.status, fmt::format("read from offset {}", from.value));
    if (copied.slices == 0) break;
    all.insert(all.end(), copied.bytes.begin(), copied.bytes.end());
    from = copied.next;
  }
  return all;
}

StorageFixture::StorageFixture(CaseContext& context, const PartitionSettings& settings, StorageHost::Workers workers,
                               std::function<void(StorageHost&)> prepare)
    : context_(context), case_(engine_of(context)), prepare_(std::move(prepare)), under_test_(case_, files, workers) {
  start();
  open(settings);
}

void StorageFixture::start() { expect_ok(under_test_.start(prepare_), "start()"); }

void StorageFixture::open(const PartitionSettings& settings) {
  expect_ok(engine().open(kKey, {}, settings, &log_), "open() of a partition");
  expect(log_ != nullptr, "open() to give a log when it says ok, found none");
}

void StorageFixture::close() { expect_ok(std::exchange(log_, nullptr)->close(), "close() of a partition"); }

void StorageFixture::reopen(const PartitionSettings& settings) {
  close();
  open(settings);
}

void StorageFixture::restart(const PartitionSettings& settings) {
  if (log_ != nullptr) close();
  check_reports();
  expect_ok(under_test_.stop(), "stop()");
  start();
  open(settings);
}

void StorageFixture::finish() {
  if (log_ != nullptr) close();
  expect_ok(engine().stop(), "stop()");
  if (!host().has_threads()) (void)host().run_work();
  host().wait_idle();
  check_reports();
  under_test_.destroy_engine();
  expect_equal("durability domains left open by an engine that was destroyed", host().sink.open_domains(), 0U);
  under_test_.destroy();
  expect_equal("files left open by an engine that was destroyed", files.open_files(), 0);
  expect_equal("mappings left open by an engine that was destroyed", files.mappings(), 0);
}

void StorageFixture::check_reports() {
  for (const auto& [id, domain] : host().sink.domains()) {
    expect_equal("durability reports that went back", domain.went_back, 0U);
    expect_equal("durability reports that said the same position again", domain.repeated, 0U);
    expect_equal("durability reports to a closed domain", domain.after_close, 0U);
    if (!domain.failure.ok()) expect_ok(domain.failure, "a durability domain without any failure below");
  }
}

Status StorageFixture::append(BatchSpec spec) {
  spec.base = std::max(spec.base, log().state().end.value);
  const std::vector<std::byte> batch = make_batch(spec);
  const Offset next = Offset{spec.base} + spec.records;
  const Status status = log().append(batch, {spec.base}, next, spec.max_timestamp, &last);
  if (!status.ok()) return status;
  expect_equal("end after an append", log().state().end, next);
  expected.insert(expected.end(), batch.begin(), batch.end());
  return status;
}

void StorageFixture::append_many(int count, const BatchSpec& spec) {
  for (int i = 0; i < count; ++i) expect_ok(append(spec), "append");
}

void StorageFixture::expect_content(std::uint64_t bytes_max) {
  const LogState state = log().state();
  expect_bytes("what the log holds", read_range(log(), state.start, state.end, bytes_max), expected);
}

std::int64_t StorageFixture::found_at(TimestampMs time) {
  Offset found;
  expect_ok(log().find_time(time, &found), "find_time");
  return found.value;
}

}  // namespace streambus::conformance
