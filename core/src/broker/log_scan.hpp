#pragma once
// Walks the batches of a log, whatever kind of slices its engine hands out.

#include <vector>

#include "streambus/base/message_buffer.hpp"
#include "streambus/base/record_batch.hpp"
#include "streambus/plugin/storage.hpp"

namespace streambus::broker {

/// Is shown batch headers in offset order.
class HeaderVisitor {
 public:
  HeaderVisitor() = default;
  HeaderVisitor(const HeaderVisitor&) = delete;
  HeaderVisitor& operator=(const HeaderVisitor&) = delete;
  /// False ends the walk. Only the header may be read.
  virtual bool header(const BatchHeader& batch) = 0;

 protected:
  ~HeaderVisitor() = default;
};

/// Visits the batches that lie wholly in [from, limit). Reads headers only where the slices are file ranges. May block.
/// Errors: those of PartitionLog::read, corrupt (a batch that does not frame: says at which offset).
[[nodiscard]] Status scan_headers(PartitionLog& log, Offset from, Offset limit, HeaderVisitor& visitor);

/// Goes through whole batches, one after the other. Holds what the log handed out only between two calls of next().
class BatchCursor {
 public:
  /// The batches that lie in [from, limit), beginning with the one that contains `from`.
  BatchCursor(PartitionLog& log, Offset from, Offset limit) noexcept : log_(log), from_(from), limit_(limit) {}

  /// The next batch, valid until the next call; empty at the end. May block. Throws std::bad_alloc.
  /// Errors: those of PartitionLog::read, corrupt (bytes that do not frame).
  [[nodiscard]] Status next(Bytes* batch);

 private:
  [[nodiscard]] Status read_more();

  PartitionLog& log_;
  Offset from_;
  const Offset limit_;
  ReadResult result_;
  PinRef pin_;
  std::uint32_t slice_ = 0;
  Bytes left_;
  std::vector<std::byte> buffer_;
};

/// Copies the one batch that contains `at` to `out`, which is reset. May block.
/// Errors: those of PartitionLog::read, out_of_range when no batch lies there wholly below `limit`, busy and no_space (memory).
[[nodiscard]] Status read_batch(PartitionLog& log, Offset at, Offset limit, MessageBuffer& out) noexcept;

}  // namespace streambus::broker
