#pragma once
// Walks the batches of a log, whatever kind of slices its engine hands out.

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

/// Copies the one batch that contains `at` to `out`, which is reset. May block.
/// Errors: those of PartitionLog::read, out_of_range when no batch lies there wholly below `limit`, busy and no_space (memory).
[[nodiscard]] Status read_batch(PartitionLog& log, Offset at, Offset limit, MessageBuffer& out) noexcept;

}  // namespace streambus::broker
