// Damaged files: found, never served as good.

#include <map>

#include "case_lists.hpp"
#include "storage_fixture.hpp"

namespace streambus::conformance {
namespace {

constexpr PartitionSettings kSegments{.segment_bytes = 3000};
constexpr int kBatches = 30;

std::vector<std::byte> batch_at(int index) {
  return make_batch({.base = index * 2,
                     .records = 2,
                     .body_bytes = 100 + static_cast<std::size_t>(index * 37 % 300),
                     .max_timestamp = 1000 + index * 10,
                     .seed = 7});
}

using Contents = std::map<std::string, std::vector<std::byte>>;

/// An engine's files after some batches, all of them acknowledged.
class Stored {
 public:
  Stored(CaseContext& context, bool clean) : context_(context), engine_(engine_of(context, verifying(context))) {
    FaultFileSystem files;
    EngineUnderTest under_test(engine_, files, StorageHost::Workers::test);
    expect_ok(under_test.start(), "start()");
    PartitionLog* log = nullptr;
    expect_ok(under_test.engine().open(kKey, {}, kSegments, &log), "open()");
    for (int i = 0; i < kBatches; ++i) {
      const std::vector<std::byte> batch = batch_at(i);
      AppendResult result;
      expect_ok(log->append(batch, {i * 2}, {i * 2 + 2}, 1000 + i * 10, &result), "append");
      (void)under_test.host().run_work();
      batches_.push_back(batch);
    }
    if (clean) {
      expect_ok(log->close(), "close()");
      expect_ok(under_test.stop(), "stop()");
      copy(files);
      return;
    }
    copy(files);
    files.plan({.at = 1, .halt = true});  // what follows is no part of the story
    (void)log->close();
  }

  [[nodiscard]] const Contents& contents() const noexcept { return contents_; }
  /// Bytes that some file has.
  [[nodiscard]] std::uint64_t total_bytes() const {
    std::uint64_t total = 0;
    for (const auto& [path, bytes] : contents_) total += bytes.size();
    return total;
  }

  /// Opens the files with one of them changed. Whatever is served must be right; a clean stop's end must be there.
  void expect_refused_or_right(const std::string& path, const std::vector<std::byte>& damaged, bool whole) {
    FaultFileSystem files;
    for (const auto& [name, bytes] : contents_) {
      if (const std::size_t slash = name.rfind('/'); slash != std::string::npos)
        (void)files.create_directory(name.substr(0, slash));
      files.put_file(name, name == path ? damaged : bytes);
    }
    EngineUnderTest under_test(engine_, files, StorageHost::Workers::test);
    const auto refused = [](const Status& status) {
      if (status.ok()) return false;
      expect(status.text[0] != '\0', "a refusal to say what is damaged, found an empty text");
      return true;
    };
    if (refused(under_test.start())) return;
    PartitionLog* log = nullptr;
    if (refused(under_test.engine().open(kKey, {}, kSegments, &log))) return;
    const LogState state = log->state();
    expect_equal("start of a log that opened", state.start, Offset{0});
    if (whole) {
      expect_equal("end of a log that opened, after a clean stop", state.end, Offset{kBatches * 2});
    } else {
      expect_equal("remainder of an end between batches of two offsets", state.end.value % 2, 0);
    }
    for (Offset from{0}; from < state.end;) {
      ReadResult result;
      const Status status = log->read({.from = from, .limit = state.end, .bytes_max = 1, .at_least_one = true}, &result);
      if (!status.ok()) {
        from = from + 2;
        continue;
      }
      expect(result.slice_count > 0,
             fmt::format("a batch or an error at offset {}, which lies below the end, found neither", from.value));
      check_served(from, bytes_of(result));
      result.pin->release();
      from = from + 2;
    }
    for (int i = 0; i < kBatches; i += 7) check_time(*log, i, state.end);
    (void)log->close();
  }

 private:
  static OptionTexts verifying(const CaseContext& context) {
    OptionTexts options = context.options;
    for (const char* const option : {"verify_on_read", "verify_on_open"}) {
      if (context.has_option(option) && std::ranges::find(options, option, &OptionTexts::value_type::first) == options.end())
        options.emplace_back(option, "true");
    }
    return options;
  }
  void copy(FaultFileSystem& files) {
    for (const std::string& path : files.paths()) contents_[path] = files.content(path);
  }
  void check_served(Offset from, Bytes found) const {
    const std::vector<std::byte>& expected = batches_[static_cast<std::size_t>(from.value / 2)];
    if (std::ranges::equal(found, expected)) return;
    std::size_t total = 0;
    const bool looks_good = check_batch(found, &total).ok() && total == found.size();
    if (looks_good)
      expect_bytes(fmt::format("the batch at offset {}, served with a good checksum", from.value), found, expected);
    // Without an option to verify reads, the batch's own checksum is what finds it, at whoever reads it.
    if (context_.has_option("verify_on_read"))
      fail_case(
          fmt::format("the batch at offset {} is damaged: expected an error with verify_on_read, found it served", from.value));
  }
  static void check_time(PartitionLog& log, int index, Offset end) {
    Offset found;
    if (!log.find_time(1000 + index * 10, &found).ok()) return;
    const Offset right{index * 2};
    expect_equal(fmt::format("base of the first batch that reaches time {}", 1000 + index * 10), found,
                 right < end ? right : kNoOffset);
  }

  CaseContext& context_;
  const EngineCase engine_;
  std::vector<std::vector<std::byte>> batches_;
  Contents contents_;
};

/// Without a sync before the answer, an engine cannot tell damage of its newest bytes from what a crash leaves of them: the
/// fields that a batch's checksum leaves out have no second witness then.
bool promises_device(const CaseContext& context) { return context.traits.durability == Durability::fsync_batch; }

void flipped_bits(CaseContext& context) {
  for (const bool clean : {true, false}) {
    if (!clean && !promises_device(context)) break;
    Stored stored(context, clean);
    const std::uint64_t bits = stored.total_bytes() * 8;
    const std::uint64_t samples = std::min(bits, context.rounds(150, 3000, UINT64_MAX));
    std::mt19937_64 random(context.seed);
    for (std::uint64_t i = 0; i < samples; ++i) {
      std::uint64_t bit = samples == bits ? i : random() % bits;
      for (const auto& [path, bytes] : stored.contents()) {
        if (bit >= bytes.size() * 8) {
          bit -= bytes.size() * 8;
          continue;
        }
        context.at(
            fmt::format("bit {} of byte {} of {} flipped, {} stop", bit % 8, bit / 8, path, clean ? "clean" : "no clean"));
        std::vector<std::byte> damaged = bytes;
        damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        stored.expect_refused_or_right(path, damaged, clean);
        break;
      }
    }
  }
}

void cut_files(CaseContext& context) {
  for (const bool clean : {true, false}) {
    if (!clean && !promises_device(context)) break;
    Stored stored(context, clean);
    const std::uint64_t samples = context.rounds(15, 200, UINT64_MAX);
    std::mt19937_64 random(context.seed);
    for (const auto& [path, bytes] : stored.contents()) {
      const std::uint64_t lengths = std::min<std::uint64_t>(bytes.size(), samples);
      for (std::uint64_t i = 0; i < lengths; ++i) {
        const std::size_t length = lengths == bytes.size() ? i : random() % bytes.size();
        context.at(fmt::format("{} cut to {} of {} bytes, {} stop", path, length, bytes.size(), clean ? "clean" : "no clean"));
        stored.expect_refused_or_right(path, {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)}, clean);
      }
    }
  }
}

constexpr Case kCases[] = {
    {"storage.corruption.bits",
     "A flipped bit in any file is found when the partition is opened or read (the kit sets verify_on_read where there is such "
     "an option), or makes no difference; damage is never served as good.",
     Level::basic, kFileLayer | kKeeps, &flipped_bits},
    {"storage.corruption.cut",
     "A file that is cut off is found or makes no difference: after a clean stop nothing is missing silently, after a crash "
     "the log ends with a whole batch.",
     Level::basic, kFileLayer | kKeeps, &cut_files},
};

}  // namespace

std::span<const Case> storage_corruption_cases() { return kCases; }

}  // namespace streambus::conformance
