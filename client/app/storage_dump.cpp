// streambus storage dump

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "record_format.hpp"
#include "storage_commands.hpp"
#include "streambus/host/codec_loader.hpp"

namespace streambus::command {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kBodyBytesMax = std::size_t{256} << 20;
constexpr const char* kRecordFormat = "    %o %T %k %v\\n";

/// "2026-05-01T10:00:00.000Z", or "-" for none; a time that no calendar has stays a number.
std::string time_text(TimestampMs time) {
  constexpr TimestampMs kYear9999 = 253'402'300'799'999;
  if (time == kNoTimestamp) return "-";
  if (time < 0 || time > kYear9999) return std::to_string(time);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(time / 1000)), time % 1000);
}

/// Where a batch is, for printing.
struct BatchPlaceText {
  const std::string& storage;
  const std::string& topic;
  PartitionId partition;
  const std::string& file;
  std::uint64_t position;
};

/// Prints batches and records.
class BatchPrinter {
 public:
  BatchPrinter(StorageOpener& opener, const Invocation& invocation, const StorageArguments& arguments, RecordFormat format)
      : opener_(opener),
        json_(invocation.json),
        records_(arguments.records || !arguments.format.empty()),
        format_(std::move(format)),
        scratch_(opener.services().buffers()) {}

  /// False where standard output takes no more.
  [[nodiscard]] bool print(Bytes batch, const BatchPlaceText& place);
  void headline(const std::string& text) {
    if (!json_) output_.write(text);
  }
  [[nodiscard]] bool flush();
  /// The first record that could not be shown, if any.
  [[nodiscard]] const std::optional<std::string>& trouble() const noexcept { return trouble_; }
  [[nodiscard]] bool failed() const noexcept { return failed_; }

 private:
  void print_header(const BatchHeader& header, const BatchPlaceText& place);
  void print_records(Bytes batch, const BatchPlaceText& place);
  [[nodiscard]] const CodecSet& codecs();
  void complain(const BatchHeader& header, const std::string& text);

  StorageOpener& opener_;
  const bool json_;
  const bool records_;
  const RecordFormat format_;
  std::optional<LoadedCodecs> codecs_;
  MessageBuffer scratch_;
  Output output_;
  std::optional<std::string> trouble_;
  bool failed_ = false;
};

const CodecSet& BatchPrinter::codecs() {
  if (!codecs_) {
    codecs_ = load_codecs(opener_.services(), opener_.registry(),
                          [](const Error& error) { fmt::print(stderr, "warning: codec left out: {}\n", error.message); });
  }
  return codecs_->set;
}

void BatchPrinter::complain(const BatchHeader& header, const std::string& text) {
  fmt::print(stderr, "the batch at offset {}: {}\n", header.base_offset().value, text);
  if (!trouble_) trouble_ = text;
}

void BatchPrinter::print_header(const BatchHeader& header, const BatchPlaceText& place) {
  if (json_) {
    Json json;
    if (!place.storage.empty()) json["storage"] = place.storage;
    if (!place.topic.empty()) json.update({{"topic", place.topic}, {"partition", place.partition}});
    json.update({{"file", place.file},
                 {"position", place.position},
                 {"base_offset", header.base_offset().value},
                 {"last_offset", header.last_offset().value},
                 {"records", header.record_count()},
                 {"bytes", header.total_bytes()},
                 {"compression", std::string(compression_name(header.compression()))},
                 {"base_timestamp", header.base_timestamp()},
                 {"max_timestamp", header.max_timestamp()},
                 {"log_append_time", header.log_append_time()},
                 {"leader_epoch", header.leader_epoch()},
                 {"producer_id", header.producer_id()},
                 {"producer_epoch", header.producer_epoch()},
                 {"base_sequence", header.base_sequence()},
                 {"transactional", header.transactional()},
                 {"control", header.control()},
                 {"crc", header.crc()}});
    output_.write(json.dump() + "\n");
    return;
  }
  std::string line =
      fmt::format("  byte {:<10} offsets {} to {}, {} records, {} bytes, {}, {}, epoch {}", place.position,
                  header.base_offset().value, header.last_offset().value, header.record_count(), header.total_bytes(),
                  compression_name(header.compression()), time_text(header.max_timestamp()), header.leader_epoch());
  if (header.producer_id() != kNoProducerId) {
    line += fmt::format(", producer {} epoch {} sequence {}", header.producer_id(), header.producer_epoch(),
                        header.base_sequence());
  }
  if (header.transactional()) line += ", transactional";
  if (header.control()) line += ", control";
  output_.write(line + "\n");
}

void BatchPrinter::print_records(Bytes batch, const BatchPlaceText& place) {
  const BatchHeader header(batch.data());
  Bytes body;
  if (const Status status = decompress_batch(codecs(), batch, kBodyBytesMax, scratch_, &body); !status.ok()) {
    complain(header, status.text);
    return;
  }
  const client::ConsumedBatch consumed(place.topic, place.partition, batch, body, header.base_offset());
  auto cursor = consumed.records();
  client::ConsumedRecord record;
  while (cursor.next(record)) {
    if (json_) {
      append_json(output_.buffer(), place.topic, place.partition, record);
    } else {
      format_.append(output_.buffer(), place.topic, place.partition, record);
    }
  }
  if (!cursor.ok()) complain(header, "a record does not decode");
}

bool BatchPrinter::print(Bytes batch, const BatchPlaceText& place) {
  print_header(BatchHeader(batch.data()), place);
  if (records_) print_records(batch, place);
  return !output_.should_flush() || flush();
}

bool BatchPrinter::flush() {
  const Result<> flushed = output_.flush();
  if (flushed) return true;
  if (flushed.error().sys_errno != EPIPE) {  // a reader that has enough is no failure
    fmt::print(stderr, "error: {}\n", flushed.error().message);
    failed_ = true;
  }
  return false;
}

/// Prints what an engine shows.
class DumpReport final : public StorageReport {
 public:
  DumpReport(const StoragePlace& place, const StorageArguments& arguments, BatchPrinter& printer)
      : StorageReport(place), arguments_(arguments), printer_(printer) {}

  [[nodiscard]] bool interrupted() const noexcept { return signals_.stopped(); }

 private:
  bool wants_partition(const PartitionSummary& partition) override {
    if (arguments_.partition >= 0 && partition.partition != arguments_.partition) return false;
    if (arguments_.topic.empty() || partition.topic == arguments_.topic) return true;
    const DataDirectory::Topic* const topic = place().topic_of(arguments_.topic);  // its id
    return topic != nullptr && topic->name == partition.topic;
  }
  void begin_segment(const std::string& file) override { pending_file_ = file; }
  bool take(Bytes batch, std::uint64_t position) override {
    if (BatchHeader(batch.data()).next_offset() <= Offset{arguments_.offset}) return !signals_.stopped();
    if (arguments_.count >= 0 && printed_ >= arguments_.count) return false;
    if (!pending_file_.empty()) {
      shown_file_ = std::exchange(pending_file_, {});
      printer_.headline(fmt::format("{}-{} {}\n", current().topic, current().partition, shown_file_));
    }
    ++printed_;
    const bool more = printer_.print(batch, {current().storage, current().topic, current().partition, shown_file_, position});
    return more && !signals_.stopped() && printed_ != arguments_.count;
  }
  void noted(const KeptFinding& finding) override {
    if (finding.kind != FindingKind::gap) fmt::print(stderr, "{}\n", describe(finding));
  }

  const StorageArguments& arguments_;
  BatchPrinter& printer_;
  StopSignals signals_;
  std::string pending_file_;
  std::string shown_file_;
  std::int64_t printed_ = 0;
};

/// Steps through a file that is a row of record batches and belongs to no storage: a copied segment, one of Kafka's.
class BatchFile {
 public:
  explicit BatchFile(const std::filesystem::path& path)
      : files_(make_read_only_file_system(std::filesystem::absolute(path).parent_path())) {}

  [[nodiscard]] Status open(const std::string& name) {
    File* opened = nullptr;
    STREAMBUS_TRY_STATUS(files_->open(name, OpenMode::read, &opened));
    file_.reset(opened);
    return opened->size(&end_);
  }
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
  /// The batch at the position; empty at the end, which zeros are too. Errors: corrupt, those of reading.
  [[nodiscard]] Status load(Bytes* batch) {
    *batch = {};
    buffer_.resize(std::max(buffer_.size(), kBatchHeaderBytes));
    std::size_t read = 0;
    STREAMBUS_TRY_STATUS(file_->read_at(position_, MutableBytes(buffer_).first(kBatchHeaderBytes), &read));
    if (std::ranges::all_of(Bytes(buffer_).first(read), [](std::byte b) { return b == std::byte{0}; })) return {};
    const BatchHeader header(buffer_.data());
    const bool plausible = read == kBatchHeaderBytes && header.magic() == 2 && header.length_field() >= 0;
    if (const std::size_t total = plausible ? header.total_bytes() : 0; plausible && total <= end_ - position_) {
      buffer_.resize(std::max(buffer_.size(), total));
      STREAMBUS_TRY_STATUS(file_->read_at(position_, MutableBytes(buffer_).first(total), &read));
    }
    std::size_t bytes = 0;
    const Status status = check_batch(Bytes(buffer_).first(read), &bytes);
    // Compaction keeps the offsets of a batch and drops records: then the counts may differ.
    if (!status.ok() && status.code != ErrorCode::invalid_record) return {ErrorCode::corrupt, status.text};
    *batch = Bytes(buffer_).first(bytes);
    return {};
  }
  void pass(Bytes batch) noexcept { position_ += batch.size(); }

 private:
  struct FileCloser {
    void operator()(File* file) const noexcept { file->close(); }
  };
  std::unique_ptr<FileSystem, void (*)(FileSystem*)> files_;
  std::unique_ptr<File, FileCloser> file_;
  std::uint64_t end_ = 0;
  std::uint64_t position_ = 0;
  std::vector<std::byte> buffer_;
};

int dump_batch_file(const StorageArguments& arguments, BatchPrinter& printer) {
  BatchFile file(arguments.path);
  Status status = file.open(std::filesystem::path(arguments.path).filename().string());
  const std::string none;
  Bytes batch;
  for (std::int64_t printed = 0; status.ok() && printed != arguments.count; file.pass(batch)) {
    status = file.load(&batch);
    if (!status.ok() || batch.empty()) break;
    if (BatchHeader(batch.data()).next_offset() <= Offset{arguments.offset}) continue;
    ++printed;
    if (!printer.print(batch, {none, none, 0, arguments.path, file.position()})) break;
  }
  (void)printer.flush();
  if (!status.ok()) fmt::print(stderr, "error: {} byte {}: {}\n", arguments.path, file.position(), status.text);
  if (status.code == ErrorCode::corrupt || printer.trouble()) return kDamage;
  return status.ok() && !printer.failed() ? kDone : kFailed;
}

}  // namespace

int dump_storage(const Invocation& invocation, const StorageArguments& arguments) {
  auto format = RecordFormat::parse(arguments.format.empty() ? std::string(kRecordFormat) : arguments.format);
  if (!format) {
    fmt::print(stderr, "error: {}\n", format.error().message);
    return kUsage;
  }
  StorageOpener opener(invocation.plugin_dirs);
  BatchPrinter printer(opener, invocation, arguments, std::move(*format));
  const auto place = find_storage_place(arguments.path, arguments.plugin);
  if (!place) {
    std::error_code failure;
    const bool file = std::filesystem::is_regular_file(arguments.path, failure);
    if (file && place.error().code == ErrorCode::invalid_argument) return dump_batch_file(arguments, printer);
    return report_place_error(place.error());
  }
  DumpReport report(*place, arguments, printer);
  const InspectionOutcome outcome = inspect_storages(*place, opener, report);
  const bool flushed = printer.flush();
  if (printer.failed()) return kFailed;
  if (report.damages() > 0 || printer.trouble()) return kDamage;
  if (report.interrupted()) return kInterrupted;
  return outcome.unreadable && flushed ? kFailed : kDone;
}

}  // namespace streambus::command
