#include "log_file.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "streambus/base/bytes.hpp"
#include "streambus/base/crc32c.hpp"

namespace streambus::storage_acme {
namespace {

constexpr std::string_view kMagic = "SBPART01";
constexpr std::uint32_t kFrameMagic = 0x53424652;  // "SBFR"
constexpr std::uint64_t kSlots[2] = {512, 1024};
constexpr std::size_t kSlotBytes = 36;
constexpr std::size_t kCopyBytes = std::size_t{1} << 20;

void encode_head(const Head& head, MutableBytes out) noexcept {
  ByteWriter writer(out);
  writer.write(head.sequence);
  writer.write(head.durable);
  writer.write(head.start.value);
  writer.write(head.end.value);
  writer.write(crc32c(Bytes(out).first(kSlotBytes - 4)));
}

bool decode_head(Bytes bytes, Head* head) noexcept {
  ByteReader reader(bytes);
  head->sequence = reader.read<std::uint64_t>();
  head->durable = reader.read<std::uint64_t>();
  head->start.value = reader.read<std::int64_t>();
  head->end.value = reader.read<std::int64_t>();
  return reader.read<std::uint32_t>() == crc32c(bytes.first(kSlotBytes - 4));
}

void encode_frame(const Frame& frame, std::uint64_t position, MutableBytes out) noexcept {
  ByteWriter writer(out);
  writer.write(std::uint32_t{0});
  writer.write(kFrameMagic);
  writer.write(static_cast<std::uint64_t>(frame.batches.size()));
  writer.write(frame.first.value);
  writer.write(frame.next.value);
  writer.write(frame.piece.value);
  writer.write(position);
  store_be(out.data(), crc32c_extend(crc32c(Bytes(out).subspan(4)), frame.batches));
}

Status write_at(File& file, std::uint64_t position, Bytes bytes) noexcept {
  const Slice slice = Slice::memory(bytes);
  return file.write_at(position, &slice, 1);
}

}  // namespace

Status LogFile::corrupt(std::uint64_t position, const char* what) const noexcept {
  char text[sizeof(Status::text)];
  std::snprintf(text, sizeof text, "%.70s: damaged at byte %llu: %.45s", path_.c_str(),
                static_cast<unsigned long long>(position), what);
  return {ErrorCode::corrupt, text};
}

Status LogFile::create(FileSystem& files, const std::string& path, Offset start, Offset end, Ref<LogFile>* out) {
  File* file = nullptr;
  STREAMBUS_TRY_STATUS(files.open(path, OpenMode::create, &file));
  auto made = Ref<LogFile>::adopt(new LogFile(file, path));
  STREAMBUS_TRY_STATUS(file->truncate(0));
  std::vector<std::byte> page(kFirstFrame);
  std::memcpy(page.data(), kMagic.data(), kMagic.size());
  made->head_ = {.sequence = 1, .durable = kFirstFrame, .start = start, .end = end};
  encode_head(made->head_, MutableBytes(page).subspan(kSlots[1], kSlotBytes));
  STREAMBUS_TRY_STATUS(write_at(*file, 0, page));
  *out = std::move(made);
  return {};
}

Status LogFile::open(FileSystem& files, const std::string& path, Ref<LogFile>* out) {
  File* file = nullptr;
  STREAMBUS_TRY_STATUS(files.open(path, OpenMode::write, &file));
  auto opened = Ref<LogFile>::adopt(new LogFile(file, path));
  STREAMBUS_TRY_STATUS(opened->read_head());
  *out = std::move(opened);
  return {};
}

Status LogFile::read_head() {
  std::vector<std::byte> page(kFirstFrame);
  STREAMBUS_TRY_STATUS(read(0, page));
  if (std::memcmp(page.data(), kMagic.data(), kMagic.size()) != 0) return corrupt(0, "expected the magic SBPART01");
  bool found = false;
  for (const std::uint64_t slot : kSlots) {
    Head head;
    if (!decode_head(Bytes(page).subspan(slot, kSlotBytes), &head) || (found && head.sequence < head_.sequence)) continue;
    head_ = head;
    found = true;
  }
  return found ? Status{} : corrupt(kSlots[0], "neither copy of the head is valid");
}

Status LogFile::read(std::uint64_t position, MutableBytes out) noexcept {
  std::size_t read = 0;
  STREAMBUS_TRY_STATUS(file_->read_at(position, out, &read));
  return read == out.size() ? Status{} : corrupt(position + read, "the file ends here, but should not");
}

Status LogFile::write_head(Head head) noexcept {
  head.sequence = head_.sequence + 1;
  std::byte slot[kSlotBytes];
  encode_head(head, slot);
  STREAMBUS_TRY_STATUS(write_at(*file_, kSlots[head.sequence % 2], slot));
  head_ = head;
  return {};
}

Status LogFile::append(Offset piece, Offset first, Offset next, Bytes batches) noexcept {
  std::byte header[kFrameHeaderBytes];
  encode_frame({.first = first, .next = next, .piece = piece, .batches = batches}, end_, header);
  const Slice slices[] = {Slice::memory(header), Slice::memory(batches)};
  const Status status = file_->write_at(end_, slices, 2);
  if (status.ok()) {
    end_ += kFrameHeaderBytes + batches.size();
    return {};
  }
  // Part of it may be there: taken back, so that the next append finds the file as if this one had never been.
  const Status cut = file_->truncate(end_);
  return cut.ok() ? status : Status{ErrorCode::io_error, cut.message(), cut.sys_errno};
}

Status LogFile::read_frame(std::uint64_t size, std::vector<std::byte>* buffer, Frame* frame) {
  if (size - end_ < kFrameHeaderBytes) return corrupt(end_, "no whole frame");
  std::byte header[kFrameHeaderBytes];
  STREAMBUS_TRY_STATUS(read(end_, header));
  ByteReader reader(header);
  const auto crc = reader.read<std::uint32_t>();
  const auto magic = reader.read<std::uint32_t>();
  const auto bytes = reader.read<std::uint64_t>();
  frame->first.value = reader.read<std::int64_t>();
  frame->next.value = reader.read<std::int64_t>();
  frame->piece.value = reader.read<std::int64_t>();
  if (magic != kFrameMagic || reader.read<std::uint64_t>() != end_) return corrupt(end_, "no frame begins here");
  if (bytes > size - end_ - kFrameHeaderBytes) return corrupt(end_, "the frame is cut off");
  if (buffer->size() < bytes) buffer->resize(bytes);
  frame->position = end_ + kFrameHeaderBytes;
  frame->batches = Bytes(*buffer).first(bytes);
  STREAMBUS_TRY_STATUS(read(frame->position, MutableBytes(*buffer).first(bytes)));
  const std::uint32_t found = crc32c_extend(crc32c(Bytes(header).subspan(4)), frame->batches);
  return found == crc ? Status{} : corrupt(end_, "the frame's checksum is wrong");
}

Status LogFile::recover(FrameVisitor& visitor, std::uint64_t* cut) {
  std::uint64_t size = 0;
  STREAMBUS_TRY_STATUS(file_->size(&size));
  std::vector<std::byte> buffer;
  Status damage;
  while (end_ < size) {
    Frame frame;
    damage = read_frame(size, &buffer, &frame);
    if (damage.ok()) {
      if (const Status wrong = visitor.frame(frame); !wrong.ok()) damage = corrupt(end_, wrong.text);
    }
    if (!damage.ok()) break;
    end_ += kFrameHeaderBytes + frame.batches.size();
  }
  if (!damage.ok() && damage.code != ErrorCode::corrupt) return damage;
  if (end_ < head_.durable) return damage.ok() ? corrupt(end_, "the file ends here, but more was durable") : damage;
  *cut = size > end_ ? size - end_ : 0;
  if (*cut > 0) STREAMBUS_TRY_STATUS(file_->truncate(end_));
  if (*cut == 0 && end_ == head_.durable) return {};
  STREAMBUS_TRY_STATUS(rewrite_tail(&buffer));
  return file_->sync();
}

/// An earlier sync may have failed: the kernel then believes these pages clean, and would not write them again.
Status LogFile::rewrite_tail(std::vector<std::byte>* buffer) {
  for (std::uint64_t position = std::max(head_.durable, kFirstFrame); position < end_;) {
    const std::size_t bytes = std::min<std::uint64_t>(kCopyBytes, end_ - position);
    if (buffer->size() < bytes) buffer->resize(bytes);
    STREAMBUS_TRY_STATUS(read(position, MutableBytes(*buffer).first(bytes)));
    STREAMBUS_TRY_STATUS(write_at(*file_, position, Bytes(*buffer).first(bytes)));
    position += bytes;
  }
  return {};
}

}  // namespace streambus::storage_acme
