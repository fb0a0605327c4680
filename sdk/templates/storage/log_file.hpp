#pragma once
// The file of one partition. All integers big-endian.
//
//   0      magic "SBPART01"
//   512    head, first slot       sequence:u64 durable:u64 start:i64 end:i64 crc:u32 (CRC-32C of the 32 bytes before it)
//   1024   head, second slot      the same; the valid one with the higher sequence counts
//   4096   frames, one an append  crc:u32 (of all behind it) magic:u32 bytes:u64 first:i64 next:i64 piece:i64 position:u64,
//   batches
//
// A head is written over the older slot, so that one torn in the middle leaves the other. `durable` is a position in this file:
// what lies below it was synced. Damage there is an error; behind it is a tail that nobody was promised, which is cut. `piece`
// is where the piece begins that replace() would take the batches with.

#include <string>
#include <vector>

#include "streambus/plugin/files.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::storage_acme {

/// What the file says of its partition.
struct Head {
  std::uint64_t sequence = 0;
  std::uint64_t durable = 0;  ///< all below this position of the file was synced
  Offset start;
  Offset end;  ///< the log ends here or behind its last batch, whichever is higher
};

/// One append, as recovery finds it.
struct Frame {
  Offset first;
  Offset next;
  Offset piece;                ///< where its piece begins
  std::uint64_t position = 0;  ///< of the batches in the file
  Bytes batches;
};

class FrameVisitor {
 public:
  FrameVisitor() = default;
  FrameVisitor(const FrameVisitor&) = delete;
  FrameVisitor& operator=(const FrameVisitor&) = delete;
  /// An error says why the frame cannot be: it then counts as damaged. May throw std::bad_alloc.
  virtual Status frame(const Frame& frame) = 0;

 protected:
  ~FrameVisitor() = default;
};

/// An open file. Whoever reads holds a reference, so that a file that was replaced stays open as long as somebody needs it.
/// Reads from any thread; writes, truncations and heads by one thread at a time.
class LogFile final : public Pin {
 public:
  static constexpr std::uint64_t kFirstFrame = 4096;
  static constexpr std::size_t kFrameHeaderBytes = 48;

  /// Makes an empty file, in place of any that is there. Not synced.
  [[nodiscard]] static Status create(FileSystem& files, const std::string& path, Offset start, Offset end, Ref<LogFile>* out);
  /// Opens a file and reads its head. Errors: not_found, corrupt, io_error.
  [[nodiscard]] static Status open(FileSystem& files, const std::string& path, Ref<LogFile>* out);

  /// Visits every whole frame and cuts off what is behind the last one. Where something was not known to be durable it is
  /// written again and synced. `cut` is how many bytes went. Errors: corrupt (damage below `durable`: says where), io_error.
  [[nodiscard]] Status recover(FrameVisitor& visitor, std::uint64_t* cut);

  /// Writes a frame behind the last one. no_space: the file is as it was. Any other error: it is not known what it holds.
  [[nodiscard]] Status append(Offset piece, Offset first, Offset next, Bytes batches) noexcept;
  [[nodiscard]] Status sync() noexcept { return file_->sync(); }
  /// Overwrites the older slot; `sequence` is set here. Not synced.
  [[nodiscard]] Status write_head(Head head) noexcept;
  /// Fills `out`. Errors: io_error, corrupt (the file ends before).
  [[nodiscard]] Status read(std::uint64_t position, MutableBytes out) noexcept;

  [[nodiscard]] const Head& head() const noexcept { return head_; }
  /// Where the next frame goes.
  [[nodiscard]] std::uint64_t end() const noexcept { return end_; }

 private:
  LogFile(File* file, const std::string& path) : file_(file), path_(path) {}
  ~LogFile() override { file_->close(); }
  void dispose() noexcept override { delete this; }

  [[nodiscard]] Status read_head();
  /// Reads the frame at end_ into `frame`, with memory of `buffer`. corrupt where there is none.
  [[nodiscard]] Status read_frame(std::uint64_t size, std::vector<std::byte>* buffer, Frame* frame);
  [[nodiscard]] Status rewrite_tail(std::vector<std::byte>* buffer);
  [[nodiscard]] Status corrupt(std::uint64_t position, const char* what) const noexcept;

  File* const file_;
  const std::string path_;
  Head head_;
  std::uint64_t end_ = kFirstFrame;
};

}  // namespace streambus::storage_acme
