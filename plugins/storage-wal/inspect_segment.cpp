#include "inspect_segment.hpp"

#include <algorithm>

#include "text.hpp"

namespace streambus::storage_wal {
namespace {

using Ull = unsigned long long;

class SegmentInspection {
 public:
  SegmentInspection(FileWindow& window, std::uint64_t file_bytes, const SegmentClaim& claim, Inspector& inspector,
                    SegmentVerdict& verdict)
      : window_(window), file_bytes_(file_bytes), claim_(claim), inspector_(inspector), verdict_(verdict) {
    verdict_.frames.end = claim.base;
    verdict_.mark_reached = claim.marked && claim.mark.position == 0;
  }

  [[nodiscard]] Status run() {
    STREAMBUS_TRY_STATUS(read_batches());
    if (verdict_.enough) return {};
    judge_mark();
    if (claim_.listed) judge_entry();
    judge_index();
    return {};
  }

 private:
  [[nodiscard]] Status read_batches();
  void take(Bytes batch);
  [[nodiscard]] Status pass_damage(const Status& problem, bool* more);
  [[nodiscard]] Status find_batch(std::uint64_t from, std::uint64_t to, std::uint64_t* found, Offset* base);
  [[nodiscard]] Status judge_tail(BatchPlace place, const Status& problem);
  void check_index_at(const BatchHeader& header);
  void judge_mark();
  void judge_entry();
  void judge_index();

  /// Below it every byte was on the device: what does not hold there is damage.
  [[nodiscard]] std::uint64_t certain_bytes() const noexcept {
    if (claim_.listed) return claim_.entry.bytes;
    if (claim_.synced) return file_bytes_;
    return claim_.marked ? claim_.mark.position : 0;
  }
  void tell(const Finding& finding) noexcept {
    if (finding.kind == FindingKind::damage) verdict_.damaged = true;
    inspector_.finding(finding);
  }

  FileWindow& window_;
  const std::uint64_t file_bytes_;
  const SegmentClaim& claim_;
  Inspector& inspector_;
  SegmentVerdict& verdict_;
  std::size_t index_entry_ = 0;
  bool index_wrong_ = false;
  std::uint64_t jump_position_ = 0;  ///< of the first batch whose base offset is not the end of the one before it
  Offset jump_offset_ = kNoOffset;
  std::uint32_t mark_crc_ = 0;
};

Status SegmentInspection::read_batches() {
  for (;;) {
    BatchPlace place = BatchPlace::file_end;
    Bytes batch;
    Status problem;
    STREAMBUS_TRY_STATUS(look_at_batch(window_, verdict_.bytes, &place, &batch, &problem));
    if (place == BatchPlace::batch && verdict_.bytes >= certain_bytes()) {
      // Where nothing is promised, recovery ends the log at an offset that does not rise.
      problem = check_order(BatchHeader(batch.data()), verdict_.frames.end);
      if (!problem.ok()) place = BatchPlace::invalid;
    }
    if (place == BatchPlace::batch) {
      take(batch);
      if (verdict_.enough) return {};
      continue;
    }
    // Zeros may end a synced segment that was not sealed yet, where a scan would end: whoever compares segments judges that.
    const bool damage = verdict_.bytes < certain_bytes() && !(place == BatchPlace::zeros && claim_.synced);
    if (!damage) return judge_tail(place, problem);
    if (place == BatchPlace::file_end) problem = status_of(ErrorCode::corrupt, "the file ends");
    if (place == BatchPlace::zeros) problem = status_of(ErrorCode::corrupt, "zeros where a batch was");
    bool more = false;
    STREAMBUS_TRY_STATUS(pass_damage(problem, &more));
    if (!more) return {};
  }
}

void SegmentInspection::take(Bytes batch) {
  const BatchHeader header(batch.data());
  const Offset expected = verdict_.frames.end;
  if (header.base_offset() < expected) {
    // The checksum does not cover the base offset: this one or the one before the jump was changed.
    const bool before = jump_offset_ != kNoOffset;
    tell({.kind = FindingKind::damage,
          .file = claim_.path,
          .position = before ? jump_position_ : verdict_.bytes,
          .first = before ? jump_offset_ : header.base_offset(),
          .next = expected,
          .text = text_of("base offset: expected at least %lld at position %llu, found %lld",
                          static_cast<long long>(expected.value), Ull{verdict_.bytes},
                          static_cast<long long>(header.base_offset().value)),
          .repair = "keeps every batch: the offset follows from the neighbours"});
    jump_offset_ = kNoOffset;
  } else if (header.base_offset() > expected && jump_offset_ == kNoOffset) {
    jump_position_ = verdict_.bytes;
    jump_offset_ = expected;
  }
  check_index_at(header);
  add_frame(batch.data(), &verdict_.frames);
  if (!inspector_.batch(batch, verdict_.bytes)) verdict_.enough = true;
  verdict_.bytes += batch.size();
  if (claim_.marked && verdict_.bytes == claim_.mark.position) {
    verdict_.mark_reached = true;
    mark_crc_ = verdict_.frames.frame_crc;
  }
}

/// Reports what lies at the position and goes on with the next batch, if there is one.
Status SegmentInspection::pass_damage(const Status& problem, bool* more) {
  const std::uint64_t from = verdict_.bytes;
  std::uint64_t to = 0;
  Offset next;
  STREAMBUS_TRY_STATUS(find_batch(from + 1, window_.end(), &to, &next));
  *more = to != 0;
  if (!*more) {
    to = std::max(certain_bytes(), from);
    next = claim_.listed ? claim_.entry.end : claim_.marked ? claim_.mark.end : kNoOffset;
  }
  std::string repair = text_of("keeps the %u batches before it", verdict_.frames.batch_count);
  if (*more) {
    repair += text_of(" and what follows from position %llu on", Ull{to});
  } else {
    repair += "; none follows in this segment";
  }
  if (next != kNoOffset && next > verdict_.frames.end) {
    repair += text_of("; loses offsets %lld to %lld", static_cast<long long>(verdict_.frames.end.value),
                      static_cast<long long>(next.value - 1));
  }
  tell({.kind = FindingKind::damage,
        .file = claim_.path,
        .position = from,
        .bytes = to - from,
        .first = verdict_.frames.end,
        .next = next,
        .text = problem.text,
        .repair = repair});
  verdict_.bytes = to;
  if (claim_.index != nullptr) {  // entries that point into what was passed over cannot be compared
    const auto entries = claim_.index->entries();
    while (index_entry_ < entries.size() && entries[index_entry_].position < to) ++index_entry_;
  }
  if (*more) verdict_.frames.end = next;
  return {};
}

/// The first position in [from, to) where a whole batch lies whose offsets fit here; *found stays 0 where there is none.
Status SegmentInspection::find_batch(std::uint64_t from, std::uint64_t to, std::uint64_t* found, Offset* base) {
  constexpr std::size_t kStep = 65536;
  const Offset limit = claim_.listed ? claim_.entry.end : Offset{INT64_MAX};
  for (std::uint64_t position = from; position + kBatchHeaderBytes <= to;) {
    Bytes view;
    STREAMBUS_TRY_STATUS(window_.view(position, kStep, &view));
    if (view.size() < kBatchHeaderBytes) return {};
    const std::size_t last = view.size() - kBatchHeaderBytes;
    std::size_t at = 0;
    for (; at <= last; ++at) {
      const BatchHeader header(view.data() + at);
      // What a header must look like, so that few places cost a checksum.
      if (header.magic() != 2 || header.last_offset_delta() < 0 || (header.attributes() & ~0x7f) != 0 ||
          header.record_count() < 0 || header.base_offset() < verdict_.frames.end || header.base_offset() >= limit)
        continue;
      BatchPlace place = BatchPlace::invalid;
      Bytes batch;
      Status problem;
      const Offset offset = header.base_offset();
      STREAMBUS_TRY_STATUS(look_at_batch(window_, position + at, &place, &batch, &problem));
      if (place == BatchPlace::batch) {
        *found = position + at;
        *base = offset;
        return {};
      }
      break;  // the window may have moved
    }
    position += std::min(at, last) + 1;
  }
  return {};
}

/// What lies behind the last batch where nothing more is promised.
Status SegmentInspection::judge_tail(BatchPlace place, const Status& problem) {
  if (claim_.listed || place == BatchPlace::file_end) return {};
  std::uint64_t position = verdict_.bytes;
  Bytes view;
  bool zeros = true;
  while (zeros && position < file_bytes_) {
    STREAMBUS_TRY_STATUS(window_.view(position, 65536, &view));
    if (view.empty()) break;
    zeros = std::all_of(view.begin(), view.end(), [](std::byte b) { return b == std::byte{0}; });
    position += view.size();
  }
  if (zeros) return {};
  verdict_.torn = true;
  tell({.kind = FindingKind::torn_tail,
        .file = claim_.path,
        .position = verdict_.bytes,
        .bytes = file_bytes_ - verdict_.bytes,
        .first = verdict_.frames.end,
        .text = place == BatchPlace::zeros ? "bytes behind a header of zeros" : problem.text,
        .repair = text_of("the next start cuts %llu bytes, the log ends at offset %lld", Ull{file_bytes_ - verdict_.bytes},
                          static_cast<long long>(verdict_.frames.end.value))});
  return {};
}

void SegmentInspection::check_index_at(const BatchHeader& header) {
  if (claim_.index == nullptr || index_wrong_) return;
  const auto entries = claim_.index->entries();
  if (index_entry_ == entries.size() || entries[index_entry_].position > verdict_.bytes) return;
  const IndexEntry& entry = entries[index_entry_++];
  // What precedes damage is not known any more: timestamps behind it cannot be compared.
  index_wrong_ = entry.position != verdict_.bytes || entry.base != header.base_offset() ||
                 (!verdict_.damaged && entry.max_before != verdict_.frames.max_timestamp);
}

void SegmentInspection::judge_mark() {
  if (!claim_.marked || verdict_.damaged) return;
  if (verdict_.mark_reached && mark_crc_ == claim_.mark.frame_crc) return;
  if (claim_.listed) {  // the manifest knows better
    tell({.kind = FindingKind::derived_damaged,
          .file = SyncedMarks::kFileName,
          .first = claim_.mark.end,
          .text = text_of("the synced mark of %s does not fit its batches", claim_.path.c_str()),
          .repair = "no record is lost: the mark is written again with the next sync"});
    return;
  }
  const bool boundary = verdict_.mark_reached;
  tell({.kind = FindingKind::damage,
        .file = claim_.path,
        .position = boundary && jump_offset_ != kNoOffset ? jump_position_ : 0,
        .bytes = claim_.mark.position,
        .first = claim_.base,
        .next = claim_.mark.end,
        .text = boundary
                    ? "a base offset, leader epoch or length before the synced mark was changed"
                    : text_of("no batch ends at position %llu, up to which the segment was synced", Ull{claim_.mark.position}),
        .repair = "keeps every batch; offsets and epochs before the mark are to be checked by hand"});
}

void SegmentInspection::judge_entry() {
  const ManifestEntry& entry = claim_.entry;
  if (file_bytes_ > entry.bytes) {
    tell({.kind = FindingKind::leftover,
          .file = claim_.path,
          .position = entry.bytes,
          .bytes = file_bytes_ - entry.bytes,
          .first = entry.end,
          .text = "bytes behind the end of a complete segment",
          .repair = "they are never read"});
  }
  if (verdict_.damaged) return;
  std::string text;
  if (verdict_.frames.end != entry.batches_end) {
    text = text_of("the batches end at offset %lld, the manifest says %lld", static_cast<long long>(verdict_.frames.end.value),
                   static_cast<long long>(entry.batches_end.value));
  } else if (verdict_.frames.frame_crc != entry.frame_crc) {
    text = "a base offset, leader epoch or length was changed after it was synced";
  } else if (verdict_.frames.max_timestamp != entry.max_timestamp) {
    text = text_of("the largest timestamp is %lld, the manifest says %lld",
                   static_cast<long long>(verdict_.frames.max_timestamp), static_cast<long long>(entry.max_timestamp));
  } else {
    return;
  }
  tell({.kind = FindingKind::damage,
        .file = claim_.path,
        .position = jump_offset_ != kNoOffset ? jump_position_ : 0,
        .bytes = entry.bytes,
        .first = entry.base,
        .next = entry.end,
        .text = text,
        .repair = "keeps every batch; offsets and epochs of this segment are to be checked by hand"});
}

void SegmentInspection::judge_index() {
  if (claim_.index == nullptr) return;
  const bool all_met = verdict_.damaged || index_entry_ == claim_.index->entries().size();
  if (all_met && !index_wrong_) return;
  const std::size_t entry = index_entry_ > 0 && index_wrong_ ? index_entry_ - 1 : index_entry_;
  tell({.kind = FindingKind::derived_damaged,
        .file = claim_.index_path,
        .position = 40 + 24 * std::uint64_t{entry},
        .first = claim_.base,
        .text = text_of("entry %zu does not point to a batch of the segment", entry),
        .repair = "no record is lost: remove the file, it is made again from the batches"});
}

}  // namespace

Status inspect_segment(File& file, const SegmentClaim& claim, Inspector& inspector, SegmentVerdict* verdict) {
  *verdict = {};
  std::uint64_t file_bytes = 0;
  STREAMBUS_TRY_STATUS(file.size(&file_bytes));
  FileWindow window(file, claim.listed ? std::min(claim.entry.bytes, file_bytes) : file_bytes);
  return SegmentInspection(window, file_bytes, claim, inspector, *verdict).run();
}

}  // namespace streambus::storage_wal
